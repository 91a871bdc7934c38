"""Settings that a run can change so that a program fits, and the bytes that each change frees."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mobile_r1_jax.config import Run
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.model.sharding import mesh_name
from mobile_r1_jax.planning.footprint import Footprint
from mobile_r1_jax.planning.programs import Program


@dataclass(frozen=True)
class Knob:
    """A run with one setting changed, and the flag that changes it."""

    flag: str
    run: Run


@dataclass(frozen=True)
class Saving:
    """The effect of a knob on the program that did not fit."""

    flag: str
    freed: float  # bytes of a chip; below 0 if the program takes more
    fits: bool


def knobs_of(run: Run, stage: str, replicas: int, fsdp: int, tensor: int) -> Iterator[Knob]:
    """Yield each setting that the memory of the stage's programs depends on, changed by one step."""
    own, precision, across = getattr(run, stage), run.precision, replicas * fsdp

    def of_stage(flag: str, **changes: object) -> Knob:
        return Knob(f"--{stage}.{flag}", replace(run, **{stage: replace(own, **changes)}))

    if precision.compute == "float32":
        yield Knob("--precision.compute=bfloat16", replace(run, precision=replace(precision, compute="bfloat16")))
    if run.lora is None:
        if precision.master == "float32":
            yield Knob("--precision.master=bfloat16", replace(run, precision=replace(precision, master="bfloat16")))
        yield Knob(f"--lora.rank={LoRA.rank}", replace(run, lora=LoRA()))
    if precision.remat != "full":
        yield Knob("--precision.remat=full", replace(run, precision=replace(precision, remat="full")))
    if own.micro_batch // 2 >= across and own.micro_batch // 2 % across == 0:
        yield of_stage(f"micro_batch={own.micro_batch // 2}", micro_batch=own.micro_batch // 2)
    if own.optimizer.first_moment == "float32":
        optimizer = replace(own.optimizer, first_moment="bfloat16")
        yield of_stage("optimizer.first_moment=bfloat16", optimizer=optimizer)
    if stage == "format_finetuning":
        if run.lora is None and "vision" not in own.frozen:
            yield of_stage("frozen=[vision]", frozen=(*own.frozen, "vision"))
    elif own.loss.beta > 0:
        yield of_stage("loss.beta=0", loss=replace(own.loss, beta=0.0))
    if stage == "action_level" and own.group > 2:
        yield of_stage(f"group={own.group // 2}", group=own.group // 2)
    if stage == "task_level" and run.slots // 2 % across == 0 and run.slots >= 2 * across:
        count = run.slots // 2
        yield Knob(f"--shapes.slots={count}", replace(run, shapes=replace(run.shapes, slots=count)))
    if fsdp % 2 == 0:
        mesh = mesh_name(replicas, fsdp // 2, tensor * 2)
        yield Knob(f"--mesh={mesh}", replace(run, mesh=mesh))


def find_counterpart(program: Program, others: Sequence[Program]) -> Program | None:
    """Return the program of another plan that does the same work; None if that plan does not need it."""
    kind = program.name.split()[0]
    return next(
        (
            other
            for other in others
            if (other.stage, other.name.split()[0], other.bucket) == (program.stage, kind, program.bucket)
        ),
        None,
    )


def measure_knobs(
    knobs: Iterator[Knob], footprint: Footprint, measure: Callable[[Knob], tuple[Footprint, bool] | None]
) -> list[Saving]:
    """Return what each knob frees, most first.

    measure: returns the footprint of the program's counterpart in the knob's run, and whether it fits; None if there is
    no counterpart or the run is impossible.
    """
    freed = []
    for knob in knobs:
        if (found := measure(knob)) is not None:
            other, fits = found
            freed.append(Saving(knob.flag, footprint.peak - other.peak, fits))
    return sorted(freed, key=lambda each: -each.freed)
