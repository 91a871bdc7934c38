"""One program on eight fake devices, in a separate process because a process fixes its devices when it starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, logging, sys
from pathlib import Path
import jax, numpy as np
import tiny_run
from mobile_r1_jax.training.checkpoints import open_checkpoints, restore, save
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.model.sharding import make_mesh, shard_policy
from mobile_r1_jax.training.state import create_state
from mobile_r1_jax.training.step import place_batch, train_step

compiled = []
jax.config.update("jax_log_compiles", True)
jax.config.update("jax_disable_most_optimizations", True)  # compiles in half the time
watch = logging.Handler()
watch.emit = lambda record: compiled.append(record.getMessage())
logging.getLogger("jax._src.interpreters.pxla").addHandler(watch)

batches = [tiny_run.make_batch(seed, rows=8) for seed in range(2)]

def updates(policy, place):
    state = create_state(policy, tiny_run.OPTIMIZER, frozen=("vision",), key=jax.random.key(0))
    rows = []
    for batch in batches:
        state, metrics = train_step(state, place(batch), settings=tiny_run.SETTINGS)
        rows.append({name: float(value) for name, value in metrics.items()})
    return state, rows

def adapted():
    return with_adapters(tiny_run.make_policy(), LoRA(rank=4), key=jax.random.key(0))

assert len(jax.devices()) == 8
results = {"one device": updates(tiny_run.make_policy(), lambda batch: batch)[1]}
mesh, before = make_mesh("4x2"), len(compiled)
state, results["4x2"] = updates(shard_policy(tiny_run.make_policy(), mesh), lambda batch: place_batch(batch, mesh))
names = ("jit(batch_gradients)", "jit(_apply_update)")
results["programs"] = [sum(name in line for line in compiled[before:]) for name in names]
embedding = state.trained["text"]["embedding"].get_value()
results["part"] = [s.data.size / embedding.size for s in embedding.addressable_shards]
first_moment = jax.tree.leaves(state.optimizer)[1]
results["moment like"] = first_moment.sharding == embedding.sharding

results["adapters on one device"] = updates(adapted(), lambda batch: batch)[1]
learnt, results["adapters on 4x2"] = updates(shard_policy(adapted(), mesh), lambda batch: place_batch(batch, mesh))
layers = learnt.trained["text"]["layers"]
results["adapters are split"] = {
    name: [list(layers[name]["adapter"][part].sharding.spec) for part in "ab"] for name in ("q", "out")
}

with open_checkpoints(Path(sys.argv[1])) as checkpoints:
    save(checkpoints, state, 2, {})
    checkpoints.wait_until_finished()
    policy = shard_policy(tiny_run.make_policy(seed=1), make_mesh("8x1"))
    other = create_state(policy, tiny_run.OPTIMIZER, frozen=("vision",), key=jax.random.key(1))
    restored, _, _ = restore(checkpoints, other)
same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), state.trained, restored.trained)
placed = jax.tree.map(lambda a, b: a.sharding == b.sharding, other, restored)
results["restored on another mesh"] = [all(jax.tree.leaves(same)), all(jax.tree.leaves(placed))]
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    here = str(Path(__file__).parent)
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": here}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("checkpoints"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_losses_on_a_mesh_equal_one_device_before_and_after_an_update(results) -> None:
    for sharded, single in zip(results["4x2"], results["one device"], strict=True):
        assert sharded["loss"] == pytest.approx(single["loss"], abs=1e-5)
        assert sharded["grad_norm"] == pytest.approx(single["grad_norm"], rel=1e-4)
        assert sharded["entropy"] == pytest.approx(single["entropy"], abs=1e-5)


def test_parameters_and_moments_stay_split_in_eight_without_recompilation(results) -> None:
    assert results["part"] == [1 / 8] * 8
    assert results["moment like"]
    assert results["programs"] == [1, 1]


def test_checkpoint_is_restored_exactly_onto_another_mesh(results) -> None:
    assert results["restored on another mesh"] == [True, True]


def test_adapters_learn_on_a_mesh_like_on_one_device_and_are_split_like_their_weights(results) -> None:
    for sharded, single in zip(results["adapters on 4x2"], results["adapters on one device"], strict=True):
        assert sharded["loss"] == pytest.approx(single["loss"], abs=1e-5)
        assert sharded["grad_norm"] == pytest.approx(single["grad_norm"], rel=1e-4)
    assert results["adapters are split"] == {
        "q": [[None, "fsdp"], [None, None, "tensor"]],
        "out": [[None, "tensor"], [None, None, "fsdp"]],
    }
