"""Draw one demonstration of the simulator as a picture: its screenshots, the taps, and the action sentences.

Run: python tools/draw_trajectory.py --out docs/pictures/trajectory.png
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mobile_r1_jax.agent.actions import Click, LongPress, to_frame
from mobile_r1_jax.agent.responses import Response, parse_response
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Trajectory, Turn
from mobile_r1_jax.phones.simulator.suite import SimulatorTasks
from mobile_r1_jax.tasks.suite import DemonstrationStyle

SIZE = (224, 448)  # of a phone's screen, in device pixels
GAP, TITLE, CAPTION = 16, 36, 48  # between screens, above them, below them; pixels
MARK = (214, 30, 60)


def find_demonstration(app: str, turns: int, seed: int) -> Trajectory:
    """Return the first demonstration of `app` with an English task, `turns` turns and at least two taps."""
    tasks = SimulatorTasks(apps=(app,), unseen_apps=(), popups=0.0, size=SIZE)
    style = DemonstrationStyle(system="Task: {instruction}", resizing=Resizing(scale=1.0), mistakes=0.0, popups=0.0)
    for trajectory in tasks.demonstrations(count=200, seed=seed, style=style):
        taps = sum(isinstance(read_response(turn).action, (Click, LongPress)) for turn in trajectory.turns)
        if len(trajectory.turns) == turns and taps >= 2 and trajectory.task.isascii():
            return trajectory
    raise SystemExit(f"error: {app} has no such demonstration with {turns} turns; choose another --turns or --seed")


def read_response(turn: Turn) -> Response:
    """Return the parsed response of a turn. Raises TypeError where it is malformed."""
    response = parse_response(turn.response, Resizing(scale=1.0).model_frame(turn.screenshot))
    if not isinstance(response, Response):
        raise TypeError(response.reason)
    return response


def draw_trajectory(trajectory: Trajectory) -> Image.Image:
    """Return an image with the task as title, and below it one column per turn: screenshot, tap and sentence."""
    (width, height), turns = SIZE, len(trajectory.turns)
    picture = Image.new("RGB", (GAP + turns * (width + GAP), TITLE + height + CAPTION), "white")
    canvas = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(18), ImageFont.load_default(16)
    canvas.text((GAP, 8), f'Task: "{trajectory.task}"', "black", large)
    for index, turn in enumerate(trajectory.turns):
        left = GAP + index * (width + GAP)
        picture.paste(turn.screenshot.image(), (left, TITLE))
        canvas.rectangle((left - 1, TITLE - 1, left + width, TITLE + height), outline="gray")
        response = read_response(turn)
        action = to_frame(response.action, turn.screenshot.frame)
        if isinstance(action, (Click, LongPress)):
            canvas.circle((left + action.point.x, TITLE + action.point.y), 16, outline=MARK, width=4)
            canvas.circle((left + action.point.x, TITLE + action.point.y), 4, fill=MARK)
        canvas.text((left, TITLE + height + 12), f"{index + 1}. {response.sentence}", "black", small)
    return picture


def main() -> None:
    """Draw the demonstration that the flags choose into a PNG with a palette of 256 colours."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/trajectory.png"))
    parser.add_argument("--app", default="messages")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    picture = draw_trajectory(find_demonstration(flags.app, flags.turns, flags.seed))
    picture.quantize(256, dither=Image.Dither.NONE).save(flags.out, optimize=True)
    print(f"{flags.out}: {flags.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
