"""Episodes on disk: annotations, and the rows of failures."""

from random import Random

import pytest
from scripted import FAILURE, TASK, WAIT, LostPhone, Play, one_of_each, written

from mobile_r1_jax.agent.json_lines import read_objects
from mobile_r1_jax.agent.trajectory import DATA, Ending, read_trajectories
from mobile_r1_jax.phones.providers.simulated import INSTANT
from mobile_r1_jax.rollouts.records import FAILURES, Records


@pytest.mark.parametrize(("lost", "text"), [("reset", ""), ("progress", ""), ("screenshot", ""), ("perform", WAIT)])
def test_failure_of_an_episode_without_turns_is_recorded(play: Play, phones, tmp_path, lost, text) -> None:
    phone = LostPhone(phones[0].serial, phones[0].server, INSTANT)
    phone.lost = lost
    [episode] = play([TASK], [[WAIT] * 9], on=[phone])
    Records(tmp_path).write("task_level", 3, [episode], [0.0])
    [row] = read_objects(tmp_path / "task_level" / FAILURES)
    assert (row["ending"], row["turn"], row["response"], row["step"]) == ("infrastructure_failure", 0, text, 3)
    assert row["reason"] == f"device '{phone.serial}' not found" and row["task_id"] == TASK.id
    assert lost == "reset" or any("cmd simulator reset" in exchange for exchange in row["transcript"])


def test_failures_of_repeated_updates_are_recorded_once(play: Play, phones, tmp_path) -> None:
    phone = LostPhone(phones[0].serial, phones[0].server, INSTANT)
    phone.lost = "reset"
    [episode] = play([TASK], [[]], on=[phone])
    for step in (1, 2, 3, 2, 3, 4):
        Records(tmp_path).write("task_level", step, [episode], [0.0])
    assert [row["step"] for row in read_objects(tmp_path / "task_level" / FAILURES)] == [1, 2, 3, 4]


def test_episodes_of_repeated_updates_are_recorded_once(play: Play, tmp_path) -> None:
    [episode] = play([TASK], [[WAIT, FAILURE]])
    records = Records(tmp_path)
    for step in (1, 2, 3, 2, 3, 4):  # killed in its fourth update, it resumes after the first
        records.write("task_level", step, [episode, episode], [0.0, 1.0])
    read = [trajectory.scores for _, trajectory in read_trajectories(tmp_path / "task_level")]
    assert [scores["step"] for scores in read] == [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("step", [2, 3])  # the killed update, and one after a checkpoint
def test_record_cut_by_a_kill_is_removed(play: Play, tmp_path, step) -> None:
    [episode] = play([TASK], [[WAIT, FAILURE]])
    records, data = Records(tmp_path), tmp_path / "task_level" / DATA
    for number in (1, 2):
        records.write("task_level", number, [episode], [0.0])
    data.write_bytes(data.read_bytes() + data.read_bytes()[:200])
    records.write("task_level", step, [episode], [1.0])
    read = [trajectory.scores["step"] for _, trajectory in read_trajectories(tmp_path / "task_level")]
    assert read == [*range(1, step), step]


def test_records_are_annotations_with_endings_and_scores(play: Play, tmp_path) -> None:
    tasks = one_of_each(popups=0)[:3]
    episodes = play(tasks, [*written(tasks[:2]), [WAIT, FAILURE]])
    records = Records(tmp_path)
    records.write("task_level", 4, episodes, [2.0, 1.5, Random(0).random()])
    records.write("evaluation", 0, episodes[:1])
    read = [trajectory for _, trajectory in read_trajectories(tmp_path / "task_level")]
    assert [trajectory.ending for trajectory in read] == [Ending.SUCCESS, Ending.SUCCESS, Ending.GAVE_UP]
    assert [trajectory.turns for trajectory in read] == [episode.trajectory.turns for episode in episodes]
    scores = {"step": 4.0, "reward": 1.5, "off_path": 0.0} | episodes[1].trajectory.scores
    assert read[1].scores.items() >= scores.items() and read[2].scores["off_path"] == 1.0
    assert [trajectory.task_id for trajectory in read] == [task.id for task in tasks]
    assert len(list(read_trajectories(tmp_path / "evaluation"))) == 1
    shots = {turn.screenshot.sha for trajectory in read for turn in trajectory.turns}
    assert len(list((tmp_path / "task_level" / "images").iterdir())) == len(shots)
