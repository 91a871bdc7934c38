"""The simulator's templates as a task suite."""

from collections.abc import Iterator
from dataclasses import dataclass

from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.phones.simulator.apps import TEMPLATES
from mobile_r1_jax.phones.simulator.demonstrations import annotate
from mobile_r1_jax.phones.simulator.tasks import combinations, draw_tasks, held_out_instructions
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split
from mobile_r1_jax.tasks.task import Task


@dataclass(frozen=True)
class SimulatorTasks:
    """Training tasks on `apps`, the same kinds with unseen parameters, and tasks on `unseen_apps`.

    popups: mean number of pop-ups per task. size: (width, height) of the demonstrations' screens, in device pixels.
    Raises ValueError if there are no tasks for an app.
    """

    apps: tuple[str, ...]
    unseen_apps: tuple[str, ...]
    popups: float
    size: tuple[int, int]

    def __post_init__(self) -> None:
        known = sorted({template.app for template in TEMPLATES.values()})
        tested = sorted({template.app for template in TEMPLATES.values() if combinations(template, held_out=True)})
        for name, apps in (("apps", set(self.apps)), ("unseen_apps", set(self.unseen_apps))):
            if unknown := apps - set(known):
                raise ValueError(f"{name}: there are no tasks for {min(unknown)!r}; choose from {', '.join(known)}")
            if apps and not apps & set(tested):
                raise ValueError(
                    f"{name}: no task of {min(apps)!r} is held out for evaluation; add {' or '.join(tested)}"
                )

    def draw(self, count: int, seed: int, split: Split) -> list[Task]:
        """See TaskSuite. Training uses only templates that evaluation uses too; the others have too few parameters."""
        apps, held_out = self._apps(split), split is not Split.TRAIN
        if not count or not apps:
            return []
        return draw_tasks(count, seed=seed, apps=apps, held_out=held_out, popups=self.popups, evaluated=not held_out)

    def instructions(self, split: Split) -> frozenset[str]:
        """See TaskSuite. The unseen parameters include those of apps that are not selected."""
        if split is Split.UNSEEN_PARAMETERS:
            return held_out_instructions()
        return frozenset(
            wording.format(**parameters)
            for template in TEMPLATES.values()
            if template.app in self._apps(split)
            for parameters in combinations(template, held_out=split is not Split.TRAIN)
            for wording in (template.english, template.chinese)
        )

    def demonstrations(
        self, count: int, seed: int, style: DemonstrationStyle, split: Split = Split.TRAIN
    ) -> Iterator[Trajectory]:
        """See TaskSuite. The expert is an oracle that reads the phone's state."""
        apps, held_out = self._apps(split), split is not Split.TRAIN
        return annotate(
            draw_tasks(count, seed=seed, apps=apps, held_out=held_out, popups=style.popups) if apps else [],
            system=style.system,
            size=self.size,
            resizing=style.resizing,
            mistakes=style.mistakes,
            seed=seed,
        )

    def _apps(self, split: Split) -> tuple[str, ...]:
        known = {Split.TRAIN: self.apps, Split.UNSEEN_PARAMETERS: self.apps, Split.UNSEEN_APPS: self.unseen_apps}
        return known.get(split, ())
