"""The judge of a run, by its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.rewards.judges.chat import CachedChat, ChatJudge, bounded
from mobile_r1_jax.rewards.judges.chat_client import ChatClient
from mobile_r1_jax.rewards.judges.checks import ChecksJudge
from mobile_r1_jax.rewards.judges.grade_cache import GradeCache
from mobile_r1_jax.rewards.judges.judge import COMPLETE, HIGHEST_GRADE, Evidence, JudgeOutage, Score
from mobile_r1_jax.rewards.judges.settings import JudgeSettings
from mobile_r1_jax.rewards.judges.state import StateJudge
from mobile_r1_jax.rewards.judges.steps import StepJudge


@dataclass(frozen=True)
class RunJudge:
    """Grades by state, checks or chat, as `settings.kind` says.

    Where checks decide success and a chat judge exists, the chat judge grades the quality [ours]: an episode that is
    done and claims it gets 3 or 4, one that is not done 0 or 1, one that is done without a claim 2.
    steps: judges single steps; None: only the phone knows them.
    """

    settings: JudgeSettings
    chat: ChatJudge | None = None
    steps: StepJudge | None = None

    async def grade(self, evidence: Evidence) -> Score | JudgeOutage:
        """See Judge."""
        kind = self.settings.kind
        if kind == "chat" and self.chat is not None:
            return await self.chat.grade(evidence)
        if kind in ("auto", "state"):
            score = StateJudge().score(evidence.trajectory)
            if kind == "state" or isinstance(score, Score):
                return score
        checked = ChecksJudge().score(evidence)
        if kind == "checks" and evidence.outcome is Outcome.UNKNOWN:
            return checked
        if self.chat is None:
            reason = "neither the phone's state nor a check decides; name a chat model with judge.model"
            return JudgeOutage(reason, lasting=True) if isinstance(checked, JudgeOutage) else checked
        if isinstance(checked, Score) and checked.grade == 2:
            return checked
        return self._quality(await self.chat.grade(evidence), checked)

    @staticmethod
    def _quality(opinion: Score | JudgeOutage, checked: Score | JudgeOutage) -> Score | JudgeOutage:
        if isinstance(opinion, JudgeOutage) or isinstance(checked, JudgeOutage):
            return opinion
        lowest, highest = (COMPLETE, HIGHEST_GRADE) if checked.grade >= COMPLETE else (0, 1)
        return bounded(opinion, lowest, highest, checked.reason)


def known_score(evidence: Evidence) -> Score | None:
    """Return the grade by the phone's state, else by the task's checks; None if neither is known."""
    graded = (StateJudge().score(evidence.trajectory), ChecksJudge().score(evidence))
    return next((score for score in graded if isinstance(score, Score)), None)


@asynccontextmanager
async def open_judge(settings: JudgeSettings, folder: Path) -> AsyncIterator[RunJudge]:
    """Yield the judge of the settings, after a test question to its chat model if there is one.

    folder: for the cache of grades, unless the settings name another folder. Raises JudgeError in one line if the chat
    model does not answer.
    """
    if not settings.model or (settings.kind == "state" and not settings.steps):
        yield RunJudge(settings)
        return
    cache = GradeCache(settings.cache or folder)
    client = ChatClient(settings, cache.usage.cost)
    chat = CachedChat(settings, client, cache)
    try:
        judge = RunJudge(settings, ChatJudge(chat), StepJudge(chat) if settings.steps else None)
        await judge.chat.check()
        yield judge
    finally:
        await client.close()
