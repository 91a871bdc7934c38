"""Which pixels a file's coordinates are in."""

import pytest

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.coordinates import Seen, coordinate_frame, response_points
from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.screenshots import Resizing

KIN = Resizing()  # 1440 x 3200 becomes 420 x 924
CALL = '<think></think><action></action><tool_call>{{"name": "mobile_use", "arguments": {}}}</tool_call>'


@pytest.mark.parametrize(
    ("points", "kind"),
    [
        ([(1400, 3100), (30, 40), (700, 900)], "screenshot"),
        ([(419, 923), (30, 40), (200, 900)], "resized"),
        ([(400, 100)] * 30 + [(700, 900)], "resized"),  # one slip does not turn the file over
    ],
)
def test_coordinates_beyond_the_resized_image_are_screenshot_pixels(points: list[tuple[int, int]], kind: str) -> None:
    found = coordinate_frame([Seen(tuple(points), 1440, 3200)], KIN)
    assert found.kind == kind and f"in {kind} pixels" in found.reason


def test_the_reason_names_the_largest_coordinates() -> None:
    found = coordinate_frame([Seen(((1400, 20), (30, 3100)), 1440, 3200)], KIN)
    assert "of 2, the largest (1400, 3100), 2 lie beyond the resized image" in found.reason


def test_where_the_model_sees_a_larger_image_coordinates_beyond_the_screenshot_are_its_pixels() -> None:
    double = Resizing(scale=2.0)
    assert coordinate_frame([Seen(((200, 400), (10, 10)), 112, 224)], double).kind == "resized"
    assert coordinate_frame([Seen(((100, 220), (10, 10)), 112, 224)], double).kind == "screenshot"


def test_screens_of_several_sizes_are_each_held_against_their_own() -> None:
    seen = [Seen(((300, 700),), 1080, 2400), Seen(((1300, 3000),), 1440, 3200), Seen(((900, 2000),), 1080, 2400)]
    assert coordinate_frame(seen, KIN).kind == "screenshot"


def test_the_frame_of_one_screenshot_follows() -> None:
    assert coordinate_frame([], KIN).of(1440, 3200) == Frame("resized", 420, 924)
    found = coordinate_frame([Seen(((1400, 3100),), 1440, 3200)], KIN)
    assert found.of(1080, 2400) == Frame("screenshot", 1080, 2400)


def test_points_are_read_from_a_response_whatever_their_pixels() -> None:
    swipe = '{"action": "swipe", "coordinate": [1, 2], "coordinate2": [9000, 9001]}'
    assert response_points(CALL.format(swipe)) == [(1, 2), (9000, 9001)]
    assert response_points(CALL.format('{"action": "wait", "time": 1}')) == []
    assert isinstance(response_points("hello"), Malformed)
