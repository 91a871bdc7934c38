"""One piece of work, ours against peers: check that all results are equal, then measure the times."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from benchmarks.peers import ours
from benchmarks.peers.checkpoints import write_checkpoints
from benchmarks.peers.timing import Run, Times, time_in_turns, warm_up
from benchmarks.peers.work import MODELS, Encoding, Sampling, Update, Work
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.policy import Policy

GREEDY = Sampling(prompts=2, group=2, prompt=32, tokens=32)
TOLERANCE = 1e-3  # of losses, gradient norms and encoded screens, all float32


@dataclass(frozen=True)
class Plan:
    """The work for one model."""

    model: str
    works: tuple[Work, ...]
    dtype: jnp.dtype = jnp.float32
    against_peers: bool = True


@dataclass(frozen=True)
class Row:
    """One comparison. peer: its name; None if only ours runs. theirs: None if the peer is not installed."""

    plan: Plan
    work: Work
    peer: str | None
    ours: Times
    theirs: Times | None


def peers_of(work: Work) -> tuple[str, ...]:
    if isinstance(work, Sampling):
        return "tunix", "transformers"
    if isinstance(work, Encoding):
        return ("transformers",)
    return ("tunix", "TRL") if work.loss == "GRPO" else ("torch",)


def measure(plan: Plan, mesh: Mesh, repetitions: int) -> Iterator[list[Row]]:
    """Yield the rows of each piece of work.

    Raise AssertionError if a peer, from the same weights, gives other greedy tokens, another loss or gradient norm, or
    other encoded screens: the rows would compare different work.
    """
    config = MODELS[plan.model]
    policy = ours.make_policy(config, mesh, plan.dtype)
    with tempfile.TemporaryDirectory() as scratch:
        if plan.against_peers:
            write_checkpoints(policy, Path(scratch))
            check_greedy(policy, config, Path(scratch), mesh)
        for work in plan.works:
            yield rows_of(plan, policy, work, Path(scratch), mesh, repetitions)
            jax.clear_caches()


def rows_of(plan: Plan, policy: Policy, work: Work, scratch: Path, mesh: Mesh, repetitions: int) -> list[Row]:
    peers = peers_of(work) if plan.against_peers else ()
    theirs = {peer: start(peer, work, policy.config, scratch) for peer in peers}
    runs: dict[str, Run] = {"ours": start_ours(policy, work, mesh)}
    runs |= {peer: run for peer, run in theirs.items() if run is not None}
    first = {name: warm_up(run) for name, run in runs.items()}
    if not isinstance(work, Sampling):  # samples are random; check_greedy has compared greedy tokens
        for peer in first.keys() - {"ours"}:
            scale = TOLERANCE * np.abs(first[peer]).max()
            np.testing.assert_allclose(
                first["ours"], first[peer], rtol=TOLERANCE, atol=scale, err_msg=f"{work}: {peer}"
            )
    times = time_in_turns(runs, repetitions)
    if not peers:
        return [Row(plan, work, None, times["ours"], None)]
    return [Row(plan, work, peer, times["ours"], times.get(peer)) for peer in peers]


def check_greedy(policy: Policy, config: PolicyConfig, scratch: Path, mesh: Mesh) -> None:
    """Raise AssertionError unless all peers give the same greedy tokens."""
    expected = ours.sampling(policy, GREEDY, mesh, 0.0)()
    for peer in peers_of(GREEDY):
        run = start(peer, GREEDY, config, scratch, temperature=0.0)
        if run is not None:
            np.testing.assert_array_equal(run(), expected, f"greedy tokens of {peer}")


def start_ours(policy: Policy, work: Work, mesh: Mesh) -> Run:
    if isinstance(work, Sampling):
        return ours.sampling(policy, work, mesh, 1.0)
    return ours.update(policy, work, mesh) if isinstance(work, Update) else ours.encoding(policy, work, mesh)


def start(peer: str, work: Work, config: PolicyConfig, scratch: Path, temperature: float = 1.0) -> Run | None:
    """Return the peer's function for the work, from the checkpoints in `scratch`; None if it is not installed."""
    try:
        if peer == "tunix":
            from benchmarks.peers import tunix_side

            model = tunix_side.load(scratch / "qwen2", config.text)
            if isinstance(work, Sampling):
                return tunix_side.sampling(model, work, temperature)
            return tunix_side.update(model, work)
        from benchmarks.peers import torch_side

        if isinstance(work, Encoding):
            return torch_side.encoding(torch_side.load_tower(scratch / "qwen2.5-vl"), config.vision, work)
        model = torch_side.load_text(scratch / "qwen2")
        if isinstance(work, Sampling):
            return torch_side.sampling(model, work, temperature)
        return torch_side.grpo_update(model, work, scratch) if peer == "TRL" else torch_side.sft_update(model, work)
    except ModuleNotFoundError:
        return None
