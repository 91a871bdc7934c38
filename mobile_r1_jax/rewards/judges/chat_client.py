"""A client of a chat completions endpoint that is slow, limited, and sometimes wrong.

`ask` always returns: an answer, or the reason why there is none.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

from mobile_r1_jax.rewards.judges.chat_prompt import Answer, ChatPrompt, read_answer
from mobile_r1_jax.rewards.judges.judge import JudgeError, Usage
from mobile_r1_jax.rewards.judges.rate_limit import RateLimit
from mobile_r1_jax.rewards.judges.settings import JudgeSettings

T = TypeVar("T")
LONGEST_REASON = 240  # characters
SECRET = 8  # characters of the shortest key that is hidden [ours]


@dataclass(frozen=True)
class Reply(Generic[T]):
    """The value of an answer, and the answer itself; or the problem, and whether it lasts."""

    usage: Usage
    value: T | None = None
    answer: Answer | None = None
    problem: str = ""
    lasting: bool = False


class ChatClient:
    """Asks the model of the settings. It is for one event loop; close it at the end.

    spent: cost of earlier requests, which count for the budget. Raises JudgeError if `openai` is not installed.
    """

    def __init__(self, settings: JudgeSettings, spent: float = 0.0) -> None:
        try:
            import openai  # here, as its import takes a second and few runs need it
        except ImportError as error:
            raise JudgeError("judge.model needs the openai client: pip install 'mobile-r1-jax[judge]'") from error
        self._openai, self._settings = openai, settings
        self._key = os.environ.get(settings.key_variable, "").strip()
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none", base_url=settings.base_url, max_retries=0, timeout=settings.timeout_s
        )
        self._limit = RateLimit(settings.requests_per_minute, settings.tokens_per_minute)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._formats: tuple[str, ...] = ("json_schema", "json_object", "text")  # those the server may have
        self._answered, self._spent = False, spent

    @property
    def name(self) -> str:
        """Return the model and its address."""
        return f"judge {self._settings.model} at {self._settings.base_url}"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, prompt: ChatPrompt, read: Callable[[Answer], T]) -> Reply[T]:
        """Ask until an answer can be read, at most `tries` times.

        read: makes a value of an answer; it raises ValueError for a wrong one. Raises JudgeError if the budget is
        spent, or if the server refuses the key, the model or the address and has never answered.
        """
        settings, usage, last = self._settings, Usage(), Reply[T](Usage())
        for attempt in range(settings.tries):
            if attempt:  # the doubled pause, and up to a quarter more so that requests do not come all at once
                await asyncio.sleep(min(settings.longest_pause_s, settings.pause_s * 2 ** (attempt - 1)) * _jitter())
            last = await self._ask_once(prompt, read)
            usage += last.usage
            if last.answer is not None:
                return Reply(usage, last.value, last.answer)
            if last.lasting:
                break
        return Reply(usage, problem=f"{self.name}: {last.problem}", lasting=last.lasting)

    async def _ask_once(self, prompt: ChatPrompt, read: Callable[[Answer], T]) -> Reply[T]:
        """Send one request. Faults of the server raise nothing, except for the errors of `ask`."""
        openai, settings = self._openai, self._settings
        async with self._slots:
            request = await self._limit.start()
            if settings.budget is not None and self._spent >= settings.budget:
                raise JudgeError(
                    f"the judge has cost {self._spent:.4g} of a budget of {settings.budget:.4g}; raise judge.budget to "
                    "go on. The grades so far are kept"
                )
            began, usage = time.perf_counter(), Usage(requests=1)
            try:
                messages = await asyncio.to_thread(prompt.messages, settings.scale)
                async with asyncio.timeout(settings.timeout_s):
                    body = json.loads(await self._send(prompt, messages))
                usage = self._usage(body, time.perf_counter() - began)
                self._spent += usage.cost
                self._limit.finish(request, usage.prompt_tokens + usage.completion_tokens)
                answer = read_answer(self._without_key(content_of(body)), prompt)
                answer = {name: self._clean(value) for name, value in answer.items()}
                return Reply(usage, read(answer), answer)
            except openai.APIStatusError as error:
                return self._refused(error, usage)
            except TimeoutError:
                problem = f"no answer in {settings.timeout_s:g} s"
            except Exception as error:  # any fault of a server is an outage, and never the end of the run
                cause = f" ({error.__cause__})" if error.__cause__ else ""
                problem = f"{type(error).__name__}: {error}{cause}"
            return Reply(usage, problem=self._clean(problem))

    async def _send(self, prompt: ChatPrompt, messages: list[dict[str, Any]]) -> str:
        """Return the body of the response to a request, in the first response format that the server accepts."""
        openai, settings, refusal = self._openai, self._settings, None
        options = {} if settings.temperature is None else {"temperature": settings.temperature}
        for place, kind in enumerate(self._formats):
            formats = {"json_schema": prompt.response_format, "json_object": {"type": "json_object"}}
            form = {"response_format": formats[kind]} if kind in formats else {}
            try:
                raw = await self._client.chat.completions.with_raw_response.create(
                    model=settings.model, messages=messages, **options, **form
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = refusal or error
                continue
            self._formats, self._answered = self._formats[place:], True
            return raw.text
        raise refusal

    def _refused(self, error: Any, usage: Usage) -> Reply[Any]:
        """Return what an error status means for this request and for the next ones."""
        status, problem = error.status_code, self._clean(str(error))
        if (seconds := retry_after_seconds(error.response.headers.get("retry-after"))) is not None:
            self._limit.hold(min(seconds, self._settings.longest_pause_s))
        if status in (401, 403, 404) and not self._answered:
            settings = self._settings
            hint = f"is the key in {settings.key_variable}" if status != 404 else "are judge.base_url and model"
            raise JudgeError(f"{self.name} refuses: {problem}; {hint} right?")
        return Reply(usage, problem=problem, lasting=status in (400, 413, 422))

    def _usage(self, body: Any, seconds: float) -> Usage:
        """Return the usage that a response reports; missing numbers are 0."""
        counts = body.get("usage") if isinstance(body, dict) else None
        counts = counts if isinstance(counts, dict) else {}
        sent, received = (
            count if isinstance(count := counts.get(name), int) and count >= 0 else 0
            for name in ("prompt_tokens", "completion_tokens")
        )
        cost = (sent * self._settings.input_price + received * self._settings.output_price) / 1e6
        return Usage(1, sent, received, cost, seconds)

    def _clean(self, value: Any) -> Any:
        """Return a text of the server in one short line, without the key, which some servers repeat."""
        if not isinstance(value, str):
            return value
        text = self._without_key(value)
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"

    def _without_key(self, value: Any) -> Any:
        """Return a text without the key. A very short key is not a secret, and may be a part of any word."""
        return value.replace(self._key, "[key]") if isinstance(value, str) and len(self._key) >= SECRET else value


def content_of(body: Any) -> Any:
    """Return the text of a response's message. Raise one of many errors if there is none."""
    choice = body["choices"][0]
    message = choice["message"]
    if refusal := message.get("refusal"):
        raise ValueError(f"the model refuses: {refusal}")
    if choice.get("finish_reason") in ("length", "content_filter"):
        raise ValueError(f"the answer was cut: {choice['finish_reason']}")
    return message["content"]


def retry_after_seconds(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None if it is missing or means nothing."""
    seconds = None
    with suppress(ValueError, TypeError, OverflowError):
        try:
            seconds = float(header)
        except ValueError:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    return seconds if seconds is not None and 0 <= seconds < float("inf") else None


def _jitter() -> float:
    return random.uniform(1.0, 1.25)
