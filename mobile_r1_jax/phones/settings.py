"""Settings of the phones of a run."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Timings:
    """Waits and limits of a phone, in seconds. A wait of 0 is left out, and so is what it would look at."""

    first_settle: Annotated[float, "[0, 60]"] = 7.0  # wait after the first action of a task [kin]
    settle: Annotated[float, "[0, 60]"] = 1.8  # wait after later actions [kin]
    still: Annotated[float, "[0, 60]"] = 4.0  # longest wait after that for two equal screenshots in a row
    longest_press: Annotated[float, "(0, 60]"] = 2.0  # longest long press [kin]
    longest_wait: Annotated[float, "[0, 3600]"] = 3.0  # longest wait action [kin]
    swipe: Annotated[float, "(0, 60]"] = 0.5  # duration of a swipe
    front: Annotated[float, "[0, 60]"] = 5.0  # longest wait for an opened app to come to the front
    typed: Annotated[float, "[0, 60]"] = 1.0  # wait before typed text is compared with the text in its field
    keyboard_settle: Annotated[float, "[0, 60]"] = 1.0  # wait from the choice of a keyboard to its first key
    retake: Annotated[float, "[0, 60]"] = 1.0  # wait before a blank or refused screenshot is taken again
    limit: Annotated[float, "(0, 600]"] = 15.0  # for one command; after it the phone counts as frozen
    per_character: Annotated[float, "[0, 10]"] = 0.1  # added to the limit for each character of typed text


# Of simulated phones, which react at once and never lose text.
INSTANT = Timings(first_settle=0, settle=0, still=0, longest_wait=0, front=0, typed=0, keyboard_settle=0, retake=0)


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
    timings: Timings | None = None  # Waits and limits; null: simulated phones do not wait.
    simulated: SimulatedSettings = SimulatedSettings()  # Simulated phones and their tasks.
