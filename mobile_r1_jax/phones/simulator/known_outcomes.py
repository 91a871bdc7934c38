"""Episodes with known outcomes, to measure judges: the oracle plays them, some with deliberate errors.

Every episode ends with a claim of success. The kinds are, in turn: `success`, `detour` (a wrong step that is undone),
`near miss` (the last move is left out) and `false claim` (at least half of the moves are left out).
"""

from collections.abc import Iterator, Sequence
from random import Random

from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.prompts import system_text
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.phones.simulator import oracle
from mobile_r1_jax.phones.simulator.demonstrations import annotated_turn, draw_slip
from mobile_r1_jax.phones.simulator.tasks import place
from mobile_r1_jax.phones.simulator.templates import Move
from mobile_r1_jax.tasks.suite import DemonstrationStyle
from mobile_r1_jax.tasks.task import Task

KINDS = ("success", "detour", "near miss", "false claim")
FINISH = Move("finish")


def play_known(
    tasks: Sequence[Task], *, size: tuple[int, int], style: DemonstrationStyle, seed: int
) -> Iterator[tuple[str, Trajectory]]:
    """Yield (kind, trajectory) of each task, the kinds in turn; scores hold the phone's progress at the end.

    size: (width, height) of the screens in device pixels. A detour of a task without a possible wrong step is a
    success. A task of one move has the same near miss and false claim.
    """
    frame = Frame("model", *style.resizing.model_size(*size))
    for index, task in enumerate(tasks):
        kind, rng = KINDS[index % len(KINDS)], Random(f"known/{seed}/{index}")
        wrong_at, wrong = draw_slip(task, rng) if kind == "detour" else (-1, None)
        placed = place(task.setup)
        moves = placed.start - 1
        stop_at = min(rng.randint(0, moves // 2), moves - 1) if kind == "false claim" else None
        turns: list[Turn] = []
        progress = placed.progress()
        for step in range(oracle.MOST_STEPS):
            move = oracle.next_move(placed.state, placed.goals)
            if step == wrong_at and wrong is not None:
                move = wrong
            if step == stop_at or (kind == "near miss" and progress["remaining"] <= 2):
                move = FINISH
            turns.append(annotated_turn(placed.state, placed.goals, move, size, frame))
            if move.kind == FINISH.kind:
                break
            oracle.apply_move(placed.state, move)
            progress = placed.progress()
        known = Progress(progress["done"], progress["remaining"], progress["shortest"], *progress["milestones"])
        ending, outcome = (Ending.SUCCESS, Outcome.DONE) if known.done else (Ending.FAILURE, Outcome.NOT_DONE)
        system = system_text(style.system, task.instruction)
        yield (
            "success" if kind == "detour" and wrong is None else kind,
            Trajectory(task.instruction, task.app, system, tuple(turns), ending, {}, task.id, outcome, known),
        )
