"""Android in the Zoo (AITZ): a part of AITW with thoughts and action sentences, on small pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_pipelines.sources.drafts import DraftStep, Episode, Source
from data_pipelines.sources.step_lists import first_step, make_step, read_elements, read_list
from data_pipelines.sources.step_lists import read_episodes as read_lists
from mobile_r1_jax.agent.json_fields import get_field
from mobile_r1_jax.agent.screenshots import Screenshot


def read_episodes(path: Path) -> Iterator[Episode]:
    """Stream the episodes below a directory; the folder above that of the subset is train or test."""
    return read_lists(path, read_step, lambda subset: name if (name := subset.parent.name) in ("train", "test") else "")


def read_step(record: Mapping[str, Any], screenshot: Screenshot) -> DraftStep:
    """Return a step; its boxes are in pixels of the picture. Raise BrokenError."""
    return make_step(
        record,
        screenshot,
        read_elements(record, screenshot, (1, 1), read_list(record, "ui_text")),
        thought=get_field(record, "coat_action_think", str, ""),
        sentence=get_field(record, "coat_action_desc", str, ""),
    )


AITZ = Source(
    name="aitz",
    title="Android in the Zoo",
    url="https://github.com/IMNearth/CoAT",
    licence="apache-2.0",
    rights="Its pictures are from Android in the Wild, which is CC BY 4.0.",
    holds="{train,test}/SUBSET/EPISODE/EPISODE.json beside EPISODE_STEP.png",
    recognises=lambda path: "coat_action_desc" in first_step(path),
    episodes=read_episodes,
)
