#!/usr/bin/env bash
# Start or resume a run on a TPU slice of Compute Engine (v5p, v6e, TPU7x): a managed instance group whose VMs form the
# slice. Create it unless it exists, copy this checkout's last commit to every VM, install it with the TPU extra, and
# start the run on all VMs, detached from this terminal.
#
#   launch/tpu_group.sh NAME ZONE MACHINE TOPOLOGY HOSTS IMAGE_FAMILY [flags of python -m mobile_r1_jax.launch]
#   launch/tpu_group.sh mobile-r1 us-east5-b ct6e-standard-4t 4x4 4 ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e \
#       --config=configs/7b-v6e-8.yaml --mesh=4x4 --folder=/mnt/runs --policy=/mnt/qwen2.5-vl-7b
#   launch/tpu_group.sh mobile-r1 us-central1-c tpu7x-standard-4t 2x2x2 2 ubuntu-accel-2404-amd64-tpu-tpu7x \
#       --config=configs/7b-v6e-8.yaml --mesh=4x4 …         (8 chips of two devices each)
#
# Needs:         gcloud, logged in, and quota for the chips; VMs that reach the internet, for Python and the packages; a
#                --folder and a --policy that all VMs see. HOSTS: chips of TOPOLOGY over chips of MACHINE.
# Costs:         a chip and hour on demand in the US: v5p $4.20, v6e $2.70 (SkyPilot's catalogue, 2026). TPU7x: not
#                published.
# Follow it:     gcloud compute ssh VM --zone=ZONE --command='tail -f mobile-r1-jax/run.log'
# Stop the run:  gcloud compute ssh VM --zone=ZONE --command='bash on_host.sh stop'       (on any VM: all save and end)
# Stop paying:   gcloud compute instance-groups managed delete NAME --zone=ZONE
#                gcloud compute instance-templates delete NAME
#                gcloud compute resource-policies delete NAME --region=REGION
#
# Set TEMPLATE_FLAGS="--provisioning-model=SPOT --instance-termination-action=STOP" for spot VMs. After a preemption,
# delete the group and call this again: the run goes on from its last checkpoint.
set -euo pipefail

if [ $# -lt 6 ]; then
  sed -n '2,26s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
if ! command -v gcloud > /dev/null; then
  echo "gcloud is not installed: https://cloud.google.com/sdk/docs/install" >&2
  exit 1
fi
name=$1 zone=$2 machine=$3 topology=$4 hosts=$5 family=$6
shift 6
region=${zone%-*}
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
git diff --quiet HEAD || echo "note: changes that are not committed are not copied" >&2
group() { gcloud compute instance-groups managed "$1" "$name" "${@:2}" --zone="$zone"; }
exists() {
  local found
  found=$(gcloud compute "$@" --format='value(name)') || exit 1
  [ -n "$found" ]
}
on_all() { # run a command on all VMs at once
  local vm pid pids=()
  for vm in "${vms[@]}"; do
    gcloud compute ssh "$vm" --zone="$zone" --command="$1" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
}

if ! exists instance-groups managed list --filter="name=$name AND zone:$zone"; then
  # What an earlier group left may have other settings.
  if exists instance-templates list --filter="name=$name"; then
    gcloud compute instance-templates delete "$name" --quiet
  fi
  if exists resource-policies list --filter="name=$name AND region:$region"; then
    gcloud compute resource-policies delete "$name" --region="$region" --quiet
  fi
  gcloud compute resource-policies create workload-policy "$name" --type=HIGH_THROUGHPUT \
    --accelerator-topology="$topology" --region="$region"
  read -ra template_flags <<< "${TEMPLATE_FLAGS:-}"
  gcloud compute instance-templates create "$name" --machine-type="$machine" --maintenance-policy=TERMINATE \
    --image-project=ubuntu-os-accelerator-images --image-family="$family" --boot-disk-size=100GB \
    --scopes=cloud-platform ${template_flags[@]+"${template_flags[@]}"}
  project=$(gcloud config get-value project)
  group create --size=0 --template="$name" --target-size-policy-mode=bulk \
    --default-action-on-vm-failure=do-nothing \
    --workload-policy="projects/$project/regions/$region/resourcePolicies/$name"
  group resize --size="$hosts"
fi
group wait-until --stable
listed=$(group list-instances --format='value(instance.basename())')
read -ra vms <<< "${listed//$'\n'/ }"
if [ "${#vms[@]}" -ne "$hosts" ]; then
  echo "the group $name has ${#vms[@]} VMs, not $hosts: delete it, or give its number" >&2
  exit 1
fi

archive=$(mktemp -d)/mobile-r1-jax.tar.gz
trap 'rm -r "$(dirname "$archive")"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
for vm in "${vms[@]}"; do
  gcloud compute scp "$archive" launch/on_host.sh "$vm:" --zone="$zone"
done
on_all 'bash on_host.sh install'
on_all "$(printf '%q ' bash on_host.sh start "$@")" # quoted, as a shell on the VM parses the flags again
