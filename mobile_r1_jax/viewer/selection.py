"""Selection of the trajectories in a report: the same tasks of every evaluation, and interesting ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mobile_r1_jax.agent.trajectory import Ending

if TYPE_CHECKING:
    from mobile_r1_jax.viewer.reading import Strip

Strips = tuple["Strip", ...]


def same_tasks(evaluations: Sequence[Strips], most: int) -> tuple[list[Strips], str]:
    """Choose up to `most` tasks that every evaluation played, independent of any outcome.

    A task is identified by its id. If a trajectory has no id, its place in the list identifies its task, but only if
    all evaluations list the same instructions in the same order.

    Returns:
      for each evaluation the first trajectory of each chosen task, in the same order, each with an id; and a sentence
      on how they were chosen or why there are none, empty for fewer than two evaluations.
    """
    none: list[Strips] = [()] * len(evaluations)
    if len(evaluations) < 2:
        return none, ""
    note = ""
    if not all(strip.task_id for strips in evaluations for strip in strips):
        first, *others = [[_fingerprint(strip) for strip in strips] for strips in evaluations]
        if any(other != first for other in others):
            return none, (
                "The evaluations cannot be compared task by task: trajectories of this run have no task ids, and the"
                " evaluations do not list the same instructions in the same order."
            )
        evaluations = [
            tuple(replace(strip, task_id=f"place {place}") for place, strip in enumerate(strips, 1))
            for strips in evaluations
        ]
        note = " Trajectories of this run have no task ids; tasks are matched by their place in equal lists."
    played = [_first_of_each(strips) for strips in evaluations]
    common = [task_id for task_id in played[0] if all(task_id in other for other in played)]
    if not common:
        return none, "No task was played in every evaluation, so none can be compared."
    count = min(most, len(common))
    chosen = [common[index * len(common) // count] for index in range(count)]
    said = (
        f"{count} of the {len(common)} tasks that every evaluation played are compared, the same in each, chosen at"
        " even distances in the order of drawing, whatever their outcome; the first episode of each is shown."
    )
    return [tuple(strips[task_id] for task_id in chosen) for strips in played], said + note


def _fingerprint(strip: Strip) -> tuple[object, ...]:
    """Return what is known about the task of a trajectory without an id."""
    return strip.app, strip.task, strip.progress and strip.progress.milestones_total


def _first_of_each(strips: Strips) -> dict[str, Strip]:
    """Return the first trajectory of each task, by id, in the order of drawing."""
    found: dict[str, Strip] = {}
    for strip in strips:
        found.setdefault(strip.task_id, strip)
    return found


def choose(strips: Sequence[Strip], most: int) -> Strips:
    """Choose up to `most` interesting trajectories, sorted by kind and then by number of turns.

    Take one from each kind in turn (see `_kind`), different instructions before repeated ones and late updates before
    early ones. The share of successes among them says nothing about the policy.
    """
    kinds: dict[int, list[tuple[int, float, int, Strip]]] = {}
    seen: Counter[tuple[int, str]] = Counter()
    for strip in sorted(strips, key=lambda strip: (-strip.scores.get("step", 0.0), strip.line)):
        kind = _kind(strip)
        kinds.setdefault(kind, []).append((seen[kind, strip.task], -strip.scores.get("step", 0.0), strip.line, strip))
        seen[kind, strip.task] += 1
    queues = [[entry[-1] for entry in sorted(kinds[kind], key=lambda entry: entry[:3])] for kind in sorted(kinds)]
    chosen: list[Strip] = []
    while len(chosen) < most and any(queues):
        for queue in filter(None, queues):
            if len(chosen) < most:
                chosen.append(queue.pop(0))
    return tuple(sorted(chosen, key=lambda strip: (_kind(strip), len(strip.turns), strip.line)))


def _kind(strip: Strip) -> int:
    """Return the kind, by interest: 0 recovery, 1 failure, 2 plain success, 3 ended by the phone."""
    if not strip.ending.depends_on_policy:
        return 3
    if strip.ending is Ending.SUCCESS:
        return 0 if strip.off_path else 2
    return 1
