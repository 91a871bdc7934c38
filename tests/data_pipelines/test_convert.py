"""The convert command: its output, its continuation after a kill, and its messages."""

import fcntl
import io
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
import yaml
from encoded import android_control, bytes_feature, click, forest, node, picture, write_records
from PIL import Image
from test_list_sources import aitz_step, cagui_step, episode, odyssey, odyssey_step

from data_pipelines.convert import main
from data_pipelines.leaks import main as find_leaks
from data_pipelines.steps import step_table
from data_pipelines.trajectories import prepare
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Trajectory, read_trajectories

WAIT = {"action_type": "wait"}
SHOP = forest(node((0, 0, 60, 80), "Buy", package="com.shop"))


def downloaded(path: Path, episodes: int = 6) -> Path:
    """AndroidControl in two files, with a broken record and an episode without actions between the others."""
    records = [android_control(n, f"goal {n}", click(50, 60), WAIT, forests=[SHOP] * 3) for n in range(episodes)]
    broken = android_control(90, "broken", click(500, 60))
    write_records(path / "android_control-00000-of-00020", *records[:2], broken, records[2])
    write_records(path / "android_control-00001-of-00020", android_control(91, "x", actions=None), *records[3:])
    splits = {"train": [0, 1, 2, 3, 90], "validation": [4], "test": [5]}
    (path / "splits.json").write_text(json.dumps(splits))
    (path / "test_subsplits.json").write_text(json.dumps({"IDD": [5], "app_unseen": [5]}))
    return path


def convert(*arguments: object) -> int:
    return main(list(map(str, arguments)))


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def tasks(folder: Path) -> list[str]:
    found = [one for _, one in read_trajectories(folder)]
    assert all(isinstance(one, Trajectory) for one in found)
    return [one.task for one in found]


def left_out(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]


def test_data_set_becomes_one_directory_per_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert convert("--source=android_control", downloaded(tmp_path / "in"), out) == 0
    assert tasks(out / "train") == ["goal 0", "goal 1", "goal 2", "goal 3"]
    assert tasks(out / "validation") == ["goal 4"] and tasks(out / "test") == ["goal 5"]
    [(_, tested)] = read_trajectories(out / "test")
    assert tested.subsets == ("IDD", "app_unseen") and tested.app == "com.shop"
    assert tested.turns[0].bbox == (0, 0, 60, 80)
    assert [row["origin"] for row in left_out(out)] == [
        "android_control-00000-of-00020:3",
        "android_control-00001-of-00020:1",
    ]
    assert left_out(out)[0]["reason"] == "step 0: click at (500, 60) is outside the 108x240 picture"
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("trajectories", "click 4, wait 4", "1: com.shop 4", "108x240 8", "Left out: 2 episodes", "no action"):
        assert words in printed
    assert f"train: --annotations.directory={out / 'train'}" in printed and "leak" not in printed


def test_converted_data_trains(tmp_path: Path) -> None:
    assert convert("--source=android_control", downloaded(tmp_path / "in"), tmp_path / "out") == 0
    table = step_table(prepare([tmp_path / "out" / "train"], tmp_path / "p").as_data_source("train"), Resizing())
    assert len(table.steps) == 8 == len(table.thoughtless) and not table.broken
    [found] = table.frames.values()
    assert found.kind == "screenshot" and "as the file says" in found.reason


