"""launch/tpu_vm.sh and launch/on_host.sh against a gcloud that runs here what it was to run there."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parent.parent / "launch"
GCLOUD = r"""#!/usr/bin/env bash
echo "$4" >> "$HOME/calls"
echo "${@:4}" >> "$HOME/commands"
case $4 in
  list) cat "$HOME/vm" 2> /dev/null || true ;;
  create) echo READY > "$HOME/vm" ;;
  delete) rm "$HOME/vm" ;;
  scp) cp "$5" "$6" "$HOME/${7#*:}" ;;
  ssh)
    cd "$HOME"
    for argument; do case $argument in --command=*) bash -c "${argument#--command=}" || exit ;; esac; done
    ;;
esac
"""
UV = r"""#!/usr/bin/env bash
mkdir -p .venv/bin && cp "$HOME/run" .venv/bin/python
"""
RUN = f"""#!{sys.executable} -SE
import pathlib, signal, subprocess, sys
print(*sys.argv[1:], sep="\\n", flush=True)
if pathlib.Path("../busy").exists():
    subprocess.Popen(["sleep", "5"])  # it outlives the run, as an adb server does
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    print("playing", flush=True)
    signal.sigwait([signal.SIGTERM])
    print("saved", flush=True)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that is the home of the user here and there, with a small checkout that has launch/."""
    (tmp_path / "bin").mkdir()
    for name, text in (("bin/gcloud", GCLOUD), ("bin/uv", UV), ("run", RUN)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    checkout = tmp_path / "checkout"
    shutil.copytree(LAUNCH, checkout / "launch")
    for name in ("pyproject.toml", "mobile_r1_jax/config.py"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).touch()
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", checkout, *command], check=True)
    return tmp_path


def run(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    places = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        command, cwd=home, env=os.environ | places, capture_output=True, text=True, timeout=60, check=False
    )


def start(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(home, "checkout/launch/tpu_vm.sh", *arguments)


def log_of(home: Path, last: str) -> list[str]:
    """The lines of run.log as soon as the last one is this."""
    log, deadline = home / "mobile-r1-jax" / "run.log", time.monotonic() + 10
    while not log.read_text().endswith(f"{last}\n") and time.monotonic() < deadline:
        time.sleep(0.02)
    return log.read_text().splitlines()


@pytest.mark.parametrize(
    "flags",
    [(), ("--mesh=8x1", '--system=Task: {instruction} it\'s "quoted" $HOME'), ("--phones.source=[devices]", "")],
)
def test_vm_is_created_once_and_the_run_starts_with_unchanged_flags(home: Path, flags: tuple[str, ...]) -> None:
    for times in (1, 2):
        done = start(home, "a-vm", "a-zone", "v5litepod-8", "a-version", *flags)
        assert done.returncode == 0, done.stderr
        assert (home / "calls").read_text().split().count("create") == 1, f"start {times}"
        asked = ["-m", "mobile_r1_jax.launch", *flags]
        assert log_of(home, asked[-1]) == asked
        subprocess.run(["flock", home / "mobile-r1-jax" / "run.lock", "true"], check=True)  # it has ended
    assert (home / "mobile-r1-jax" / "pyproject.toml").is_file() and "note:" not in done.stderr


def test_uncommitted_changes_are_not_copied_and_give_a_note(home: Path) -> None:
    (home / "checkout" / "mobile_r1_jax" / "config.py").write_text("changed")
    done = start(home, "a-vm", "a-zone", "v5litepod-8", "a-version")
    assert done.returncode == 0 and "note: changes that are not committed are not copied" in done.stderr
    assert (home / "mobile-r1-jax" / "mobile_r1_jax" / "config.py").read_text() == ""


def test_start_changes_nothing_during_a_run_and_stop_waits_for_its_save(home: Path) -> None:
    (home / "busy").touch()
    vm = ("a-vm", "a-zone", "v5litepod-8", "a-version")
    assert start(home, *vm, "--name=first").returncode == 0
    assert log_of(home, "playing")[2] == "--name=first"
    package = home / "mobile-r1-jax" / "mobile_r1_jax"
    (package / "of_an_earlier_commit.py").touch()
    done = start(home, *vm, "--name=second")
    assert done.returncode == 1 and "a run still goes on, process " in done.stderr
    assert log_of(home, "playing")[2] == "--name=first" and (package / "of_an_earlier_commit.py").exists()
    assert "start" not in (home / "commands").read_text().splitlines()[-1]
    done = run(home, "bash", "on_host.sh", "stop")
    assert "no run goes on" in done.stdout and log_of(home, "saved")[-1] == "saved"
    (home / "busy").unlink()
    assert start(home, *vm, "--name=third").returncode == 0
    assert log_of(home, "--name=third")[2:] == ["--name=third"]
    assert (package / "config.py").exists() and not (package / "of_an_earlier_commit.py").exists()
    assert "no run goes on" in run(home, "bash", "on_host.sh", "stop").stdout


def test_every_host_of_a_slice_gets_the_checkout_and_the_run(home: Path) -> None:
    assert start(home, "a-slice", "a-zone", "v5litepod-16", "a-version").returncode == 0
    commands = (home / "commands").read_text().splitlines()
    assert all("--worker=all" in line for line in commands if line.startswith(("scp", "ssh")))


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED"])
def test_preempted_slice_is_created_again_with_its_flags(home: Path, state: str, monkeypatch) -> None:
    monkeypatch.setenv("CREATE_FLAGS", "--spot --reserved")
    (home / "vm").write_text(f"{state}\n")
    assert start(home, "a-slice", "a-zone", "v6e-16", "a-version").returncode == 0
    assert (home / "calls").read_text().split()[:3] == ["list", "delete", "create"]
    assert "--version=a-version --spot --reserved --zone=a-zone" in (home / "commands").read_text()


@pytest.mark.parametrize("state", ["CREATING", "STOPPED", "REPAIRING"])
def test_slice_that_is_not_ready_is_a_one_line_error(home: Path, state: str) -> None:
    (home / "vm").write_text(f"{state}\n")
    done = start(home, "a-slice", "a-zone", "v6e-16", "a-version")
    assert done.returncode == 1 and f"a-slice is {state}: " in done.stderr.splitlines()[-1]
    assert (home / "calls").read_text().split() == ["list"]


def test_missing_arguments_print_the_usage(home: Path) -> None:
    done = start(home, "a-vm")
    assert done.returncode == 2 and "launch/tpu_vm.sh NAME ZONE TYPE VERSION" in done.stderr
    assert not (home / "calls").exists()
