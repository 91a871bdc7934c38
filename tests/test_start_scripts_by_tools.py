"""The files in launch/ for SkyPilot, GKE and xpk, read by those tools. They need the extra `launch-checks`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

LAUNCH = Path(__file__).parent.parent / "launch"
JOBSET = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
pytestmark = pytest.mark.slow

FLAGS = {
    "--mesh=2x8x1 --name=a": ["--mesh=2x8x1", "--name=a"],
    "--system='Task: {instruction} for $HOME'": ["--system=Task: {instruction} for $HOME"],
    '--policy="/bucket/my policy"': ["--policy=/bucket/my policy"],
}
SKY = """
import json, sys
import sky, yaml
from sky.skylet.log_lib import make_task_bash_script

text = open(sys.argv[1]).read()
(task, *others) = [
    sky.Task.from_yaml_config(yaml.safe_load(text), env_overrides=given)
    for given in ([], *([("FLAGS", flags)] for flags in json.loads(sys.argv[2])))
]
(it,) = task.resources
print(json.dumps({
    "nodes": task.num_nodes, "cloud": str(it.cloud), "accelerators": it.accelerators, "spot": it.use_spot,
    "arguments": it.accelerator_args, "workdir": task.workdir,
    "mounts": {path: [it.source, it.mode.value] for path, it in task.storage_mounts.items()},
    "scripts": [make_task_bash_script(other.run, other.envs) for other in others],
}))
"""


def read_by_sky(name: str, home: Path) -> dict[str, Any]:
    """What SkyPilot understands of a file, and the script that it runs on a host for each of FLAGS."""
    pytest.importorskip("sky")
    environment = os.environ | {"HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    command = [sys.executable, "-c", SKY, LAUNCH / name, json.dumps(list(FLAGS))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_skypilot_reads_a_tpu_slice_of_one_node(tmp_path: Path) -> None:
    task = read_by_sky("skypilot_tpu.yaml", tmp_path)
    assert (task["nodes"], task["cloud"], task["spot"]) == (1, "GCP", True)
    assert task["accelerators"] == {"tpu-v6e-16": 1}
    assert task["arguments"] == {"runtime_version": "v2-alpha-tpuv6e"}
    assert task["mounts"] == {"/bucket": ["gs://my-bucket", "MOUNT"]} and task["workdir"] == "."
    check_scripts(task["scripts"], tmp_path)


def test_skypilot_reads_two_nodes_of_eight_gpus(tmp_path: Path) -> None:
    task = read_by_sky("skypilot_gpu.yaml", tmp_path)
    assert (task["nodes"], task["accelerators"]) == (2, {"H100": 8})
    assert task["mounts"] == {"/bucket": ["s3://my-bucket", "MOUNT"]} and task["workdir"] == "."
    check_scripts(task["scripts"], tmp_path)


def check_scripts(scripts: list[str], home: Path) -> None:
    """Run what SkyPilot would run on a host; the command must get the flags as they were meant."""
    python = home / "sky_workdir" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    nodes = {"SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
    environment = os.environ | nodes | {"HOME": str(home)}
    for script, asked in zip(scripts, FLAGS.values(), strict=True):
        command = ["bash", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[: 2 + len(asked)] == ["-m", "mobile_r1_jax.launch", *asked]


@pytest.mark.parametrize("version", ["1.37", "1.32"])
def test_job_and_pods_match_the_kubernetes_schema(version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for job in JOBSET["spec"]["replicatedJobs"]:
        whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, **job["template"]}
        kubernetes_validate.validate(whole, version, strict=True)


def test_jobset_matches_its_models() -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models.jobset_v1alpha2_job_set")
    assert models.JobsetV1alpha2JobSet.from_dict(JOBSET).to_dict() == JOBSET  # it leaves out what it does not know


def write_by_xpk(kind: str, folder: Path) -> dict[str, Any]:
    """The JobSet that xpk makes for a kind of slice."""
    pytest.importorskip("xpk")
    file = folder / "jobset.yaml"
    where = ["--cluster=c", "--project=p", "--project-number=1", "--zone=us-east5-b"]
    what = [f"--tpu-type={kind}", "--num-slices=1", "--max-restarts=50", "--docker-image=IMAGE", "--command=a"]
    how = ["--dry-run", "--skip-validation", f"--output-manifest-file={file}"]
    command = [Path(sys.executable).with_name("xpk"), "workload", "create", "--workload=mobile-r1", *where, *what, *how]
    environment = os.environ | {"HOME": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return yaml.safe_load(file.read_text())


def parts(jobset: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    (job,) = jobset["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return job["template"]["spec"], pod, container


def test_jobset_equals_that_of_xpk_for_the_slice(tmp_path: Path) -> None:
    written = write_by_xpk("v6e-16", tmp_path)
    assert {name: written[name] for name in ("apiVersion", "kind")} == {
        name: JOBSET[name] for name in ("apiVersion", "kind")
    }
    assert written["metadata"]["annotations"] == JOBSET["metadata"]["annotations"]
    assert written["spec"]["failurePolicy"]["maxRestarts"] == JOBSET["spec"]["failurePolicy"]["maxRestarts"]
    (their_job, their_pod, theirs), (job, pod, container) = parts(written), parts(JOBSET)
    for name in ("parallelism", "completions", "backoffLimit"):
        assert job[name] == their_job[name]
    for name in ("restartPolicy", "hostNetwork", "dnsPolicy", "nodeSelector"):
        assert pod[name] == their_pod[name]
    for name in ("resources", "securityContext"):
        assert container[name] == theirs[name]
    assert {(one["key"], one["operator"]) for one in their_pod["tolerations"]} <= {
        (one["key"], one["operator"]) for one in pod["tolerations"]
    }
    assert {"emptyDir": {"medium": "Memory"}, "name": "shm"} in pod["volumes"]
    assert "/dev/shm" in {mount["mountPath"] for mount in theirs["volumeMounts"]}


@pytest.mark.parametrize(("kind", "hosts"), [("v5litepod-16", 4), ("v5p-32", 4), ("v6e-32", 8), ("tpu7x-32", 4)])
def test_labels_of_other_slices_equal_those_of_xpk(tmp_path: Path, kind: str, hosts: int) -> None:
    job, pod, container = parts(write_by_xpk(kind, tmp_path))
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] in (LAUNCH / "jobset.yaml").read_text()
    assert job["parallelism"] == hosts and container["resources"]["limits"]["google.com/tpu"] == 4
