"""The settings of an agent, which an export writes as agent.json into the directory of the weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from mobile_r1_jax.agent.responses import TOOL
from mobile_r1_jax.agent.screenshots import Resizing

FILE = "agent.json"


@dataclass(frozen=True)
class AgentSettings:
    """How a policy is prompted. system: template of the system message, with {instruction} and {tools}. resizing: of
    screenshots. action_space: name of the tool. answer: whether it has the action `answer`. response_tokens: of the
    longest response. tell_effects: whether a prompt states the effect of the last turn."""

    system: str
    resizing: Resizing
    action_space: str = TOOL
    answer: bool = False
    response_tokens: int = 512
    tell_effects: bool = True

    def write(self, directory: Path) -> None:
        """Write agent.json into the directory."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True)
        (directory / FILE).write_text(f"{text}\n", encoding="utf-8")


def read_agent_settings(directory: Path) -> AgentSettings | None:
    """Return the settings in agent.json, or None if it is missing. Raise ValueError in one line if it is broken.

    Files without `tell_effects` are of policies whose prompts stated no effects."""
    file = directory / FILE
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        resizing, names = Resizing(**values["resizing"]), ("answer", "response_tokens")
        more = {name: values[name] for name in names if name in values}
        more["tell_effects"] = values.get("tell_effects", False)
        return AgentSettings(values["system"], resizing, values["action_space"], **more)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is broken ({type(error).__name__}: {error}); export the policy again") from error


class Prompting(Protocol):
    """Settings that prompt a policy, such as those of a run."""

    @property
    def system(self) -> str: ...
    @property
    def resizing(self) -> Resizing: ...
    @property
    def answer(self) -> bool: ...
    @property
    def tell_effects(self) -> bool: ...


def differences(trained: AgentSettings | None, run: Prompting) -> list[str]:
    """Return a line for each setting of a run that differs from the policy's agent.json; none without this file.

    Each line names the field and both values, so that the user can set the flag."""
    if trained is None:
        return []
    pairs = {name: (getattr(trained, name), getattr(run, name)) for name in ("system", "answer", "tell_effects")}
    for name, value in asdict(trained.resizing).items():
        pairs[f"resizing.{name}"] = (value, getattr(run.resizing, name))
    pairs["action_space"] = (trained.action_space, TOOL)
    return [
        f"{name}: the policy was trained with {before!r}, this run has {now!r}"
        for name, (before, now) in pairs.items()
        if before != now
    ]
