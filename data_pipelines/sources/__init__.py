"""Public data sets and runs as trajectories: `SOURCES["android_control"].read(path)` streams them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data_pipelines.sources.aitw import AITW
from data_pipelines.sources.aitz import AITZ
from data_pipelines.sources.android_control import ANDROID_CONTROL
from data_pipelines.sources.cagui import CAGUI
from data_pipelines.sources.drafts import Source
from data_pipelines.sources.gui_odyssey import GUI_ODYSSEY
from data_pipelines.sources.mobile_r1 import MOBILE_R1
from data_pipelines.sources.runs import RUNS
from mobile_r1_jax.agent.errors import OneLineError

SOURCES: Mapping[str, Source] = {
    source.name: source for source in (MOBILE_R1, ANDROID_CONTROL, AITW, AITZ, GUI_ODYSSEY, CAGUI, RUNS)
}


def get_source(name: str, path: Path) -> Source:
    """Return a source by its name. Raise OneLineError if `path` does not hold its data, with the source that it looks
    like."""
    if not path.exists():
        raise OneLineError(f"{path}: no such file or directory")
    source = SOURCES[name]
    if source.recognises(path):
        return source
    others = [other for other in SOURCES.values() if other.recognises(path)]
    looks = f"it looks like {others[0].title}: use --source={others[0].name}" if others else "nor like any other source"
    raise OneLineError(f"{path} does not look like {source.title} ({source.holds}); {looks}")
