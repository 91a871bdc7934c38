"""An update with a loss or gradient that is not finite has no effect except in its metrics."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import OPTIMIZER, SETTINGS, STATES, make_batch

from mobile_r1_jax.rl import GRPO, Likelihood, Totals
from mobile_r1_jax.training.optimizer import make_optimizer
from mobile_r1_jax.training.state import TrainState
from mobile_r1_jax.training.step import Batch, StepSettings, placement_of, train_step, update_program


def spoilt(part: str, value: float) -> Batch:
    """Return a batch with that value in the first token or completion."""
    batch = make_batch(0)
    array = np.array(getattr(batch.completions, part))
    array[(0,) * array.ndim] = value
    return replace(batch, completions=replace(batch.completions, **{part: array}))


WITH_REFERENCE = replace(SETTINGS, loss=GRPO(beta=0.1))
BAD: dict[str, tuple[Callable[[], Batch], StepSettings]] = {
    "NaN advantage": (lambda: spoilt("advantages", np.nan), SETTINGS),
    "infinite advantage": (lambda: spoilt("advantages", -np.inf), SETTINGS),
    "NaN from the sampler": (lambda: spoilt("logps", np.nan), replace(SETTINGS, loss=GRPO(beta=0, importance_cap=2))),
    "NaN weight": (lambda: spoilt("advantages", np.nan), replace(SETTINGS, loss=Likelihood())),
    "NaN from the reference": (
        lambda: replace(make_batch(0), reference_logps=spoilt("logps", np.nan).completions.logps),
        WITH_REFERENCE,
    ),
    "gradient too large": (lambda: spoilt("advantages", 1e30), SETTINGS),  # the loss is finite, the norm is not
}


def everything(state: TrainState) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.step, state.trained, state.frozen, state.optimizer))]


def unchanged(before: list[np.ndarray], state: TrainState) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(before, everything(state), strict=True))


@pytest.mark.parametrize(
    ("kind", "learning"),
    [*((kind, "weights") for kind in BAD), ("NaN advantage", "bfloat16 weights"), ("gradient too large", "adapters")],
)
def test_bad_update_is_skipped_without_effect_on_the_next(kind, learning) -> None:
    batch, settings = BAD[kind]
    state, metrics = train_step(STATES[learning](), make_batch(1), settings=SETTINGS)
    assert metrics["skipped"] == 0
    before = everything(state)
    state, metrics = train_step(state, batch(), settings=settings)
    assert metrics["skipped"] == 1 and unchanged(before, state)
    assert not (np.isfinite(metrics["loss"]) and np.isfinite(metrics["grad_norm"]))
    state, after = train_step(state, make_batch(2), settings=SETTINGS)
    healthy, _ = train_step(STATES[learning](), make_batch(1), settings=SETTINGS)
    healthy, expected = train_step(healthy, make_batch(2), settings=SETTINGS)
    assert unchanged(everything(healthy), state) and after == expected and after["skipped"] == 0


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_micro_batch_skips_the_update(place: int) -> None:
    batches = [make_batch(seed) for seed in range(3)]
    batches[place] = spoilt("advantages", np.nan)
    state = STATES["weights"]()
    before = everything(state)
    state, metrics = train_step(state, *batches, settings=SETTINGS)
    assert metrics["skipped"] == 1 and unchanged(before, state)


def test_skipping_needs_no_copy_to_the_host_and_no_other_program(caplog) -> None:
    state, _ = train_step(STATES["weights"](), make_batch(0), settings=SETTINGS)
    bad = spoilt("advantages", np.nan)
    with jax.log_compiles(), caplog.at_level("WARNING"), jax.transfer_guard_device_to_host("disallow"):
        state, metrics = train_step(state, bad, settings=SETTINGS)
    assert not [record for record in caplog.records if "Compiling" in record.getMessage()]
    assert isinstance(metrics["skipped"], jax.Array) and metrics["skipped"] == 1


def test_skipping_needs_no_extra_memory() -> None:
    """The arrays are updated in place: a second result to choose from would need as much memory again."""
    trained = {"kernel": jnp.ones(2**20)}
    core = (jnp.zeros((), jnp.int32), trained, make_optimizer(OPTIMIZER).init(trained))
    totals = Totals(jnp.ones(()), jnp.ones(()))
    update = update_program(placement_of(core))
    lowered = update.lower(core, (trained, {"loss": jnp.ones(())}), totals, jax.random.key(0), settings=OPTIMIZER)
    taken = lowered.compile().memory_analysis()
    assert taken.alias_size_in_bytes > 3 * 2**22 and taken.temp_size_in_bytes < 2**16


def test_skipped_update_does_not_advance_the_schedule() -> None:
    state = STATES["weights"]()
    rates = []
    for batch in (make_batch(0), spoilt("advantages", np.nan), make_batch(1)):
        state, metrics = train_step(state, batch, settings=SETTINGS)
        rates.append(float(metrics["learning_rate"]))
    assert OPTIMIZER.warmup_steps == 2 and rates[1] == rates[2] == pytest.approx(2 * rates[0])
    assert jnp.array_equal(state.step, 2)
