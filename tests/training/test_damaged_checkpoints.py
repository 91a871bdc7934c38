"""Checkpoints that were cut, lost or changed on disk, and disks that are full: the newest intact one is what counts."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tiny_run
from flax import nnx

from mobile_r1_jax.training.checkpoints import (
    CheckpointError,
    open_checkpoints,
    restore,
    save,
    stored_parameters,
)
from mobile_r1_jax.training.checksums import CHECKSUMS, find_damage
from mobile_r1_jax.training.state import NonFiniteError, TrainState

Break = Callable[[Path], object]


def largest(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip(file: Path, at: float) -> None:
    """Change one bit of a file, at that share of its length."""
    content = bytearray(file.read_bytes())
    content[int(at * len(content))] ^= 4
    file.write_bytes(content)


CUT_AND_LOST: dict[str, tuple[Break, str]] = {
    "cut data": (lambda folder: os.truncate(largest(folder), 1000), "has 1,000 of its"),
    "empty data": (lambda folder: os.truncate(largest(folder), 0), "has 0 of its"),
    "data lost": (lambda folder: largest(folder).unlink(), "is missing"),
    "metadata lost": (lambda folder: (folder / "state/_METADATA").unlink(), "state/_METADATA is missing"),
    "manifest lost": (lambda folder: (folder / "state/manifest.ocdbt").unlink(), "state/manifest.ocdbt is missing"),
    "position cut": (lambda folder: os.truncate(folder / "position/metadata", 5), "position/metadata has 5 of its"),
    "position lost": (lambda folder: shutil.rmtree(folder / "position"), "position/"),
    "arrays lost": (lambda folder: shutil.rmtree(folder / "state"), "state/"),
    "a directory for a file": (
        lambda folder: ((folder / "position/metadata").unlink(), (folder / "position/metadata").mkdir()),
        "position/metadata",
    ),
}
CHANGED: dict[str, tuple[Break, str]] = {
    "first bits": (lambda folder: flip(largest(folder), 0), "is not as it was written"),
    "a bit in the middle": (lambda folder: flip(largest(folder), 0.5), "is not as it was written"),
    "a bit at the end": (lambda folder: flip(largest(folder), 0.999), "is not as it was written"),
    "a bit of the place": (
        lambda folder: flip(folder / "position/metadata", 0.9),
        "position/metadata is not as it was",
    ),
    "a bit of the metadata": (lambda folder: flip(folder / "state/_METADATA", 0.3), "state/_METADATA is not as it was"),
    "the checksums": (lambda folder: flip(folder / CHECKSUMS, 0), "checksums.json cannot be read"),
    "checksums of another form": (lambda folder: (folder / CHECKSUMS).write_text('{"position": 3}'), CHECKSUMS),
}
DAMAGE = CUT_AND_LOST | CHANGED


def weights(state: TrainState) -> list[jax.Array]:
    return jax.tree.leaves((state.trained, state.optimizer))


def same(one: TrainState, other: TrainState) -> bool:
    return all(bool((a == b).all()) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainState]:
    """Checkpoints of updates 5 and 6, and what the older one holds."""
    directory = tmp_path_factory.mktemp("written")
    older = tiny_run.make_state(5)
    with open_checkpoints(directory) as checkpoints:
        save(checkpoints, older, 5, {"place": 50})
        save(checkpoints, tiny_run.make_state(6), 6, {"place": 60})
    return directory, older


@pytest.fixture
def directory(written: tuple[Path, TrainState], tmp_path: Path) -> Path:
    return shutil.copytree(written[0], tmp_path / "checkpoints")


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    """What is said about damage: one line."""
    said = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
    assert len(said) == 1 and "\n" not in said[0] and len(said[0]) < 500
    return said[0]


def test_finished_checkpoint_has_checksums_of_all_restored_files(directory: Path) -> None:
    for step in ("5", "6"):
        assert find_damage(directory / step) is None
        named = (directory / step / CHECKSUMS).read_text()
        rest = [path for path in (directory / step).rglob("*") if path.is_file() and path.parent != directory / step]
        assert len(rest) > 5 and all(path.relative_to(directory / step).as_posix() in named for path in rest)


@pytest.mark.parametrize("kind", DAMAGE)
def test_newest_intact_checkpoint_is_restored_and_the_damage_is_reported(kind, written, directory, caplog) -> None:
    break_it, said = DAMAGE[kind]
    break_it(directory / "6")
    with open_checkpoints(directory) as checkpoints:
        state, step, position = restore(checkpoints, tiny_run.make_state(1))
        assert (step, position) == (5, {"place": 50}) and same(state, written[1])
        warning = one_warning(caplog)
        assert warning.startswith(f"checkpoint 6 in {directory} is damaged: ") and said in warning
        assert warning.endswith("; taking checkpoint 5")
        save(checkpoints, tiny_run.make_state(7), 6, {"place": 61})  # the damaged one is not in the way
    with open_checkpoints(directory) as checkpoints:
        state, step, position = restore(checkpoints, tiny_run.make_state(1))
        assert (step, position) == (6, {"place": 61}) and same(state, tiny_run.make_state(7))
    assert (directory / "damaged-6").is_dir()


@pytest.mark.parametrize("kind", CUT_AND_LOST)
def test_cut_and_lost_files_are_detected_without_checksums(kind, written, directory, caplog) -> None:
    for step in ("5", "6"):
        (directory / step / CHECKSUMS).unlink()
    CUT_AND_LOST[kind][0](directory / "6")
    with open_checkpoints(directory) as checkpoints:
        state, step, _ = restore(checkpoints, tiny_run.make_state(1))
    assert step == 5 and same(state, written[1])
    assert one_warning(caplog)


def test_checkpoint_of_an_earlier_version_is_restored_with_a_warning(directory: Path, caplog) -> None:
    (directory / "6" / CHECKSUMS).unlink()
    with open_checkpoints(directory) as checkpoints:
        assert restore(checkpoints, tiny_run.make_state(1))[1] == 6
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{directory / '6'} has no checksums: an earlier version wrote it; changed bits cannot be detected"
    ]


def test_error_without_an_intact_checkpoint_names_each_damage(directory: Path) -> None:
    DAMAGE["cut data"][0](directory / "6")
    DAMAGE["a bit of the place"][0](directory / "5")
    for read in (lambda: stored_parameters(directory), lambda: restored(directory)):
        with pytest.raises(CheckpointError, match=r"no intact checkpoint in .*6: .* 1,000 of .*5: position") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in directory.iterdir()) == ["5", "6"]  # nothing was renamed


def restored(directory: Path) -> int:
    with open_checkpoints(directory) as checkpoints:
        return restore(checkpoints, tiny_run.make_state(1))[1]


@pytest.mark.parametrize("kind", ["cut data", "data lost", "metadata lost", "a bit in the middle"])
def test_export_reads_the_newest_intact_checkpoint_and_renames_nothing(kind, directory, caplog) -> None:
    DAMAGE[kind][0](directory / "6")
    before = sorted(path.name for path in directory.iterdir())
    step, stored = stored_parameters(directory)
    assert step == 5 and DAMAGE[kind][1] in one_warning(caplog)
    expected = tiny_run.make_state(5).trained["text"]["embedding"].get_value()
    assert (stored["text.embedding"].read().result() == expected).all()
    assert sorted(path.name for path in directory.iterdir()) == before


def test_export_leaves_a_checkpoint_that_is_being_written(directory: Path) -> None:
    draft = shutil.copytree(directory / "6", directory / "7.orbax-checkpoint-tmp")
    assert stored_parameters(directory)[0] == 6 and (draft / "state").is_dir()
    assert restored(directory) == 6 and not draft.exists()  # the run itself removes what a kill left behind


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("make", tiny_run.STATES.values(), ids=tiny_run.STATES)
def test_non_finite_state_is_not_saved(bad, make, directory: Path) -> None:
    state = make()
    spoilt = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(bad), state.trained)
    last = jax.tree.leaves(state.optimizer)[-2]
    moments = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(bad) if leaf is last else leaf, state.optimizer)
    assert nnx.to_flat_state(spoilt)
    with open_checkpoints(directory) as checkpoints:
        for broken, name in ((replace(state, trained=spoilt), "trained."), (replace(state, optimizer=moments), "opt")):
            with pytest.raises(NonFiniteError, match=rf"update 8 is not saved: {name}.* not finite") as caught:
                save(checkpoints, broken, 8, {})
            assert "\n" not in str(caught.value)
        assert checkpoints.all_steps() == [5, 6]


FILLS_UP = """
import resource, sys
from pathlib import Path
import tiny_run
from mobile_r1_jax.training.checkpoints import finish, open_checkpoints, restore, save

