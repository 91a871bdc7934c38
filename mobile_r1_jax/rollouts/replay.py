"""Episodes that a killed run has stored after its last checkpoint. They are trained on again, not played again.

The run repeats its updates from the checkpoint with the same weights, so these are the episodes that it would play.
replay.jsonl holds the data that the trajectory schema lacks: a row for each episode, also for those without a turn.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.data_files import DATA, IMAGES
from mobile_r1_jax.agent.json_lines import append_line, keep_objects, read_objects
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.prompts import PastTurn, PromptFormat, system_text
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, trajectory_from_json
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.rollouts.failures import Failure
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.tasks.task import Task

ROWS, STARTED, INTERRUPTED = "replay.jsonl", "playing.json", "interrupted.jsonl"


def begin_update(folder: Path, step: int, tasks: Mapping[int, Task]) -> None:
    """Note that the episodes of an update are being played. If those before were interrupted, record them as such."""
    folder.mkdir(parents=True, exist_ok=True)
    _note_interrupted(folder)
    append_line(folder / STARTED, json.dumps({"step": step, "episodes": {i: task.id for i, task in tasks.items()}}))


def store_update(
    records: Records, folder: Path, step: int, episodes: Mapping[int, Episode], rewards: Sequence[float]
) -> None:
    """Store the episodes of an update, by their numbers, with the data to replay them. Their play is over.

    First remove this update and later ones from the folder."""
    numbered = []
    for index, episode in episodes.items():
        scores = episode.trajectory.scores | {"index": float(index)}
        numbered.append(replace(episode, trajectory=replace(episode.trajectory, scores=scores)))
    records.write(folder.name, step, numbered, rewards)
    keep_objects(folder / ROWS, lambda row: row["step"] < step)
    for index, episode in episodes.items():
        failure = None if episode.failure is None else asdict(episode.failure)
        row = {"step": step, "index": index, "task_id": episode.trajectory.task_id, "failure": failure}
        row |= {"turns": len(episode.answers), "ending": episode.trajectory.ending}
        append_line(folder / ROWS, json.dumps(row | {"progress": list(map(astuple, episode.progress))}))
    (folder / STARTED).unlink(missing_ok=True)


def last_stored(folders: Sequence[Path]) -> int:
    """Return the highest number of an update whose episodes are stored in one of the folders; 0 for none."""
    return max((row["step"] for folder in folders for row in read_objects(folder / ROWS)), default=0)


def stored_episodes(
    folders: Sequence[Path], step: int, tasks: Mapping[int, Task], prompt_format: PromptFormat
) -> dict[int, Episode] | None:
    """Return the stored episodes of an update by their numbers, or None unless all of `tasks` are there."""
    rows: dict[int, dict[str, Any]] = {}
    lines: dict[int, tuple[str, Path]] = {}
    for folder in folders:
        found = {row["index"]: row for row in read_objects(folder / ROWS) if row["step"] == step}
        wanted = {index: row for index, row in found.items() if index in tasks and row["task_id"] == tasks[index].id}
        for line in read_objects(folder / DATA) if wanted else ():
            scores = line.get("scores", {})
            if scores.get("step") == step and scores.get("index") in wanted:
                lines[int(scores["index"])] = json.dumps(line), folder / IMAGES
        rows |= wanted
    episodes = {}
    for index, task in tasks.items():
        if index not in rows or (rows[index]["turns"] and index not in lines):
            return None
        episode = _restore(rows[index], lines.get(index), task, prompt_format)
        if episode is None:
            return None
        episodes[index] = episode
    return episodes


def _restore(
    row: Mapping[str, Any], stored: tuple[str, Path] | None, task: Task, prompt_format: PromptFormat
) -> Episode | None:
    """Return an episode as it was played; None if its line or a screenshot is damaged."""
    progress = tuple(Progress(*numbers) for numbers in row["progress"])
    failure = (
        None
        if row["failure"] is None
        else Failure(**row["failure"] | {"transcript": tuple(row["failure"]["transcript"])})
    )
    system = system_text(prompt_format.system, task.instruction)
    if not row["turns"]:
        trajectory = Trajectory(task.instruction, task.app, system, (), Ending(row["ending"]), {}, task.id)
        return Episode(trajectory, (), (), progress, failure)
    assert stored is not None
    trajectory = trajectory_from_json(*stored)
    if isinstance(trajectory, Malformed) or any(turn.completion is None for turn in trajectory.turns):
        return None
    prompts, answers, history = [], [], []
    for turn in trajectory.turns:
        prompts.append(prompt_format.prompt(system, history, turn.screenshot))
        answers.append(parse_response(turn.response, prompts[-1].frame, prompt_format.actions))
        history.append(PastTurn(turn.screenshot, turn.completion.ids, turn.effect))
    return Episode(trajectory, tuple(prompts), tuple(answers), progress, failure)


def _note_interrupted(folder: Path) -> None:
    """Record the update whose play a kill has interrupted, if there is one."""
    for row in read_objects(folder / STARTED):
        append_line(folder / INTERRUPTED, json.dumps(row))
    (folder / STARTED).unlink(missing_ok=True)
