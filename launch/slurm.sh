#!/usr/bin/env bash
# A run on GPU nodes of a Slurm cluster: one process per node, which uses all GPUs of its node.
#
#   sbatch --nodes=2 launch/slurm.sh --config=configs/7b-v6e-8.yaml --mesh=2x8x1 --policy=/shared/qwen2.5-vl-7b
#
# Needs:         this checkout on a disk that all nodes see, installed there once with Python 3.11 or newer:
#                python3 -m venv .venv && .venv/bin/pip install -e '.[cuda]'
# Costs:         an H100 and hour $2.65, an H200 $3.20, a B200 $4.60 (one list of clouds, 2026). Yours may differ.
# Follow it:     tail -f slurm-JOB.out
# Stop it:       scancel JOB         (SIGTERM first: the run saves; submit it again to go on)
#SBATCH --job-name=mobile-r1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?submit this script by sbatch}"
if ! [ -x .venv/bin/python ]; then
  echo "no .venv/bin/python in $PWD: submit from the checkout, and install it there once, as this script says" >&2
  exit 1
fi
# srun sets what says which process this is, and does not take --cpus-per-task from the job (since Slurm 22.05).
# --kill-on-bad-exit ends the others when one fails.
exec srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" .venv/bin/python -m mobile_r1_jax.launch "$@"
