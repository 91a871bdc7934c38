"""The wheel: its contents, and the main job from an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    *("--phones.count=2", "--phones.most_turns=3", "--evaluation.episodes=1", "--evaluation.unseen_app_episodes=0"),
    *("--annotations.count=8", "--format_finetuning.updates=1", "--action_level.annotations.count=4"),
    *("--action_level.updates=1", "--task_level.updates=1", "--task_level.tasks=1", "--task_level.group=2"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        f"--wheel-dir={out}",
        ".",
    ]
    subprocess.run(command, cwd=source, check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a process that imports the wheel from a folder outside the checkout."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", f"--target={target}", str(wheel)]
    subprocess.run(command, check=True)
    return os.environ | {"PYTHONPATH": str(target), "JAX_PLATFORMS": "cpu", "COLUMNS": "140", "TARGET": str(target)}


def test_wheel_contains_configs_the_small_policy_types_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("configs", "assets"):
        for file in (path for path in (ROOT / folder).rglob("*") if path.is_file()):
            assert f"mobile_r1_jax/{file.relative_to(ROOT)}" in names
    assert {"mobile_r1_jax/py.typed", "data_pipelines/py.typed", "mobile_r1_jax/viewer/page.js"} <= names
    assert "mobile_r1_jax/rewards/judges/rubric.md" in names
    simulator = ("page.html", "fonts/wqy-microhei-subset.ttf", "fonts/LICENSE")
    assert {f"mobile_r1_jax/phones/simulator/{name}" for name in simulator} <= names
    assert any(name.endswith("LICENSE") for name in names)
    assert not any(name.startswith(("tests", "benchmarks", "configs", "assets")) for name in names)


def run(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    """Return the output of the console command, started in `folder`."""
    script = Path(environment["TARGET"]) / "bin" / "mobile-r1"
    result = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_installed_command_finds_shipped_files_from_an_empty_folder(installed, tmp_path) -> None:
    where = subprocess.run(
        [sys.executable, "-c", "import mobile_r1_jax; print(mobile_r1_jax.__file__)"],
        cwd=tmp_path,
        env=installed,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(installed["TARGET"])
    assert "--phones.count=32 " in run(installed, tmp_path, "launch", "--help")
    config = run(installed, tmp_path, "launch", "--config=configs/3b-v5e-8.yaml", "--help")
    assert "--mesh=4x2 " in config and "mobile_r1_jax/configs/qwen2.5-vl/3b.json" in config


@pytest.mark.slow
@pytest.mark.parametrize("policy", [[], [f"--policy={ROOT / 'assets' / 'tiny-base'}"]], ids=["none named", "named"])
def test_installed_package_runs_the_main_job_from_an_empty_folder(policy: list[str], installed, tmp_path) -> None:
    printed = run(installed, tmp_path, "launch", *SMALL, *policy)
    assert "task-level" in printed and (tmp_path / "runs" / "tiny" / "policy" / "model.safetensors").exists()
    exported = run(installed, tmp_path, "export", "runs/tiny", "--out=exported")
    assert "exported: task_level after 1 updates" in exported
