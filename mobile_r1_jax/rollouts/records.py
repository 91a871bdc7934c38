"""The trajectories of a run, in the annotation schema: people can correct them and use them as training data.

Beside them, failures.jsonl holds an object for each episode that a phone ended, also for those without a turn.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobile_r1_jax.agent.json_lines import append_line, keep_objects, read_objects, sort_objects
from mobile_r1_jax.agent.trajectory import DATA, write_trajectories
from mobile_r1_jax.rollouts.episodes import Episode

FAILURES, EPISODES = "failures.jsonl", "episodes.jsonl"


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

    def add(self, name: str, index: int, episode: Episode, row: Mapping[str, Any]) -> None:
        """Append one episode of an evaluation, its number in scores, and then `row` to episodes.jsonl."""
        extra = {"step": 0.0, "index": float(index), "off_path": float(episode.off_path)}
        played = dataclasses.replace(episode.trajectory, scores=episode.trajectory.scores | extra)
        self.add_trajectory(name, dataclasses.replace(episode, trajectory=played))
        append_line(self.folder / name / EPISODES, json.dumps({"index": index, **row}))

    def add_trajectory(self, name: str, episode: Episode) -> None:
        """Append one episode that belongs to no evaluation."""
        write_trajectories(self.folder / name, [episode.trajectory] if episode.trajectory.turns else [])
        if episode.failure is not None:
            append_line(self.folder / name / FAILURES, _failure_line(episode, 0))

    def finished(self, name: str, like: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        """Return index -> row of the episodes in episodes.jsonl that have the values `like`. Remove all others.

        A killed evaluation left them; so finished episodes are not played again."""
        folder = self.folder / name
        rows = [row for row in read_objects(folder / EPISODES) if all(row.get(key) == like[key] for key in like)]
        found = {row["index"]: row for row in rows}
        keep_objects(folder / EPISODES, lambda row: found.get(row.get("index")) == row)
        keep_objects(folder / DATA, lambda row: row.get("scores", {}).get("index") in found)
        if not found:
            (folder / FAILURES).unlink(missing_ok=True)
        return found

    def sort(self, name: str) -> None:
        """Put the episodes of an evaluation into the order of their numbers."""
        sort_objects(self.folder / name / DATA, lambda row: row["scores"]["index"])


def _failure_line(episode: Episode, step: int) -> str:
    played = episode.trajectory
    row = {"step": step, "task": played.task, "app": played.app, "task_id": played.task_id, "ending": played.ending}
    return json.dumps(row | dataclasses.asdict(episode.failure), ensure_ascii=False)
