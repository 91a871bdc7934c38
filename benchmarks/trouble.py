"""Episodes on simulated phones in trouble: python -m benchmarks.trouble --episodes 1000

The oracle plays through the code that plays training episodes, over a real adb server. It errs at random. The printed
table, as in docs/results/trouble.md, counts the outcomes under each kind of trouble. The run ends with an error if an
episode is lost or a verdict differs from the phone's own state.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mobile_r1_jax.agent.actions import Action, Click, Terminate, Type
from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.frames import Point
from mobile_r1_jax.agent.prompts import Prompt, PromptFormat, response_ids
from mobile_r1_jax.agent.responses import Response, format_response
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.fleet import Fleet, Retries
from mobile_r1_jax.phones.phone import PhoneError
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone, connect
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator import gestures, oracle
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone, listen
from mobile_r1_jax.phones.simulator.demonstrations import action
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.tasks import draw_tasks
from mobile_r1_jax.phones.simulator.templates import Move
from mobile_r1_jax.phones.simulator.trouble import KINDS, Trouble
from mobile_r1_jax.rollouts.agent import Agent
from mobile_r1_jax.rollouts.episodes import Episode, run_episodes
from mobile_r1_jax.tasks.task import Task
from tools.base_policy.tokenizer import train_tokenizer

SIZE = (112, 224)
VERSIONS = (9, 11, 14, 16)  # of Android; phones take them in turn
APPS = ("settings", "shop", "messages", "clock", "launcher")
SYSTEM = "Phone. Task: {instruction}"
MOST_TURNS = 20
TIMINGS = replace(INSTANT, limit=0.5)
RETRIES = Retries(calls=2, revivals=8, pause=0.05)
SCREENSHOT_RATE, COMMAND_RATE = 0.1, 0.04  # about every third episode meets the trouble
RATES = {"server_killed": 0.005}  # the phones share the server
DURATIONS = {"frozen": 0.8, "latency": 0.05}  # a phone that is frozen for longer than the limit
HEALTHY, MIXED = "none", "mixed"
GOODBYE = "再见"  # needs the ADB keyboard; nothing is sent
WRONG = 0.05  # share of turns with a random tap, and of turns with a wrong claim


def troubles(adb_server: str) -> dict[str, Trouble]:
    """Return the trouble of each row of the table: none, each kind alone, all kinds."""
    rates = {
        kind: RATES.get(kind, SCREENSHOT_RATE if its.at == "screenshot" else COMMAND_RATE)
        for kind, its in KINDS.items()
    }
    alone = {kind: Trouble({kind: rate}, DURATIONS, adb_server=adb_server) for kind, rate in rates.items()}
    shared = {kind: rate / len(rates) * 3 for kind, rate in rates.items()}
    return {HEALTHY: Trouble(), **alone, MIXED: Trouble(shared, DURATIONS, adb_server=adb_server)}


class WatchedDevice(Device):
    """A simulated phone that remembers the setup of its task and when it began."""

    setup: Mapping[str, Any] = {}
    began = 0.0

    def reset(self, setup: dict[str, Any]) -> None:
        if setup != self.setup:
            self.began = time.monotonic()
        super().reset(setup)
        self.setup = setup

    @property
    def chatting(self) -> bool:
        """Whether the text field of a chat has the focus."""
        return self._state.page.startswith("messages/chat/") and gestures.focused_field(self._state) is not None

    @property
    def text(self) -> str:
        """The text in the field of the page."""
        return self._state.text

    def next_move(self) -> Move:
        """Return the oracle's move."""
        assert self._task is not None
        return oracle.next_move(self._state, self._task.goals)

    def box(self, name: str) -> tuple[int, int, int, int]:
        """Return (x1, y1, x2, y2) of the element to touch, inclusive, in device pixels."""
        element = oracle.target(self._state, name)
        assert element is not None
        x1, y1, x2, y2 = element.bounds(self.size)
        return x1, y1, x2 - 1, y2 - 1


