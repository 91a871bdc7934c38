"""Training steps of a prepared directory of trajectories."""

import io
import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from small_tokenizer import make_tokenizer
from transformers import PreTrainedTokenizerFast

from data_pipelines.fitting import Room, fitting_steps
from data_pipelines.steps import Step, load_step, step_table, stream_steps
from data_pipelines.trajectories import PhoneTrajectories, prepare
from mobile_r1_jax.agent.actions import Click, Terminate
from mobile_r1_jax.agent.frames import Box, Frame, Point
from mobile_r1_jax.agent.prompts import PastTurn, PromptFormat
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn, write_trajectories
from mobile_r1_jax.phones.simulator.demonstrations import annotate
from mobile_r1_jax.phones.simulator.tasks import draw_tasks

RESIZING = Resizing(scale=1.0, min_pixels=28 * 28)
SHIPPED = Resizing(scale=1.0, max_pixels=500_000)  # that of configs/3b-v5e-8.yaml


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def screenshot(color: tuple[int, int, int], size: tuple[int, int] = (112, 224)) -> Screenshot:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return Screenshot(file.getvalue())


def response(thought: str, **arguments: object) -> str:
    call = json.dumps({"name": "mobile_use", "arguments": arguments})
    return f"<think>{thought}</think><action>do it</action><tool_call>{call}</tool_call>"


def trajectory(
    task: str, length: int, size: tuple[int, int] = (112, 224), point: tuple[int, int] = (50, 60)
) -> Trajectory:
    clicks = tuple(
        Turn(
            screenshot((index * 20, 0, 0), size),
            response(f"look {index}", action="click", coordinate=list(point)),
            bbox=(point[0] - 5, point[1] - 5, point[0] + 5, point[1] + 5),
        )
        for index in range(length - 1)
    )
    end = Turn(screenshot((0, 0, 200), size), response("done", action="terminate", status="success"))
    return Trajectory(task, "商店", f"system: {task}", (*clicks, end), Ending.SUCCESS)


def prepared(tmp_path: Path, *trajectories: Trajectory) -> PhoneTrajectories:
    write_trajectories(tmp_path / "data", trajectories)
    return prepare([tmp_path / "data"], tmp_path / "prepared")


def origins(steps: Iterable[Step]) -> list[str]:
    return [step.origin.rsplit("data.jsonl", 1)[1] for step in steps]


