"""Open phones and their tasks by the settings of a run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.phones.guard.phone import Ask, GuardedPhone
from mobile_r1_jax.phones.phone import Phone, PhonesUnavailable
from mobile_r1_jax.phones.providers.devices import devices
from mobile_r1_jax.phones.providers.emulators import emulators
from mobile_r1_jax.phones.providers.simulated import simulated_fleet, simulator_tasks
from mobile_r1_jax.phones.settings import INSTANT, SIMULATOR, GuardSettings, PhoneSettings, Timings
from mobile_r1_jax.phones.simulator.known_outcomes import play_known
from mobile_r1_jax.tasks.file_suite import FileTasks
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split, TaskSuite

_GUARD = GuardSettings()


@contextmanager
def open_phones(
    settings: PhoneSettings, seed: int, *, guard: GuardSettings = _GUARD, ask: Ask | None = None
) -> Iterator[list[Phone]]:
    """Yield the phones of every source. Raises PhonesUnavailable in one line if a source has none.

    guard: of all phones that are not simulated. ask: asks a person about a risky action; None: there is no person.
    """
    timings = settings.timings or Timings()
    if guard.confirm == "every" and ask is None and settings.source != ("simulated",):
        raise PhonesUnavailable("guard.confirm is every, but this command cannot ask a person; use risky or never")
    with ExitStack() as stack:
        phones: list[Phone] = []
        if "devices" in settings.source:  # first: the fastest to fail
            phones += (GuardedPhone(phone, guard, ask) for phone in devices(settings.devices, timings))
        if "emulators" in settings.source:
            started = stack.enter_context(emulators(settings.emulators, timings))
            phones += (GuardedPhone(phone, guard, ask) for phone in started)
        if "simulated" in settings.source:
            size, instant = settings.simulated.size, settings.timings or INSTANT
            phones += stack.enter_context(simulated_fleet(settings.count, size, seed, instant))
        yield phones


@contextmanager
def open_phone(
    settings: PhoneSettings, seed: int, *, guard: GuardSettings = _GUARD, ask: Ask | None = None
) -> Iterator[list[Phone]]:
    """Yield the first phone of the first source; see `open_phones`. No more than one is started."""
    one = replace(settings, source=settings.source[:1], count=1, emulators=replace(settings.emulators, count=1))
    with open_phones(one, seed, guard=guard, ask=ask) as phones:
        yield phones[:1]


def open_file_tasks(tasks: str) -> FileTasks:
    """Return the tasks of a file. Raises TaskFileError in one line."""
    return FileTasks(Path(tasks))


def open_tasks(tasks: str, settings: PhoneSettings) -> TaskSuite:
    """Return the suite that `tasks` names: the simulator's own tasks, or those of a file.

    Raises ValueError in one line, with the setting that is wrong, and TaskFileError for a wrong file.
    """
    if tasks != SIMULATOR:
        return open_file_tasks(tasks)
    if settings.source != ("simulated",):
        raise ValueError(
            "tasks: the simulator's own tasks run on simulated phones only; name a task file, such as "
            "--tasks=configs/tasks/aosp.yaml"
        )
    try:
        return simulator_tasks(settings.simulated)
    except ValueError as error:
        raise ValueError(f"phones.simulated.{error}") from error


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
