"""The trajectories of a run, in the annotation schema: what the agent did can be corrected and trained on."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile_r1_jax.agent.trajectory import DATA, write_trajectories
from mobile_r1_jax.stages.episodes import Episode


@dataclass(frozen=True)
class Records:
    """Writes to folder/NAME, one directory in the published schema for each part of the run."""

    folder: Path

    def write(self, name: str, step: int, episodes: Sequence[Episode], rewards: Sequence[float] | None = None) -> None:
        """Appends the episodes that have a turn; `step` and the rewards go into their scores.

        What a run that was killed wrote of this step, and of later ones, is taken out: it is now done again."""
        _rewind(self.folder / name / DATA, step)
        played = []
        for index, episode in enumerate(episodes):
            extra = {"step": float(step)} | ({} if rewards is None else {"reward": float(rewards[index])})
            extra |= {"left_the_path": float(episode.left_the_path)}
            if episode.trajectory.turns:
                played.append(dataclasses.replace(episode.trajectory, scores=episode.trajectory.scores | extra))
        write_trajectories(self.folder / name, played)


def _rewind(path: Path, step: int) -> None:
    """Takes the trajectories of `step` and later ones out of a data.jsonl, all or nothing."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    kept = [line for line in lines if json.loads(line)["scores"]["step"] < step]
    if len(kept) < len(lines):
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        fresh.replace(path)
