"""launch/tpu_vm.sh against a gcloud that runs here what it was to run there."""

import os
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "launch" / "tpu_vm.sh"
GCLOUD = r"""#!/usr/bin/env bash
echo "$4" >> "$HOME/calls"
echo "${@:4}" >> "$HOME/commands"
case $4 in
  describe) cat "$HOME/vm" ;;
  create) echo READY > "$HOME/vm" ;;
  delete) rm "$HOME/vm" ;;
  scp) cp "$5" "$HOME/${6#*:}" ;;
  ssh) for argument; do case $argument in --command=*) cd "$HOME" && bash -c "${argument#--command=}" ;; esac; done ;;
esac
"""
PYTHON = r"""#!/usr/bin/env bash
mkdir -p .venv/bin
printf '#!/usr/bin/env bash\ntrue\n' > .venv/bin/pip
printf '#!/usr/bin/env bash\nprintf "%%s\\n" "$@"\n' > .venv/bin/python
chmod +x .venv/bin/*
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, text in (("gcloud", GCLOUD), ("python3", PYTHON)):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def start(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        [SCRIPT, *arguments], env=os.environ | places, capture_output=True, text=True, timeout=60, check=False
    )


def test_it_makes_the_vm_once_and_starts_the_run_with_its_flags_as_given(home: Path) -> None:
    asked = ["--mesh=8x1", '--system=Task: {instruction} it\'s "quoted" $HOME']
    for times in (1, 2):
        done = start(home, "a-vm", "a-zone", "v5litepod-8", "a-version", *asked)
        assert done.returncode == 0, done.stderr
        assert (home / "calls").read_text().split().count("create") == 1, f"start {times}"
    checkout = home / "mobile-r1-jax"
    assert (checkout / "pyproject.toml").is_file()
    log, deadline = checkout / "run.log", time.monotonic() + 10
    while not log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log.read_text().splitlines() == ["-m", "mobile_r1_jax.launch", *asked]


def test_a_slice_gets_the_checkout_and_the_run_on_every_host(home: Path) -> None:
    assert start(home, "a-slice", "a-zone", "v5litepod-16", "a-version").returncode == 0
    commands = (home / "commands").read_text().splitlines()
    assert all("--worker=all" in line for line in commands if line.startswith(("scp", "ssh")))


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED"])
def test_a_preempted_slice_is_created_again_with_its_flags(home: Path, state: str, monkeypatch) -> None:
    monkeypatch.setenv("CREATE_FLAGS", "--spot --reserved")
    (home / "vm").write_text(f"{state}\n")
    assert start(home, "a-slice", "a-zone", "v6e-16", "a-version").returncode == 0
    assert (home / "calls").read_text().split()[:3] == ["describe", "delete", "create"]
    assert "--version=a-version --spot --reserved --zone=a-zone" in (home / "commands").read_text()


def test_without_its_four_arguments_it_says_how_it_is_used(home: Path) -> None:
    done = start(home, "a-vm")
    assert done.returncode == 2 and "launch/tpu_vm.sh NAME ZONE TYPE VERSION" in done.stderr
    assert not (home / "calls").exists()
