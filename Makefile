# make demo: run the whole recipe on simulated phones.   make test: run the checks that every change must pass.
# make bench: compare this project with its peers on this machine; on a GPU or a TPU, measure this project alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
# The default build of torch for Linux includes gigabytes of CUDA. Install a CPU build if an index has one.
cpu_torch = $(1)/pip install -q --no-compile torch==2.13.0+cpu 2>/dev/null \
  || $(1)/pip install -q --no-compile --retries 0 --index-url https://download.pytorch.org/whl/cpu torch || true

.PHONY: demo test bench

demo: $(VENV)/.installed
	$(BIN)/python -m mobile_r1_jax.launch

test: $(VENV)/.installed-test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	XLA_FLAGS=--xla_backend_optimization_level=0 $(BIN)/python -m pytest -q -n 2 --dist=loadfile  # tiny models compile longer than they run

bench: .venv-bench/.installed
	.venv-bench/bin/python -m benchmarks.peers

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -e .  # bytecode is compiled at import
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(call cpu_torch,$(BIN))
	$(BIN)/pip install -q --no-compile -e ".[test]"
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # tests start many processes; fails on code of torch for later Pythons
	touch $@

ACCELERATOR := $(if $(wildcard /dev/nvidia0),$(comma)cuda,$(if $(wildcard /dev/accel0 /dev/vfio/0),$(comma)tpu))

# A separate environment: the peers pin versions that a run should not depend on.
.venv-bench/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	$(call cpu_torch,.venv-bench/bin)
	.venv-bench/bin/pip install -q -e ".[bench$(ACCELERATOR)]"
	touch $@
