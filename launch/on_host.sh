#!/usr/bin/env bash
# What tpu_vm.sh and tpu_group.sh run on every host of a slice. They copy it there, beside an archive of the checkout.
#
#   bash on_host.sh install          unpack the archive, and install it with the TPU extra
#   bash on_host.sh start [flags of python -m mobile_r1_jax.launch]
#   bash on_host.sh stop             SIGTERM to the run; return when it has saved and ended
#
# A run holds the lock of run.lock, which has its process number. Meanwhile install and start change nothing.
set -euo pipefail

mkdir -p ~/mobile-r1-jax
cd ~/mobile-r1-jax
exec 9>> run.lock
running=$(flock --nonblock 9 || cat run.lock)
if [ -z "$running" ]; then
  echo $$ > run.lock
elif [ "$1" != stop ]; then
  echo "$(hostname): a run still goes on, process $running; stop it before another one: bash on_host.sh stop" >&2
  exit 1
fi

case $1 in
  install)
    rm -rf mobile_r1_jax data_pipelines # no file of an earlier commit stays
    tar xzf ../mobile-r1-jax.tar.gz
    PATH="$PATH:$HOME/.local/bin"
    command -v uv > /dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
    uv venv --quiet --allow-existing --python 3.11 .venv # Ubuntu 22.04 itself has 3.10, which is too old
    uv pip install --quiet --python .venv -e '.[tpu]'
    ;;
  start)
    nohup .venv/bin/python -m mobile_r1_jax.launch "${@:2}" > run.log 2>&1 < /dev/null &
    echo $! > run.lock
    echo "$(hostname): started, process $!; its output: ~/mobile-r1-jax/run.log"
    ;;
  stop)
    if [ -n "$running" ]; then
      kill "$running"
      flock 9 # until it has ended
    fi
    echo "$(hostname): no run goes on"
    ;;
esac
