"""The golden steps of a run: left-out steps, their report, and refused data."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from tiny_run import CONFIG
from transformers import PreTrainedTokenizerFast

from data_pipelines.steps import stream_steps
from mobile_r1_jax.agent.prompts import PromptFormat
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.config import ActionLevel, Annotations, ConfigError, Run, Shapes
from mobile_r1_jax.model.sharding import make_mesh
from mobile_r1_jax.phones.providers import open_tasks
from mobile_r1_jax.phones.settings import PhoneSettings, SimulatedSettings
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.format_finetuning import golden_group
from mobile_r1_jax.stages.golden import check_screen, golden_steps
from tools.base_policy.tokenizer import train_tokenizer

SIZE = (112, 224)
SHAPES = Shapes(prompt_tokens=(4000,), response_tokens=400, windows=(2,), screens=8)


def session(folder: Path, annotations: Annotations, **changes: object) -> Session:
    settings = {
        "resizing": Resizing(scale=1.0),
        "shapes": SHAPES,
        "phones": PhoneSettings(simulated=SimulatedSettings(size=SIZE)),
    } | changes
    run = Run(folder=folder, system="{instruction}", annotations=annotations, **settings)
    run.directory.mkdir(exist_ok=True)
    prompt_format = PromptFormat(PreTrainedTokenizerFast(tokenizer_object=train_tokenizer()), run.system, run.resizing)
    return Session(run, CONFIG, prompt_format, open_tasks(run.tasks, run.phones), make_mesh("1x1"), Console(quiet=True))


def line(*points: Sequence[int], image: str = "a.png", size: tuple[int, int] = SIZE, **changes: object) -> str:
    calls = [
        json.dumps({"name": "mobile_use", "arguments": {"action": "click", "coordinate": list(point)}})
        for point in points
    ]
    steps = [
        {"image": image, "thought": "", "subtask": "", "action": call, "response": response(call)} for call in calls
    ]
    record = {"app_name": "a", "trajectory_length": len(steps), "instruction": "do", "system": "", "trajectory": steps}
    return json.dumps(record | {"image_width": size[0], "image_height": size[1]} | changes)


def response(call: str) -> str:
    return f"<think>look</think><action>tap</action><tool_call>{call}</tool_call>"


def directory(folder: Path, *lines: str) -> Path:
    images = folder / "data" / "images"
    images.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE).save(images / "a.png")
    Image.new("RGB", (1440, 3200)).save(images / "big.png")
    Image.new("RGB", (1000, 56)).save(images / "wide.png")
    (folder / "data" / "data.jsonl").write_text("".join(f"{one}\n" for one in lines))
    return folder / "data"


BAD = line((50, 60), (50, 60), (1, 1)).replace("look", "<|im_end|>", 1)


LEFT_OUT = (
    "2: not JSON",
    "5: step 0: image no.png: No such file",
    "3: step 1: click: coordinate is outside the 112x224 screenshot image",
    "4: step 0: text holds <|im_end|>",
)


def test_every_start_prints_the_number_of_used_steps_and_the_list_of_unused_ones(tmp_path: Path) -> None:
    lines = [line((50, 60), (90, 200)), "{", line((50, 60), (900, 60), (1, 1)), BAD, line((5, 6), image="no.png")]
    data = directory(tmp_path, *lines)
    ctx = session(tmp_path, Annotations(data, frame="screenshot"))
    listed = ctx.run.directory / "annotations-left-out.txt"
    for _ in range(2):
        steps = golden_steps(ctx)
        found, used = steps.report
        assert found.startswith(f"{data / 'data.jsonl'}: coordinates are in screenshot pixels, as set")
        assert used == f"annotations: 3 steps of 1 file(s); left out: 2 lines and 5 steps, listed in {listed}"
        assert steps.action_level is steps.format_finetuning and len(steps.format_finetuning.steps) == 3
        for row, expected in zip(listed.read_text().splitlines(), LEFT_OUT, strict=True):
            assert row.startswith(f"{data / 'data.jsonl'}:{expected}")
        listed.unlink()
    assert not list(ctx.run.directory.glob("*.draft"))


def test_valid_data_writes_no_list(tmp_path: Path) -> None:
    ctx = session(tmp_path, Annotations(directory(tmp_path, line((50, 60)))))
    found, used = golden_steps(ctx).report
    assert used == "annotations: 1 steps of 1 file(s)" and "coordinates are in screenshot pixels" in found
    assert not list(ctx.run.directory.glob("*left-out*"))


def test_ambiguous_coordinates_ask_for_the_setting(tmp_path: Path) -> None:
    shapes = replace(SHAPES, windows=(100,))
    data = directory(tmp_path, line((259, 526), image="big.png", size=(1440, 3200)))
    ctx = session(tmp_path, Annotations(data), shapes=shapes, resizing=Resizing(scale=1.0, max_pixels=500_000))
    found, _ = golden_steps(ctx).report
    assert "in resized pixels" in found and "set annotations.frame to screenshot or resized" in found
    both = replace(ctx.run, action_level=ActionLevel(Annotations(data, frame="resized")))
    *_, second, _ = golden_steps(replace(ctx, run=both)).report
    assert "as set" in second and "action_level" not in second
    both = replace(
        ctx.run, annotations=both.action_level.annotations, action_level=ActionLevel(annotations=Annotations(data))
    )
    *_, second, _ = golden_steps(replace(ctx, run=both)).report
    assert "set action_level.annotations.frame" in second


def test_annotations_of_the_oracle_are_read_in_model_pixels_and_in_order(tmp_path: Path) -> None:
    for number, resizing in enumerate((Resizing(scale=1.0), Resizing(scale=2.0))):
        ctx = session(
            tmp_path, Annotations(count=3), resizing=resizing, name=f"run{number}", shapes=replace(SHAPES, windows=(8,))
        )
        steps = golden_steps(ctx)
        assert steps.report == (f"annotations: {len(steps.format_finetuning.steps)} steps of 1 file(s)",)
        [found] = steps.format_finetuning.frames.values()
        assert found.kind == "resized" and found.resizing == resizing


@pytest.mark.parametrize(
    ("image", "size", "windows", "reason"),
    [
        ("big.png", (1440, 3200), (2,), "shapes.windows, for a screen of"),
        ("wide.png", (1000, 56), (2,), "shapes.windows, for a screen of"),
        ("big.png", (1440, 3200), (2, 20), "shapes.windows, for a screen of"),
        ("a.png", SIZE, (1,), "2 needed, largest declared bucket is 1"),
    ],
)
def test_screen_with_too_many_windows_is_reported_before_stage_1(
    tmp_path: Path, image: str, size: tuple[int, int], windows: tuple[int, ...], reason: str
) -> None:
    Image.new("RGB", (56, 56)).save(
        directory(tmp_path, line((5, 6), image="ok.png", size=(56, 56)), line((5, 6), image=image, size=size))
        / "images"
        / "ok.png"
    )
    ctx = session(
        tmp_path,
        Annotations(tmp_path / "data", frame="screenshot"),
        resizing=Resizing(scale=1.0, min_pixels=784),
        shapes=replace(SHAPES, windows=windows),
    )
    golden_steps(ctx)
    [left_out] = (ctx.run.directory / "annotations-left-out.txt").read_text().splitlines()
    assert f"{tmp_path / 'data' / 'data.jsonl'}:2: step 0: " in left_out and reason in left_out
    with pytest.raises(ValueError, match="shapes"):
        check_screen(ctx.run, CONFIG.vision, ctx.run.resizing.model_size(*size))


def test_incomplete_pixels_are_detected_before_stage_1(tmp_path: Path) -> None:
    data = directory(tmp_path, line((50, 60)), line((50, 60), image="short.png"))
    whole = (data / "images" / "a.png").read_bytes()
    start, content = whole.index(b"IDAT") - 4, b"IDAT" + zlib.compress(bytes(1000))
    chunk = (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")
    (data / "images" / "short.png").write_bytes(whole[:start] + chunk + whole[-12:])
    ctx = session(tmp_path, Annotations(data))
    assert "1 lines and 0 steps" in golden_steps(ctx).report[-1]
    assert (
        "jsonl:2: step 0: image short.png: screenshot is damaged"
        in (ctx.run.directory / "annotations-left-out.txt").read_text()
    )


def test_run_without_usable_steps_is_a_one_line_error_with_the_field(tmp_path: Path) -> None:
    data = directory(tmp_path, BAD)
    with pytest.raises(ConfigError, match=r"^annotations: no usable step.*jsonl:1: step 0: text holds <\|im_end\|>"):
        golden_steps(session(tmp_path, Annotations(data)))


def other(folder: Path, *lines: str) -> Path:
    """A second directory of annotations."""
    (folder / "second").mkdir()
    return directory(folder / "second", *lines)


def without_thought(row: str) -> str:
    return row.replace("<think>look</think>", "<think></think>")


def test_steps_without_a_thought_are_counted(tmp_path: Path) -> None:
    rows = [line((50, 60), (51, 61)), without_thought(line((5, 6), (7, 8), (500, 6)))]
    ctx = session(tmp_path, Annotations(directory(tmp_path, *rows), frame="screenshot"))
    used = golden_steps(ctx).report[-1]
    assert used.startswith(
        "annotations: 4 steps of 1 file(s), 2 of them without a thought, which carries no loss then;"
    )


def test_several_directories_train_together_by_their_weights(tmp_path: Path) -> None:
    first, second = directory(tmp_path, line((50, 60))), other(tmp_path, *[line((5, 6), (7, 8))] * 4)
    ctx = session(tmp_path, Annotations(mixture={str(first): 3.0, str(second): 1.0}, frame="screenshot"))
    steps = golden_steps(ctx)
    assert f"{first / 'data.jsonl'}: 1 steps, 75% of those drawn" in steps.report
    assert f"{second / 'data.jsonl'}: 8 steps, 25% of those drawn" in steps.report
    assert steps.report[-1] == "annotations: 9 steps of 2 file(s)"
    drawn = stream_steps(steps.format_finetuning, ctx.prompt_format.tokenizer, seed=0)
    files = [step.origin.startswith(str(first)) for step, _ in zip(drawn, range(80), strict=False)]
    assert sum(files) == 60


def test_mixture_with_a_directory_without_usable_steps_is_refused(tmp_path: Path) -> None:
    first, second = directory(tmp_path, line((50, 60))), other(tmp_path, line((500, 600)))
    ctx = session(tmp_path, Annotations(mixture={str(first): 1.0, str(second): 1.0}, frame="screenshot"))
    with pytest.raises(ConfigError, match=r"^annotations: no usable step in .*second/data/data\.jsonl"):
        golden_steps(ctx)


def test_data_without_a_system_message_gets_that_of_the_run(tmp_path: Path) -> None:
    ctx = session(tmp_path, Annotations(directory(tmp_path, line((50, 60)), line((5, 6), system="Own: do"))))
    table = golden_steps(ctx).format_finetuning
    texts = {
        step.origin.split(":")[-2]: ctx.prompt_format.tokenizer.decode(step.prompt.ids)
        for step in stream_steps(table, ctx.prompt_format.tokenizer, seed=0, epochs=1)
    }
    assert texts["1"].startswith("<|im_start|>system\ndo<|im_end|>")
    assert texts["2"].startswith("<|im_start|>system\nOwn: do<|im_end|>")


def test_empty_thought_is_part_of_the_prompt_in_stage_1(tmp_path: Path) -> None:
    data = directory(tmp_path, without_thought(line((50, 60))), line((5, 6)))
    ctx = session(tmp_path, Annotations(data, frame="screenshot"))
    tokenizer = ctx.prompt_format.tokenizer
    for step in stream_steps(golden_steps(ctx).format_finetuning, tokenizer, seed=0, epochs=1):
        group = golden_group(step)
        [completion], ids = group.completions, group.prompt.ids
        assert (*ids, *completion.ids) == (*step.prompt.ids, *step.response_ids)
        if ":1:" in step.origin:
            assert "<think></think>" in tokenizer.decode(ids[-8:]) and "think" not in tokenizer.decode(completion.ids)
        else:
            assert group.prompt is step.prompt
