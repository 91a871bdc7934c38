"""Evaluation results in a run directory: stored in order, and reused only if nothing that they depend on changed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_episodes import ASTRAY, BROKEN, LOST, STRAIGHT

from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.config import Evaluation, Run
from mobile_r1_jax.evaluation.metrics import Result, Share, measure
from mobile_r1_jax.evaluation.results import RESULTS, find_result, provenance_of, read_results, write_result
from mobile_r1_jax.evaluation.summary import summarize, summary_from_json
from mobile_r1_jax.evaluation.tables import SHARES, table_rows
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.tasks.task import Task


def measured(stage: str, episodes: list[Episode], unseen_app: list[Episode], *more: dict[str, str]) -> Result:
    return measure(stage, [*map(summarize, episodes)], [*map(summarize, unseen_app)], *more)


def test_results_are_stored_in_the_run_directory_in_order(tmp_path: Path) -> None:
    assert read_results(tmp_path) == []
    results = [
        measured("base", [LOST], []),
        measured("format finetuning", [STRAIGHT, LOST], [ASTRAY]),
    ]
    for result in results:
        write_result(tmp_path, result)
    assert read_results(tmp_path) == results
    with (tmp_path / RESULTS).open("a") as file:
        file.write('{"stage": "action-le')  # a kill while it was written
    assert read_results(tmp_path) == results
    newer = measured("base", [STRAIGHT], [])
    write_result(tmp_path, newer)
    assert read_results(tmp_path) == [newer, results[1]]  # the newest of each stage
    rows = table_rows(results)
    assert [row[0] for row in rows] == [title for title in SHARES if title not in ("pass@K",)]
    assert all(len(row) == 3 for row in rows)
    assert rows[0][2] == str(Share(1, 2))


@pytest.mark.parametrize(
    "changed",
    [
        {"run": replace(Run(), seed=1)},
        {"run": replace(Run(), top_p=0.9)},
        {"run": replace(Run(), evaluation=Evaluation(temperature=0.5))},
        {"run": replace(Run(), resizing=Resizing(scale=0.5))},
        {"tasks": [[Task("shop", "Buy tea", {"seed": 2})], []]},
        {"tasks": [[], [Task("shop", "Buy tea", {"seed": 1})]]},
        {"weights": "other"},
    ],
)
def test_result_is_reused_only_for_the_same_weights_tasks_and_settings(changed: dict, tmp_path: Path) -> None:
    now = {"run": Run(), "tasks": [[Task("shop", "Buy tea", {"seed": 1})], []], "weights": "some"}

    def provenance(run: Run, tasks: list[list[Task]], weights: str) -> dict[str, str]:
        return provenance_of(run, tasks, weights=weights)

    result = measured("base", [STRAIGHT], [], provenance(**now))
    write_result(tmp_path, result)
    assert find_result(tmp_path, "base", provenance(**now)) == result
    same = replace(Run(), mesh="8x1", save_every=3, phones=replace(Run().phones, count=99), name="elsewhere")
    assert find_result(tmp_path, "base", provenance(**now | {"run": same})) == result
    assert find_result(tmp_path, "base", provenance(**now | changed)) is None
    assert find_result(tmp_path, "task-level", provenance(**now)) is None


def test_summary_of_an_episode_survives_writing_and_reading() -> None:
    for episode in (STRAIGHT, ASTRAY, LOST, BROKEN):
        assert summary_from_json(json.loads(json.dumps(summarize(episode).as_json()))) == summarize(episode)
