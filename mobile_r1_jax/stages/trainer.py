"""The training loop of all three stages: make batches, update, log, save, and resume after a kill."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import jax
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mobile_r1_jax.config import to_plain
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import computing_on
from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.rewards.judges.judge import JudgeError
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.runtime.compilations import recompilations, record_compilations
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.declaration import Stage
from mobile_r1_jax.training.checkpoints import finish, open_checkpoints, restore, save
from mobile_r1_jax.training.metrics import MetricsLog
from mobile_r1_jax.training.optimizer_settings import with_total_steps
from mobile_r1_jax.training.state import NonFiniteError, TrainState, create_state, reference_policy
from mobile_r1_jax.training.step import (
    Batch,
    Execute,
    Metrics,
    StepSettings,
    call,
    compile_only,
    completion_logps,
    train_step,
)

T = TypeVar("T")
Shapes = tuple[tuple[int, ...], ...]
LOG = logging.getLogger(__name__)
MOST_SKIPPED = 3  # updates in a row whose loss or gradient was not finite


@dataclass(frozen=True)
class UpdateData:
    """The input of one update.

    batches: empty if no group was informative. metrics: to log. position: the place in the data after these batches.
    """

    batches: Sequence[Batch]
    metrics: dict[str, float]
    position: dict[str, Any]


MakeBatches = Callable[[TrainState, int, dict[str, Any]], Awaitable[UpdateData]]
"""(state, index of the update, position before it) -> the input of the update."""


def progress_bar(session: Session) -> Progress:
    """Return a progress bar with a metric next to it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, TextColumn("{task.fields[metric]}"), console=session.console)


async def run_updates(session: Session, stage: Stage, policy: Policy, make_batches: MakeBatches) -> Policy:
    """Run a stage's updates from `policy`, or from the last checkpoint in the run directory; return the trained policy.

    A signal, a judge that gives up (JudgeError) and the loss of all phones (PhonesUnavailable) end the stage after a
    save. Raise NonFiniteError after three updates in a row with a loss or gradient that is not finite, CheckpointError
    when a checkpoint cannot be written or none can be read, OSError for a full disk.
    """
    directory = session.run.directory
    optimizer = with_total_steps(stage.optimizer, stage.updates)
    state = create_state(policy, optimizer, frozen=stage.frozen, key=session.key(stage.number))
    needs_reference = isinstance(stage.loss, GRPO) and stage.loss.beta > 0
    reference = reference_policy(state) if needs_reference else None  # of the policy before the stage
    settings = StepSettings(stage.loss, optimizer, temperature=stage.temperature, forbidden=session.forbidden)
    position: dict[str, Any] = {}
    keep = {"keep": session.run.keep, "keep_every": session.run.keep_every}
    with open_checkpoints(session.run.checkpoint_folder / stage.name, **keep) as checkpoints:
        done = 0
        if checkpoints.latest_step() is not None:
            state, done, position = restore(checkpoints, state)
        first = done
        settings_of_run = to_plain(asdict(session.run))
        log = MetricsLog(directory, stage.name, after_step=done, tracking=session.run.tracking, config=settings_of_run)
        with log, progress_bar(session) as progress, record_compilations() as compiled:
            row_id = progress.add_task(
                f"stage {stage.number}: {stage.name}", total=stage.updates, completed=done, metric=""
            )
            next_data: UpdateData | None = None
            skipped, saved, warm = 0, done, set[Shapes]()
            try:
                for update in range(done, stage.updates):
                    began, known = time.perf_counter(), len(compiled)
                    data = next_data or await make_batches(state, update, position)
                    seconds_data = time.perf_counter() - began
                    if (new := shapes_of(data.batches)) - warm:
                        await compile_update(session, state, data.batches, reference, settings)
                        warm |= new
                    more = stage.ahead and update + 1 < stage.updates
                    ahead = make_batches(state, update + 1, data.position) if more else None
                    updated = await make_update(state, data, reference, settings, ahead)
                    state, metrics, next_data = updated.state, updated.metrics, updated.next_data
                    seconds = {"seconds_data": seconds_data + updated.waited, "seconds": time.perf_counter() - began}
                    row = log.write(update + 1, {**metrics, **data.metrics, **seconds})
                    done, position, session.hosts.unsaved = update + 1, data.position, True
                    skipped = count_skipped(stage, done, metrics, skipped)
                    for level, words in recompilations(compiled, known) if update > first else ():  # the first warms up
                        LOG.log(level, "%s, update %d: %s", stage.name, done, words)
                    metric = f"{stage.metric} {row.get(stage.metric, float('nan')):.3f}"
                    progress.update(row_id, advance=1, metric=metric)
                    if done % session.run.save_every == 0 or done == stage.updates:
                        save(checkpoints, state, done, position)
                        saved = done
                    if updated.cancelled:
                        raise asyncio.CancelledError
            except (asyncio.CancelledError, JudgeError, PhonesUnavailable):
                if done > saved:
                    save(checkpoints, state, done, position)
                finish(checkpoints)
                session.hosts.unsaved = False
                session.console.print(f"{stage.name} is saved after update {done}", highlight=False)
                raise
        finish(checkpoints)
    session.hosts.unsaved = False
    return state.policy


