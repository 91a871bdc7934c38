"""The start scripts in launch/: what they run here, with tools that record how they are called, and what they say."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parent.parent / "launch"
SCRIPTS = sorted(LAUNCH.glob("*"))
RECORD = '#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n'
GCLOUD = r"""#!/usr/bin/env bash
echo "$*" >> "$HOME/commands"
case "$*" in
  *"managed describe"*) test -e "$HOME/group" ;;
  *"managed create"*) touch "$HOME/group" ;;
  *list-instances*) printf 'vm-0\nvm-1\nvm-2\nvm-3\n' ;;
  *get-value*) echo a-project ;;
esac
"""


def tools(folder: Path, **texts: str) -> dict[str, str]:
    """An environment whose PATH begins with these programs."""
    (folder / "bin").mkdir()
    for name, text in texts.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return os.environ | {"HOME": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_says_what_it_needs_costs_and_how_to_stop_paying(script: Path) -> None:
    head = "".join(line for line in script.read_text().splitlines(keepends=True) if line.startswith("#"))
    for what in ("Needs:", "Costs:", "Follow it:", "Stop "):
        assert what in head, what
    assert not re.search(r"\.py\b(?<!setup\.py)", head)  # they start the command, not files


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.suffix == ".sh"], ids=lambda path: path.name)
def test_every_shell_script_parses(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK)
    if shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", script], check=False).returncode == 0


def test_slurm_starts_one_process_per_node_with_the_flags_as_given(tmp_path: Path) -> None:
    environment = tools(tmp_path, srun=RECORD) | {"SLURM_SUBMIT_DIR": str(tmp_path)}
    flags = ["--mesh=16x1", '--system=Task: {instruction} "quoted" $HOME']
    done = subprocess.run([LAUNCH / "slurm.sh", *flags], env=environment, capture_output=True, text=True, check=True)
    asked = ["--kill-on-bad-exit=1", ".venv/bin/python", "-m", "mobile_r1_jax.launch", *flags]
    assert done.stdout.splitlines() == asked
    assert "#SBATCH --ntasks-per-node=1" in (LAUNCH / "slurm.sh").read_text()


@pytest.mark.parametrize(("rank", "index"), [("0", "0"), ("1", "1"), ("7", "7")])
def test_a_gpu_node_of_skypilot_is_told_its_place(tmp_path: Path, rank: str, index: str) -> None:
    task = yaml.safe_load((LAUNCH / "skypilot_gpu.yaml").read_text())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(RECORD)
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    nodes = {"SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5", "SKYPILOT_NUM_NODES": "8", "SKYPILOT_NODE_RANK": rank}
    environment = os.environ | nodes | {"FLAGS": "--mesh=16x1 --folder=/bucket/runs"}
    run = ["bash", "-c", task["run"]]
    done = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    hosts = ["--hosts.coordinator=10.0.0.4:8482", "--hosts.count=8", f"--hosts.index={index}"]
    asked = ["-m", "mobile_r1_jax.launch", "--mesh=16x1", "--folder=/bucket/runs", *hosts]
    assert done.stdout.splitlines() == asked


def test_the_pods_of_the_jobset_are_the_hosts_of_its_slice() -> None:
    spec = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())["spec"]
    (job,) = spec["replicatedJobs"]
    job, pod = job["template"]["spec"], job["template"]["spec"]["template"]["spec"]
    across, down = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert job["parallelism"] == job["completions"] == across * down // chips
    assert f"--mesh={across * down}x1" in container["args"] and spec["failurePolicy"]["maxRestarts"] > 0
    claimed = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == claimed


def test_a_group_of_compute_engine_is_made_once_and_the_run_starts_on_every_vm(tmp_path: Path) -> None:
    environment = tools(tmp_path, gcloud=GCLOUD) | {"TEMPLATE_FLAGS": "--provisioning-model=SPOT"}
    command = [LAUNCH / "tpu_group.sh", "a-group", "us-east5-b", "ct6e-standard-4t", "4x4", "4", "a-family"]
    for _ in range(2):
        done = subprocess.run([*command, "--mesh=16x1"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    commands = (tmp_path / "commands").read_text().splitlines()
    (policy,) = [line for line in commands if "workload-policy create" in line or "create workload-policy" in line]
    assert "--accelerator-topology=4x4" in policy and "--region=us-east5" in policy
    (template,) = [line for line in commands if "instance-templates create" in line]
    assert "--machine-type=ct6e-standard-4t" in template and "--provisioning-model=SPOT" in template
    for number in range(4):
        assert sum(line.startswith(f"compute ssh vm-{number} ") for line in commands) == 2
    few = [*command[:5], "8", *command[6:]]
    done = subprocess.run(few, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "has 4 VMs, not 8" in done.stderr
