#!/usr/bin/env bash
# Start or resume a run on a TPU VM of one host (v5litepod-8, v6e-8, …): create the VM unless it exists, copy this checkout's
# last commit to it, install it with the TPU extra, and start the run detached from this terminal.
#
#   launch/tpu_vm.sh NAME ZONE TYPE VERSION [flags of python -m mobile_r1_jax.launch]
#   launch/tpu_vm.sh mobile-r1 europe-west4-b v5litepod-8 v2-alpha-tpuv5-lite \
#       --config=configs/3b-v5e-8.yaml --policy=/mnt/qwen2.5-vl-3b
#
# Follow it:     gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --command='tail -f mobile-r1-jax/run.log'
# Stop paying:   gcloud compute tpus tpu-vm delete NAME --zone=ZONE      (copy mobile-r1-jax/runs/ off it first)
set -euo pipefail

if [ $# -lt 4 ]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
name=$1 zone=$2 type=$3 version=$4
shift 4
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
tpu() { gcloud compute tpus tpu-vm "$1" "${@:2}" --zone="$zone"; }

tpu describe "$name" --format='value(state)' || tpu create "$name" --accelerator-type="$type" --version="$version"

checkout=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$checkout"' EXIT
git archive --format=tar.gz --output="$checkout" HEAD
tpu scp "$checkout" "$name:mobile-r1-jax.tar.gz"

flags=$(printf '%q ' "$@") # a shell on the VM parses them again, so quote them again
tpu ssh "$name" --command="set -e
mkdir -p mobile-r1-jax && tar xzf mobile-r1-jax.tar.gz -C mobile-r1-jax && cd mobile-r1-jax
test -d .venv || python3 -m venv .venv
.venv/bin/pip install -q -e '.[tpu]'
nohup .venv/bin/python -m mobile_r1_jax.launch $flags > run.log 2>&1 < /dev/null &
echo started: mobile-r1-jax/run.log on $name"
