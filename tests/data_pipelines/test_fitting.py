"""Steps whose prompt is invalid or longer than the shapes are left out and reported."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from small_tokenizer import make_tokenizer
from transformers import PreTrainedTokenizerFast

from data_pipelines.fitting import Room, fitting_steps
from data_pipelines.steps import StepTable, load_step, step_table, stream_steps
from data_pipelines.trajectories import prepare
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn, write_trajectories

RESIZING = Resizing(scale=1.0, min_pixels=28 * 28)
ROOM = Room(10_000, 1000, lambda size: None)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def turn(thought: str = "look", text: str = "ok", size: tuple[int, int] = (56, 112), **more: object) -> Turn:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    call = json.dumps({"name": "mobile_use", "arguments": {"action": "type", "text": text}})
    written = f"<think>{thought}</think><action>do it</action><tool_call>{call}</tool_call>"
    return Turn(Screenshot(file.getvalue()), written, **more)


def trajectory(*turns: Turn, task: str = "task", system: str = "") -> Trajectory:
    return Trajectory(task, "app", system, turns, Ending.SUCCESS)


GOOD = trajectory(turn(), turn())


def table_of(tmp_path: Path, *trajectories: Trajectory) -> StepTable:
    write_trajectories(tmp_path / "data", trajectories)
    return step_table(prepare([tmp_path / "data"], tmp_path / "prepared").as_data_source("train"), RESIZING)


def origins(table: StepTable) -> Iterator[str]:
    for record, step in table.steps:
        yield f"{table.source[record]['line']}/{step}"


@pytest.mark.parametrize(
    ("bad", "step", "token"),
    [
        (trajectory(turn(), turn("<|im_end|>"), turn()), 1, "<|im_end|>"),
        (trajectory(turn(), turn(text="<|im_end|>\n<|im_start|>system\n"), turn()), 1, "<|im_end|>"),
        (trajectory(turn("<|endoftext|>"), turn(), turn()), 0, "<|endoftext|>"),
        (trajectory(turn(), turn(), turn("see <|image_pad|>")), 2, "<|image_pad|>"),
        (trajectory(turn(), turn(), task="say <|im_start|>"), 0, "<|im_start|>"),
        (trajectory(turn(), turn(), system="<|vision_start|>"), 0, "<|vision_start|>"),
        (trajectory(turn(), turn("<|video_pad|>")), 1, "<|video_pad|>"),
        (trajectory(turn(), turn("<|im_end|>", mistake=True), turn()), 1, "<|im_end|>"),
    ],
)
def test_special_token_in_any_field_leaves_out_the_steps_from_there_on(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, bad: Trajectory, step: int, token: str
) -> None:
    table = fitting_steps(table_of(tmp_path, GOOD, bad, GOOD), tokenizer, ROOM)
    kept = [f"2/{index}" for index in range(step)]
    assert sorted(origins(table)) == ["1/0", "1/1", *kept, "3/0", "3/1"]
    [reason] = table.broken
    assert f"data.jsonl:2: step {step}: text holds {token}" in reason
    targets = sum(not one.mistake for one in bad.turns)
    assert table.left_out == targets - step and f"({targets - step} steps left out)" in reason
    assert len(list(stream_steps(table, tokenizer, seed=0, epochs=1))) == 4 + step


def test_usable_steps_keep_their_order(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    table = table_of(tmp_path, *(trajectory(*[turn()] * 3, task=str(index)) for index in range(5)))
    assert fitting_steps(table, tokenizer, ROOM).steps == table.steps


def test_too_long_prompt_is_left_out_and_reported(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    # The screen of step 1 is the largest: its prompt and the next one are longer than the last.
    table = table_of(tmp_path, GOOD, trajectory(turn(), turn(size=(560, 1120)), turn(), turn(), turn()))
    lengths = [len(load_step(table, tokenizer, *step).prompt.ids) for step in table.steps]
    assert max(lengths) != lengths[-1]
    everything = fitting_steps(table, tokenizer, Room(max(lengths), 1000, ROOM.check_screen))
    assert everything.steps == table.steps and not everything.broken
    less = fitting_steps(table, tokenizer, Room(max(lengths) - 1, 1000, ROOM.check_screen))
    assert sorted(origins(less)) == ["1/0", "1/1", "2/0", "2/1"]
    assert re.search(rf"jsonl:2: step 2: a prompt of {max(lengths)} tokens, prompt_tokens leaves room", less.broken[0])


def test_too_long_response_is_left_out_unless_it_is_a_mistake(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    long = "x" * 300
    table = table_of(tmp_path, trajectory(turn(), turn(long), turn()), trajectory(turn(long, mistake=True), turn()))
    table = fitting_steps(table, tokenizer, Room(10_000, 200, ROOM.check_screen))
    assert sorted(origins(table)) == ["1/0", "2/1"]
    assert re.search(r"jsonl:1: step 1: a response of \d+ tokens, response_tokens leaves room for 200", table.broken[0])


def test_refused_screen_is_left_out(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    def check(size: tuple[int, int]) -> None:
        if size[0] > 100:
            raise ValueError(f"a screen of {size} is too large")

    table = table_of(tmp_path, GOOD, trajectory(turn(), turn(size=(112, 56)), turn()))
    table = fitting_steps(table, tokenizer, Room(10_000, 1000, check))
    assert sorted(origins(table)) == ["1/0", "1/1", "2/0"]
    assert "jsonl:2: step 1: a screen of (112, 56) is too large (2 steps left out)" in table.broken[0]


def test_error_names_the_first_step_if_no_step_is_left(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(
        ValueError, match=r"no usable step: all 2 were left out; the first: .*jsonl:1: step 0: a prompt"
    ):
        fitting_steps(table_of(tmp_path, GOOD), tokenizer, Room(3, 1000, ROOM.check_screen))
