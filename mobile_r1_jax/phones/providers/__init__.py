"""Open phones and their tasks as the settings of a run say."""

from collections.abc import Iterator
from contextlib import contextmanager

from mobile_r1_jax.phones.phone import Phone
from mobile_r1_jax.phones.providers.simulated import simulated_fleet, simulator_tasks
from mobile_r1_jax.phones.settings import INSTANT, PhoneSettings
from mobile_r1_jax.tasks.suite import TaskSuite


@contextmanager
def open_phones(settings: PhoneSettings, seed: int) -> Iterator[list[Phone]]:
    """Yield the phones, ready to use. Raises PhonesUnavailable in one line if there are none."""
    with simulated_fleet(settings.count, settings.simulated.size, seed, settings.timings or INSTANT) as phones:
        yield list(phones)


def open_tasks(settings: PhoneSettings) -> TaskSuite:
    """Return the suite of the phones' tasks. Raises ValueError in one line, with the setting that is wrong."""
    return simulator_tasks(settings.simulated)
