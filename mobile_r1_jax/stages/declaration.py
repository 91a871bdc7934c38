"""The declaration of the three stages, for the trainer, planning, export, the run directory and the report."""

from dataclasses import dataclass

from mobile_r1_jax.config import Run
from mobile_r1_jax.rl import GRPO, Likelihood
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings

# Name of a stage in settings and files -> its title in tables, in the order of the recipe.
STAGES = {"format_finetuning": "format finetuning", "action_level": "action-level", "task_level": "task-level"}


@dataclass(frozen=True)
class Stage:
    """The settings in which the training of one stage differs from the others.

    number: its place in the recipe, from 1. frozen: parts of the policy that do not learn. temperature: of the
    distribution whose log-probabilities are trained. metric: the name of the metric next to the progress bar. ahead:
    the batches do not depend on the policy, so the next batches are made while the devices are busy.
    """

    number: int
    name: str
    updates: int
    loss: GRPO | Likelihood
    optimizer: OptimizerSettings
    frozen: tuple[str, ...]
    temperature: float
    metric: str
    ahead: bool = False


def stage_of(name: str, run: Run) -> Stage:
    """Return the stage of that name in STAGES with a run's settings."""
    settings, number = getattr(run, name), list(STAGES).index(name) + 1
    if name == "format_finetuning":
        frozen = settings.frozen if run.lora is None else ("vision",)  # the vision encoder has no adapters
        loss, temperature, metric, ahead = Likelihood(), 1.0, "loss", True
    else:
        frozen = ("vision",)  # [paper]
        loss, temperature, metric, ahead = settings.loss, run.temperature, "reward", False
    return Stage(number, name, settings.updates, loss, settings.optimizer, frozen, temperature, metric, ahead)