def test_larger_limit_continues_to_the_result_of_one_conversion(tmp_path: Path) -> None:
    source, flags = downloaded(tmp_path / "in"), ["--source=android_control", "--append_terminate"]
    assert convert(*flags, source, tmp_path / "whole") == 0
    for limit in (1, 3, 3, 2, 5, 100):
        assert convert(*flags, source, tmp_path / "parts", f"--limit={limit}") == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert convert(*flags, source, tmp_path / "whole") == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("limit", "torn"), [(2, "left_out.jsonl"), (3, "train/data.jsonl"), (6, "validation/data.jsonl")]
)
@pytest.mark.parametrize("cut", [5, -30, -2, -1])  # -1: only the line break is missing
def test_line_cut_by_a_kill_is_written_once(tmp_path: Path, limit: int, torn: str, cut: int) -> None:
    source = downloaded(tmp_path / "in")
    assert convert("--source=android_control", source, tmp_path / "whole") == 0
    assert convert("--source=android_control", source, tmp_path / "out", f"--limit={limit}") == 0
    file = tmp_path / "out" / torn
    for images in tmp_path.glob("whole/*/images"):  # they are stored before the line
        shutil.copytree(images, tmp_path / "out" / images.relative_to(tmp_path / "whole"), dirs_exist_ok=True)
    written = file.read_bytes() if file.exists() else b""
    with file.open("ab") as stored:
        stored.write((tmp_path / "whole" / torn).read_bytes()[len(written) :].splitlines(keepends=True)[0][:cut])
    assert convert("--source=android_control", source, tmp_path / "out") == 0
    assert tasks(tmp_path / "out" / "train") == tasks(tmp_path / "whole" / "train")
    for name in ("left_out.jsonl", "train/data.jsonl", "validation/data.jsonl"):
        lines = (tmp_path / "out" / name).read_bytes().splitlines()
        assert lines == (tmp_path / "whole" / name).read_bytes().splitlines()


def test_killed_conversion_resumes_without_duplicates(tmp_path: Path) -> None:
    records = [android_control(n, f"goal {n}", *[WAIT] * 4, size=(270, 600)) for n in range(60)]
    source = write_records(tmp_path / "in" / "android_control-00000-of-00020", *records).parent
    command = [sys.executable, "-m", "data_pipelines.convert", "--source=android_control"]
    data = tmp_path / "out" / "train" / "data.jsonl"
    for lines in (5, 20):
        process = subprocess.Popen([*command, source, tmp_path / "out"], stdout=subprocess.DEVNULL)
        while process.poll() is None and (not data.exists() or data.read_bytes().count(b"\n") < lines):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (tmp_path / "out" / "train" / "images" / "abc.123.draft").touch()
    assert data.read_bytes().count(b"\n") >= 20
    assert convert("--source=android_control", source, tmp_path / "out") == 0
    assert tasks(data.parent) == [f"goal {n}" for n in range(60)]
    assert not list(tmp_path.rglob("*.draft"))


def test_other_settings_another_source_and_a_foreign_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = downloaded(tmp_path / "in"), tmp_path / "out"
    assert convert("--source=android_control", source, out, "--limit=2") == 0
    capsys.readouterr()

    def refused(*arguments: object) -> str:
        assert convert(*arguments) == 2
        return " ".join(capsys.readouterr().out.split())

    assert "was begun with other settings" in refused("--source=android_control", source, out, "--append_terminate")
    assert "it looks like AndroidControl: use --source=android_control" in refused("--source=aitz", source, out)
    (source / "android_control-00000-of-00020").unlink()
    assert f"{out} holds 2 episodes of another source" in refused("--source=android_control", source, out)
    assert f"{source} is not empty and was not begun by convert" in refused("--source=android_control", source, source)
    assert "--split is 'half'; it must be own" in refused(
        "--source=android_control", source, tmp_path / "a", "--split=half"
    )
    assert "has no such split file; it has: splits" in refused(
        "--source=android_control", source, tmp_path / "a", "--split=own:random"
    )
    assert "--thought may name {instruction}" in refused(
        "--source=android_control", source, tmp_path / "a", "--thought={task}"
    )
    (source / "splits.json").write_text('{"../x": [3], "train": [4]}')
    assert "'../x' is not a name of a split" in refused("--source=android_control", source, tmp_path / "a")
    (source / "splits.json").write_text('{"train": 4}')
    assert "splits.json: train must be list" in refused("--source=android_control", source, tmp_path / "a")


