"""Topologies by name: chips and hosts, and one-line errors for unknown names."""

import pytest

from mobile_r1_jax.config import Run
from mobile_r1_jax.planning.chips import GIB, PlanError, parse_topology
from mobile_r1_jax.planning.command import plan_mesh
from mobile_r1_jax.planning.measure import refused_bytes


@pytest.mark.parametrize(
    ("name", "chip", "count"),
    [
        ("v5e:2x4", "TPU v5e", 8),
        ("v5p:2x4x4", "TPU v5p", 32),
        ("tpu7x:2x2x1", "TPU7x chiplet", 8),
        ("tpu7x:2x2x4", "TPU7x chiplet", 32),
        ("h200:8", "H200 141 GB", 8),
    ],
)
def test_topology_name_gives_the_chip_and_its_count(name, chip, count) -> None:
    topology = parse_topology(name)
    assert (topology.chip.name, topology.count) == (chip, count)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v9x:2x4", "choose from v5e, v5p"),
        ("v5e:8", "v5e:2x4"),
        ("v5p:8", "v5p:2x2x1"),
        ("tpu7x:8", "tpu7x:2x2x1"),
        ("h200:16", "the 8 that a box links"),
        ("h200", "CHIP:SHAPE"),
        ("v5e:0x4", "CHIP:SHAPE"),
    ],
)
def test_unknown_topology_is_a_one_line_error_with_the_valid_form(name, says) -> None:
    with pytest.raises(PlanError, match=says) as caught:
        parse_topology(name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "devices"),
    [("v5e:2x4", 8), ("v6e:4x4", 4), ("v5p:2x2x1", 4), ("v5p:4x4x4", 4), ("tpu7x:2x2x2", 8), ("h200:8", 8)],
)
def test_topology_gives_the_devices_of_each_host(name, devices) -> None:
    assert parse_topology(name).per_host == devices


@pytest.mark.parametrize(("name", "mesh"), [("v6e:4x4", "2x8"), ("v5p:2x2x2", "1x8"), ("tpu7x:2x2x2", "1x16")])
def test_mesh_whose_policy_fits_no_host_is_a_one_line_error(name, mesh) -> None:
    with pytest.raises(PlanError, match=r"crosses hosts of .*so none could hold the policy to sample") as caught:
        plan_mesh(Run(mesh=mesh), parse_topology(name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "bytes_needed"),
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm.", 20.5 * GIB),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (51.22G) "
            "exceeds available HBM (31.25G).",
            (51.22 + 2) * GIB,
        ),
        ("INTERNAL: something else", None),
    ],
)
def test_memory_of_a_refused_program_is_read_from_compiler_messages(message, bytes_needed) -> None:
    assert refused_bytes(message, arguments=2 * GIB) == bytes_needed
