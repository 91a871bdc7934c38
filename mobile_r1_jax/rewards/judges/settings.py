"""Settings of the judge of a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

Rule = Literal["unanimous", "median", "majority"]
# Settings that do not change the judge's questions, so they may change when a run continues.
FREE_SETTINGS = (
    *("base_url", "key_variable", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "tries"),
    *("pause_s", "longest_pause_s", "lost", "input_price", "output_price", "budget", "cache"),
)


@dataclass(frozen=True)
class JudgeSettings:
    """The judge that grades whole episodes. A chat judge is any server with the OpenAI chat completions API."""

    # auto: by the phone's state if it is known, else by the task's checks, else by chat
    kind: Literal["auto", "state", "checks", "chat"] = "auto"
    # model of the chat judge, such as gpt-4o [paper]; null: there is no chat judge
    model: str | None = None
    base_url: str = "https://api.openai.com/v1"  # address of the chat judge, which may be your own server
    key_variable: str = "OPENAI_API_KEY"  # environment variable that holds the key; no file ever holds it
    rubric: Path | None = None  # text file with your rubric; null: the rubric of the package
    screenshots: Annotated[int | None, "[1, inf)"] = None  # the judge sees the last ones; null: all, in order [paper]
    scale: Annotated[float, "(0, 1]"] = 1.0  # scale of the screenshots that the chat judge sees
    temperature: Annotated[float | None, "[0, 2]"] = 0.1  # sampling temperature [kin]; null: the server's own
    votes: Annotated[int, "[1, 64]"] = 1  # times that the chat judge is asked about an episode
    # how votes become a grade: the lowest one, the median, or the most frequent one; a tie gives the lower grade
    rule: Rule = "unanimous"
    steps: bool = False  # also ask whether each step leads to the goal; task_level.step_weight uses the answers
    concurrency: Annotated[int, "[1, inf)"] = 8  # requests at once
    requests_per_minute: Annotated[int | None, "[1, inf)"] = None  # null: no limit
    tokens_per_minute: Annotated[int | None, "[1, inf)"] = None  # null: no limit
    timeout_s: Annotated[float, "(0, inf)"] = 120.0  # seconds of one request
    tries: Annotated[int, "[1, 100]"] = 3  # requests until an episode has no grade [kin]
    pause_s: Annotated[float, "[0, inf)"] = 5.0  # seconds before the second try [kin]; doubles with each further one
    longest_pause_s: Annotated[float, "[0, inf)"] = 300.0  # limit of all pauses, also of those a server asks for
    # share of an update's episodes that may go without a grade; the run waits if there are more
    lost: Annotated[float, "[0, 1)"] = 0.25
    input_price: Annotated[float, "[0, inf)"] = 0.0  # price of a million prompt tokens, in the currency of the budget
    output_price: Annotated[float, "[0, inf)"] = 0.0  # price of a million completion tokens
    budget: Annotated[float | None, "(0, inf)"] = None  # cost after which the run stops; null: no limit
    cache: Path | None = None  # folder of given grades; null: in the run directory


def find_problems(settings: JudgeSettings) -> Iterator[str]:
    """Yield a message for each impossible setting: the field, its value, and what it may be."""
    for name, needed in (("kind", settings.kind == "chat"), ("steps", settings.steps)):
        if needed and not settings.model:
            yield f"{name} is {getattr(settings, name)}, which asks a chat model; name it: --judge.model=MODEL"
    url = urlsplit(settings.base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        yield f"base_url is {settings.base_url!r}; give an address such as http://localhost:8000/v1"
    elif url.username or url.password or url.query or url.fragment:
        yield f"base_url may hold no user, password or query; put the key into the environment: {settings.key_variable}"
    if settings.budget is not None and not settings.input_price and not settings.output_price:
        yield "budget needs prices: set judge.input_price and judge.output_price, per million tokens"
    if settings.rubric is not None:
        try:
            if not settings.rubric.read_text(encoding="utf-8").strip():
                yield f"rubric: {settings.rubric} is empty; write how to grade from 0 to 4"
        except (OSError, UnicodeDecodeError) as error:
            yield f"rubric: {settings.rubric} is not a text file ({getattr(error, 'strerror', None) or 'not UTF-8'})"
