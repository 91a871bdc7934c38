"""The place of a process in what the start tools put into its environment; a real metadata server for TPU VMs."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mobile_r1_jax.runtime import places
from mobile_r1_jax.runtime.places import Place, PlaceError, find_place

SLURM = {
    "SLURM_JOB_ID": "70",
    "SLURM_STEP_NODELIST": "gpu[003-004,07]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
}
MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
}
GKE = {"TPU_WORKER_HOSTNAMES": "w-0.svc,w-1.svc,w-2.svc,w-3.svc", "TPU_WORKER_ID": "2"}
SLICES = {"MEGASCALE_COORDINATOR_ADDRESS": "s-0-0.svc:8080", "MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1"}


@pytest.fixture
def chips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of device files of a machine with TPU chips and libtpu."""
    (tmp_path / "accel0").touch()
    (tmp_path / "site" / "libtpu").mkdir(parents=True)
    (tmp_path / "site" / "libtpu" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path


@pytest.fixture
def metadata() -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The attributes of a metadata server, to be filled, and the environment that names it."""
    attributes: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            value = attributes.get(self.path.rpartition("/")[2])
            asked_rightly = self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if value is not None and asked_rightly else 404)
            self.end_headers()
            self.wfile.write((value or "").encode())

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield attributes, {"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"}
    server.shutdown()


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        (SLURM, Place("gpu003:61510", 2, 1)),
        (SLURM | {"SLURM_NTASKS": "16", "SLURM_PROCID": "9", "SLURM_LOCALID": "1"}, Place("gpu003:61510", 16, 9, (1,))),
        (SLURM | {"SLURM_STEP_NODELIST": "node7,node9"}, Place("node7:61510", 2, 1)),
        (SLURM | {"SLURM_STEP_NODELIST": "a[01,05-07],b2"}, Place("a01:61510", 2, 1)),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        (SLURM | {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),  # a shell of salloc
        (SLURM | {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "2"}, Place("gpu003:61510", 2, 1)),
        (MPI, Place("10.96.0.1:64330", 4, 3, (1,))),
        (MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, Place("10.96.0.1:64330", 4, 3)),
        (MPI | {"OMPI_MCA_orte_hnp_uri": "65537.0;tcp6://[fe80::1,fe80::2]:433"}, Place("[fe80::1]:61441", 4, 3, (1,))),
        (MPI | {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, None),
        ({name: value for name, value in SLURM.items() if "STEP" not in name}, None),  # sbatch without srun
        (GKE, None),  # no TPU on this machine
    ],
)
def test_place_comes_from_the_start_tool(environment, place, tmp_path: Path) -> None:
    assert find_place(environment=environment, devices=tmp_path) == place


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        (GKE, Place("w-0.svc:8482", 4, 2)),
        (GKE | SLICES, Place("s-0-0.svc:8482", 8, 6)),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, None),
        (GKE | {"TPU_PROCESS_ADDRESSES": "a:8471,b:8471,c:8471"}, Place("a:8482", 3, 2)),
    ],
)
def test_place_of_a_gke_pod_comes_from_its_environment(environment, place, chips: Path) -> None:
    assert find_place(environment=environment, devices=chips) == place


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({}, None),
        ({"agent-worker-number": "0", "worker-network-endpoints": "unknown:unknown:10.0.0.2"}, None),
        (
            {"agent-worker-number": "1", "worker-network-endpoints": "u:u:10.0.0.2,u:u:1.2.3.4"},
            Place("10.0.0.2:8482", 2, 1),
        ),
        ({"agent-worker-number": "1", "worker-network-endpoints": "vm-a,vm-b"}, Place("vm-a:8482", 2, 1)),
        (
            {
                "agent-worker-number": "1",
                "worker-network-endpoints": "vm-a,vm-b",
                "tpu-env": "\n".join(f"{name}: '{value}'" for name, value in SLICES.items()),
            },
            Place("s-0-0.svc:8482", 4, 3),
        ),
    ],
)
def test_place_of_a_tpu_vm_comes_from_its_metadata_server(attributes, place, chips: Path, metadata) -> None:
    served, environment = metadata
    served.update(attributes)
    assert find_place(environment=environment, devices=chips) == place
    assert find_place(environment=environment | {"TPU_SKIP_MDS_QUERY": "1"}, devices=chips) is None


def test_machine_without_a_metadata_server_runs_alone(chips: Path, monkeypatch) -> None:
    monkeypatch.setattr(places, "METADATA_SECONDS", 0.2)
    assert find_place(environment={"GCE_METADATA_IP": "127.0.0.1:9"}, devices=chips) is None


@pytest.mark.parametrize(
    ("environment", "flags", "place"),
    [
        ({}, {"coordinator": "a:1", "count": 2, "index": 1}, Place("a:1", 2, 1)),
        (SLURM, {"coordinator": "b:7"}, Place("b:7", 2, 1)),
        (SLURM, {"count": 1}, None),
        ({"JOB_COMPLETION_INDEX": "3"}, {"coordinator": "job-0.job:8482", "count": 4}, Place("job-0.job:8482", 4, 3)),
        (SLURM | {"SLURM_JOB_ID": "?"}, {"coordinator": "b:7", "count": 2, "index": 0}, Place("b:7", 2, 0)),
        (GKE, {"coordinator": "[::1]:9", "count": 3, "index": 0}, Place("[::1]:9", 3, 0)),
    ],
)
def test_flags_override_the_environment(environment, flags, place, tmp_path: Path) -> None:
    assert find_place(**flags, environment=environment, devices=tmp_path) == place


@pytest.mark.parametrize(
    ("environment", "flags", "says"),
    [
        ({}, {"count": 2, "index": 0}, "hosts.coordinator is missing"),
        ({}, {"coordinator": "a:1", "index": 0}, "hosts.count is missing"),
        ({}, {"coordinator": "a:1", "count": 2}, "hosts.index is missing"),
        ({"JOB_COMPLETION_INDEX": "0"}, {}, "an indexed Job of Kubernetes does not say it"),
        ({}, {"coordinator": "a:1", "count": 2, "index": 2}, "must be 0 to 1"),
        ({}, {"coordinator": "a", "count": 2, "index": 1}, "write it as HOST:PORT"),
        ({}, {"coordinator": "http://a:80", "count": 2, "index": 1}, "write it as HOST:PORT"),
        ({}, {"coordinator": "a:65536", "count": 2, "index": 1}, "write it as HOST:PORT"),
        ({}, {"coordinator": "a:0", "count": 2, "index": 1}, "write it as HOST:PORT"),
        ({name: MPI[name] for name in MPI if "uri" not in name}, {}, "hosts.coordinator is missing: Open MPI"),
        ({name: MPI[name] for name in MPI if "LOCAL_RANK" not in name}, {}, "OMPI_COMM_WORLD_LOCAL_RANK"),
        (SLURM | {"SLURM_NTASKS": "2(x3)"}, {}, r"cannot be read .*'2\(x3\)'"),
        (SLURM | {"SLURM_JOB_ID": ""}, {}, "cannot be read"),
    ],
)
def test_incomplete_place_is_a_one_line_error_with_the_missing_part(environment, flags, says, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=says) as caught:
        find_place(**flags, environment=environment, devices=tmp_path)
    assert "\n" not in str(caught.value)
