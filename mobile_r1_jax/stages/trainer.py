"""The loop that all three stages share: make batches, update, write down, save, and go on after a kill."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.runtime.compilations import recompilations, record_compilations
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.declaration import Stage
from mobile_r1_jax.training.checkpoints import finish, open_checkpoints, restore, save
from mobile_r1_jax.training.metrics import MetricsLog
from mobile_r1_jax.training.optimizer_settings import with_total_steps
from mobile_r1_jax.training.state import NonFiniteError, TrainState, create_state, reference_policy
from mobile_r1_jax.training.step import Batch, Metrics, StepSettings, completion_logps, train_step

T = TypeVar("T")
LOG = logging.getLogger(__name__)
MOST_SKIPPED = 3  # updates in a row whose loss or gradient was not finite


@dataclass(frozen=True)
class UpdateData:
    """What an update learns from (nothing, if no group was informative), what to write down, the place in the data."""

    batches: Sequence[Batch]
    metrics: dict[str, float]
    position: dict[str, Any]


MakeBatches = Callable[[TrainState, int, dict[str, Any]], Awaitable[UpdateData]]
"""(state, number of the update, position before it) -> what the update learns from."""


def bar(session: Session) -> Progress:
    """A progress bar with a metric beside it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, TextColumn("{task.fields[shown]}"), console=session.console)


async def run_updates(session: Session, stage: Stage, policy: Policy, make_batches: MakeBatches) -> Policy:
    """Runs a stage's updates from `policy`, or from its last checkpoint in the run directory; returns what came out.

    Raises NonFiniteError after three updates in a row with a loss or gradient that is not finite, CheckpointError where
    a checkpoint cannot be written or none can be read, OSError for a disk that is full.
    """
    directory = session.run.directory
    optimizer = with_total_steps(stage.optimizer, stage.updates)
    state = create_state(policy, optimizer, frozen=stage.frozen, key=session.key(stage.number))
    needs_reference = isinstance(stage.loss, GRPO) and stage.loss.beta > 0
    reference = reference_policy(state) if needs_reference else None  # before what a checkpoint holds
    settings = StepSettings(stage.loss, optimizer, temperature=stage.temperature, forbidden=session.forbidden)
    position: dict[str, Any] = {}
    with open_checkpoints(directory / "checkpoints" / stage.name) as checkpoints:
        done = 0
        if checkpoints.latest_step() is not None:
            state, done, position = restore(checkpoints, state)
        first = done
        log = MetricsLog(directory, stage.name, after_step=done)
        with bar(session) as progress, record_compilations() as compiled:
            shown = progress.add_task(
                f"stage {stage.number}: {stage.name}", total=stage.updates, completed=done, shown=""
            )
            following: UpdateData | None = None
            skipped, saved = 0, done
            try:
                for update in range(done, stage.updates):
                    began, known = time.perf_counter(), len(compiled)
                    made = following or await make_batches(state, update, position)
                    seconds_data = time.perf_counter() - began
                    going_on = stage.ahead and update + 1 < stage.updates
                    ahead = make_batches(state, update + 1, made.position) if going_on else None
                    updated = await make_update(state, made, reference, settings, ahead)
                    state, metrics, following = updated.state, updated.metrics, updated.following
                    seconds = {"seconds_data": seconds_data + updated.waited, "seconds": time.perf_counter() - began}
                    row = log.write(update + 1, {**metrics, **made.metrics, **seconds})
                    done, position = update + 1, made.position
                    skipped = count_skipped(stage, done, metrics, skipped)
                    for level, words in recompilations(compiled, known) if update > first else ():  # the first warms up
                        LOG.log(level, "%s, update %d: %s", stage.name, done, words)
                    progress.update(shown, advance=1, shown=f"{stage.shown} {row.get(stage.shown, float('nan')):.3f}")
                    if done % session.run.save_every == 0 or done == stage.updates:
                        save(checkpoints, state, done, position)
                        saved = done
                    if updated.cancelled:
                        raise asyncio.CancelledError
            except asyncio.CancelledError:
                if done > saved:
                    save(checkpoints, state, done, position)
                finish(checkpoints)
                session.console.print(f"{stage.name} is saved after update {done}", highlight=False)
                raise
        finish(checkpoints)
    return state.policy


@dataclass(frozen=True)
class Updated:
    """The next state, an update's metrics on the host, what was made for the next update, how many seconds the devices
    waited for that, and whether this task was cancelled meanwhile."""

    state: TrainState
    metrics: Metrics
    following: UpdateData | None
    waited: float
    cancelled: bool


async def make_update(
    state: TrainState,
    made: UpdateData,
    reference: Policy | None,
    settings: StepSettings,
    ahead: Awaitable[UpdateData] | None,
) -> Updated:
    """Update the state, and make the next update's batches (`ahead`) while the devices are busy.

    A cancellation does not cut an update in two: it is reported when the update has ended.
    """
    batches, metrics = made.batches, {}
    with jax.transfer_guard("disallow"):  # all that an update needs is on the devices by now
        if reference is not None:
            batches = [with_reference(reference, batch, settings) for batch in batches]
        if batches:
            state, metrics = train_step(state, *batches, settings=settings)
    fetching = asyncio.get_running_loop().run_in_executor(None, fetch, metrics)
    following, early = await finished(asyncio.ensure_future(ahead)) if ahead else (None, False)
    prepared = time.perf_counter()
    (metrics, ended), late = await finished(fetching)
    return Updated(state, metrics, following, max(0.0, prepared - ended), early or late)


async def finished(future: asyncio.Future[T]) -> tuple[T, bool]:
    """Return a future's result, and whether this task was cancelled while it waited."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    return future.result(), cancelled


def count_skipped(stage: Stage, update: int, metrics: Mapping[str, Any], before: int) -> int:
    """Return how many updates in a row were skipped, this one included; `before` is that number before it.

    An update without batches changes nothing about the count. Raises NonFiniteError for the third.
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


def fetch(metrics: Metrics) -> tuple[Metrics, float]:
    """An update's metrics on the host, and the time (perf_counter) at which it was done."""
    return jax.device_get(metrics), time.perf_counter()


def with_reference(policy: Policy, batch: Batch, settings: StepSettings) -> Batch:
    """The batch with its completions' log-probabilities under `policy`, which the KL is taken to."""
    logps, _ = completion_logps(policy, batch, temperature=settings.temperature, forbidden=settings.forbidden)
    return replace(batch, reference_logps=logps)
