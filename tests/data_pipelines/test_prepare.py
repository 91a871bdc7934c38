"""The TFDS builder: records of a directory, and broken lines."""

import gzip
import io
import json
import logging
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tensorflow_datasets.core import shuffle

from data_pipelines.trajectories import prepare


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (28, 56)).save(file, "PNG")
    return file.getvalue()


def record(**changes: object) -> str:
    call = '{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [3, 4]}}'
    step = {
        "image": "a.png",
        "thought": "想",
        "subtask": "点",
        "action": call,
        "response": f"<think>想</think><action>点</action><tool_call>{call}</tool_call>",
    }
    step.update(changes.pop("step", {}))
    line = {
        "app_name": "时钟",
        "trajectory_length": 1,
        "instruction": "设闹钟",
        "system": "你操作手机",
        "image_width": 28,
        "image_height": 56,
        "trajectory": [step],
    }
    return json.dumps({**line, **changes}, ensure_ascii=False)


def directory(path: Path, *lines: str | bytes) -> Path:
    (path / "images").mkdir(parents=True)
    (path / "images" / "a.png").write_bytes(png())
    (path / "data.jsonl").write_bytes(b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines))
    return path


def test_published_line_becomes_a_record_with_an_unchanged_screenshot(tmp_path: Path) -> None:
    dataset = prepare([directory(tmp_path / "data", record(step={"bbox": [1, 2, 3, 4]}))], tmp_path / "prepared")
    assert dataset.info.metadata["broken"] == []
    (example,) = dataset.as_data_source("train")
    assert example["instruction"].decode() == "设闹钟" and example["line"] == 1
    assert list(example["trajectory"]["image"]) == [png()]
    assert [list(box) for box in example["trajectory"]["bbox"]] == [[1, 2, 3, 4]]


def test_broken_lines_are_reported_counted_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = directory(
        tmp_path / "data",
        record(),
        record()[:-9],
        record(trajectory_length=2),
        record(step={"image": "b.png"}),
        b"\xff\xfe",
        record(instruction=7),
        record(step={"image": "damaged.png"}),
    )
    damaged = bytearray(png())
    damaged[45] ^= 0xFF
    (source / "images" / "damaged.png").write_bytes(damaged)
    with caplog.at_level(logging.INFO):
        dataset = prepare([source], tmp_path / "prepared")
    assert len(dataset.as_data_source("train")) == 1
    lines = {line: reason for _, line, reason in dataset.info.metadata["broken"]}
    assert sorted(lines) == [2, 3, 4, 5, 6, 7]
    assert "not JSON" in lines[2] and "trajectory_length is 2" in lines[3] and "No such file" in lines[4]
    assert "UTF-8" in lines[5] and "instruction must be str" in lines[6] and "damaged" in lines[7]
    assert f"{source / 'data.jsonl'}:3: left out: trajectory_length is 2" in caplog.text
    assert "6 broken lines left out" in caplog.text


def test_count_of_broken_lines_is_stored_with_the_prepared_data(tmp_path: Path) -> None:
    source = directory(tmp_path / "data", record(), "{")
    prepare([source], tmp_path / "prepared")
    assert len(prepare([source], tmp_path / "prepared").info.metadata["broken"]) == 1


def test_changed_data_is_prepared_again(tmp_path: Path) -> None:
    source = directory(tmp_path / "data", record())
    assert len(prepare([source], tmp_path / "prepared").as_data_source("train")) == 1
    (source / "data.jsonl").write_text(record() + "\n" + record() + "\n")
    assert len(prepare([source], tmp_path / "prepared").as_data_source("train")) == 2


def test_order_of_records_does_not_depend_on_file_paths(tmp_path: Path) -> None:
    lines, orders = [record() for _ in range(20)], []
    for place in ("here", "there"):
        sources = [directory(tmp_path / place / name, *lines) for name in ("first", "second")]
        examples = prepare(sources, tmp_path / "prepared").as_data_source("train")
        orders.append([(Path(one["file"].decode()).parent.name, int(one["line"])) for one in examples])
    assert orders[0] == orders[1] and len(set(orders[0])) == 40


