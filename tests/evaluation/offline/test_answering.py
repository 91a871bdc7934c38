"""Answers to golden steps: prompts as in training, predictions as they finish, and a run that resumes after a kill."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from data_pipelines.fitting import Room
from mobile_r1_jax.agent.actions import Click, Malformed, to_frame
from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.prompts import Prompt, PromptFormat, response_ids
from mobile_r1_jax.agent.responses import Response, format_response
from mobile_r1_jax.agent.screenshots import PUBLISHED_RESIZING, Resizing
from mobile_r1_jax.agent.trajectory import read_trajectories
from mobile_r1_jax.config import ConfigError, Evaluation, parse_run
from mobile_r1_jax.evaluation.offline.answering import (
    GoldenData,
    Question,
    answer_questions,
    open_golden_data,
    read_questions,
)
from mobile_r1_jax.evaluation.offline.predictions import Prediction, read_predictions
from mobile_r1_jax.evaluation.offline.scores import score_predictions
from mobile_r1_jax.model.tokenizer import load_tokenizer
from mobile_r1_jax.phones.simulator.suite import SimulatorTasks
from mobile_r1_jax.session import open_session
from mobile_r1_jax.stages.offline import apps_of, evaluate_on_data, open_data, predict, training_apps
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split
from tools.held_out_annotations import write_held_out

SIZE = (112, 224)
SUITE = SimulatorTasks(("settings", "shop", "messages", "launcher"), ("clock",), popups=0.0, size=SIZE)
ROOM = Room(prompt_tokens=4000, response_tokens=4000, check_screen=lambda size: None)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held-out")
    write_held_out(SUITE, folder, count=2, seed=0, system="Phone. Task: {instruction}", popups=0.0)
    return folder


@pytest.fixture(scope="module")
def prompt_format() -> PromptFormat:
    run = parse_run("evaluate", [])
    return PromptFormat(load_tokenizer(run.policy, None), run.system, Resizing(scale=2.0))


class Script:
    """Replace the engine: answer by a function of the prompt, and count the prompts that are open at once."""

    rows = 2

    def __init__(self, ids: Sequence[int], fail_after: int = 1000) -> None:
        self.ids, self.left, self.open, self.most_open, self.seeds = ids, fail_after, 0, 0, set[int]()

    async def sample(self, prompt: Prompt, seed: int) -> Completion:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0.001)
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device", "disk")
        self.open -= 1
        self.seeds.add(seed)
        return Completion(tuple(self.ids))


def questions(data: GoldenData, prompt_format: PromptFormat, **settings: object) -> list[Question | str]:
    return list(read_questions(data, prompt_format, settings.pop("room", ROOM), **settings))


def answer(data: GoldenData, prompt_format: PromptFormat, script: Script, out: Path, **settings: object) -> list[str]:
    asked = read_questions(data, prompt_format, ROOM, **settings)
    return asyncio.run(answer_questions(asked, script, prompt_format, out, made_by="me", seed=0))


def test_held_out_annotations_are_excluded_from_training(held_out: Path) -> None:
    read = [trajectory for _, trajectory in read_trajectories(held_out)]
    assert [trajectory.subsets for trajectory in read] == [("unseen_parameters",)] * 2 + [("unseen_apps",)] * 2
    assert {trajectory.task for trajectory in read[:2]} <= SUITE.instructions(Split.UNSEEN_PARAMETERS)
    assert {trajectory.app for trajectory in read[2:]} == {"clock"}
    style = DemonstrationStyle("{instruction}", Resizing(scale=1.0), 0.2, 0.1)
    training = list(SUITE.demonstrations(30, 0, style))
    assert not {one.task for one in training} & SUITE.instructions(Split.UNSEEN_PARAMETERS)
    assert {one.coordinates for one in SUITE.demonstrations(2, 0, replace(style, resizing=None))} == {"screenshot"}
    none = replace(SUITE, unseen_apps=())
    assert list(none.demonstrations(3, 0, style, Split.UNSEEN_APPS)) == []


def test_golden_steps_use_annotated_pixels_and_prompts_use_model_pixels(
    held_out: Path, prompt_format: PromptFormat
) -> None:
    data = open_golden_data(held_out, "auto", PUBLISHED_RESIZING)
    assert data.frame.kind == "screenshot" and "as the file says" in data.frame.reason and data.broken == ()
    asked = questions(data, prompt_format, seen_apps={"settings", "shop", "messages"})
    trajectories = [trajectory for _, trajectory in read_trajectories(held_out)]
    assert len(asked) == data.steps == sum(len(one.turns) for one in trajectories)
    assert "clock" in data.apps
    for question in asked:
        one = question.prediction
        turn = trajectories[int(one.trajectory.split(":")[1]) - 1].turns[one.step]
        assert one.golden.frame == Frame("screenshot", *SIZE) and one.frame == Frame("model", 224, 448)
        assert one.frame == question.prompt.frame and question.prompt.screenshots[-1] == turn.screenshot
        assert one.golden.elements == turn.elements and one.seen == (one.app != "clock")
        if isinstance(one.golden.action, Click):
            assert one.golden.box.contains(one.golden.action.point)
            assert one.golden.text_at(one.golden.spot) != ""
        assert len(question.prompt.screenshots) == min(2, one.step + 1)  # the golden history


def test_golden_answers_are_right_under_every_rule_set_without_quirks(
    held_out: Path, prompt_format: PromptFormat, tmp_path: Path
) -> None:
    data = open_golden_data(held_out, "auto", PUBLISHED_RESIZING)
    tokenizer, out = prompt_format.tokenizer, tmp_path / "p.jsonl"

    class Oracle(Script):
        async def sample(self, prompt: Prompt, seed: int) -> Completion:
            golden = next(one for one in asked if (one.prompt.ids.tolist()) == prompt.ids.tolist())
            action = to_frame(golden.prediction.golden.action, golden.prediction.frame)
            return Completion(response_ids(tokenizer, format_response(Response("t", "s", action))))

    asked = questions(data, prompt_format)
    assert answer(data, prompt_format, Oracle(()), out) == []
    scores = score_predictions(out)
    for rule in set(scores.rules) - {"infigui", "agentcpm_ac", "ui_s1"}:
        assert scores.of(rule).accuracy.value == 1, rule
    assert scores.of("mobile_r1").success.hits == 4 and scores.incomplete == 0


def test_failed_run_resumes_at_its_last_prediction_with_few_open_prompts(
    held_out: Path, prompt_format: PromptFormat, tmp_path: Path
) -> None:
    data, out = open_golden_data(held_out, "auto", PUBLISHED_RESIZING), tmp_path / "p.jsonl"
    ids = prompt_format.tokenizer.encode("What?")
    first = Script(ids, fail_after=5)
    with pytest.raises(OSError, match="No space left"):
        answer(data, prompt_format, first, out)
    found = {one.key for _, one in read_predictions(out)}
    assert len(found) == 5
    second = Script(ids)
    answer(data, prompt_format, second, out, answered=found)
    written = [one for _, one in read_predictions(out)]
    assert len(written) == data.steps == len(second.seeds) + 5 and second.most_open <= 2 * Script.rows
    assert all(isinstance(one, Prediction) and isinstance(one.predicted, Malformed) for one in written)
    assert {one.response for one in written} == {"What?"} and {one.made_by for one in written} == {"me"}


def test_steps_too_long_and_broken_lines_make_their_trajectories_incomplete(
    prompt_format: PromptFormat, tmp_path: Path
) -> None:
    write_held_out(SUITE, tmp_path, count=2, seed=1, system="Task: {instruction}", popups=0.0)
    lines = (tmp_path / "data.jsonl").read_text().splitlines()
    second = json.loads(lines[1])
    second["trajectory"][1]["response"] = "Tap it."
    lines[1] = json.dumps(second)
    (tmp_path / "data.jsonl").write_text("\n".join([lines[0], lines[1], "{", lines[2]]))
    data = open_golden_data(tmp_path, "auto", PUBLISHED_RESIZING)
    assert data.broken == (f"{tmp_path / 'data.jsonl'}:3: {data.broken[0].split(': ', 1)[1]}",)
    asked = questions(data, prompt_format)
    [left_out] = [one for one in asked if isinstance(one, str)]
    assert left_out.startswith(f"{tmp_path / 'data.jsonl'}:2: step 1: ") and "steps left out" in left_out
    longest = max(len(one.prompt.ids) for one in asked if isinstance(one, Question))
    fewer = questions(data, prompt_format, room=replace(ROOM, prompt_tokens=longest - 1))
    assert any("prompt_tokens leaves room for" in one for one in fewer if isinstance(one, str))
    out = tmp_path / "p.jsonl"
    assert answer(data, prompt_format, Script(prompt_format.tokenizer.encode("?")), out) == [left_out]
    assert score_predictions(out).incomplete == 1


def test_mistakes_are_history_and_not_golden_steps(prompt_format: PromptFormat, tmp_path: Path) -> None:
    write_held_out(SUITE, tmp_path, count=1, seed=2, system="Task: {instruction}", popups=0.0)
    record = json.loads((tmp_path / "data.jsonl").read_text().splitlines()[0])
    record["trajectory"][0]["mistake"] = True
    (tmp_path / "data.jsonl").write_text(json.dumps(record))
    data = open_golden_data(tmp_path, "auto", PUBLISHED_RESIZING)
    asked = questions(data, prompt_format)
    assert [one.prediction.step for one in asked] == list(range(1, len(record["trajectory"])))
    assert {one.prediction.steps for one in asked} == {len(record["trajectory"]) - 1}


def test_data_without_usable_steps_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("{\n[]\n")
    with pytest.raises(OneLineError, match=r"data\.jsonl: no golden step, 2 broken lines; the first: .*:1: not JSON"):
        open_golden_data(tmp_path, "auto", PUBLISHED_RESIZING)
    with pytest.raises(ConfigError, match=r"^evaluation\.data: no data\.jsonl in"):
        parse_run("launch", [f"--evaluation.data={tmp_path / 'none'}"])


def test_policy_is_evaluated_on_a_data_set(held_out: Path, tmp_path: Path) -> None:
    """The base policy of the demo answers a few steps; the second run samples nothing."""
    few = tmp_path / "few"
    few.mkdir()
    (few / "images").symlink_to(held_out / "images")
    (few / "data.jsonl").write_text((held_out / "data.jsonl").read_text().splitlines()[0])
    run = replace(parse_run("evaluate", []), folder=tmp_path, evaluation=Evaluation(data=few))
    run.directory.mkdir()
    session, policy = open_session(run, Console(quiet=True))
    data = open_data(session, few, "auto", "evaluation.data")
    scores = asyncio.run(evaluate_on_data(session, "base", policy, data))
    out = run.directory / "offline" / "evaluation-base.jsonl"
    assert len(scores.steps) == data.steps and scores.steps[0].seen is True and out.with_suffix(".json").exists()
    before = out.read_bytes()
    again = asyncio.run(evaluate_on_data(session, "base", policy, data))
    assert again == scores and out.read_bytes() == before
    with pytest.raises(OneLineError, match="made by another policy"):
        asyncio.run(predict(session, policy, data, out, title="p", temperature=0.5))
    assert training_apps(session) == {"settings", "shop", "messages", "launcher"}
    assert apps_of(held_out) > {"clock"}
