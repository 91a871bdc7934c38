"""Hashes that identify a policy."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tiny_run
from flax import nnx

from mobile_r1_jax.model import identity
from mobile_r1_jax.model.identity import policy_files_hash, weights_hash

TINY_BASE = Path(__file__).resolve().parents[2] / "assets" / "tiny-base"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY_BASE, tmp_path / "policy"))


def test_copy_of_a_policy_has_the_same_identity(directory: Path) -> None:
    (directory / "README.md").write_text("moved here")
    assert policy_files_hash(directory) == policy_files_hash(TINY_BASE)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("whole", [True, False], ids=["read whole", "sampled"])
def test_changed_file_changes_the_identity(file: str, whole: bool, directory: Path, monkeypatch) -> None:
    if not whole:
        monkeypatch.setattr(identity, "WHOLE", 0)
        monkeypatch.setattr(identity, "SAMPLE", 16)
    before = policy_files_hash(directory)
    content = bytearray((directory / file).read_bytes())
    content[-1] ^= 1
    (directory / file).write_bytes(content)
    assert policy_files_hash(directory) != before
    (directory / file).unlink()
    assert policy_files_hash(directory) != before


def test_one_changed_bit_changes_the_hash_of_weights() -> None:
    policy = tiny_run.make_policy()
    before = weights_hash(policy)
    assert weights_hash(tiny_run.make_policy()) == before
    assert weights_hash(tiny_run.make_policy(seed=1)) != before
    graph, state = nnx.split(policy)
    leaves, structure = jax.tree.flatten(state)
    seen = {before}
    for number, leaf in enumerate(leaves):
        flat = leaf.reshape(-1)
        nearly = flat.at[-1].set(jnp.nextafter(flat[-1], jnp.inf)).reshape(leaf.shape)
        changed = [*leaves[:number], nearly, *leaves[number + 1 :]]
        seen.add(weights_hash(nnx.merge(graph, jax.tree.unflatten(structure, changed))))
    assert len(seen) == len(leaves) + 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_swapped_rows_change_the_hash(dtype) -> None:
    graph, state = nnx.split(jax.tree.map(lambda leaf: leaf.astype(dtype), tiny_run.make_policy()))
    swapped = jax.tree.map(lambda leaf: leaf[::-1] if leaf.shape == (64, 32) else leaf, state)
    assert weights_hash(nnx.merge(graph, state)) != weights_hash(nnx.merge(graph, swapped))
