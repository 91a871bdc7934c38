"""What every file of tests starts from: no programs of another file, and small models that several rooms share."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """No file runs the programs of another: their code would fill the memory of a small machine."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's state directory, which keeps the settings of phones in use, is a temporary one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder := tmp_path_factory.mktemp("state")))
        yield folder


class Pair(NamedTuple):
    """The same random weights in `transformers` and here."""

    torch: object
    policy: object
    directory: Path


@pytest.fixture(scope="session", params=[True, False], ids=["tied", "untied"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A small Qwen2.5-VL, once with tied and once with untied embeddings."""
    from small_models import make_torch_model, save_torch_model

    from mobile_r1_jax.model.checkpoints.huggingface import load_policy

    model = make_torch_model(tied=request.param)
    directory = save_torch_model(model, tmp_path_factory.mktemp("small_model"))
    return Pair(model, load_policy(directory), directory)


@pytest.fixture(scope="session")
def tied_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A small Qwen2.5-VL with tied embeddings."""
    from small_models import make_torch_model, save_torch_model

    from mobile_r1_jax.model.checkpoints.huggingface import load_policy

    model = make_torch_model(tied=True)
    directory = save_torch_model(model, tmp_path_factory.mktemp("tied_model"))
    return Pair(model, load_policy(directory), directory)
