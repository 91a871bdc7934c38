"""Trajectories as strips of screenshots in order, with each action drawn at its place."""

import math
from collections.abc import Sequence

from mobile_r1_jax.agent.actions import (
    WITH_ANSWER,
    Action,
    Click,
    Key,
    LongPress,
    Malformed,
    Open,
    Reply,
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
from mobile_r1_jax.viewer.reading import Part, Strip, TurnView, to_words

ENDINGS = {
    Ending.SUCCESS: ("✓", "success"),
    Ending.CLAIMED: ("?", "claimed success"),
    Ending.FAILURE: ("✕", "failure"),
    Ending.GAVE_UP: ("■", "gave up"),
    Ending.OUT_OF_STEPS: ("…", "out of steps"),
    Ending.INFRASTRUCTURE_FAILURE: ("⚠", "infrastructure failure"),
    Ending.SECURE_PAGE: ("◼", "secure page"),
    Ending.INTERRUPTED: ("■", "interrupted"),
}
# CSS pixels: screens narrower than _SMALL are shown at twice their size, pixel by pixel; others get the width _WIDTH.
_SMALL, _WIDTH = 160, 216
_RING = 0.07  # radius of a tap's ring, as a share of the screen's width


def render_strip(part: Part, strip: Strip) -> Html:
    """Return one trajectory: a header with its task and ending, and its turns."""
    turns = [_turn(turn, part.response_frame(turn), index, len(strip.turns)) for index, turn in enumerate(strip.turns)]
    return tag(
        "article",
        _header(part, strip),
        tag("ol", *turns, tabindex=0, aria_label=f"Turns of: {strip.task}"),
        class_=f"strip {strip.ending}",
        id=f"{to_words(part.name).replace(' ', '-')}-{strip.line}",
        data_part=part.name,
        data_ending=strip.ending,
        data_task=strip.task_id or None,
        data_off_path=strip.off_path,
    )


def _header(part: Part, strip: Strip) -> Html:
    sign, ending = ENDINGS[strip.ending]
    facts = [("steps", _steps(strip))]
    if "reward" in strip.scores:
        facts.append(("reward", f"{strip.scores['reward']:.2f}"))
    if strip.progress and strip.progress.milestones_total:
        reached = f"{strip.progress.milestones_reached} of {strip.progress.milestones_total}"
        facts.append(("milestones", reached))
    if strip.scores.get("step"):
        facts.append(("update", f"{strip.scores['step']:g}"))
    path = "left the path and recovered" if strip.recovered else "left the path" if strip.off_path else None
    title = (
        tag("button", strip.task, type="button", class_="task", title="show this task in every part")
        if strip.task_id
        else tag("span", strip.task, class_="task")
    )
    return tag(
        "header",
        tag("h4", title),
        tag(
            "p",
            strip.app,
            " · ",
            tag("a", f"line {strip.line}", href=f"#{to_words(part.name).replace(' ', '-')}-{strip.line}"),
        ),
        tag("p", tag("span", sign, aria_hidden="true"), " ", ending, class_="ending"),
        path and tag("p", path, class_="path"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts)),
    )


def _steps(strip: Strip) -> str:
    return f"{len(strip.turns)}" + (f" (shortest {strip.progress.shortest})" if strip.progress else "")


def _turn(turn: TurnView, frame: Frame, index: int, turns: int) -> Html:
    answer = parse_response(turn.text, frame, WITH_ANSWER)
    malformed = isinstance(answer, Malformed)
    verb, argument = ("malformed", "") if malformed else describe(answer.action)
    scale = 2 if turn.frame.width < _SMALL else _WIDTH / turn.frame.width
    image = tag(
        "img",
        src=turn.image,
        width=round(turn.frame.width * scale),
        height=round(turn.frame.height * scale),
        loading="lazy",
        alt=f"Screen {index + 1} of {turns}. {verb.capitalize()} {argument}".strip(),
        class_="pixels" if scale > 1 else None,
    )
    box = None if turn.bbox is None else Box(*turn.bbox, frame).to(turn.frame)
    drawn = overlay(turn.frame, None if malformed else answer.action, box)
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
        _malformed(turn.text, answer) if isinstance(answer, Malformed) else _response_text(answer),
        tag("p", turn.effect, class_="effect") if turn.effect and not malformed else None,
        class_="malformed" if malformed else None,
    )


def _response_text(answer: Response) -> Html:
    return join(tag("p", answer.sentence, class_="sentence"), tag("p", answer.thought, class_="thought"))


def _malformed(text: str, answer: Malformed) -> Html:
    return join(tag("p", answer.reason, class_="reason"), tag("pre", text or "(nothing)", tabindex=0))


def describe(action: Action) -> tuple[str, str]:
    """Return the action and its argument in words, with the coordinates of the response."""
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
        case Reply(text):
            return "answer", text


def overlay(frame: Frame, action: Action | None, box: Box | None) -> Html | None:
    """Return an SVG over a screenshot of `frame`: the annotated element's box, and the mark of a touch action.

    The action's points may be in any frame; they are converted. Return None if there is nothing to draw.
    """
    marks: list[Html] = []
    if box is not None:
        size = {"width": box.x2 - box.x1 + 1, "height": box.y2 - box.y1 + 1}
        marks.append(_with_halo("rect", x=box.x1, y=box.y1, **size, class_="box"))
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


def _with_halo(name: str, **attributes: object) -> Html:
    """Return a mark drawn twice, white below its colour, so that it is visible on any screen."""
    return join(tag("g", tag(name, **attributes), class_="halo"), tag(name, **attributes))


def _centre(point: Point) -> tuple[float, float]:
    # The centre of a pixel is half a pixel from its corner.
    return point.x + 0.5, point.y + 0.5


def _ring(point: Point, radius: float) -> Html:
    x, y = _centre(point)
    return _with_halo("circle", cx=x, cy=y, r=radius, class_="mark")


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
    return _with_halo("path", d="M" + " ".join(f"{number(x)},{number(y)}" for x, y in places), class_="mark")
