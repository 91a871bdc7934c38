"""A resumed run reads the stored episodes of an update, all or none, and records an interrupted play."""

import json
from pathlib import Path

import host_runs
import pytest

from mobile_r1_jax.agent.prompts import PromptFormat
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.model.inputs import identity
from mobile_r1_jax.model.tokenizer import load_tokenizer
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.rollouts.replay import begin_update, last_stored, store_update, stored_episodes
from mobile_r1_jax.tasks.task import Task

FORMAT = PromptFormat(load_tokenizer(host_runs.TINY_BASE, None), host_runs.SYSTEM, Resizing(scale=1.0))


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, dict[int, Task], dict[int, Episode]]:
    """Return a folder with the episodes of updates 1 and 2, the tasks of update 2, and its episodes."""
    tasks, episodes = host_runs.store_episodes(tmp_path, updates=2)
    return tmp_path / "trajectories" / "task_level", tasks, episodes


def test_stored_episodes_equal_the_played_episodes(stored) -> None:
    folder, tasks, episodes = stored
    assert last_stored([folder, folder / "none"]) == 2
    again = stored_episodes([folder], 2, tasks, FORMAT)
    assert again.keys() == episodes.keys()
    for index, episode in episodes.items():
        other = again[index]
        assert [identity(prompt) for prompt in other.prompts] == [identity(prompt) for prompt in episode.prompts]
        assert other.answers == episode.answers and other.progress == episode.progress
        assert other.outcome == episode.outcome and other.trajectory.ending == episode.trajectory.ending
        completions = [[turn.completion for turn in one.trajectory.turns] for one in (other, episode)]
        assert completions[0] == completions[1]
        assert other.trajectory.scores.items() >= episode.trajectory.scores.items()


def test_episodes_of_several_hosts_are_read_together(stored) -> None:
    folder, tasks, episodes = stored
    other = folder.with_name("task_level-host-1")
    records = Records(folder.parent)
    store_update(records, other, 2, {index: episodes[index] for index in range(4, 8)}, [0.0] * 4)
    store_update(records, folder, 2, {index: episodes[index] for index in range(4)}, [0.0] * 4)
    assert stored_episodes([folder], 2, tasks, FORMAT) is None
    assert stored_episodes([folder, other], 2, tasks, FORMAT).keys() == set(range(8))


@pytest.mark.parametrize("damage", ["a row", "a line", "a picture", "another task", "a torn line"])
def test_incomplete_update_is_played_again(stored, damage: str) -> None:
    folder, tasks, _ = stored
    rows, data = folder / "replay.jsonl", folder / "data.jsonl"
    if damage == "a row":
        rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    elif damage == "a line":
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:-1]))
    elif damage == "a torn line":
        data.write_bytes(data.read_bytes()[:-40])
    elif damage == "a picture":
        for picture in (folder / "images").iterdir():
            picture.unlink()
    else:
        tasks = tasks | {3: Task("shop", "Buy something else")}
    assert stored_episodes([folder], 2, tasks, FORMAT) is None


def test_later_play_of_an_update_replaces_it_and_later_updates(stored) -> None:
    folder, _, episodes = stored
    store_update(Records(folder.parent), folder, 1, episodes, [0.0] * len(episodes))
    assert last_stored([folder]) == 1
    assert {json.loads(line)["scores"]["step"] for line in (folder / "data.jsonl").read_text().splitlines()} == {1.0}


def test_killed_play_is_recorded_as_interrupted_once(stored) -> None:
    folder, tasks, episodes = stored
    begin_update(folder, 3, tasks)  # the run is killed here
    begin_update(folder, 3, tasks)
    store_update(Records(folder.parent), folder, 3, episodes, [0.0] * len(episodes))
    begin_update(folder, 4, tasks)
    (row,) = [json.loads(line) for line in (folder / "interrupted.jsonl").read_text().splitlines()]
    assert row["step"] == 3 and row["episodes"]["0"] == tasks[0].id