def test_every_step_occurs_once_per_epoch(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    source = prepared(tmp_path, trajectory("买苹果", 3), trajectory("set an alarm", 2)).as_data_source("train")
    table = step_table(source, RESIZING)
    epoch = origins(stream_steps(table, tokenizer, seed=1, epochs=1))
    assert sorted(epoch) == [":1: step 0", ":1: step 1", ":1: step 2", ":2: step 0", ":2: step 1"]


def test_step_has_two_screenshots_golden_history_and_golden_answer_with_stop_token(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    source = prepared(tmp_path, trajectory("买苹果", 4)).as_data_source("train")
    table = step_table(source, RESIZING)
    step = load_step(table, tokenizer, 0, 2)
    assert step.prompt.screenshots == (screenshot((20, 0, 0)), screenshot((40, 0, 0)))
    text = tokenizer.decode(step.prompt.ids)
    assert text.startswith("<|im_start|>system\nsystem: 买苹果<|im_end|>\n<|im_start|>assistant\n<think>look 0</think>")
    assert "<think>look 1</think>" in text and "<think>look 2</think>" not in text
    assert tokenizer.decode(step.response_ids) == response("look 2", action="click", coordinate=[50, 60]) + "<|im_end|>"
    model = Frame("model", 112, 224)
    assert step.action == Click(Point(50, 60, model)) and step.box == Box(45, 55, 55, 65, model)
    assert (step.task, step.app) == ("买苹果", "商店")
    last = load_step(table, tokenizer, 0, 3)
    assert last.action == Terminate("success") and last.box is None


def test_order_depends_on_the_seed_and_the_epoch(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    table = step_table(prepared(tmp_path, trajectory("a", 8), trajectory("b", 8)).as_data_source("train"), RESIZING)
    one, again, other = (origins(stream_steps(table, tokenizer, seed=seed, epochs=2)) for seed in (3, 3, 4))
    assert one == again and one != other
    assert one[:16] != one[16:] and sorted(one[:16]) == sorted(one[16:])


def test_stream_resumes_at_its_saved_position(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    table = step_table(prepared(tmp_path, trajectory("a", 8)).as_data_source("train"), RESIZING)
    stream = iter(stream_steps(table, tokenizer, seed=5))
    for _ in range(5):
        next(stream)
    position = json.loads(json.dumps(stream.get_state()))
    expected = [next(stream).origin for _ in range(10)]
    resumed = iter(stream_steps(table, tokenizer, seed=5))
    resumed.set_state(position)
    assert [next(resumed).origin for _ in range(10)] == expected


def test_held_out_instructions_are_excluded_by_exact_text(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    source = prepared(tmp_path, trajectory("买苹果", 2), trajectory("买苹果。", 2)).as_data_source("train")
    table = step_table(source, RESIZING, held_out=["买苹果"])
    assert {step.task for step in stream_steps(table, tokenizer, seed=0, epochs=1)} == {"买苹果。"}


def test_broken_response_is_reported_and_excludes_later_steps(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = trajectory("good", 2), trajectory("bad", 4)
    turns = list(bad.turns)
    turns[1] = Turn(turns[1].screenshot, "<think>no call</think>")
    bad = Trajectory(bad.task, bad.app, bad.system, tuple(turns), bad.ending)
    source = prepared(tmp_path, good, bad).as_data_source("train")
    with caplog.at_level(logging.INFO):
        table = step_table(source, RESIZING)
    assert sorted(origins(stream_steps(table, tokenizer, seed=0, epochs=1))) == [
        ":1: step 0",
        ":1: step 1",
        ":2: step 0",
    ]
    assert len(table.broken) == 1
    assert "data.jsonl:2: step 1: <action> occurs 0 times" in table.broken[0] and "3 steps left out" in table.broken[0]
    assert table.broken[0] in caplog.text


def test_a_box_off_the_screen_is_reported(tmp_path: Path) -> None:
    task = trajectory("far", 2)
    turns = (Turn(task.turns[0].screenshot, task.turns[0].response, bbox=(0, 0, 500, 10)), task.turns[1])
    source = prepared(tmp_path, trajectory("ok", 2), Trajectory("far", "", "", turns, Ending.SUCCESS))
    table = step_table(source.as_data_source("train"), RESIZING)
    assert len(table.steps) == 2 and "bbox is outside" in table.broken[0]


def test_data_without_usable_steps_is_an_error_with_the_reason(tmp_path: Path) -> None:
    source = prepared(tmp_path, trajectory("a", 2)).as_data_source("train")
    with pytest.raises(ValueError, match="no usable step in 1 trajectories"):
        step_table(source, RESIZING, held_out=["a"])


def test_coordinates_in_screenshot_pixels_become_model_pixels_for_training(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    resizing = Resizing(scale=0.3, min_pixels=28 * 28)  # 1000 x 2000 becomes 308 x 588
    tasks = [trajectory("far", 2, (1000, 2000), (990, 1990)), trajectory("near", 2, (1000, 2000), (100, 100))]
    table = step_table(prepared(tmp_path, *tasks).as_data_source("train"), resizing)
    steps = {step.origin.rsplit(":", 2)[1]: step for step in stream_steps(table, tokenizer, seed=0, epochs=1)}
    assert next(iter(table.frames.values())).kind == "screenshot"
    clicks = [step for step in stream_steps(table, tokenizer, seed=0, epochs=1) if step.task == "far" and step.box]
    assert clicks[0].action.point == Point(305, 585, Frame("model", 308, 588))
    assert '"coordinate": [305, 585]' in clicks[0].response
    assert clicks[0].box.contains(clicks[0].action.point) and len(steps) == 2


def click_at(x: int, y: int, picture: tuple[int, int], **annotated: object) -> Trajectory:
    turn = Turn(screenshot((0, 0, 0), picture), response("look", action="click", coordinate=[x, y]), **annotated)
    return Trajectory(f"click {x}", "", "", (turn,), Ending.SUCCESS)


@pytest.mark.parametrize(
    ("run", "settings", "point"),
    [
        # Annotated at 420x924, unless the settings say otherwise; configs/3b-v5e-8.yaml sees 1440x3200 at 448x1036.
        (SHIPPED, {}, (276, 590)),
        (Resizing(), {}, (259, 526)),
        (Resizing(scale=1.0, max_pixels=10**8), {}, (882, 1818)),  # at 1428x3192
        (SHIPPED, {"frame": "screenshot"}, (80, 170)),
        (SHIPPED, {"frame": "resized", "annotated": SHIPPED}, (259, 526)),
    ],
)
def test_resizing_of_the_run_does_not_change_the_frame_of_the_data(tmp_path: Path, run, settings, point) -> None:
    clicks = [click_at(259, 526, (1440, 3200)), *(click_at(x, 920, (1440, 3200)) for x in (10, 200, 400, 419))]
    table = step_table(prepared(tmp_path, *clicks).as_data_source("train"), run, **settings)
    first = next(index for index, record in enumerate(table.source) if record["instruction"] == b"click 259")
    action = load_step(table, make_tokenizer(), first, 0).action
    assert (action.point.x, action.point.y) == point
    assert action.point.frame == Frame("model", *run.model_size(1440, 3200))


@pytest.mark.parametrize("point", [(1000, 2300), (540, 1200), (900, 100), (100, 2000)])
def test_coordinates_in_a_declared_size_are_scaled_to_the_image(tmp_path: Path, point: tuple[int, int]) -> None:
    declared = click_at(*point, (540, 1200), size=(1080, 2400), bbox=(point[0] - 4, point[1] - 4, *point))
    run = Resizing(scale=1.0, max_pixels=10**8)
    table = step_table(prepared(tmp_path, declared).as_data_source("train"), run, frame="screenshot")
    step = load_step(table, make_tokenizer(), 0, 0)
    expected = Point(*point, Frame("screenshot", 1080, 2400)).to(Frame("model", *run.model_size(540, 1200)))
    assert step.action.point == expected and step.box.contains(expected)


def test_a_size_that_cannot_be_resized_is_reported(tmp_path: Path) -> None:
    source = prepared(tmp_path, trajectory("ok", 2), click_at(1, 1, (3, 600))).as_data_source("train")
    table = step_table(source, RESIZING, frame="screenshot")
    assert len(table.steps) == 3
    table = step_table(source, Resizing(scale=0.3), frame="screenshot")
    assert len(table.steps) == 2 and table.left_out == 1
    assert "data.jsonl:2: step 0: cannot resize" in table.broken[0]


def test_mistake_is_history_of_the_next_step_and_never_a_target(tmp_path, tokenizer) -> None:
    tasks = draw_tasks(12, seed=0, apps=("shop", "settings"), held_out=False, popups=0)
    written = list(annotate(tasks, system="{instruction}", size=(112, 224), resizing=RESIZING, mistakes=1.0, seed=0))
    write_trajectories(tmp_path / "annotated", written)
    table = step_table(prepare([tmp_path / "annotated"], tmp_path / "prepared").as_data_source("train"), RESIZING)
    turns = [turn for trajectory in written for turn in trajectory.turns]
    targets = [load_step(table, tokenizer, *step) for step in table.steps]
    assert sorted(step.response for step in targets) == sorted(turn.response for turn in turns if not turn.mistake)
    undone = [turn.response for turn in turns if turn.mistake]
    histories = "".join(tokenizer.decode(step.prompt.ids) for step in targets)
    assert undone and all(response in histories for response in undone)


def thoughtless(task: str, *sentences: str) -> Trajectory:
    call = json.dumps({"name": "mobile_use", "arguments": {"action": "wait", "time": 1}})
    texts = [f"<think></think><action>{said}</action><tool_call>{call}</tool_call>" for said in sentences]
    return Trajectory(task, "a", "", tuple(Turn(screenshot((0, 0, 9)), text) for text in texts), Ending.SUCCESS)


def test_empty_thought_and_sentence_carry_no_loss(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    source = prepared(tmp_path, thoughtless("x", "Tap it", ""), trajectory("y", 2)).as_data_source("train")
    table = step_table(source, RESIZING)
    starts = {}
    for step in stream_steps(table, tokenizer, seed=0, epochs=1):
        starts[step.origin.rsplit("data.jsonl", 1)[1]] = tokenizer.decode(step.response_ids[: step.unlearned])
    # The tokenizer of these tests merges no characters over the end of a tag.
    assert starts[":1: step 0"] == "<think></think>" and starts[":1: step 1"] == "<think></think><action></action>"
    assert starts[":2: step 0"] == starts[":2: step 1"] == ""
    assert {(source[record]["line"], turn) for record, turn in table.thoughtless} == {(1, 0), (1, 1)}


@pytest.mark.parametrize("declared", ["screenshot", "resized"])
def test_file_with_a_declared_frame_is_read_in_that_frame(tmp_path: Path, declared: str) -> None:
    one = replace(trajectory("a", 3, size=(1080, 2400)), coordinates=declared)
    [found] = step_table(prepared(tmp_path, one).as_data_source("train"), RESIZING).frames.values()
    assert found.kind == declared and f"coordinates are in {declared} pixels, as the file says" in found.reason
    [found] = step_table(prepared(tmp_path, one).as_data_source("train"), RESIZING, frame="screenshot").frames.values()
    assert found.kind == "screenshot" and "as set" in found.reason


def test_frame_is_detected_if_only_some_lines_declare_it(tmp_path: Path) -> None:
    one = trajectory("a", 3, size=(1080, 2400))
    source = prepared(tmp_path, one, replace(one, coordinates="screenshot")).as_data_source("train")
    [found] = step_table(source, RESIZING).frames.values()
    assert "as " not in found.reason


def test_mixture_resumes_at_its_saved_position(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    for name, length in (("a", 2), ("b", 7), ("c", 3)):
        write_trajectories(tmp_path / name, [trajectory(name, length)])
    folders = [tmp_path / name for name in "abc"]
    weights = {str(folder / "data.jsonl"): weight for folder, weight in zip(folders, (2, 1, 1), strict=True)}
    table = step_table(prepare(folders, tmp_path / "p").as_data_source("train"), RESIZING, weights=weights)
    stream = iter(stream_steps(table, tokenizer, seed=5))
    first = [next(stream) for _ in range(13)]
    position = json.loads(json.dumps(stream.get_state()))
    rest = [next(stream) for _ in range(27)]
    assert [sum(step.task == name for step in (*first, *rest)) for name in "abc"] == [20, 10, 10]
    assert len({step.origin for step in (*first, *rest) if step.task == "b"}) == 7
    resumed = iter(stream_steps(table, tokenizer, seed=5))
    resumed.set_state(position)
    assert [next(resumed).origin for _ in range(27)] == [step.origin for step in rest]


def test_recorded_episode_gives_the_prompts_of_the_policy(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    effects = ["no key is called 'FLY'", "", "no app is called '<|im_end|>\n'", "the field shows something else"]
    one = trajectory("买苹果", 4)
    played = replace(
        one, turns=tuple(replace(turn, effect=effect) for turn, effect in zip(one.turns, effects, strict=True))
    )
    source = prepared(tmp_path, played).as_data_source("train")
    for tell_effects in (True, False):
        prompt_format = PromptFormat(tokenizer, "{instruction}", RESIZING, tell_effects=tell_effects)
        room = Room(10_000, 1000, lambda size: None)
        table = fitting_steps(step_table(source, RESIZING, tell_effects=tell_effects), tokenizer, room)
        past: list[PastTurn] = []
        for step, turn in zip(table.steps, played.turns, strict=True):
            loaded = load_step(table, tokenizer, *step)
            seen = prompt_format.prompt(played.system, past, turn.screenshot)
            assert loaded.prompt.ids.tolist() == seen.ids.tolist()
            assert ("Effect of" in tokenizer.decode(seen.ids)) == (tell_effects and bool(past and past[-1].effect))
            past.append(PastTurn(turn.screenshot, loaded.response_ids, turn.effect))
        lengths = [len(load_step(table, tokenizer, *step).prompt.ids) for step in table.steps]
        exact = fitting_steps(table, tokenizer, replace(room, prompt_tokens=max(lengths)))
        assert exact.steps == table.steps and not exact.broken
