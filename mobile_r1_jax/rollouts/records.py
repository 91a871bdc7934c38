"""The trajectories of a run, in the annotation schema: what the agent did can be corrected and trained on."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile_r1_jax.agent.json_lines import keep_objects
from mobile_r1_jax.agent.trajectory import DATA, write_trajectories
from mobile_r1_jax.rollouts.episodes import Episode


@dataclass(frozen=True)
class Records:
    """Writes to folder/NAME, one directory in the published schema for each part of the run."""

    folder: Path

    def write(self, name: str, step: int, episodes: Sequence[Episode], rewards: Sequence[float] | None = None) -> None:
        """Appends the episodes that have a turn; `step` and the rewards go into their scores.

        What a run that was killed wrote of this step, and of later ones, is taken out: it is now done again. Raises
        OSError that names the file, such as for a full disk; the trajectories before it stay."""
        keep_objects(self.folder / name / DATA, lambda written: written.get("scores", {}).get("step", -1) < step)
        played = []
        for index, episode in enumerate(episodes):
            extra = {"step": float(step)} | ({} if rewards is None else {"reward": float(rewards[index])})
            extra |= {"off_path": float(episode.off_path)}
            if episode.trajectory.turns:
                played.append(dataclasses.replace(episode.trajectory, scores=episode.trajectory.scores | extra))
        write_trajectories(self.folder / name, played)
