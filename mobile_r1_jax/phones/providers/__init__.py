"""Open phones and their tasks as the settings of a run say."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.phones.phone import Phone
from mobile_r1_jax.phones.providers.simulated import simulated_fleet, simulator_tasks
from mobile_r1_jax.phones.settings import INSTANT, PhoneSettings
from mobile_r1_jax.phones.simulator.known_outcomes import play_known
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split, TaskSuite


@contextmanager
def open_phones(settings: PhoneSettings, seed: int) -> Iterator[list[Phone]]:
    """Yield the phones, ready to use. Raises PhonesUnavailable in one line if there are none."""
    with simulated_fleet(settings.count, settings.simulated.size, seed, settings.timings or INSTANT) as phones:
        yield list(phones)


def open_tasks(settings: PhoneSettings) -> TaskSuite:
    """Return the suite of the phones' tasks. Raises ValueError in one line, with the setting that is wrong."""
    return simulator_tasks(settings.simulated)


def known_episodes(
    settings: PhoneSettings, count: int, seed: int, style: DemonstrationStyle
) -> Iterator[tuple[str, Trajectory]]:
    """Yield `count` simulated episodes on held-out tasks, whose scores hold the truth, each with its kind.

    The kinds are success, detour, near miss and false claim. They need no phone and take milliseconds each. Raises
    ValueError as `open_tasks`.
    """
    simulated = replace(settings.simulated, popups=style.popups)
    tasks = simulator_tasks(simulated).draw(count, seed, Split.UNSEEN_PARAMETERS)
    return play_known(tasks, size=simulated.size, style=style, seed=seed)
