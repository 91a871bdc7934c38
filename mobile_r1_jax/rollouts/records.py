"""The trajectories of a run, in the annotation schema: people can correct them and use them as training data.

Beside them, failures.jsonl holds an object for each episode that a phone ended, also for those without a turn, and
guard.jsonl one for each action that a guard refused, or that a person or the task permitted.
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

FAILURES, EPISODES, GUARD = "failures.jsonl", "episodes.jsonl", "guard.jsonl"


@dataclass(frozen=True)
class Records:
    """Writer of folder/NAME, one directory in the published schema for each part of the run."""

    folder: Path

    def write(self, name: str, step: int, episodes: Sequence[Episode], rewards: Sequence[float] | None = None) -> None:
        """Append the episodes that have a turn, with `step` and the rewards in their scores, and the phones' failures.

        First remove the episodes of this step and of later steps, which a killed run left: they are repeated now. Raise
        OSError that names the file, such as for a full disk; the trajectories written before stay."""
        keep_objects(self.folder / name / DATA, lambda row: row.get("scores", {}).get("step", -1) < step)
        for file in (FAILURES, GUARD):
            keep_objects(self.folder / name / file, lambda row: row.get("step", -1) < step)
        played = []
        for index, episode in enumerate(episodes):
            extra = {"step": float(step)} | ({} if rewards is None else {"reward": float(rewards[index])})
            extra |= {"off_path": float(episode.off_path)}
            if episode.trajectory.turns:
                played.append(dataclasses.replace(episode.trajectory, scores=episode.trajectory.scores | extra))
        write_trajectories(self.folder / name, played)
        for index, episode in enumerate(episodes):
            self._append_events(name, step, index, episode)

    def add(self, name: str, index: int, episode: Episode, row: Mapping[str, Any]) -> None:
        """Append one episode of an evaluation, its number in scores, and then `row` to episodes.jsonl."""
        extra = {"step": 0.0, "index": float(index), "off_path": float(episode.off_path)}
        played = dataclasses.replace(episode.trajectory, scores=episode.trajectory.scores | extra)
        self.add_trajectory(name, dataclasses.replace(episode, trajectory=played), index)
        append_line(self.folder / name / EPISODES, json.dumps({"index": index, **row}))

    def add_trajectory(self, name: str, episode: Episode, index: int = 0) -> None:
        """Append one episode, and what a phone and a guard say about it, without a row in episodes.jsonl."""
        write_trajectories(self.folder / name, [episode.trajectory] if episode.trajectory.turns else [])
        self._append_events(name, 0, index, episode)

    def finished(self, name: str, like: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        """Return index -> row of the episodes in episodes.jsonl that have the values `like`. Remove all others.

        A killed evaluation left them; so finished episodes are not played again."""
        folder = self.folder / name
        rows = [row for row in read_objects(folder / EPISODES) if all(row.get(key) == like[key] for key in like)]
        found = {row["index"]: row for row in rows}
        keep_objects(folder / EPISODES, lambda row: found.get(row.get("index")) == row)
        keep_objects(folder / DATA, lambda row: row.get("scores", {}).get("index") in found)
        keep_objects(folder / GUARD, lambda row: row.get("index") in found)
        if not found:
            (folder / FAILURES).unlink(missing_ok=True)
        return found

    def sort(self, name: str) -> None:
        """Put the episodes of an evaluation into the order of their numbers."""
        sort_objects(self.folder / name / DATA, lambda row: row["scores"]["index"])

    def _append_events(self, name: str, step: int, index: int, episode: Episode) -> None:
        """Append why a phone ended the episode, and what a guard decided in it. index: the episode's number."""
        played = episode.trajectory
        head = {
            "step": step,
            "task": played.task,
            "app": played.app,
            "task_id": played.task_id,
            "ending": played.ending,
        }
        if episode.failure is not None:
            row = head | dataclasses.asdict(episode.failure)
            append_line(self.folder / name / FAILURES, json.dumps(row, ensure_ascii=False))
        for turn, decision in episode.decisions:
            row = head | {"index": index, "turn": turn} | dataclasses.asdict(decision)
            append_line(self.folder / name / GUARD, json.dumps(row, ensure_ascii=False))