class TroubledPhones:
    """Phones with a separate adb server, in a thread of this process so that their state can be read.

    A server that has ended is replaced.
    """

    def __init__(self, count: int) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._repairing = threading.Lock()
        self.adb = AdbServer()
        self.listening = [
            self._call(listen(WatchedDevice(SIZE, seed), version=VERSIONS[seed % len(VERSIONS)]))
            for seed in range(count)
        ]
        self._ports = tuple(phone.port for phone in self.listening)
        serials = connect(self.adb.address, self._ports)
        self.phones = [SimulatedPhone(serial, self.adb.address, TIMINGS, self._repair) for serial in serials]

    def choose(self, trouble: Trouble) -> None:
        """Choose the trouble of all phones, and forget their tasks."""
        for index, phone in enumerate(self.listening):
            phone.android.device.setup = {}
            self._call(_choose(phone, replace(trouble, seed=trouble.seed + index)))

    @property
    def begun(self) -> Counter[str]:
        """The number of times that each kind of trouble began since `choose`."""
        return sum((phone.android.trouble.schedule.begun for phone in self.listening), Counter())

    def device(self, setup: Mapping[str, Any]) -> WatchedDevice | None:
        """Return the device that plays the task of `setup`; None if no reset to it has succeeded."""
        devices = (phone.android.device for phone in self.listening)
        return next((device for device in devices if device.setup == setup), None)

    def close(self) -> None:
        """End the phones and the server."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.adb.close()

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _repair(self) -> None:
        with self._repairing:
            if self.adb.answers(TIMINGS.limit):
                return
            self.adb.close()
            self.adb = AdbServer()
            for phone, listening in zip(self.phones, self.listening, strict=True):
                phone.server, schedule = self.adb.address, listening.android.trouble.schedule
                if schedule.trouble.adb_server:
                    schedule.trouble = replace(schedule.trouble, adb_server=self.server)
            with suppress(PhoneError):
                connect(self.adb.address, self._ports, TIMINGS.limit)

    @property
    def server(self) -> str:
        """The address of the adb server, HOST:PORT."""
        return f"{self.adb.address.host}:{self.adb.address.port}"


async def _choose(phone: ListeningPhone, trouble: Trouble) -> None:
    phone.android.trouble.choose(trouble)


@dataclass
class ErringOracle:
    """Replaces the engine: plays the oracle's moves, with random taps and wrong claims."""

    phones: TroubledPhones
    tokenizer: PreTrainedTokenizerBase
    setups: dict[str, Mapping[str, Any]]  # instruction -> setup

    async def sample(self, prompt: Prompt, seed: int) -> Completion:
        system = self.tokenizer.decode(prompt.ids).split("<|im_end|>")[0]
        said = format_response(Response("", "Go.", self._action(system.split("Task: ")[1], prompt, Random(seed))))
        ids = response_ids(self.tokenizer, said)
        return Completion(ids, (-0.5,) * len(ids))

    def _action(self, instruction: str, prompt: Prompt, rng: Random) -> Action:
        device = self.phones.device(self.setups[instruction])
        assert device is not None
        chance = rng.random()
        if chance < WRONG:
            return Click(Point(rng.randrange(SIZE[0]), rng.randrange(SIZE[1]), prompt.frame))
        if chance < 2 * WRONG:
            return Terminate(rng.choice(("success", "success", "failure")))
        move = device.next_move()
        if move.kind == "finish" and device.chatting and device.text != GOODBYE:
            return Type(GOODBYE)
        box = device.box(move.name) if move.kind in ("tap", "hold") else None
        return action(move, box, prompt.frame)


