# make demo: the whole recipe on simulated phones.   make test: what every change must pass.
# make bench: one table of this and its peers on this machine; on a GPU or a TPU, of this alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
# The default build of torch for Linux brings gigabytes of CUDA: take a CPU build where an index has one.
cpu_torch = $(1)/pip install -q --no-compile torch==2.13.0+cpu 2>/dev/null \
  || $(1)/pip install -q --no-compile --retries 0 --index-url https://download.pytorch.org/whl/cpu torch || true

.PHONY: demo test bench

demo: $(VENV)/.installed
	$(BIN)/python -m mobile_r1_jax.launch

test: $(VENV)/.installed-test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	XLA_FLAGS=--xla_backend_optimization_level=0 $(BIN)/python -m pytest -q -n 2 --dist=loadfile  # tiny models: compiling takes longer than running

bench: .venv-bench/.installed
	.venv-bench/bin/python -m benchmarks.peers

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -e .  # bytecode is made of what is imported, when it is
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(call cpu_torch,$(BIN))
	$(BIN)/pip install -q --no-compile -e ".[test]"
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # tests start many processes; torch holds code for later Pythons
	touch $@

ACCELERATOR := $(if $(wildcard /dev/nvidia0),$(comma)cuda,$(if $(wildcard /dev/accel0 /dev/vfio/0),$(comma)tpu))

# An environment of its own: the peers pin what a run should not be pinned to.
.venv-bench/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	$(call cpu_torch,.venv-bench/bin)
	.venv-bench/bin/pip install -q -e ".[bench$(ACCELERATOR)]"
	touch $@
