"""A run with a chat judge: the command with a real server, and the settings that may change when a run resumes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import Body, Reply, chat_server, data_of, graded, says

from mobile_r1_jax import evaluate
from mobile_r1_jax.config import ConfigError, Run, parse_run
from mobile_r1_jax.run_directory import begin, check

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-very-secret-0123456789"
CONFIG = """
name: judged
stages: [task_level]
save_every: 1
system: "Phone. Task: {instruction}"
tell_effects: false
resizing: {scale: 1.0}
shapes: {prompt_tokens: [224], response_tokens: 28, windows: [2], screens: 8}
phones: {count: 4, most_turns: 4, simulated: {size: [112, 224]}}
task_level: {updates: 2, tasks: 2, group: 2, micro_batch: 4, step_weight: 1.0}
evaluation: {episodes: 0, unseen_app_episodes: 0}
judge: {kind: chat, model: m, steps: true, pause_s: 0.01, longest_pause_s: 0.05, timeout_s: 5.0, input_price: 1.0}
"""


def launch(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "judged.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "mobile_r1_jax.launch", f"--config={folder / 'judged.yaml'}", f"--folder={folder}"]
    command += [f"--policy={ROOT / 'assets' / 'tiny-base'}", *flags]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "140", "no_proxy": "127.0.0.1"}
    environment["OPENAI_API_KEY"] = KEY
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


class Moody:
    """Yield a server that fails in every fourth answer, and refuses all requests for some time in the middle."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, body: Body) -> Reply:
        self.count += 1
        if 6 <= self.count < 40 or self.count % 4 == 0:
            return Reply(500, json.dumps({"error": {"message": f"overloaded; your key is {KEY}"}}))
        if "towards_goal" in body["messages"][0]["content"]:
            return says(json.dumps({"reason": "", "towards_goal": self.count % 3 == 0}))
        return graded(len(data_of(body, "Answer")[-1]) % 5)


@pytest.mark.slow
def test_run_with_an_unreliable_chat_judge_trains_waits_and_hides_the_key(tmp_path) -> None:
    with chat_server(Moody()) as server:
        done = launch(tmp_path, f"--judge.base_url={server.url}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "episodes have no grade: judge m at" in done.stdout and "Asking again in" in done.stdout
    directory = tmp_path / "judged"
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["judge_tokens"] > 0 and row["judge_cost"] > 0 and 0 <= row["judge_within_one"] <= 1
    assert (directory / "judge" / "grades.jsonl").stat().st_size > 0
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        assert KEY.encode() not in file.read_bytes(), file
    assert KEY not in done.stdout + done.stderr


@pytest.mark.slow
def test_spent_budget_stops_the_run_with_a_one_line_error(tmp_path) -> None:
    with chat_server(graded(2)) as server:
        done = launch(tmp_path, f"--judge.base_url={server.url}", "--judge.budget=0.0002", "--judge.concurrency=1")
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "error: the judge has cost 0.0002 of a budget of 0.0002; raise judge.budget" in done.stdout


@pytest.mark.slow
def test_evaluate_compares_a_judge_with_known_outcomes(tmp_path) -> None:
    command = [sys.executable, "-m", "mobile_r1_jax.evaluate", "--judge_agreement", f"--folder={tmp_path}"]
    environment = os.environ | {"COLUMNS": "140", "no_proxy": "127.0.0.1"}
    with chat_server(graded(4)) as server:
        command += ["--judge.model=m", f"--judge.base_url={server.url}", "--phones.simulated.size=[112,224]"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100.0 [96.3, 100.0]" in done.stdout and len(list(tmp_path.rglob("disagreements.html"))) == 1


def test_evaluate_names_a_missing_judge(capsys, tmp_path) -> None:
    assert evaluate.main(["--judge_agreement", f"--folder={tmp_path}"]) == 2
    assert "error: judge.model: name the chat model whose agreement is measured" in capsys.readouterr().out


def started_run(folder: Path, *flags: str) -> Run:
    run = parse_run("launch", [f"--folder={folder}", "--name=run", "--phones.simulated.size=[112,224]", *flags])
    begin(run, "policy", say=lambda line: pytest.fail(line))
    for stage in ("action_level", "task_level"):
        (run.directory / "checkpoints" / stage / "20").mkdir(parents=True, exist_ok=True)
    return run


CHAT = ("--judge.kind=chat", "--judge.model=m")


@pytest.mark.parametrize(
    "flag", ["--judge.base_url=http://other/v1", "--judge.tries=9", "--judge.budget=9", "--judge.cache=elsewhere"]
)
def test_address_and_rate_of_a_judge_may_change(tmp_path, flag) -> None:
    prices = "--judge.input_price=1"
    started_run(tmp_path, *CHAT, prices)
    started_run(tmp_path, *CHAT, prices, flag)


@pytest.mark.parametrize("flag", ["--judge.model=n", "--judge.kind=auto", "--judge.votes=3", "--judge.scale=0.5"])
def test_another_judge_is_refused_and_discards_only_the_task_level_stage(tmp_path, flag) -> None:
    started_run(tmp_path, *CHAT)
    run = parse_run("launch", [f"--folder={tmp_path}", "--name=run", "--phones.simulated.size=[112,224]", *CHAT, flag])
    with pytest.raises(ConfigError, match=r"judge\.\w+ was .*discards the checkpoints of task_level, and"):
        check(run, "policy")


def test_rubric_is_identified_by_content_and_not_by_path(tmp_path) -> None:
    rubric = tmp_path / "rubric.md"
    rubric.write_text("Grade kindly.")
    started_run(tmp_path, *CHAT, f"--judge.rubric={rubric}")
    rubric = rubric.rename(tmp_path / "moved.md")
    run = started_run(tmp_path, *CHAT, f"--judge.rubric={rubric}")
    rubric.write_text("Grade strictly.")
    with pytest.raises(ConfigError, match=r"the files of judge\.rubric have changed.*checkpoints of task_level"):
        check(run, "policy")


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--judge.kind=chat", "judge.kind is chat"),
        ("--judge.kind=vision", "vision"),
        ("--judge.votes=0", "judge.votes"),
        ("--judge.base_url=http://me:secret@host", "judge.base_url may hold no user"),
        ("--judge.lost=1.5", "judge.lost"),
    ],
)
def test_impossible_judge_is_refused_before_anything_starts(flag, problem) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_run("launch", [flag])
    assert "secret" not in str(caught.value)
