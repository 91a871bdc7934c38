"""The trajectories of a run, in the annotation schema: people can correct them and use them as training data."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile_r1_jax.agent.json_lines import keep_objects
from mobile_r1_jax.agent.trajectory import DATA, write_trajectories
from mobile_r1_jax.rollouts.episodes import Episode


@dataclass(frozen=True)
class Records:
    """Writer of folder/NAME, one directory in the published schema for each part of the run."""

    folder: Path

    def write(self, name: str, step: int, episodes: Sequence[Episode], rewards: Sequence[float] | None = None) -> None:
        """Append the episodes that have a turn, with `step` and the rewards in their scores.

        First remove the episodes of this step and of later steps, which a killed run left: they are repeated now. Raise
        OSError that names the file, such as for a full disk; the trajectories written before stay."""
        keep_objects(self.folder / name / DATA, lambda row: row.get("scores", {}).get("step", -1) < step)
        played = []
        for index, episode in enumerate(episodes):
            extra = {"step": float(step)} | ({} if rewards is None else {"reward": float(rewards[index])})
            extra |= {"off_path": float(episode.off_path)}
            if episode.trajectory.turns:
                played.append(dataclasses.replace(episode.trajectory, scores=episode.trajectory.scores | extra))
        write_trajectories(self.folder / name, played)
