"""Coordinates and the images that they are measured in."""

import pytest

from mobile_r1_jax.agent.frames import Box, Frame, Point

DEVICE = Frame("device", 1440, 3200)
MODEL = Frame("model", 420, 924)


def test_model_point_is_scaled_to_the_device() -> None:
    assert Point(210, 462, MODEL).to(DEVICE) == Point(721, 1601, DEVICE)


def test_corners_map_to_corners_on_the_screen() -> None:
    assert Point(1439, 3199, DEVICE).to(MODEL) == Point(419, 923, MODEL)
    assert Point(0, 0, DEVICE).to(MODEL) == Point(0, 0, MODEL)


@pytest.mark.parametrize(("x", "y"), [(-5, 10), (5000, 5000)])
def test_a_point_off_the_screen_is_clamped_onto_it(x: int, y: int) -> None:
    moved = Point(x, y, DEVICE).to(MODEL)
    assert MODEL.holds(moved.x, moved.y)


def test_every_model_pixel_survives_the_round_trip_over_a_larger_device() -> None:
    for x in range(420):
        assert Point(x, x, MODEL).to(DEVICE).to(MODEL) == Point(x, x, MODEL)


def test_equal_sizes_change_only_the_frame() -> None:
    screenshot = Frame("screenshot", 420, 924)
    assert Point(17, 900, MODEL).to(screenshot) == Point(17, 900, screenshot)


def test_box_contains_its_edges_and_nothing_outside() -> None:
    box = Box(10, 20, 30, 40, MODEL)
    assert box.contains(Point(10, 20, MODEL)) and box.contains(Point(30, 40, MODEL))
    assert not box.contains(Point(31, 40, MODEL)) and not box.contains(Point(10, 19, MODEL))
    assert box.center == Point(20, 30, MODEL)


def test_a_point_inside_a_box_is_inside_it_in_every_frame() -> None:
    box = Box(100, 100, 140, 130, DEVICE)
    for x in range(95, 146):
        point = Point(x, 115, DEVICE)
        if box.contains(point):
            assert box.to(MODEL).contains(point.to(MODEL))


def test_box_converts_points_of_other_frames() -> None:
    assert Box(0, 0, 719, 1599, DEVICE).contains(Point(209, 461, MODEL))
    assert not Box(0, 0, 719, 1599, DEVICE).contains(Point(211, 461, MODEL))
