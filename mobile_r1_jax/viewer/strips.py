"""Trajectories as strips of screenshots in order, with what was done drawn where it was done."""

import math
from collections.abc import Sequence

from mobile_r1_jax.agent.actions import (
    Action,
    Click,
    Key,
    LongPress,
    Malformed,
    Open,
    Swipe,
    SystemButton,
    Terminate,
    Type,
    Wait,
    to_frame,
)
from mobile_r1_jax.agent.frames import Box, Frame, Point
from mobile_r1_jax.agent.responses import Response, parse_response
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.viewer.markup import Html, join, number, tag
from mobile_r1_jax.viewer.reading import Look, Part, Strip, plain

ENDINGS = {
    Ending.SUCCESS: ("✓", "success"),
    Ending.FAILURE: ("✕", "failure"),
    Ending.GAVE_UP: ("■", "gave up"),
    Ending.OUT_OF_STEPS: ("…", "out of steps"),
    Ending.INFRASTRUCTURE_FAILURE: ("⚠", "infrastructure failure"),
}
# CSS pixels: screens narrower than _SMALL are shown at twice their size, pixel by pixel; the others as wide as _WIDTH.
_SMALL, _WIDTH = 160, 216
_RING = 0.07  # a tap's ring, its radius as a share of the screen's width


def strip(part: Part, shown: Strip) -> Html:
    """One trajectory: what it was about and how it ended, beside its turns."""
    turns = [_turn(look, part.said_in(look), index, len(shown.looks)) for index, look in enumerate(shown.looks)]
    return tag(
        "article",
        _about(part, shown),
        tag("ol", *turns, tabindex=0, aria_label=f"Turns of: {shown.task}"),
        class_=f"strip {shown.ending}",
        id=f"{plain(part.name).replace(' ', '-')}-{shown.line}",
        data_part=part.name,
        data_ending=shown.ending,
        data_task=shown.task_id or None,
        data_astray=shown.off_path,
    )


def _about(part: Part, shown: Strip) -> Html:
    sign, ending = ENDINGS[shown.ending]
    facts = [("steps", _steps(shown))]
    if "reward" in shown.scores:
        facts.append(("reward", f"{shown.scores['reward']:.2f}"))
    if shown.scores.get("milestones_total"):
        reached = f"{shown.scores['milestones_reached']:g} of {shown.scores['milestones_total']:g}"
        facts.append(("milestones", reached))
    if shown.scores.get("step"):
        facts.append(("update", f"{shown.scores['step']:g}"))
    path = "left the path and recovered" if shown.recovered else "left the path" if shown.off_path else None
    title = (
        tag("button", shown.task, type="button", class_="task", title="show this task in every part")
        if shown.task_id
        else tag("span", shown.task, class_="task")
    )
    return tag(
        "header",
        tag("h4", title),
        tag(
            "p",
            shown.app,
            " · ",
            tag("a", f"line {shown.line}", href=f"#{plain(part.name).replace(' ', '-')}-{shown.line}"),
        ),
        tag("p", tag("span", sign, aria_hidden="true"), " ", ending, class_="ending"),
        path and tag("p", path, class_="path"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts)),
    )


def _steps(shown: Strip) -> str:
    shortest = shown.scores.get("shortest_steps")
    return f"{len(shown.looks)}" + (f" (shortest {shortest:g})" if shortest else "")


def _turn(look: Look, said: Frame, index: int, turns: int) -> Html:
    answer = parse_response(look.text, said)
    malformed = isinstance(answer, Malformed)
    verb, argument = ("malformed", "") if malformed else describe(answer.action)
    scale = 2 if look.frame.width < _SMALL else _WIDTH / look.frame.width
    image = tag(
        "img",
        src=look.image,
        width=round(look.frame.width * scale),
        height=round(look.frame.height * scale),
        loading="lazy",
        alt=f"Screen {index + 1} of {turns}. {verb.capitalize()} {argument}".strip(),
        class_="pixels" if scale > 1 else None,
    )
    box = None if look.bbox is None else Box(*look.bbox, said).to(look.frame)
    drawn = overlay(look.frame, None if malformed else answer.action, box)
    return tag(
        "li",
        tag("div", image, drawn, class_="screen"),
        tag(
            "p",
            tag("b", str(index + 1)),
            " ",
            tag("span", verb),
            " ",
            tag("em", argument) if argument else None,
            class_="chip",
        ),
        _malformed(look.text, answer) if isinstance(answer, Malformed) else _said(answer),
        tag("p", look.effect, class_="effect") if look.effect and not malformed else None,
        class_="malformed" if malformed else None,
    )