def test_error_names_the_first_line_if_no_line_is_usable(tmp_path: Path) -> None:
    source = directory(tmp_path / "data", "{", "[]")
    with pytest.raises(
        ValueError, match=r"no usable trajectory in .*2 lines, all broken; the first: .*jsonl:1: not JSON"
    ):
        prepare([source], tmp_path / "prepared")


def test_directory_without_data_is_an_error_before_reading_starts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no data\.jsonl in"):
        prepare([tmp_path], tmp_path / "prepared")


def test_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no usable trajectory in .*: no line in it"):
        prepare([directory(tmp_path / "data")], tmp_path / "prepared")


def test_repaired_image_is_prepared_again(tmp_path: Path) -> None:
    source = directory(tmp_path / "data", record(), record(step={"image": "b.png"}))
    assert len(prepare([source], tmp_path / "prepared").as_data_source("train")) == 1
    (source / "images" / "b.png").write_bytes(png())
    assert len(prepare([source], tmp_path / "prepared").as_data_source("train")) == 2


def test_jpeg_scaled_images_and_compressed_files_with_a_mark_are_read(tmp_path: Path) -> None:
    source = directory(tmp_path / "data")
    (source / "data.jsonl").unlink()
    lines = record(step={"image": "a.jpg"}) + "\n" + record(image_width=56, image_height=112) + "\n"
    (source / "data.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + lines.encode()))
    Image.new("L", (28, 56), 7).save(source / "images" / "a.jpg")
    dataset = prepare([source], tmp_path / "prepared")
    assert dataset.info.metadata["broken"] == []
    first, second = sorted(dataset.as_data_source("train"), key=lambda example: example["line"])
    assert first["file"].decode().endswith("data.jsonl.gz")
    assert Image.open(io.BytesIO(first["trajectory"]["image"][0])).format == "PNG"
    assert [list(example["trajectory"]["size"][0]) for example in (first, second)] == [[28, 56], [56, 112]]


def test_data_over_the_memory_limit_of_tfds_needs_no_tensorflow(tmp_path: Path, monkeypatch) -> None:
    names = [f"{number}.png" for number in range(20)]
    source = directory(tmp_path / "data", *(record(step={"image": name}) for name in names * 2))
    for number, name in enumerate(names):
        pixels = random.Random(number).randbytes(28 * 56 * 3)
        Image.frombytes("RGB", (28, 56), pixels).save(source / "images" / name)
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 40_000)  # of 1 GB, as the screenshots take 190 kB
    examples = prepare([source], tmp_path / "prepared").as_data_source("train")
    read = {example["line"]: example["trajectory"]["image"][0] for example in examples}
    assert read == {line: (source / "images" / names[(line - 1) % 20]).read_bytes() for line in range(1, 41)}
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared" / "pictures").iterdir()}
    assert len(stored) == 20
    (source / "data.jsonl").write_text(record() + "\n" + record(step={"image": "3.png"}) + "\n")
    assert len(prepare([source], tmp_path / "prepared").as_data_source("train")) == 2
    assert all(path.stat().st_mtime_ns == time for path, time in stored.items())


def test_missing_prepared_screenshots_are_an_error_at_the_start(tmp_path: Path) -> None:
    source = directory(tmp_path / "data", record())
    prepare([source], tmp_path / "prepared")
    shutil.rmtree(tmp_path / "prepared" / "pictures")
    with pytest.raises(ValueError, match=r"1 prepared screenshots are gone, the first: .*\.png; delete .*prepared"):
        prepare([source], tmp_path / "prepared")


def test_tensorflow_is_never_imported(tmp_path: Path) -> None:
    source = directory(tmp_path / "data", record())
    code = (
        "import sys; from data_pipelines.trajectories import prepare;"
        f"prepare([{str(source)!r}], {str(tmp_path / 'prepared')!r}).as_data_source('train')[0];"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
