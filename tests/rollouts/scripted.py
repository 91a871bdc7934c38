"""Episodes that are played from a script instead of by a policy."""

from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.prompts import Prompt, response_ids
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.phones.phone import PhoneError, SecurePage
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone
from mobile_r1_jax.phones.simulator.apps import TEMPLATES
from mobile_r1_jax.phones.simulator.demonstrations import annotate
from mobile_r1_jax.phones.simulator.tasks import draw_tasks
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.tasks.task import Task

SIZE, RESIZING = (112, 224), Resizing(scale=1.0)
SYSTEM = "Phone. Task: {instruction}"
APPS = ("settings", "shop", "messages", "clock", "launcher")
TASK = Task(
    "settings", "Turn Wifi on", {"template": "switch", "parameters": {"name": "Wifi", "value": "on"}, "seed": 1}
)


def response(action: str) -> str:
    call = f'{{"name": "mobile_use", "arguments": {{{action}}}}}'
    return f"<think>On Home.</think><action>Go.</action><tool_call>{call}</tool_call>"


WAIT = response('"action": "wait", "time": 1')
SUCCESS, FAILURE = (response(f'"action": "terminate", "status": "{status}"') for status in ("success", "failure"))


class Script:
    """Replaces the engine: answers each turn of a task from a script, and records the prompts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, lines: dict[str, Sequence[str]]) -> None:
        self.tokenizer, self.lines = tokenizer, {task: iter(said) for task, said in lines.items()}
        self.asked: list[tuple[Prompt, int]] = []
        self.at: dict[int, Callable[[], None]] = {}  # calls during the answer with that number

    async def sample(self, prompt: Prompt, seed: int) -> Completion:
        self.asked.append((prompt, seed))
        self.at.get(len(self.asked), lambda: None)()
        system = self.tokenizer.decode(prompt.ids).split("<|im_end|>")[0]
        ids = response_ids(self.tokenizer, next(self.lines[system.split("Task: ")[1]]))
        return Completion(ids, (-0.5,) * len(ids))


Play = Callable[..., list[Episode]]
"""The fixture `play`: (tasks, responses of each) -> episodes."""


def written(tasks: Sequence[Task], mistakes: float = 0.0) -> list[list[str]]:
    """Return the responses in annotations of these tasks."""
    drawn = annotate(tasks, system=SYSTEM, size=SIZE, resizing=RESIZING, mistakes=mistakes, seed=0)
    return [[turn.response for turn in trajectory.turns] for trajectory in drawn]


def one_of_each(popups: float) -> list[Task]:
    """Return a task of every template, without equal instructions."""
    tasks = draw_tasks(len(TEMPLATES), seed=3, apps=APPS, held_out=False, popups=popups)
    assert len({task.instruction for task in tasks}) == len(TEMPLATES)
    return tasks


class LostPhone(SimulatedPhone):
    """Fails in every call of the method `lost`. From screenshot number `hidden` on, pages are secure."""

    lost, hidden, taken = "", 99, 0

    def reset(self, task: Task) -> None:
        self._check("reset")
        super().reset(task)
        self.taken = 0

    def perform(self, action: Any) -> str:
        self._check("perform")
        return super().perform(action)

    def progress(self) -> Any:
        self._check("progress")
        return super().progress()

    def screenshot(self) -> Screenshot:
        self._check("screenshot")
        self.taken += 1
        if self.taken > self.hidden:
            raise SecurePage(self.serial, "com.acme.bank/.Login")
        return super().screenshot()

    def _check(self, name: str) -> None:
        if name == self.lost:
            raise PhoneError(self.serial, name, f"device '{self.serial}' not found")