directory, limit = Path(sys.argv[1]), int(sys.argv[2])
state, step = tiny_run.make_state(), 0
try:
    with open_checkpoints(directory) as checkpoints:
        while step < 20:
            step += 1
            save(checkpoints, state, step, {"place": step})
            if step == 2 and limit:
                finish(checkpoints)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(sorted(path.name for path in directory.iterdir()))
with open_checkpoints(directory) as checkpoints:
    print(restore(checkpoints, tiny_run.make_state(1))[1:])
"""


@pytest.mark.parametrize("disk", [700, 0])  # kB; 0: no file may be larger than 50 kB
def test_full_disk_is_a_one_line_error_and_the_last_checkpoint_is_intact(disk: int, tmp_path: Path) -> None:
    """In a file system of that size where the machine lets a test mount one; elsewhere under a limit on file sizes."""
    mount = f"mount -t tmpfs -o size={disk}k tmpfs {tmp_path}"
    spaces = [["unshare", "-m"], ["unshare", "-rm"]] if disk else []
    may = [space for space in spaces if not subprocess.run([*space, "sh", "-c", mount], capture_output=True).returncode]
    start, limit = ([*may[0], "sh", "-c", f'{mount} && exec "$@"', "sh"], 0) if may else ([], 50_000)
    command = [*start, sys.executable, "-c", FILLS_UP, str(tmp_path / "run"), str(limit)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    said, left, found = done.stdout.splitlines()
    reason = "No space left on device" if may else "File too large"
    beginning = f"CheckpointError: a checkpoint cannot be written to {tmp_path / 'run'}: {reason}"
    assert said.startswith(beginning) and said.endswith(" is the last one there"), (said, done.stderr)
    last = int(said.split()[-6])
    assert f"'{last}'" in left and "tmp" not in left and found == f"({last}, {{'place': {last}}})"
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) < 3
