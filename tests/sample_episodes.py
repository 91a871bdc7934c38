"""Episodes for several files of tests: a direct success, one with a detour, a failure, and one on a broken phone."""

from dataclasses import replace

from mobile_r1_jax.agent.actions import Malformed, Terminate, Wait
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.trajectory import Ending, Trajectory
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.rollouts.failures import Failure

MOVE = Response("", "", Wait(1))
DONE, GIVEN_UP = Response("", "", Terminate("success")), Response("", "", Terminate("failure"))
GARBAGE = Malformed("no tags")


def episode(ending: Ending, remaining: tuple[int, ...], *answers: Response | Malformed) -> Episode:
    known = Outcome.DONE if ending is Ending.SUCCESS else Outcome.NOT_DONE
    return Episode(
        Trajectory("task", "shop", "", (), ending, {}, outcome=known if ending.depends_on_policy else Outcome.UNKNOWN),
        (),
        answers,
        tuple(Progress(False, left, 9, 0, 0) for left in remaining),
    )


STRAIGHT = episode(Ending.SUCCESS, (3, 2, 1, 1), MOVE, MOVE, DONE)
ASTRAY = episode(Ending.SUCCESS, (3, 4, 3, 2, 1, 1), MOVE, MOVE, MOVE, MOVE, DONE)
LOST = episode(Ending.OUT_OF_STEPS, (3, 4, 4), MOVE, GARBAGE)
FROZEN = Failure("no answer within 15 s", "phone p: 'input tap 1 2': no answer within 15 s", 1, "tap")
BROKEN = replace(episode(Ending.INFRASTRUCTURE_FAILURE, (3, 4), MOVE), failure=FROZEN)
HIDDEN = replace(
    episode(Ending.SECURE_PAGE, (3, 2), MOVE), failure=Failure("a page forbids screenshots", "phone p: bank", 1, "open")
)
