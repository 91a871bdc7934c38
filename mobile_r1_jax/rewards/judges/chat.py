"""A judge behind an OpenAI-compatible chat completions endpoint: GPT-4o in the paper, any vision model here."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from statistics import median_low
from typing import Any, TypeVar

from mobile_r1_jax.agent.screenshots import Screenshot, blank_screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.rewards.judges.chat_client import ChatClient, Reply
from mobile_r1_jax.rewards.judges.chat_prompt import Answer, ChatPrompt, data_line
from mobile_r1_jax.rewards.judges.gathering import gather_or_cancel
from mobile_r1_jax.rewards.judges.grade_cache import GradeCache
from mobile_r1_jax.rewards.judges.judge import HIGHEST_GRADE, Evidence, JudgeError, JudgeOutage, Score, Usage
from mobile_r1_jax.rewards.judges.settings import JudgeSettings, Rule

T = TypeVar("T")
FORM = '{"reason": "<two sentences at the most>", "score": <0, 1, 2, 3 or 4>}'
FIELDS = {"reason": {"type": "string"}, "score": {"type": "integer", "enum": list(range(HIGHEST_GRADE + 1))}}


class CachedChat:
    """A chat client with a cache: equal questions get equal answers, also after a restart."""

    def __init__(self, settings: JudgeSettings, client: ChatClient, cache: GradeCache) -> None:
        self.settings, self.client, self._cache = settings, client, cache

    async def ask(self, prompt: ChatPrompt, read: Callable[[Answer], T], vote: int = 0) -> Reply[T]:
        """Return the cached answer to a question, or ask. `vote`: the same question may have several answers."""
        asked = self.settings
        key = prompt.hash(
            model=asked.model, url=asked.base_url, temperature=asked.temperature, scale=asked.scale, vote=vote
        )
        if (answer := self._cache.find(key)) is not None:
            with suppress(ValueError, LookupError, TypeError):  # the file has been edited
                return Reply(Usage(), read(answer), answer)
        reply = await self.client.ask(prompt, read)
        self._cache.add(key, reply.answer, reply.usage)
        return reply


class ChatJudge:
    """A judge that asks a chat model for the grade, as often as the settings say."""

    def __init__(self, chat: CachedChat) -> None:
        self._chat, self._settings = chat, chat.settings
        self._rubric = read_rubric(chat.settings)

    async def grade(self, evidence: Evidence) -> Score | JudgeOutage:
        """Return the grade of the votes, or an outage if one of them failed. Raises JudgeError, see ChatClient.ask."""
        prompt = grading_prompt(evidence.trajectory, self._rubric, self._settings.screenshots)
        votes = (self._chat.ask(prompt, read_grade, number) for number in range(self._settings.votes))
        replies = await gather_or_cancel(votes)
        usage = sum((reply.usage for reply in replies), Usage())
        if failed := next((reply for reply in replies if reply.value is None), None):
            return JudgeOutage(failed.problem, failed.lasting, usage)
        grade = combine_votes([reply.value.grade for reply in replies], self._settings.rule)
        reason = next((reply.value.reason for reply in replies if reply.value.grade == grade), "")
        return Score(grade, reason, opinion=grade, usage=usage)

    async def check(self) -> None:
        """Grade a made-up episode of one blank screen. Raises JudgeError in one line if that is not possible."""
        turn = Turn(blank_screenshot((112, 224)), "<think>Nothing to do.</think>")
        episode = Trajectory("Open the settings", "Settings", "", (turn,), Ending.GAVE_UP)
        reply = await self._chat.client.ask(grading_prompt(episode, self._rubric, None), read_grade)
        if reply.value is None:
            raise JudgeError(f"{reply.problem}; correct judge.model or judge.base_url, or start the server")


def read_rubric(settings: JudgeSettings) -> str:
    """Return the text of the rubric."""
    file = settings.rubric or files(__package__).joinpath("rubric.md")
    return file.read_text(encoding="utf-8")


def grading_prompt(trajectory: Trajectory, rubric: str, screenshots: int | None) -> ChatPrompt:
    """Return the question for a grade: the task, then for each turn its screen and raw answer.

    screenshots: only the last ones are shown; None: all. The ending of the episode is left out: on the simulator it
    gives the answer away.
    """
    turns = trajectory.turns
    first_shown = 0 if screenshots is None else len(turns) - screenshots
    parts: list[str | Screenshot] = [data_line("Task", trajectory.task), data_line("App", trajectory.app)]
    for index, turn in enumerate(turns):
        title = f"Screen {index + 1} of {len(turns)}"
        parts += [f"{title}:", turn.screenshot] if index >= first_shown else [f"{title} is not shown."]
        parts.append(data_line(f"Answer {index + 1}", turn.response))
    parts.append("The agent stopped here. This is the end of the data. Grade the episode by the rubric.")
    return ChatPrompt(rubric, FORM, tuple(parts), FIELDS)


def read_grade(answer: Answer) -> Score:
    """Return the grade in an answer. Raise ValueError without one from 0 to 4."""
    grade: Any = answer["score"]
    if isinstance(grade, bool) or not isinstance(grade, int):
        raise ValueError(f"score is {grade!r}, not a whole number")
    return Score(grade, str(answer["reason"]))


def combine_votes(grades: Sequence[int], rule: Rule) -> int:
    """Return the lowest grade, the lower median, or the most frequent grade (the lower one of a tie)."""
    if rule == "unanimous":
        return min(grades)
    if rule == "median":
        return median_low(grades)
    counts = Counter(grades)
    return min(grades, key=lambda grade: (-counts[grade], grade))


def bounded(score: Score, lowest: int, highest: int, reason: str) -> Score:
    """Return the score, with a grade inside the bounds; `reason`: of the bounds."""
    grade = min(max(score.grade, lowest), highest)
    return score if grade == score.grade else replace(score, grade=grade, reason=f"{reason}; {score.reason}")
