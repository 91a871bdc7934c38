"""Settings of the phones of a run."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class SimulatedSettings:
    """Simulated phones and their tasks."""

    size: Annotated[tuple[int, int], "[1, 16384]"] = (1080, 2400)  # (width, height) in device pixels
    apps: tuple[str, ...] = ("settings", "shop", "messages", "launcher")  # apps that training tasks use
    unseen_apps: tuple[str, ...] = ("clock",)  # apps that only evaluation tasks use
    popups: Annotated[float, "[0, 100]"] = 0.5  # mean number of pop-ups in a task


@dataclass(frozen=True)
class PhoneSettings:
    """The phones for training and evaluation."""

    count: Annotated[int, "[1, inf)"] = 16  # simulated phones
    most_turns: Annotated[int, "[1, inf)"] = 15  # turns after which an episode ends [kin]
    simulated: SimulatedSettings = SimulatedSettings()  # Simulated phones and their tasks.
