#!/usr/bin/env bash
# Start or resume a run on a TPU VM or a slice of several hosts (v5litepod-8, v5litepod-16, v6e-16, v5p-64, …), by the
# Cloud TPU API: create it unless it exists, copy this checkout's last commit to every host, install it with the TPU extra,
# and start the run on all hosts, detached from this terminal. A preempted slice is deleted and created again.
#
#   launch/tpu_vm.sh NAME ZONE TYPE VERSION [flags of python -m mobile_r1_jax.launch]
#   launch/tpu_vm.sh mobile-r1 europe-west4-b v5litepod-8 v2-alpha-tpuv5-lite \
#       --config=configs/3b-v5e-8.yaml --policy=/mnt/qwen2.5-vl-3b
#   CREATE_FLAGS=--spot launch/tpu_vm.sh mobile-r1 us-east5-b v6e-16 v2-alpha-tpuv6e --folder=/mnt/runs …
#
# Needs:         gcloud, logged in, with the Cloud TPU API. Several hosts need a folder that all of them see for --folder
#                and --policy, such as Filestore or a bucket mounted by gcsfuse. JAX finds the hosts of a slice itself.
# Costs:         a chip and hour on demand in the US: v5e $1.20, v5p $4.20, v6e $2.70 (SkyPilot's catalogue, 2026); spot from
#                a fifth of that. v5litepod-16 and v6e-16 have 16 chips; v5p-64 has 32 (its name counts cores).
# Follow it:     gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --command='tail -f mobile-r1-jax/run.log'
# Stop paying:   gcloud compute tpus tpu-vm delete NAME --zone=ZONE      (copy mobile-r1-jax/runs/ off it first)
#
# Google no longer develops this API, and TPU7x is not on it: see tpu_group.sh and jobset.yaml.
set -euo pipefail

if [ $# -lt 4 ]; then
  sed -n '2,21s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
name=$1 zone=$2 type=$3 version=$4
shift 4
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
tpu() { gcloud compute tpus tpu-vm "$1" "${@:2}" --zone="$zone"; }

state=$(tpu describe "$name" --format='value(state)') || state=MISSING
if [ "$state" = PREEMPTED ] || [ "$state" = TERMINATED ]; then
  tpu delete "$name" --quiet
  state=MISSING
fi
if [ "$state" = MISSING ]; then
  read -ra create_flags <<< "${CREATE_FLAGS:-}"
  tpu create "$name" --accelerator-type="$type" --version="$version" ${create_flags[@]+"${create_flags[@]}"}
fi

checkout=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$checkout"' EXIT
git archive --format=tar.gz --output="$checkout" HEAD
tpu scp "$checkout" "$name:mobile-r1-jax.tar.gz" --worker=all

flags=$(printf '%q ' "$@") # a shell on the VM parses them again, so quote them again
tpu ssh "$name" --worker=all --command="set -e
mkdir -p mobile-r1-jax && tar xzf mobile-r1-jax.tar.gz -C mobile-r1-jax && cd mobile-r1-jax
test -d .venv || python3 -m venv .venv
.venv/bin/pip install -q -e '.[tpu]'
nohup .venv/bin/python -m mobile_r1_jax.launch $flags > run.log 2>&1 < /dev/null &
echo started: mobile-r1-jax/run.log on $name"
