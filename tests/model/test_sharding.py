"""A policy computes the same on eight devices (fake devices of the CPU) as on one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jax.sharding import AbstractMesh

from mobile_r1_jax.model.checkpoints.huggingface import parameter_shapes
from mobile_r1_jax.model.config import config_from_json
from mobile_r1_jax.model.sharding import AXES, mesh_shape, parameter_shardings

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "qwen2.5-vl"
MESHES = ("8x1", "4x2", "2x4", "1x8", "2x4x1", "2x2x2", "8x1x1")
ON_EIGHT_DEVICES = Path(__file__).with_name("on_eight_devices.py")


def on_eight_devices(*meshes: str) -> dict:
    """Return the results of on_eight_devices.py. A separate process: JAX fixes the number of devices when it starts."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"  # fast to compile
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    result = subprocess.run(
        [sys.executable, str(ON_EIGHT_DEVICES), *meshes], env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def report() -> dict:
    return on_eight_devices("2x2x2", "4x2")


@pytest.fixture(scope="module")
def every_mesh() -> dict:
    return on_eight_devices(*MESHES)


@pytest.mark.parametrize("mesh", ["8x1", "4x2", "2x2x2"])
def test_loss_equals_that_of_one_device(report, mesh) -> None:
    assert report["loss"][mesh] == pytest.approx(report["loss"]["one"], abs=1e-5)


@pytest.mark.parametrize("mesh", ["4x2", "2x2x2"])
def test_gradients_and_samples_equal_those_of_one_device(report, mesh) -> None:
    assert report["gradient"][mesh] < 1e-4  # of every parameter, as a share of its largest
    assert report["samples"][mesh] == report["samples"]["one"]


@pytest.mark.parametrize(("mesh", "share"), [("4x2", 1 / 8), ("2x2x2", 1 / 8)])
def test_slots_split_by_rows_and_heads_decode_the_samples_of_one_device(report, mesh, share) -> None:
    assert report["slots"][mesh] == {
        "ids": [one for one, _ in report["samples"]["one"][0]],
        "held": share,
        "stays": True,
    }


def test_every_replica_holds_the_whole_policy(report) -> None:
    assert report["held"]["2x2x2"] == pytest.approx(1 / 4, abs=0.1)  # norms and a few key projections are never split


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_every_mesh_has_the_loss_gradients_and_samples_of_one_device(every_mesh, mesh) -> None:
    assert every_mesh["loss"][mesh] == pytest.approx(every_mesh["loss"]["one"], abs=1e-5)
    assert every_mesh["gradient"][mesh] < 1e-4
    assert every_mesh["samples"][mesh] == every_mesh["samples"]["one"]
    greedy, drawn = every_mesh["samples"]["one"]
    assert greedy != drawn
    slots = every_mesh["slots"][mesh]
    assert slots["ids"] == [one for one, _ in greedy] and slots["stays"]
    # Two heads of keys and values are split over two devices, or copied onto each of more devices.
    replicas, fsdp, tensor = mesh_shape(mesh, 8)
    assert slots["held"] == 1 / (replicas * fsdp * (1 if 2 % tensor else tensor))


@pytest.mark.parametrize("mesh", ["8x1", "4x2"])
def test_every_large_parameter_is_split_over_all_devices(report, mesh) -> None:
    """Only norms, biases, and projections with fewer key-value heads than devices are not split."""
    assert report["largest_whole"][mesh] <= 512
    assert report["held"][mesh] < 0.2  # the share of the weights that one device holds; the ideal is 0.125


def test_sampling_weights_are_not_split_along_fsdp(report) -> None:
    assert report["sampler_held"]["4x2"] == pytest.approx(
        1 / 2, abs=0.05
    )  # norms and a few key projections are never split


@pytest.mark.parametrize(
    ("mesh", "line"),
    [
        ("3x2", "mesh 3x2: 3 * 2 devices needed, 8 are there; nearest: 4x2, 8x1, 2x4"),
        ("2x4x2", "mesh 2x4x2: 2 * 4 * 2 devices needed, 8 are there; nearest: 2x2x2, 2x4x1, 2x1x4"),
        ("8", "mesh '8': write it as FSDPxTENSOR, for example 8x1, or as REPLICASxFSDPxTENSOR"),
        ("2x4", "mesh 2x4: text.heads = 2 does not divide by tensor = 4; nearest that do: 4x2, 8x1"),
        ("2x1x4", "mesh 2x1x4: text.heads = 2 does not divide by tensor = 4; nearest that do: 2x2x2, 2x4x1"),
        ("vocab", "mesh 4x2: text.embedding: vocab = 161 does not divide by tensor = 2; nearest that do: 8x1"),
        (
            "none",
            "mesh 4x2: text.embedding: vocab = 163 does not divide by tensor = 2; "
            "no mesh of 8 devices divides this policy: use fewer devices",
        ),
        (
            "rows",
            "mesh: 6 rows of Prompts do not divide by replica * fsdp = 4; choose buckets that are multiples of it",
        ),
    ],
)
def test_impossible_mesh_is_a_one_line_error_with_the_dimension(report, mesh, line) -> None:
    assert report["errors"][mesh] == line


def test_default_mesh_has_all_devices_along_fsdp() -> None:
    assert mesh_shape(None, 8) == (1, 8, 1)


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_checkpoint_loads_directly_onto_the_mesh(report, way) -> None:
    """On the host where parameters are small; layer by layer on the devices where they are large."""
    assert report["loaded"][way] == "equal"


@pytest.mark.parametrize(
    ("size", "mesh", "said"),
    [
        (
            "3b",
            "1x8",
            "mesh 1x8: vision.layers.feed_forward.down.kernel: feed_forward = 3420 does not divide by tensor = 8",
        ),
        ("7b", "1x8", "mesh 1x8: text.heads = 28 does not divide by tensor = 8; nearest that do: 2x4, 4x2, 8x1"),
        ("32b", "4x16", "mesh 4x16: text.heads = 40 does not divide by tensor = 16; nearest that do: 8x8, 16x4, 32x2"),
        ("72b", "1x256", "nearest that do: 16x16, 32x8, 64x4"),
    ],
)
def test_meshes_that_do_not_divide_published_sizes_are_errors(size, mesh, said) -> None:
    config = config_from_json(json.loads((CONFIGS / f"{size}.json").read_text()))
    devices = AbstractMesh((1, *map(int, mesh.split("x"))), AXES)
    with pytest.raises(ValueError, match=re.escape(said)):
        parameter_shardings(config, parameter_shapes(config), devices)
