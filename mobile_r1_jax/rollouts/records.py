"""The trajectories of a run, in the annotation schema: people can correct them and use them as training data.

Beside them, failures.jsonl holds an object for each episode that a phone ended, also for those without a turn.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile_r1_jax.agent.json_lines import append_line, keep_objects
from mobile_r1_jax.agent.trajectory import DATA, write_trajectories
from mobile_r1_jax.rollouts.episodes import Episode

FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Records:
    """Writer of folder/NAME, one directory in the published schema for each part of the run."""

    folder: Path

    def write(self, name: str, step: int, episodes: Sequence[Episode], rewards: Sequence[float] | None = None) -> None:
        """Append the episodes that have a turn, with `step` and the rewards in their scores, and the phones' failures.

        First remove the episodes of this step and of later steps, which a killed run left: they are repeated now. Raise
        OSError that names the file, such as for a full disk; the trajectories written before stay."""
        keep_objects(self.folder / name / DATA, lambda row: row.get("scores", {}).get("step", -1) < step)
        keep_objects(self.folder / name / FAILURES, lambda row: row.get("step", -1) < step)
        played = []
        for index, episode in enumerate(episodes):
            extra = {"step": float(step)} | ({} if rewards is None else {"reward": float(rewards[index])})
            extra |= {"off_path": float(episode.off_path)}
            if episode.trajectory.turns:
                played.append(dataclasses.replace(episode.trajectory, scores=episode.trajectory.scores | extra))
        write_trajectories(self.folder / name, played)
        for episode in episodes:
            if episode.failure is not None:
                append_line(self.folder / name / FAILURES, _failure_line(episode, step))


def _failure_line(episode: Episode, step: int) -> str:
    played = episode.trajectory
    row = {"step": step, "task": played.task, "app": played.app, "task_id": played.task_id, "ending": played.ending}
    return json.dumps(row | dataclasses.asdict(episode.failure), ensure_ascii=False)