@dataclass
class Outcome:
    """The outcomes of the episodes under one kind of trouble. faults: results that must not occur, one line each."""

    began: int = 0
    texts: int = 0  # episodes that end with GOODBYE in the field
    endings: Counter[Ending] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds from the reset to the end of an episode
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def play(phones: TroubledPhones, tokenizer: PreTrainedTokenizerBase, trouble: Trouble, count: int) -> Outcome:
    """Play `count` episodes under `trouble` on all phones."""
    tasks = [
        Task(task.app, f"{index}. {task.instruction}", task.setup)
        for index, task in enumerate(draw_tasks(count, seed=trouble.seed, apps=APPS, held_out=False, popups=0.5))
    ]
    setups = {task.instruction: dict(task.setup) for task in tasks}
    policy = ErringOracle(phones, tokenizer, setups)
    outcome = Outcome()

    def finished(index: int, episode: Episode) -> None:
        ending, instruction = episode.trajectory.ending, episode.trajectory.task
        outcome.endings[ending] += 1
        if device := phones.device(setups[instruction]):
            outcome.slowest = max(outcome.slowest, time.monotonic() - device.began)
            outcome.texts += device.text == GOODBYE
        if ending in (Ending.SUCCESS, Ending.FAILURE):
            done = device is not None and device.progress()["done"]
            if done != (ending is Ending.SUCCESS):
                outcome.faults.append(f"{instruction}: {ending}, but done is {done} on the phone")
        if ending is Ending.INFRASTRUCTURE_FAILURE and not (episode.failure and episode.failure.reason):
            outcome.faults.append(f"{instruction}: an infrastructure failure without reason")

    started = time.monotonic()
    phones.choose(trouble)
    episodes = asyncio.run(_play(phones, tasks, policy, finished))
    outcome.seconds, outcome.began = time.monotonic() - started, phones.begun.total()
    phones.choose(Trouble())
    if len(episodes) != count or outcome.endings.total() != count:
        outcome.faults.append(f"{count - outcome.endings.total()} episodes are lost")
    return outcome


async def _play(phones: TroubledPhones, tasks: Sequence[Task], policy: ErringOracle, finished: Any) -> list[Episode]:
    async with asyncio.timeout(60 + 2 * len(tasks)), Fleet(phones.phones, RETRIES) as fleet:
        episodes = await run_episodes(
            fleet,
            tasks,
            Agent(policy, PromptFormat(policy.tokenizer, SYSTEM, Resizing(scale=1.0))),
            most_turns=MOST_TURNS,
            seed=7,
            on_finished=finished,
        )
        if fleet.size != len(phones.phones):
            raise RuntimeError(f"{len(phones.phones) - fleet.size} phones are given up")
        return episodes


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Return the Markdown table of outcomes by kind of trouble."""
    head = ["trouble", "began", *(ending.replace("_", " ") for ending in Ending), "slowest episode, s", "all, s"]
    rows = [
        [
            kind.replace("_", " "),
            str(outcome.began),
            *(str(outcome.endings[ending]) for ending in Ending),
            f"{outcome.slowest:.1f}",
            f"{outcome.seconds:.0f}",
        ]
        for kind, outcome in outcomes.items()
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def load_tokenizer() -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(tokenizer_object=train_tokenizer(), eos_token="<|im_end|>")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=1000, help="episodes of each kind of trouble")
    parser.add_argument("--phones", type=int, default=4)
    parser.add_argument("--kinds", nargs="*", help="kinds to play; all if none is given")
    arguments = parser.parse_args()
    outcomes: dict[str, Outcome] = {}
    with closing(TroubledPhones(arguments.phones)) as phones:
        tokenizer = load_tokenizer()
        for kind, trouble in troubles(phones.server).items():
            if not arguments.kinds or kind in arguments.kinds:
                trouble = replace(trouble, adb_server=trouble.adb_server and phones.server)
                outcomes[kind] = play(phones, tokenizer, trouble, arguments.episodes)
    print(table(outcomes))
    if faults := [f"{kind}: {fault}" for kind, outcome in outcomes.items() for fault in outcome.faults]:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
