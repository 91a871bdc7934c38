"""Topologies by name: what is counted, and one line for what there isn't."""

import pytest

from mobile_r1_jax.planning.chips import PlanError, parse_topology


@pytest.mark.parametrize(
    ("name", "chip", "count"), [("v5e:2x4", "TPU v5e", 8), ("v5p:2x4x4", "TPU v5p", 32), ("h200:8", "H200 141 GB", 8)]
)
def test_a_topology_is_a_kind_of_chip_and_how_many_there_are(name, chip, count) -> None:
    topology = parse_topology(name)
    assert (topology.chip.name, topology.count) == (chip, count)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v9x:2x4", "choose from v5e, v5p"),
        ("v5e:8", "v5e:2x4"),
        ("v5p:8", "v5p:2x2x1"),
        ("h200:16", "the 8 that a box links"),
        ("h200", "CHIP:SHAPE"),
        ("v5e:0x4", "CHIP:SHAPE"),
    ],
)
def test_one_that_there_is_not_is_one_line_that_says_what_to_write(name, says) -> None:
    with pytest.raises(PlanError, match=says) as caught:
        parse_topology(name)
    assert "\n" not in str(caught.value) and name in str(caught.value)
