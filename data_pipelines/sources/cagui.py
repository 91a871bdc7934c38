"""CAGUI: Chinese episodes in the list format of AgentCPM-GUI, with long presses and pauses. It is a test set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_pipelines.sources.drafts import DraftStep, Episode, Source
from data_pipelines.sources.step_lists import first_step, make_step, read_elements
from data_pipelines.sources.step_lists import read_episodes as read_lists
from mobile_r1_jax.agent.json_fields import BrokenError, get_field
from mobile_r1_jax.agent.screenshots import Screenshot


def read_episodes(path: Path) -> Iterator[Episode]:
    """Stream the episodes below a directory."""
    return read_lists(path, read_step, lambda subset: "test")


def read_step(record: Mapping[str, Any], screenshot: Screenshot) -> DraftStep:
    """Return a step; its boxes are shares of the picture's sides. Raise BrokenError."""
    width, height = (get_field(record, f"image_{side}", int) for side in ("width", "height"))
    if abs(width * screenshot.height - height * screenshot.width) > max(width, height):  # more than a pixel
        size = f"{screenshot.width}x{screenshot.height}"
        raise BrokenError(f"the picture is {size}, but {width}x{height} is declared, which is another shape")
    milliseconds = record.get("duration") or 0
    if type(milliseconds) not in (int, float) or not 0 <= milliseconds < 1e9:
        raise BrokenError(f"duration must be milliseconds, is {milliseconds!r}")
    return make_step(
        record,
        screenshot,
        read_elements(record, screenshot, (screenshot.width, screenshot.height), []),
        sentence=get_field(record, "low_instruction", str, ""),
        milliseconds=milliseconds,
        more=True,
    )


CAGUI = Source(
    name="cagui",
    title="CAGUI",
    url="https://huggingface.co/datasets/openbmb/CAGUI",
    licence="cc-by-nc-4.0",
    holds="domestic/EPISODE/EPISODE.json beside EPISODE_STEP.jpeg",
    recognises=lambda path: "result_touch_yx" in (keys := first_step(path)) and "coat_action_desc" not in keys,
    episodes=read_episodes,
)
