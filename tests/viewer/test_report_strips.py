import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mobile_r1_jax.agent.actions import Click, Key, LongPress, Open, Swipe, SystemButton, Terminate, Type, Wait
from mobile_r1_jax.agent.frames import Box, Frame, Point
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Ending, write_trajectories
from mobile_r1_jax.viewer import write_report
from mobile_r1_jax.viewer.reading import SHOWN, Strip, TurnView
from mobile_r1_jax.viewer.selection import choose
from mobile_r1_jax.viewer.strips import describe, overlay

Play = Callable[..., None]
PHONE, SCREEN, MODEL = (1080, 2400), Frame("screenshot", 1080, 2400), Frame("model", 308, 728)


def ring(page: str) -> tuple[float, float]:
    """Return the centre of the only tap on a page."""
    (found,) = set(re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" class="mark">', page))
    return float(found[0]), float(found[1])


def test_sampled_tap_is_drawn_at_its_position_on_the_phone(run: Path, play: Play, make) -> None:
    (run / "config.yaml").write_text(yaml.safe_dump({"resizing": {"scale": 0.3}}))
    width, height = Resizing(0.3).model_size(*PHONE)
    # Three quarters of the width and height, in model pixels.
    play(
        "evaluation-base",
        make(Click(Point(width * 3 // 4, height * 3 // 4, Frame("model", width, height))), size=PHONE),
    )
    page = write_report(run).read_text()
    assert 'viewBox="0 0 1080 2400"' in page
    assert ring(page) == pytest.approx((810, 1800), abs=2.5)


def test_sampled_points_are_model_pixels_even_if_ambiguous(run: Path, play: Play, make) -> None:
    # The model sees a 100x200 screen at 112x196: a tap in the middle fits both sizes, and is in model pixels.
    play("evaluation-base", make(Click(Point(56, 98, Frame("model", 112, 196))), size=(100, 200)))
    assert ring(write_report(run).read_text()) == (50.5, 100.5)


def test_annotated_tap_in_screenshot_pixels_is_drawn_unchanged(run: Path, make) -> None:
    taps = [Click(Point(x, 2000, SCREEN)) for x in (900, 900)]
    write_trajectories(run / "annotations", [make(*taps, size=PHONE, sampled=False)])
    (run / "config.yaml").write_text(yaml.safe_dump({"resizing": {"scale": 0.3}}))
    page = write_report(run).read_text()
    assert ring(page) == (900.5, 2000.5)
    assert "Coordinates are in screenshot pixels" in page


def test_part_of_a_run_is_drawn_with_the_resizing_of_the_run(run: Path, play: Play, make) -> None:
    (run / "config.yaml").write_text(yaml.safe_dump({"resizing": {"scale": 0.5}}))
    width, height = Resizing(0.5).model_size(*PHONE)
    play("evaluation-base", make(Click(Point(width // 2, height // 2, Frame("model", width, height))), size=PHONE))
    page = write_report(run / "trajectories" / "evaluation-base").read_text()
    assert ring(page) == pytest.approx((540, 1200), abs=2.5)


def test_taps_long_presses_and_swipes_have_different_marks() -> None:
    start, end = Point(77, 600, MODEL), Point(77, 200, MODEL)
    tap, hold = overlay(SCREEN, Click(start), None), overlay(SCREEN, LongPress(start, 1), None)
    swipe = overlay(SCREEN, Swipe(start, end), None)
    assert len(set(re.findall(r'r="([\d.]+)" class="mark"', tap))) == 1
    assert len(set(re.findall(r'r="([\d.]+)" class="mark"', hold))) == 2
    x1, y1, x2, y2 = map(float, re.search(r'd="M([\d.]+),([\d.]+) ([\d.]+),([\d.]+)', swipe).groups())
    a, b = start.to(SCREEN), end.to(SCREEN)
    assert (x1, y1, x2, y2) == (a.x + 0.5, a.y + 0.5, b.x + 0.5, b.y + 0.5)
    assert overlay(SCREEN, Type("tea"), None) is None
    assert 'x="10" y="20" width="31" height="41"' in overlay(SCREEN, None, Box(10, 20, 40, 60, SCREEN))


def test_every_action_is_described_in_words() -> None:
    at = Point(5, 6, MODEL)
    actions = [Key("HOME"), Click(at), LongPress(at, 2), Swipe(at, at), Type("茶"), SystemButton("Back")]
    assert [describe(action) for action in [*actions, Open("Shop"), Wait(1.5), Terminate("failure")]] == [
        ("key", "HOME"),
        ("tap", "5, 6"),
        ("long press", "5, 6 for 2 s"),
        ("swipe", "5, 6 → 5, 6"),
        ("type", "茶"),
        ("button", "Back"),
        ("open", "Shop"),
        ("wait", "1.5 s"),
        ("end the task", "failure"),
    ]


def test_malformed_response_is_shown_unparsed_with_the_reason(run: Path, play: Play, make) -> None:
    play("evaluation-base", make("<think>so", "off the screen", ending=Ending.FAILURE))
    page = write_report(run).read_text()
    assert page.count('<li class="malformed">') == 2
    assert "&lt;think&gt;so</pre>" in page and "&lt;/think&gt; occurs 0 times" in page


def strips(*kinds: tuple[Ending, bool], tasks: int = 1000, **scores: float) -> list[Strip]:
    turns = (TurnView("a.png", SCREEN, "", "", None),)
    return [
        Strip(line, f"task {line % tasks}", "shop", ending, {"off_path": float(astray), **scores}, turns)
        for line, (ending, astray) in enumerate(kinds)
    ]


def test_selection_has_every_kind_of_trajectory_with_recoveries_first() -> None:
    many = [(Ending.SUCCESS, False)] * 50 + [(Ending.FAILURE, True)] * 50 + [(Ending.SUCCESS, True)] * 50
    chosen = choose(strips(*many), SHOWN)
    kinds = [(strip.ending, strip.off_path) for strip in chosen]
    assert len(chosen) == SHOWN
    assert kinds == [(Ending.SUCCESS, True)] * 4 + [(Ending.FAILURE, True)] * 4 + [(Ending.SUCCESS, False)] * 4


def test_selection_repeats_no_task_unless_all_are_shown() -> None:
    chosen = choose(strips(*[(Ending.FAILURE, True)] * 100, tasks=20), SHOWN)
    assert len({strip.task for strip in chosen}) == SHOWN
