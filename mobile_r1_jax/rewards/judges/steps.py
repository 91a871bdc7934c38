"""Judging single steps by chat: was this step towards the goal?"""

from mobile_r1_jax.agent.actions import Terminate
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.rewards.judges.chat import CachedChat
from mobile_r1_jax.rewards.judges.chat_client import Reply
from mobile_r1_jax.rewards.judges.chat_prompt import Answer, ChatPrompt, data_line
from mobile_r1_jax.rewards.judges.gathering import gather_or_cancel
from mobile_r1_jax.rewards.judges.judge import COMPLETE, Evidence, Score, Usage

_INSTRUCTIONS = """\
You judge one step of an agent that operates an Android phone. You get its task, the screen before the step, its \
answer there, and the screen after the step. Was the step towards the goal: is the agent now nearer to a complete \
task? A step that undoes a mistake or closes a pop-up is. A step that changes nothing, repeats, or leads elsewhere is \
not."""
_FORM = '{"reason": "<one sentence>", "towards_goal": <true or false>}'
_FIELDS = {"reason": {"type": "string"}, "towards_goal": {"type": "boolean"}}


class StepJudge:
    """Asks a chat model about each step of an episode, with the screens before and after it."""

    def __init__(self, chat: CachedChat) -> None:
        self._chat = chat

    async def judge(self, evidence: Evidence, score: Score) -> tuple[tuple[bool | None, ...], Usage]:
        """Return for each turn whether it made progress, and the usage.

        A turn that ends the task made progress if the episode's `score` is that of a complete task. None: not known,
        because no screen follows or the judge failed."""
        turns, answers = evidence.trajectory.turns, evidence.answers
        asked = (self._chat.ask(step_prompt(evidence, index), _read) for index in range(len(turns) - 1))
        replies: list[Reply[bool]] = await gather_or_cancel(asked)
        last = answers[-1] if answers else None
        ends = isinstance(last, Response) and isinstance(last.action, Terminate)
        towards = (
            *(reply.value for reply in replies),
            *((score.grade >= COMPLETE if ends else None,) if turns else ()),
        )
        return towards, sum((reply.usage for reply in replies), Usage())


def step_prompt(evidence: Evidence, index: int) -> ChatPrompt:
    """Return the question about the step from turn `index` to the next one."""
    before, after = evidence.trajectory.turns[index : index + 2]
    parts = (
        data_line("Task", evidence.trajectory.task),
        data_line("App", evidence.trajectory.app),
        "Screen before the step:",
        before.screenshot,
        data_line("Answer", before.response),
        "Screen after the step:",
        after.screenshot,
        "This is the end of the data. Judge the step.",
    )
    return ChatPrompt(_INSTRUCTIONS, _FORM, parts, _FIELDS)


def _read(answer: Answer) -> bool:
    if not isinstance(answer["towards_goal"], bool):
        raise ValueError(f"towards_goal is {answer['towards_goal']!r}, not true or false")
    return answer["towards_goal"]
