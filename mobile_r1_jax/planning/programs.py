"""Every program of a run: the functions that the run calls, on shapes instead of arrays.

    encode screens                 the vision tower on new screenshots, if it is frozen
    sample                         prefill and decode for groups of completions (action-level)
    fill, decode                   prefill and decode in the engine's slots (task-level)
    reference                      log-probabilities under the reference, if there is a KL term
    gradients, add, update         gradients of a micro-batch; sum of two micro-batches; optimizer

A program on prompts is listed once for every bucket of `shapes.prompt_tokens`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh

from mobile_r1_jax.agent.prompts import system_text
from mobile_r1_jax.config import ActionLevel, FormatFinetuning, Run, TaskLevel
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.packing import blocks_of
from mobile_r1_jax.model.policy import Policy, to_compute_dtype
from mobile_r1_jax.model.sharding import gather_weights, row_shards
from mobile_r1_jax.planning.abstract import (
    Shape,
    abstract_batch,
    abstract_policy,
    abstract_prompts,
    abstract_screens,
    abstract_slots,
    bytes_per_chip,
    forbidden,
    with_shardings_of,
)
from mobile_r1_jax.planning.flops import Loops
from mobile_r1_jax.rl import GRPO, Totals
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.sampling.sampler import Sampling, sample
from mobile_r1_jax.sampling.screen_cache import encode
from mobile_r1_jax.sampling.slots import ReusedPrefixes, decode, fill
from mobile_r1_jax.session import cached_rows, round_to_mesh
from mobile_r1_jax.stages.declaration import stage_of
from mobile_r1_jax.training.optimizer_settings import with_total_steps
from mobile_r1_jax.training.state import TrainState, abstract_state, reference_policy
from mobile_r1_jax.training.step import (
    StepSettings,
    add_gradients,
    batch_gradients,
    completion_logps,
    placement_of,
    update_program,
)

INSTRUCTION = 60  # characters of a task's instruction


@dataclass(frozen=True)
class Program:
    """A jitted function and the arguments of one call, as shapes.

    bucket: tokens of a prompt. beside: bytes that a chip holds meanwhile in addition to the arguments, such as the
    optimizer's moments during the gradients. calls: calls per update of the stage.
    """

    stage: str
    name: str
    bucket: int | None
    mesh: Mesh | AbstractMesh
    function: Any  # as jax.jit returns it
    arguments: tuple[Any, ...]
    keywords: dict[str, Any] = field(default_factory=dict)
    beside: float = 0.0
    calls: float = 1.0
    loops: Loops = field(default_factory=Loops)

    @property
    def title(self) -> str:
        return self.name if self.bucket is None else f"{self.name}, P {self.bucket}"


@dataclass(frozen=True)
class Workload:
    """The size of an update, as far as the run's settings do not define it."""

    turns: int  # of an episode
    tokens: int  # of a response


def programs_of(run: Run, config: PolicyConfig, mesh: Mesh | AbstractMesh, workload: Workload) -> list[Program]:
    """Return every program of the run's stages, in the order in which an update calls them.

    Raises:
      ValueError: the mesh does not divide the heads or an axis of a parameter.
    """
    run, policy = round_to_mesh(run, mesh), abstract_policy(run, config, mesh)
    return [
        program
        for name in run.stages
        for program in _stage_programs(_describe(name, run, config, policy, mesh, workload))
    ]


