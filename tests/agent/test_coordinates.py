"""Which pixels a file's coordinates are in."""

import pytest

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.coordinates import CoordinateGroup, detect_frame, response_points
from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.screenshots import Resizing

KIN = Resizing()  # 1440 x 3200 becomes 420 x 924
CALL = '<think></think><action></action><tool_call>{{"name": "mobile_use", "arguments": {}}}</tool_call>'


@pytest.mark.parametrize(
    ("points", "kind"),
    [
        ([(1400, 3100), (30, 40), (700, 900)], "screenshot"),
        ([(419, 923), (30, 40), (200, 900)], "resized"),
        ([(400, 100)] * 30 + [(700, 900)], "resized"),  # one wrong point does not change the frame of the file
    ],
)
def test_coordinates_outside_the_resized_image_are_screenshot_pixels(points: list[tuple[int, int]], kind: str) -> None:
    found = detect_frame([CoordinateGroup(tuple(points), 1440, 3200)], KIN)
    assert found.kind == kind and f"in {kind} pixels" in found.reason


def test_the_reason_names_the_largest_coordinates() -> None:
    found = detect_frame([CoordinateGroup(((1400, 20), (30, 3100)), 1440, 3200)], KIN)
    assert "of 2, the largest (1400, 3100), 2 lie beyond the resized image" in found.reason


def test_coordinates_outside_the_screenshot_are_pixels_of_a_larger_model_image() -> None:
    double = Resizing(scale=2.0)
    assert detect_frame([CoordinateGroup(((200, 400), (10, 10)), 112, 224)], double).kind == "resized"
    assert detect_frame([CoordinateGroup(((100, 220), (10, 10)), 112, 224)], double).kind == "screenshot"


def test_coordinates_are_compared_with_the_size_of_their_own_screen() -> None:
    seen = [
        CoordinateGroup(((300, 700),), 1080, 2400),
        CoordinateGroup(((1300, 3000),), 1440, 3200),
        CoordinateGroup(((900, 2000),), 1080, 2400),
    ]
    assert detect_frame(seen, KIN).kind == "screenshot"


def test_detected_frame_gives_the_size_for_one_screenshot() -> None:
    assert detect_frame([], KIN).of(1440, 3200) == Frame("resized", 420, 924)
    found = detect_frame([CoordinateGroup(((1400, 3100),), 1440, 3200)], KIN)
    assert found.of(1080, 2400) == Frame("screenshot", 1080, 2400)


def test_points_of_a_response_are_read_in_any_frame() -> None:
    swipe = '{"action": "swipe", "coordinate": [1, 2], "coordinate2": [9000, 9001]}'
    assert response_points(CALL.format(swipe)) == [(1, 2), (9000, 9001)]
    assert response_points(CALL.format('{"action": "wait", "time": 1}')) == []
    assert isinstance(response_points("hello"), Malformed)


@pytest.mark.parametrize("points", [[], [(5, 5)], [(1400, 3100)] * 9])
@pytest.mark.parametrize("setting", ["screenshot", "resized"])
def test_setting_overrides_the_detected_frame(points: list[tuple[int, int]], setting: str) -> None:
    found = detect_frame([CoordinateGroup(tuple(points), 1440, 3200)], KIN, setting)
    assert (found.kind, found.doubt) == (setting, "")


SPREAD = [(x, y) for x in range(10, 1000, 88) for y in range(10, 1000, 88)]  # in thousandths of the screen


@pytest.mark.parametrize(
    ("points", "size", "kind", "doubt"),
    [
        ([(400, 900), (20, 30)], (1440, 3200), "resized", "so few coordinates that they fit both images"),
        ([(30, 40)], (1080, 2400), "resized", "so few"),
        ([(x * 420 // 1000, y * 924 // 1000) for x, y in SPREAD], (1440, 3200), "resized", ""),
        ([(x * 1440 // 1000, y * 3200 // 1000) for x, y in SPREAD], (1440, 3200), "screenshot", ""),
        # Points at 448x1036, at half the size and in thousandths fit neither image.
        ([(x * 448 // 1000, y * 1036 // 1000) for x, y in SPREAD], (1080, 2400), "screenshot", "they reach over 41%"),
        ([(x * 540 // 1000, y * 1200 // 1000) for x, y in SPREAD], (1080, 2400), "screenshot", "they reach over 49%"),
        (SPREAD, (1440, 3200), "screenshot", "they reach over 68% of the image's width and 31% of its height"),
        ([(x * 112 // 1000, y * 224 // 1000) for x, y in SPREAD], (112, 224), "screenshot", ""),  # too small to resize
    ],
)
def test_ambiguous_coordinates_give_a_warning_with_the_reason(points, size, kind: str, doubt: str) -> None:
    found = detect_frame([CoordinateGroup(tuple(points), *size)], KIN)
    assert found.kind == kind and doubt in found.doubt and bool(doubt) == bool(found.doubt)


def test_images_of_another_size_than_declared_are_counted() -> None:
    seen = [CoordinateGroup(((900, 2000),), 1080, 2400, scaled=True), CoordinateGroup(((900, 2000),), 1080, 2400)]
    assert "1 pictures are stored in another size than declared" in detect_frame(seen, KIN).reason


def test_screens_that_cannot_be_resized_are_ignored() -> None:
    seen = [CoordinateGroup(((1400, 3100),), 1440, 3200), CoordinateGroup(((9, 1900),), 10, 2001)]
    assert detect_frame(seen, KIN).kind == "screenshot"
    with pytest.raises(ValueError, match="200 times"):
        detect_frame([], KIN).of(10, 2001)