def _said(answer: Response) -> Html:
    return join(tag("p", answer.sentence, class_="sentence"), tag("p", answer.thought, class_="thought"))


def _malformed(text: str, answer: Malformed) -> Html:
    return join(tag("p", answer.reason, class_="reason"), tag("pre", text or "(nothing)", tabindex=0))


def describe(action: Action) -> tuple[str, str]:
    """What is done and with what, in words; coordinates as the policy said them."""
    match action:
        case Click(point):
            return "tap", f"{point.x}, {point.y}"
        case LongPress(point, seconds):
            return "long press", f"{point.x}, {point.y} for {seconds:g} s"
        case Swipe(start, end):
            return "swipe", f"{start.x}, {start.y} → {end.x}, {end.y}"
        case Type(text):
            return "type", text
        case Key(text):
            return "key", text
        case SystemButton(button):
            return "button", button
        case Open(app):
            return "open", app
        case Wait(seconds):
            return "wait", f"{seconds:g} s"
        case Terminate(status):
            return "end the task", status


def overlay(frame: Frame, action: Action | None, box: Box | None) -> Html | None:
    """An SVG over a screenshot of `frame`: the annotated element's outline, and the mark of an action that touches.

    The action's points may be of any frame; they are brought into this one. None where there is nothing to draw.
    """
    marks: list[Html] = []
    if box is not None:
        size = {"width": box.x2 - box.x1 + 1, "height": box.y2 - box.y1 + 1}
        marks.append(_outlined("rect", x=box.x1, y=box.y1, **size, class_="box"))
    ring = _RING * frame.width
    match None if action is None else to_frame(action, frame):
        case Click(point):
            marks += [_ring(point, ring), _dot(point, ring / 4)]
        case LongPress(point, _):
            marks += [_ring(point, ring), _ring(point, 1.7 * ring), _dot(point, ring / 4)]
        case Swipe(start, end):
            marks += [_arrow(start, end, ring), _dot(start, ring / 2)]
    if not marks:
        return None
    return tag("svg", *marks, viewBox=f"0 0 {frame.width} {frame.height}", aria_hidden="true")


def _outlined(name: str, **attributes: object) -> Html:
    """A mark twice, pale under bright: it must be seen on any screen."""
    return join(tag("g", tag(name, **attributes), class_="halo"), tag(name, **attributes))


def _centre(point: Point) -> tuple[float, float]:
    # A pixel is a square: its middle lies half a pixel from its corner.
    return point.x + 0.5, point.y + 0.5


def _ring(point: Point, radius: float) -> Html:
    x, y = _centre(point)
    return _outlined("circle", cx=x, cy=y, r=radius, class_="mark")


def _dot(point: Point, radius: float) -> Html:
    x, y = _centre(point)
    return tag("circle", cx=x, cy=y, r=radius, class_="spot")


def _arrow(start: Point, end: Point, head: float) -> Html:
    (x1, y1), (x2, y2) = _centre(start), _centre(end)
    angle = math.atan2(y2 - y1, x2 - x1)
    wings = [
        (x2 - head * 1.6 * math.cos(angle + turn), y2 - head * 1.6 * math.sin(angle + turn)) for turn in (-0.5, 0.5)
    ]
    (left, right), tip = wings, (x2, y2)
    places: Sequence[tuple[float, float]] = ((x1, y1), tip, left, tip, right)
    return _outlined("path", d="M" + " ".join(f"{number(x)},{number(y)}" for x, y in places), class_="mark")
