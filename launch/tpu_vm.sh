#!/usr/bin/env bash
# Start or resume a run on a TPU VM or a slice of several hosts (v5litepod-8, v5litepod-16, v6e-16, v5p-64, …), by the
# Cloud TPU API: create it unless it exists, copy this checkout's last commit to every host, install it with the TPU
# extra, and start the run on all hosts, detached from this terminal. A preempted slice is deleted and created again.
#
#   launch/tpu_vm.sh NAME ZONE TYPE VERSION [flags of python -m mobile_r1_jax.launch]
#   launch/tpu_vm.sh mobile-r1 europe-west4-b v5litepod-8 v2-alpha-tpuv5-lite \
#       --config=configs/3b-v5e-8.yaml --policy=/mnt/qwen2.5-vl-3b
#   CREATE_FLAGS=--spot launch/tpu_vm.sh mobile-r1 us-east5-b v6e-16 v2-alpha-tpuv6e --folder=/mnt/runs …
#
# Needs:         gcloud, logged in, with the Cloud TPU API; hosts that reach the internet, for Python and packages.
#                Spot VMs and several hosts need a --folder and a --policy that outlive them and that all hosts see:
#                Filestore, or a bucket mounted by gcsfuse. The run finds the hosts of its slice itself.
# Costs:         a chip and hour on demand in the US: v5e $1.20, v5p $4.20, v6e $2.70 (SkyPilot's catalogue, 2026); spot
#                from a fifth of that. v5litepod-16 and v6e-16 have 16 chips; v5p-64 has 32 (its name counts cores).
# Follow it:     gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --command='tail -f mobile-r1-jax/run.log'
# Stop the run:  gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command='bash on_host.sh stop'
# Stop paying:   gcloud compute tpus tpu-vm delete NAME --zone=ZONE      (copy mobile-r1-jax/runs/ off it first)
#
# Google no longer develops this API, and TPU7x is not on it: see tpu_group.sh and jobset.yaml.
set -euo pipefail

if [ $# -lt 4 ]; then
  sed -n '2,23s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
if ! command -v gcloud > /dev/null; then
  echo "gcloud is not installed: https://cloud.google.com/sdk/docs/install" >&2
  exit 1
fi
name=$1 zone=$2 type=$3 version=$4
shift 4
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
git diff --quiet HEAD || echo "note: changes that are not committed are not copied" >&2
tpu() { gcloud compute tpus tpu-vm "$@" --zone="$zone"; }

state=$(tpu list --filter="name ~ '/$name\$'" --format='value(state)')
case $state in
  READY | "") ;;
  PREEMPTED | TERMINATED)
    tpu delete "$name" --quiet
    state=
    ;;
  *)
    echo "$name is $state: call this again when it is READY, or delete it first" >&2
    exit 1
    ;;
esac
if [ -z "$state" ]; then
  read -ra create_flags <<< "${CREATE_FLAGS:-}"
  tpu create "$name" --accelerator-type="$type" --version="$version" ${create_flags[@]+"${create_flags[@]}"}
fi

archive=$(mktemp -d)/mobile-r1-jax.tar.gz
trap 'rm -r "$(dirname "$archive")"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
tpu scp "$archive" launch/on_host.sh "$name:" --worker=all
tpu ssh "$name" --worker=all --command='bash on_host.sh install'
# A shell on the host parses the flags again, so quote them again.
tpu ssh "$name" --worker=all --command="$(printf '%q ' bash on_host.sh start "$@")"
