"""Fixtures for all tests: no compiled programs of other files, and small models that several folders share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from storage_emulator import Emulator, emulator

STAND_IN_EMULATOR = Path(__file__).parent / "phones" / "stand_in_emulator.py"


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Forget the compiled programs of other files: they would fill the memory of a small machine."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Replace the user's state directory, which stores the settings of phones in use, by a temporary one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder := tmp_path_factory.mktemp("state")))
        yield folder


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """gs://bucket, of an emulator that this process uses."""
    for package in ("gcsfs", "gcp_storage_emulator"):
        pytest.importorskip(package)
    with emulator(tmp_path_factory.mktemp("storage")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an SDK folder with a stand-in for the emulator, and an AVD `pixel` with the snapshot `clean`."""
    program = tmp_path / "sdk" / "emulator" / "emulator"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN_EMULATOR}" "$@"\n')
    program.chmod(0o755)
    avd = tmp_path / "avd" / "pixel.avd"
    (avd / "snapshots" / "clean").mkdir(parents=True)
    (avd / "config.ini").write_text(f"AvdId=pixel\nhw.keyboard=no\nskin.path={avd}/skin\n")
    (avd / "snapshots" / "clean" / "hardware.ini").write_text(f"avd.name = pixel\ndisk = {avd}/userdata.img\n")
    (avd / "snapshots" / "clean" / "snapshot.pb").touch()
    (tmp_path / "avd" / "pixel.ini").write_text(f"avd.ini.encoding=UTF-8\npath={avd}\npath.rel=avd/pixel.avd\n")
    variables = {"ANDROID_HOME": "sdk", "ANDROID_AVD_HOME": "avd", "XDG_RUNTIME_DIR": "runtime", "HOME": "home"}
    for name, folder in variables.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    return tmp_path


class Pair(NamedTuple):
    """Equal random weights in `transformers` and here."""

    torch: object
    policy: object
    directory: Path


@pytest.fixture(scope="session", params=[True, False], ids=["tied", "untied"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return a small Qwen2.5-VL, first with tied and then with untied embeddings."""
    from small_models import make_torch_model, save_torch_model

    from mobile_r1_jax.model.checkpoints.huggingface import load_policy

    model = make_torch_model(tied=request.param)
    directory = save_torch_model(model, tmp_path_factory.mktemp("small_model"))
    return Pair(model, load_policy(directory), directory)


@pytest.fixture(scope="session")
def tied_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return a small Qwen2.5-VL with tied embeddings."""
    from small_models import make_torch_model, save_torch_model

    from mobile_r1_jax.model.checkpoints.huggingface import load_policy

    model = make_torch_model(tied=True)
    directory = save_torch_model(model, tmp_path_factory.mktemp("tied_model"))
    return Pair(model, load_policy(directory), directory)