async def compile_update(
    session: Session, state: TrainState, batches: Sequence[Batch], reference: Policy | None, settings: StepSettings
) -> None:
    """Compile the programs of an update that are new, on all hosts, in a thread: a signal does not wait for them.

    The state stays as it is, so that it can be saved when this task is cancelled."""

    def compile_all() -> None:
        with computing_on(session.mesh):
            shapes = batches
            if reference is not None:
                shapes = [with_reference(reference, batch, settings, compile_only) for batch in batches]
            if batches:
                train_step(state, *shapes, settings=settings, execute=compile_only)

    await session.hosts.until_stop(asyncio.to_thread(compile_all))
    session.hosts.gather("compiled", None)


def shapes_of(batches: Sequence[Batch]) -> set[Shapes]:
    """Return the shapes of the arrays of each batch: an update whose batches have known shapes compiles nothing."""
    return {tuple(array.shape for array in jax.tree.leaves(batch)) for batch in batches}


@dataclass(frozen=True)
class UpdateResult:
    """The result of one update.

    metrics: on the host. next_data: input of the next update, if it was made ahead. waited: seconds for which the
    devices waited for it. cancelled: whether this task was cancelled during the update.
    """

    state: TrainState
    metrics: Metrics
    next_data: UpdateData | None
    waited: float
    cancelled: bool


async def make_update(
    state: TrainState,
    data: UpdateData,
    reference: Policy | None,
    settings: StepSettings,
    ahead: Awaitable[UpdateData] | None,
) -> UpdateResult:
    """Update the state, and make the next update's batches (`ahead`) while the devices are busy.

    A cancellation does not stop an update in the middle: it is reported at the end of the update.
    """
    batches, metrics = data.batches, {}
    with jax.transfer_guard("disallow"):  # all inputs of an update are on the devices already
        if reference is not None:
            batches = [with_reference(reference, batch, settings) for batch in batches]
        if batches:
            state, metrics = train_step(state, *batches, settings=settings)
    fetching = asyncio.get_running_loop().run_in_executor(None, fetch_metrics, metrics)
    next_data, early = await wait_for(asyncio.ensure_future(ahead)) if ahead else (None, False)
    prepared = time.perf_counter()
    (metrics, ended), late = await wait_for(fetching)
    return UpdateResult(state, metrics, next_data, max(0.0, prepared - ended), early or late)


async def wait_for(future: asyncio.Future[T]) -> tuple[T | None, bool]:
    """Return a future's result, and whether this task was cancelled during the wait.

    A future that was cancelled itself counts as such, with the result None: another host was stopped."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    return (None, True) if future.cancelled() else (future.result(), cancelled)


def count_skipped(stage: Stage, update: int, metrics: Mapping[str, Any], before: int) -> int:
    """Return how many updates in a row were skipped, with this one; `before` is the number before this update.

    An update without batches does not change the number. Raise NonFiniteError for the third skipped update.
    """
    if "skipped" not in metrics:
        return before
    if not metrics["skipped"]:
        return 0
    names = ", ".join(sorted(name for name, value in metrics.items() if not math.isfinite(value)))
    LOG.warning("%s, update %d was skipped: not finite: %s", stage.name, update, names)
    if before + 1 == MOST_SKIPPED:
        raise NonFiniteError(
            f"{stage.name}: the last {MOST_SKIPPED} updates, up to {update}, were skipped, as these metrics were not "
            f"finite: {names}; the checkpoints hold the weights from before; lower "
            f"{stage.name}.optimizer.learning_rate, or look at the policy and the data"
        )
    return before + 1


def fetch_metrics(metrics: Metrics) -> tuple[Metrics, float]:
    """Return an update's metrics on the host, and the time (perf_counter) at which the update was done."""
    return jax.device_get(metrics), time.perf_counter()


def with_reference(policy: Policy, batch: Batch, settings: StepSettings, execute: Execute = call) -> Batch:
    """Return the batch with its completions' log-probabilities under `policy`, for the KL."""
    logps, _ = execute(completion_logps, policy, batch, temperature=settings.temperature, forbidden=settings.forbidden)
    return replace(batch, reference_logps=logps)
