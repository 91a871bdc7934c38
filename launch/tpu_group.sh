#!/usr/bin/env bash
# Start or resume a run on a TPU slice of Compute Engine (v5p, v6e, TPU7x): a managed instance group whose VMs form the slice.
# Create the group unless it exists, copy this checkout's last commit to every VM, and start the run on all of them.
#
#   launch/tpu_group.sh NAME ZONE MACHINE TOPOLOGY HOSTS IMAGE_FAMILY [flags of python -m mobile_r1_jax.launch]
#   launch/tpu_group.sh mobile-r1 us-east5-b ct6e-standard-4t 4x4 4 ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e \
#       --config=configs/7b-v6e-8.yaml --mesh=16x1 --folder=/mnt/runs --policy=/mnt/qwen2.5-vl-7b
#
# Needs:         gcloud, logged in, and quota for the chips; a folder that all VMs see for --folder and --policy. HOSTS is the
#                number of VMs: chips of TOPOLOGY over chips of MACHINE. TPU7x: tpu7x-standard-4t and its own image family.
# Costs:         a chip and hour on demand in the US: v5p $4.20, v6e $2.70 (SkyPilot's catalogue, 2026); TPU7x: not published.
# Follow it:     gcloud compute ssh VM --zone=ZONE --command='tail -f mobile-r1-jax/run.log'
# Stop paying:   gcloud compute instance-groups managed delete NAME --zone=ZONE
#                gcloud compute instance-templates delete NAME
#                gcloud compute resource-policies delete NAME --region=REGION
#
# Set TEMPLATE_FLAGS="--provisioning-model=SPOT --instance-termination-action=STOP" for spot VMs. After a preemption,
# delete the group and call this again: the run goes on from its last checkpoint.
set -euo pipefail

if [ $# -lt 6 ]; then
  sed -n '2,19s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
name=$1 zone=$2 machine=$3 topology=$4 hosts=$5 family=$6
shift 6
region=${zone%-*}
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
group() { gcloud compute instance-groups managed "$1" "$name" "${@:2}" --zone="$zone"; }

if ! group describe --format='value(name)'; then
  gcloud compute resource-policies create workload-policy "$name" --type=HIGH_THROUGHPUT \
    --accelerator-topology="$topology" --region="$region"
  read -ra template_flags <<< "${TEMPLATE_FLAGS:-}"
  gcloud compute instance-templates create "$name" --machine-type="$machine" --maintenance-policy=TERMINATE \
    --image-project=ubuntu-os-accelerator-images --image-family="$family" --scopes=cloud-platform \
    ${template_flags[@]+"${template_flags[@]}"}
  group create --size=0 --template="$name" --target-size-policy-mode=bulk \
    --default-action-on-vm-failure=do-nothing \
    --workload-policy="projects/$(gcloud config get-value project)/regions/$region/resourcePolicies/$name"
  group resize --size="$hosts"
fi
group wait-until --stable
mapfile -t machines < <(group list-instances --format='value(instance.basename())')
if [ "${#machines[@]}" -ne "$hosts" ]; then
  echo "the group $name has ${#machines[@]} VMs, not $hosts" >&2
  exit 1
fi

checkout=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$checkout"' EXIT
git archive --format=tar.gz --output="$checkout" HEAD
flags=$(printf '%q ' "$@") # a shell on the VM parses them again, so quote them again
for machine in "${machines[@]}"; do
  gcloud compute scp "$checkout" "$machine:mobile-r1-jax.tar.gz" --zone="$zone"
  gcloud compute ssh "$machine" --zone="$zone" --command="set -e
mkdir -p mobile-r1-jax && tar xzf mobile-r1-jax.tar.gz -C mobile-r1-jax && cd mobile-r1-jax
test -d .venv || python3 -m venv .venv
.venv/bin/pip install -q -e '.[tpu]'
nohup .venv/bin/python -m mobile_r1_jax.launch $flags > run.log 2>&1 < /dev/null &
echo started: mobile-r1-jax/run.log on $machine"
done
