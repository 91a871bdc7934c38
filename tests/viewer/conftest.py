"""Trajectories for reports: plain screens with actions."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mobile_r1_jax.agent.actions import Action
from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.responses import Response, format_response
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn, write_trajectories

Make = Callable[..., Trajectory]


def screen(width: int, height: int) -> Screenshot:
    """Return a grey screen."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (96, 96, 96)).save(file, "PNG")
    return Screenshot(file.getvalue())


@pytest.fixture
def make() -> Make:
    """Return make(*actions or raw responses, …) -> a Trajectory with a turn for each, as sampled by a policy."""

    def make(
        *said: Action | str, task: str = "Do it", size: tuple[int, int] = (112, 224), **more: object
    ) -> Trajectory:
        effect, scores = str(more.get("effect", "")), more.get("scores", {})
        ids = (1, 2) if more.get("sampled", True) else ()
        turns = tuple(
            Turn(
                screen(*size),
                one if isinstance(one, str) else format_response(Response("Thinking.", "Doing.", one)),
                Completion(ids) if ids else None,
                effect=effect,
            )
            for one in said
        )
        app, ending, task_id = str(more.get("app", "shop")), more.get("ending", Ending.SUCCESS), more.get("task_id", "")
        return Trajectory(task, app, "", turns, ending, scores, task_id)

    return make


@pytest.fixture
def run(tmp_path: Path, make: Make) -> Path:
    """Return a run directory with only a config; the model sees screens in their own size."""
    directory = tmp_path / "a run"
    directory.mkdir()
    (directory / "config.yaml").write_text("name: a run\nresizing: {scale: 1.0}\n")
    return directory


@pytest.fixture
def play(run: Path) -> Callable[..., None]:
    """Return play(part, trajectories), which writes them as a part of the run."""
    return lambda part, *trajectories: write_trajectories(run / "trajectories" / part, trajectories)
