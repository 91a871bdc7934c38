"""Metrics for Weights & Biases, in addition to TensorBoard. The library is imported only if it is enabled."""

import importlib
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.training.tracking_settings import TrackingSettings

FOLDER = "wandb"  # in a run directory; the library writes there too
LOG = logging.getLogger(__name__)


def check_tracking(settings: TrackingSettings) -> None:
    """Raise OneLineError if the settings ask for wandb, and it is not installed, or has no key and is not offline."""
    if not settings.wandb:
        return
    wandb = _library()
    if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False, verify=False):
        raise OneLineError("tracking.wandb: no API key is configured; run `wandb login`, or set WANDB_MODE=offline")


class WandbCurves:
    """The metrics of one stage as a run of Weights & Biases; the stages of a run are a group.

    A stage that resumes after a kill continues its run there. Steps that it repeats are already there and stay.
    Without a connection the metrics are kept in the run directory, for `wandb sync`.
    """

    def __init__(
        self,
        settings: TrackingSettings,
        directory: Path,
        stage: str,
        *,
        after_step: int,
        config: Mapping[str, Any],
    ) -> None:
        """Open the run of a stage that resumes after `after_step` updates. config: all settings, to compare runs by."""
        wandb, folder = _library(), directory / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        file, name = folder / f"{stage}.id", settings.name or directory.name
        if after_step <= 0 or not file.is_file():
            write_whole(file, secrets.token_hex(4))
        # Nothing about the machine and the command line: they may contain private data.
        private = {"x_disable_meta": True, "x_disable_machine_info": True, "disable_git": True, "disable_code": True}
        options = {
            "project": settings.project,
            "group": name,
            "name": f"{name}: {stage}",
            "id": file.read_text(),
            "resume": "allow",
            "dir": directory,
            "config": dict(config),
            "reinit": "finish_previous",
            "settings": wandb.Settings(**private, save_code=False, console="off", silent=True),
        }
        try:
            self._run = wandb.init(**options)
        except wandb.errors.Error as error:
            words = " ".join(str(error).split())[:200]
            LOG.warning(
                "wandb is offline (%s); to upload the metrics later: wandb sync --sync-all, in %s", words, folder
            )
            wandb.teardown()  # else the run counts as open
            self._run = wandb.init(**options, mode="offline")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one point of every curve."""
        self._run.log(dict(values), step=step)

    def close(self, *, failed: bool) -> None:
        """End the run there."""
        self._run.finish(exit_code=int(failed))


def _library() -> ModuleType:
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise OneLineError(
            f"tracking.wandb needs the library wandb ({error}); run: pip install 'mobile-r1-jax[wandb]'"
        ) from error
