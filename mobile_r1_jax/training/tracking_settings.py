"""Settings of trackers: further receivers of the metrics in metrics.jsonl and TensorBoard."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingSettings:
    """Weights & Biases, in addition to TensorBoard. Needs the extra `wandb`."""

    wandb: bool = False  # send the metrics to Weights & Biases; with WANDB_MODE=offline they are kept for `wandb sync`
    project: str = "mobile-r1-jax"  # project there
    name: str | None = None  # name of the group of runs there, one run for each stage; null: the name of the run
