"""Settings of the phones of a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SimulatedSettings:
    """Simulated phones and their tasks."""

    size: tuple[int, int] = (1080, 2400)  # (width, height) in device pixels
    apps: tuple[str, ...] = ("settings", "shop", "messages", "launcher")  # apps that training tasks use
    unseen_apps: tuple[str, ...] = ("clock",)  # apps that only evaluation tasks use
    popups: float = 0.5  # mean number of pop-ups in a task


@dataclass(frozen=True)
class PhoneSettings:
    """The phones for training and evaluation."""

    count: int = 16  # simulated phones
    most_turns: int = 15  # turns after which an episode ends [kin]
    simulated: SimulatedSettings = SimulatedSettings()  # Simulated phones and their tasks.