def test_source_without_usable_episodes_is_an_error_with_the_first_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "in" / "android_control-00000-of-00020", android_control(1, "x", b"{")).parent
    assert convert("--source=android_control", source, tmp_path / "out") == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "no episode is usable; the first, android_control-00000-of-00020:1: step 0: the action is not JSON" in printed
    )


@pytest.mark.parametrize("flag", ["--limit=0", "--limit=x", "--test_share=2", "--source=nope"])
def test_wrong_flag_is_refused(tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        convert("--source=android_control", downloaded(tmp_path / "in"), tmp_path / "out", flag)
    assert flag.split("=")[0] in capsys.readouterr().err


def test_missing_thoughts_and_added_terminates_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = downloaded(tmp_path / "in")
    rows = ("steps without a thought (no loss on it) |", "terminate added |")

    def counted(out: str, *flags: str) -> list[str]:
        assert convert("--source=android_control", source, tmp_path / out, "--split=none", *flags) == 0
        card = (tmp_path / out / "README.md").read_text()
        return [line.split("|")[2].strip() for row in rows for line in card.splitlines() if f"| {row}" in line]

    assert counted("a") == ["12", "0"]
    assert counted("b", "--append_terminate") == ["18", "6"]
    assert counted("c", "--append_terminate", "--thought=To {instruction}: {sentence}") == ["0", "6"]
    [first, *_] = [one for _, one in read_trajectories(tmp_path / "c" / "train")]
    assert "<think>To goal 0: step 0 of 0</think>" in first.turns[0].response


def test_split_by_instruction_keeps_each_instruction_in_one_split(tmp_path: Path) -> None:
    goals = [f"goal {n % 30}" + "." * (n > 29) for n in range(60)]
    records = [android_control(n, goal, WAIT) for n, goal in enumerate(goals)]
    source = write_records(tmp_path / "in" / "android_control-00000-of-00020", *records).parent
    flags = ["--source=android_control", "--split=instruction", "--test_share=0.3"]
    assert convert(*flags, source, tmp_path / "out") == 0
    train, test = (tasks(tmp_path / "out" / split) for split in ("train", "test"))
    assert len(train) + len(test) == 60 and 3 <= len(set(test)) <= 30
    assert not {task.rstrip(".") for task in train} & {task.rstrip(".") for task in test}
    assert not [line for line in (tmp_path / "out" / "leaks.jsonl").read_text().splitlines() if "instruction" in line]


@pytest.mark.parametrize(
    "flags", [["--test_apps=TickTick,Other"], ["--split=app", "--test_share=0.5"], ["--split=app", "--test_share=0"]]
)
def test_a_split_by_app_keeps_a_test_app_out_of_train(tmp_path: Path, flags: list[str]) -> None:
    apps = [["Chrome"], ["Chrome", "TickTick"], ["Maps"], ["TickTick"], ["Maps", "Mail", "Files"]]
    for number, names in enumerate(apps):
        info = {"category": "a", "app": names, "instruction": f"do {number}"}
        odyssey(tmp_path / "in", odyssey_step(0, "BACK"), name=f"000{number}", task_info=info)
    odyssey(tmp_path / "in", odyssey_step(0, "BACK"), name="0009", task_info={"instruction": "x"})
    assert convert("--source=gui_odyssey", tmp_path / "in", tmp_path / "out", *flags) == 0
    found = {
        split.name: [one.app for _, one in read_trajectories(split)]
        for split in (tmp_path / "out").iterdir()
        if split.is_dir()
    }
    assert sum(map(len, found.values())) == 5
    tested = {app for apps in found.get("test", []) for app in apps.split(", ")}
    if flags[0].startswith("--test_apps"):
        assert found["test"] == ["Chrome, TickTick", "TickTick"]
        tested = {"TickTick"}
        assert not tested & {app for apps in found["train"] for app in apps.split(", ")}
    if flags[-1] == "--test_share=0":
        assert "test" not in found
    assert left_out(tmp_path / "out")[0]["reason"] == "its app is not known, so that it cannot be split by app"


def test_a_split_file_is_chosen_by_name_and_must_name_an_episode_once(tmp_path: Path) -> None:
    for number in range(3):
        odyssey(tmp_path / "in", odyssey_step(0, "BACK"), name=f"000{number}")
    (tmp_path / "in" / "splits").mkdir()
    for name, split in {
        "random": {"train": ["0000.json", "0001.json"], "test": ["0002.json"]},
        "device": {"train": ["0000.json", "0001.json"], "test": ["0001.json"]},
    }.items():
        (tmp_path / "in" / "splits" / f"{name}_split.json").write_text(json.dumps(split))
    assert convert("--source=gui_odyssey", tmp_path / "in", tmp_path / "out") == 0
    assert len(tasks(tmp_path / "out" / "train")) == 2 and len(tasks(tmp_path / "out" / "test")) == 1
    assert convert("--source=gui_odyssey", tmp_path / "in", tmp_path / "other", "--split=own:device") == 0
    assert [row["reason"] for row in left_out(tmp_path / "other")] == [
        f"device_split.json has its name, 000{number}.json, in {count} splits; it must be in one"
        for number, count in ((1, 2), (2, 0))
    ]


def test_test_set_stays_a_test_set_and_folders_become_splits(tmp_path: Path) -> None:
    episode(tmp_path / "c" / "domestic" / "1", [cagui_step(0, 1, 6)], "JPEG", "jpeg")
    assert convert("--source=cagui", tmp_path / "c", tmp_path / "cagui") == 0
    assert tasks(tmp_path / "cagui" / "test") == ["打开闹钟"] and not (tmp_path / "cagui" / "train").exists()
    for split in ("train", "test"):
        episode(tmp_path / "a" / split / "general" / "GENERAL-1", [aitz_step(0, 1, 6)])
    assert convert("--source=aitz", tmp_path / "a", tmp_path / "aitz") == 0
    assert tasks(tmp_path / "aitz" / "train") == tasks(tmp_path / "aitz" / "test") == ["open the clock"]


def test_leaks_between_splits_are_listed_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def one(number: int, goal: str, *colors: int) -> bytes:
        screens = bytes_feature(*(picture((108, 240), color) for color in (*colors, 99)))
        return android_control(number, goal, *[WAIT] * len(colors), screenshots=screens)

    records = [
        one(0, "Open the Clock", 1, 2),
        one(1, "buy milk", 3),
        one(2, " open  the clock. ", 2, 4),
        one(3, "new", 5),
    ]
    source = write_records(tmp_path / "in" / "android_control-00000-of-00020", *records).parent
    (source / "splits.json").write_text(json.dumps({"train": [0, 1], "test": [2, 3]}))
    out = tmp_path / "out"
    assert convert("--source=android_control", source, out) == 0
    printed = " ".join(capsys.readouterr().out.split())
    train, test = out / "train", out / "test"
    places = f"{train / 'data.jsonl'}:1 and {test / 'data.jsonl'}:1"
    assert f"leak: 1 instruction(s) in two splits; the first: 'Open the Clock', {places}" in printed
    leaks = [json.loads(line) for line in (out / "leaks.jsonl").read_text().splitlines()]
    assert [leak["kind"] for leak in leaks] == ["instruction", "screenshot"]
    assert all(Path(place).exists() for place in leaks[1]["places"])
    assert "leak: 1 screenshot(s) in two splits" in (out / "README.md").read_text()
    assert find_leaks([str(train), str(test)]) == 1
    assert f"instruction: Open the Clock: {places}" in capsys.readouterr().out
    assert convert("--source=android_control", source, tmp_path / "none", "--split=none", "--limit=1") == 0
    assert find_leaks([str(tmp_path / "none" / "train"), str(tmp_path / "gone")]) == 2


def test_the_card_has_counts_licence_and_the_files_of_the_splits(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert("--source=android_control", downloaded(tmp_path / "in"), out) == 0
    card = (out / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    parsed = yaml.safe_load(header)
    assert parsed["license"] == "cc-by-4.0"
    [config] = parsed["configs"]
    assert [part["split"] for part in config["data_files"]] == ["train", "test", "validation"]
    features = {feature["name"]: feature for feature in parsed["dataset_info"]["features"]}
    steps = {feature["name"]: feature for feature in features["trajectory"]["list"]}
    elements = {feature["name"] for feature in steps["elements"]["list"]}
    for part in config["data_files"]:
        rows = [json.loads(line) for line in (out / part["path"]).read_text().splitlines()]
        pictures = {step["image"] for row in rows for step in row["trajectory"]}
        assert all(row.keys() <= features.keys() for row in rows)
        assert all(step.keys() <= steps.keys() for row in rows for step in row["trajectory"])
        assert all(one.keys() == elements for row in rows for step in row["trajectory"] for one in step["elements"])
        assert pictures == {path.name for path in (out / part["split"] / "images").iterdir()}
    assert "| trajectories | 4 | 1 | 1 |" in body and "| steps | 8 | 2 | 2 |" in body
    assert "- 1: no action (the first: `android_control-00001-of-00020:1`)" in body
    assert str(tmp_path) not in card


def test_incomplete_image_leaves_out_its_episode(tmp_path: Path) -> None:
    whole = picture((108, 240))
    start, content = whole.index(b"IDAT") - 4, b"IDAT" + zlib.compress(bytes(1000))
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    short = whole[:start] + chunk + whole[-12:]
    screens = bytes_feature(whole, short, whole)
    records = [android_control(1, "x", WAIT, WAIT, screenshots=screens), android_control(2, "y", WAIT)]
    source = write_records(tmp_path / "in" / "android_control-00000-of-00020", *records).parent
    assert convert("--source=android_control", source, tmp_path / "out") == 0
    assert tasks(tmp_path / "out" / "train") == ["y"]
    [row] = left_out(tmp_path / "out")
    assert row["origin"].endswith(":1") and row["reason"].startswith("step 1: screenshot is damaged")


def test_second_conversion_into_the_same_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = downloaded(tmp_path / "in"), tmp_path / "out"
    assert convert("--source=android_control", source, out) == 0
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert convert("--source=android_control", source, out) == 2
    finally:
        os.close(handle)
    assert "another conversion writes" in capsys.readouterr().out


def test_command_imports_no_slow_library() -> None:
    code = "import sys, data_pipelines.convert; print(sorted({name.split('.')[0] for name in sys.modules}))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for library in ("jax", "flax", "transformers", "tensorflow", "tensorflow_datasets", "grain"):
        assert f"'{library}'" not in printed


PEAK = """
import re, sys
from pathlib import Path
from data_pipelines.convert import main
assert main(sys.argv[1:]) == 0
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])  # in kB
"""


@pytest.mark.slow
def test_memory_of_a_conversion_does_not_grow_with_the_source(tmp_path: Path) -> None:
    peaks, noise = {}, random.Random(0)
    for megabytes in (12, 72):
        records = []
        for number in range(megabytes // 3):  # an episode of 3 MB: pictures of noise hardly compress
            screens = [Image.frombytes("RGB", (540, 640), noise.randbytes(540 * 640 * 3)) for _ in range(3)]
            stored = [io.BytesIO() for _ in screens]
            for screen, file in zip(screens, stored, strict=True):
                screen.save(file, "PNG", compress_level=0)
            pictures = bytes_feature(*(file.getvalue() for file in stored))
            records.append(android_control(number, f"goal {number}", WAIT, WAIT, size=(540, 640), screenshots=pictures))
        source = write_records(tmp_path / f"{megabytes}" / "android_control-00000-of-00020", *records)
        assert source.stat().st_size > megabytes * 900_000
        command = [sys.executable, "-c", PEAK, "--source=android_control", source, tmp_path / f"out{megabytes}"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks[megabytes] = int(printed.split()[-1]) // 1000
    assert peaks[72] - peaks[12] < 20, peaks
