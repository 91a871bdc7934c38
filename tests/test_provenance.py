"""run.json records the command and code of every start, and never a secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.provenance import FILE, MOST_PATCH, code_state, record_start, redact, redacted_command

ROOT = Path(__file__).resolve().parents[1]


def git(folder: Path, *arguments: str) -> str:
    who = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b.c",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b.c",
    }
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | who).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_text("rate = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_every_start_appends_an_entry(tmp_path: Path) -> None:
    for seed in (3, 4):
        record_start(tmp_path, {"seed": seed})
    first, second = json.loads((tmp_path / FILE).read_text())["starts"]
    assert (first["seeds"], second["seeds"]) == ({"seed": 3}, {"seed": 4})
    assert first["versions"]["jax"] == jax.__version__ and {"numpy", "flax", "transformers"} <= set(first["versions"])
    assert first["devices"]["backend"] == "cpu" and first["devices"]["processes"] == 1
    assert sum(first["devices"]["kinds"].values()) == len(jax.devices())
    assert first["python"] == sys.version.split()[0] and first["system"] and first["command"]
    assert first["time"] <= second["time"] and first["time"].endswith("+00:00")


def test_entry_names_the_commit_and_its_patch_applies(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert code_state(checkout) == ({"commit": commit, "dirty": False}, "")
    (checkout / "train.py").write_text("rate = 2\n")
    (checkout / "新 file.txt").write_text("x")
    code, patch = code_state(checkout)
    assert code == {"commit": commit, "dirty": True, "untracked": ["新 file.txt"]} and "+rate = 2" in patch
    git(checkout, "checkout", "-q", "train.py")
    subprocess.run(["git", "-C", str(checkout), "apply"], input=patch, text=True, check=True)
    assert (checkout / "train.py").read_text() == "rate = 2\n"


@pytest.mark.parametrize("how", ["inside another repository", "no repository", "no git", "no commit yet"])
def test_entry_outside_a_checkout_has_no_commit(how: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkout
    if how == "inside another repository":  # like some site-packages
        folder = checkout / "venv"
        folder.mkdir()
    elif how == "no repository":
        (checkout / ".git").rename(checkout / "git")
    elif how == "no git":
        monkeypatch.setenv("PATH", str(checkout))
    else:
        git(checkout, "update-ref", "-d", "HEAD")
    code, patch = code_state(folder)
    assert code["commit"] is None and patch == ""


def test_large_patch_is_truncated_and_its_secrets_are_hidden(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "correct-horse-battery")
    (checkout / "train.py").write_text("key = 'correct-horse-battery'\n" + "x = 1  # long\n" * 100_000)
    code, patch = code_state(checkout)
    assert len(patch) == MOST_PATCH < code["patch_characters"]
    assert "correct-horse" not in patch and "+key = '***'" in patch


@pytest.mark.parametrize("text", ["", "{", "[]", '{"starts": 3}', "null"])
def test_broken_file_is_a_one_line_error_and_is_kept(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(OneLineError, match=r"run\.json is broken") as caught:
        record_start(tmp_path, {})
    assert "\n" not in str(caught.value) and (tmp_path / FILE).read_text() == text


SECRET = "s3cr3t-v4lu3"


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--judge.api_key={SECRET}"],
        ["--judge.api_key", SECRET],
        [f"--token={SECRET}"],
        ["--wandb-token", SECRET],
        [f"--password={SECRET}"],
        [f"--hf.access_token={SECRET}"],
        ["--client_secret", SECRET],
        [f"--judge.url=https://user:{SECRET}@host.example/v1"],
        [f"--judge.url=https://host.example/v1?model=x&api_key={SECRET}"],
        [f"--judge.headers=Authorization: Bearer {SECRET}"],
        [f"--anything={SECRET}"],  # a value of the environment
    ],
)
def test_secrets_of_a_command_line_are_hidden(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", SECRET if "anything" in arguments[0] else "unused-value")
    shown = redacted_command(["python", "-m", "mobile_r1_jax.launch", *arguments, "--seed=3"])
    assert SECRET not in shown and "***" in shown and shown.endswith("--seed=3")


@pytest.mark.parametrize(
    "token",
    [
        "sk-" + "a1" * 12,
        "hf_" + "A1" * 12,
        "ghp_" + "a1" * 18,
        "AKIA" + "A1" * 8,
        "eyJ" + "a1" * 8 + ".eyJhIjoxfQ.c2ln",
    ],
)
def test_tokens_of_known_formats_are_hidden_anywhere(token: str) -> None:
    assert token not in redact(f"--note=x {token} y") and token not in redacted_command([f"--x={token}"])


@pytest.mark.parametrize(
    "argument",
    [
        "--shapes.keep_keys=true",
        "--shapes.response_tokens=96",
        "--shapes.prompt_tokens=[1536,2560]",
        "--policy=runs/tiny:task_level",
        "--system=Phone. Task: {instruction}",
        "--phones.devices.server=192.168.0.7:5037",
    ],
)
def test_ordinary_flags_are_recorded_unchanged(argument: str) -> None:
    assert redacted_command([argument]).strip("'") == argument