def bucket_shares(run: Run, config: PolicyConfig, workload: Workload) -> dict[int, float]:
    """Return the share of an episode's turns in each bucket of prompt lengths.

    A prompt contains the last two screenshots and every earlier response. A token of its system text is assumed to have
    three characters, the average for tool schemas.
    """
    unit = config.vision.patch * config.vision.merge
    width, height = run.resizing.model_size(*run.phones.simulated.size)
    screen = (width // unit) * (height // unit)
    text = len(system_text(run.system, " " * INSTRUCTION)) // 3
    shares = dict.fromkeys(sorted(run.shapes.prompt_tokens), 0.0)
    for turn in range(workload.turns):
        length = text + min(turn + 1, 2) * screen + turn * workload.tokens
        shares[next((bucket for bucket in shares if bucket >= length), max(shares))] += 1 / workload.turns
    return shares


@dataclass(frozen=True)
class _Stage:
    """The values that the programs of one stage share. Bytes are per chip."""

    name: str
    run: Run
    config: PolicyConfig
    mesh: Mesh | AbstractMesh
    own: FormatFinetuning | ActionLevel | TaskLevel
    settings: StepSettings
    state: TrainState
    reference: Policy | None
    encoded: bool  # the vision tower is frozen, so screens come from the screen cache
    shares: dict[int, float]
    workload: Workload
    resident: float  # bytes kept between updates

    @property
    def loops(self) -> Loops:
        vision = self.config.vision
        return Loops(last_branch=len(vision.full_attention) / vision.layers)

    @property
    def prompts(self) -> dict[int, int]:
        """Return completions per prompt -> number of such prompts in an update. In a task-level group, only the first
        turns share a prompt; all other prompts are assumed to differ."""
        if isinstance(self.own, FormatFinetuning):
            return {1: self.own.batch}
        if isinstance(self.own, ActionLevel):
            return {self.own.group: self.own.prompts}
        return {1: self.own.tasks * self.own.group * (self.workload.turns - 1), self.own.group: self.own.tasks}

    def micro_batches_of(self, width: int) -> int:
        return -(-self.prompts[width] // self.own.micro_batch)

    @property
    def micro_batches(self) -> int:
        return sum(map(self.micro_batches_of, self.prompts))

    def program(self, name: str, bucket: int | None, function: Any, *arguments: Any, **more: Any) -> Program:
        return Program(self.name, name, bucket, self.mesh, function, arguments, loops=self.loops, **more)


def _describe(
    name: str, run: Run, config: PolicyConfig, policy: Policy, mesh: Mesh | AbstractMesh, workload: Workload
) -> _Stage:
    """Return the values that the programs of a stage share."""
    stage = stage_of(name, run)
    optimizer = with_total_steps(stage.optimizer, stage.updates)
    state = abstract_state(policy, optimizer, frozen=stage.frozen)
    resident = bytes_per_chip((state.trained, state.frozen, state.optimizer))
    reference = None
    if isinstance(stage.loss, GRPO) and stage.loss.beta > 0:
        reference = with_shardings_of(jax.eval_shape(reference_policy, state), state.policy)
        resident += bytes_per_chip(reference) - bytes_per_chip(state.frozen)  # frozen parts are shared
    return _Stage(
        name=name,
        run=run,
        config=config,
        mesh=mesh,
        own=getattr(run, name),
        settings=StepSettings(stage.loss, optimizer, temperature=stage.temperature, forbidden=forbidden(config)),
        state=state,
        reference=reference,
        encoded="vision" in stage.frozen,
        shares=bucket_shares(run, config, workload),
        workload=workload,
        resident=resident,
    )


def _stage_programs(stage: _Stage) -> Iterator[Program]:
    """Yield the programs of one stage, in the order of an update."""
    if stage.encoded:
        yield _encode_program(stage)
    if not isinstance(stage.own, FormatFinetuning):
        yield from _sample_programs(stage)
    for width in stage.prompts:
        for bucket, share in stage.shares.items():
            yield from _gradient_programs(stage, bucket, width, stage.micro_batches_of(width) * share)
    yield from _update_programs(stage)


def _encode_program(stage: _Stage) -> Program:
    """Return the vision tower's program on new screenshots: one for each turn of an episode, two for a golden step. It
    has the most rows that are encoded at once, each filled with screens of the phones' size."""
    own, run, rows = stage.own, stage.run, max(cached_rows(stage.run, stage.mesh))
    new = (
        own.tasks * own.group * stage.workload.turns if isinstance(own, TaskLevel) else 2 * sum(stage.prompts.values())
    )
    size = run.resizing.model_size(*run.phones.simulated.size)
    in_row = max(run.shapes.windows) // blocks_of(size, stage.config.vision)
    vision = stage.state.policy.vision
    shown = abstract_screens(run, stage.config, rows, stage.mesh)
    beside = stage.resident - bytes_per_chip(vision)
    calls = -(-new // (rows * max(1, in_row)))
    return stage.program("encode screens", None, encode, vision, shown, beside=beside, calls=calls)


def _sample_programs(stage: _Stage) -> Iterator[Program]:
    """Yield the sampling programs: whole batches for action-level, slots and chunks of tokens for task-level."""
    run = stage.run
    own, copy = stage.state.policy, jax.eval_shape(to_compute_dtype, stage.state.policy)
    policy = gather_weights(with_shardings_of(copy, own))
    # The weights stay in memory with the sampler's copy; arrays that both share count once.
    pairs = zip(*map(jax.tree.leaves, (own, policy)), strict=True)
    shared = [one for one, other in pairs if (one.dtype, one.sharding) == (other.dtype, other.sharding)]
    beside = stage.resident - bytes_per_chip(shared)
    sampling = Sampling(
        max_tokens=run.shapes.response_tokens,
        temperature=run.temperature,
        stop_ids=stage.config.eos,
        forbidden_ids=stage.settings.forbidden,
        top_p=run.top_p,
        top_k=run.top_k,
    )
    if isinstance(stage.own, ActionLevel):
        yield from _batch_programs(stage, stage.own, policy, sampling, beside)
    elif isinstance(stage.own, TaskLevel):
        yield from _slot_programs(stage, stage.own, policy, sampling, beside)


def _batch_programs(
    stage: _Stage, own: ActionLevel, policy: Policy, sampling: Sampling, beside: float
) -> Iterator[Program]:
    """Yield programs that sample prompts of one bucket together, as many as a micro-batch has."""
    rows = own.micro_batch
    for bucket, share in stage.shares.items():
        program = stage.program(
            f"sample {rows} x {own.group}",
            bucket,
            sample,
            policy,
            *abstract_prompts(stage.run, stage.config, rows, bucket, stage.mesh, encoded=True),
            jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows)),
            keywords={"group": own.group, "sampling": sampling},
            beside=beside,
            calls=stage.micro_batches * share,
        )
        yield replace(program, loops=replace(stage.loops, trips=stage.workload.tokens))


def _slot_programs(
    stage: _Stage, own: TaskLevel, policy: Policy, sampling: Sampling, beside: float
) -> Iterator[Program]:
    """Yield the engine's programs. No prompt is assumed to be shared or to reuse a prefix, so the program that computes
    the rest of a prompt is listed for its memory, with 0 calls."""
    run, rows = stage.run, row_shards(stage.mesh)
    slots = abstract_slots(run, policy, stage.mesh)
    wanted, *numbers = (
        Shape(shape, kind)
        for shape, kind in (
            ((run.slots,), jnp.bool_),
            *(((rows, 1), kind) for kind in (jnp.uint32, jnp.uint32, jnp.int32)),
        )
    )
    for bucket, share in stage.shares.items():
        responses = own.tasks * own.group * stage.workload.turns * share
        prompts = abstract_prompts(run, stage.config, rows, bucket, stage.mesh, encoded=True)
        yield stage.program(
            f"fill {rows} slots", bucket, fill, policy, slots, *prompts, *numbers, beside=beside, calls=responses / rows
        )
        if run.shapes.keep_keys and bucket < max(stage.shares):
            yield stage.program(
                f"fill {rows} slots, behind kept keys",
                bucket,
                fill,
                policy,
                slots,
                *prompts,
                *numbers,
                ReusedPrefixes(*[Shape((rows,), jnp.int32)] * 2),
                beside=beside,
                calls=0,
            )
        chunk = stage.program(
            f"decode {Engine.chunk} x {run.slots}",
            bucket,
            decode,
            policy,
            slots,
            wanted,
            Shape((bucket,), jnp.int32),
            sampling,
            keywords={"tokens": Engine.chunk},
            beside=beside,
            calls=_response_waves(stage, own) * share * stage.workload.tokens / Engine.chunk,
        )
        yield replace(chunk, loops=replace(stage.loops, trips=Engine.chunk))


def _response_waves(stage: _Stage, own: TaskLevel) -> float:
    """Return how many responses are decoded in sequence: at most one phone per episode is busy."""
    episodes = own.tasks * own.group
    rounds = -(-episodes // stage.run.phones.expected)
    return stage.workload.turns * max(rounds, episodes / stage.run.slots)


def _gradient_programs(stage: _Stage, bucket: int, width: int, calls: float) -> Iterator[Program]:
    """Yield the programs of a micro-batch: the reference, then loss and gradients."""
    state = stage.state
    batch, shape = _abstract_micro_batch(stage, bucket, width), f"{stage.own.micro_batch} x {width}"
    waiting = (stage.micro_batches - 1) * bytes_per_chip(batch)  # the update's other micro-batches
    if stage.reference is not None:
        yield stage.program(
            f"reference {shape}",
            bucket,
            completion_logps,
            stage.reference,
            replace(batch, reference_logps=None),
            keywords={"temperature": stage.settings.temperature, "forbidden": stage.settings.forbidden},
            beside=stage.resident - bytes_per_chip(stage.reference) + waiting,
            calls=calls,
        )
    summed = bytes_per_chip(state.trained) if stage.micro_batches > 1 else 0.0  # gradients of earlier micro-batches
    yield stage.program(
        f"gradients {shape}",
        bucket,
        batch_gradients,
        state.trained,
        state.frozen,
        batch,
        _abstract_totals(),
        keywords={"graph": state.graph, "placement": placement_of(state.trained), **stage.settings.objective},
        beside=stage.resident - bytes_per_chip((state.trained, state.frozen)) + waiting + summed,
        calls=calls,
    )


def _update_programs(stage: _Stage) -> Iterator[Program]:
    """Yield the programs after the gradients: their sum over micro-batches, and the optimizer."""
    state = stage.state
    _, metrics = jax.eval_shape(
        lambda *arguments: batch_gradients(
            *arguments,
            graph=state.graph,
            placement=(None,) * len(jax.tree.leaves(state.trained)),
            **stage.settings.objective,
        ),
        state.trained,
        state.frozen,
        _abstract_micro_batch(stage, min(stage.shares), min(stage.prompts)),
        _abstract_totals(),
    )
    gradients = (state.trained, metrics)  # gradients have the dtypes and shardings of the parameters
    if stage.micro_batches > 1:
        yield stage.program(
            "add", None, add_gradients, gradients, gradients, beside=stage.resident, calls=stage.micro_batches - 1
        )
    core = (state.step, state.trained, state.optimizer)
    yield stage.program(
        "update",
        None,
        update_program(placement_of(core)),
        core,
        gradients,
        _abstract_totals(),
        state.key,
        keywords={"settings": stage.settings.optimizer},
        beside=stage.resident - bytes_per_chip((state.trained, state.optimizer)),
    )


def _abstract_micro_batch(stage: _Stage, bucket: int, width: int) -> Any:
    return abstract_batch(
        stage.run,
        stage.config,
        stage.own.micro_batch,
        width,
        bucket,
        stage.mesh,
        encoded=stage.encoded,
        reference=stage.reference is not None,
    )


def _abstract_totals() -> Totals:
    return Totals(Shape((), jnp.float32), Shape((), jnp.float32))
