"""Play without training: evaluate any policy on any phones, or let it carry out one instruction."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from random import Random

from rich.console import Console

from mobile_r1_jax.agent.actions import Malformed, SystemButton
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.settings import differences, read_agent_settings
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.config import ConfigError, Run, save_run
from mobile_r1_jax.evaluation.metrics import Result
from mobile_r1_jax.evaluation.results import read_results
from mobile_r1_jax.evaluation.tables import results_table
from mobile_r1_jax.model.decode_layout import sampling_copy
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import computing_on
from mobile_r1_jax.phones.fleet import Fleet, InfrastructureFailure
from mobile_r1_jax.phones.guard.terminal import TerminalAsk
from mobile_r1_jax.phones.phone import Phone, PhoneError
from mobile_r1_jax.phones.providers import open_phone, open_phones
from mobile_r1_jax.provenance import record_start
from mobile_r1_jax.rollouts.agent import Agent
from mobile_r1_jax.rollouts.episodes import Episode, run_episode
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.run_directory import OFFLINE, TRAJECTORIES, file_name, inputs_of, locked
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.runtime.interrupts import Interrupts
from mobile_r1_jax.session import Session, fit_shapes, open_session
from mobile_r1_jax.stages.evaluating import evaluate, update_report
from mobile_r1_jax.stages.export import find_and_hash_policy, find_policy
from mobile_r1_jax.stages.host_checks import check_alike, check_one_host, check_phones, share_of_phones
from mobile_r1_jax.stages.offline import open_data, predict
from mobile_r1_jax.tasks.one_instruction import OneInstruction
from mobile_r1_jax.tasks.suite import TaskSuite
from mobile_r1_jax.tasks.task import Task
from mobile_r1_jax.viewer.strips import describe


def evaluate_policy(
    run: Run, flags: Sequence[str], console: Console, interrupts: Interrupts, hosts: Hosts | None = None
) -> None:
    """Evaluate the policy on the phones, and print the table of all policies that the same tasks were played with.

    hosts: the processes that play, each its share; all call this. None: this one alone."""
    title, hosts = str(run.policy), hosts or Hosts()
    with locked(run.directory) if hosts.first else nullcontext():
        if hosts.count > 1:
            check_one_host(run, hosts)
            run, policy_hash = find_and_hash_policy(run)
            check_alike(run, inputs_of(run, policy_hash), hosts)
        settings, first = share_of_phones(run, hosts)
        opened = open_phones(settings, run.seed + first, guard=run.guard)
        with open_player(run, flags, console, opened, hosts=hosts) as (session, policy, phones):
            if hosts.first:
                save_run(session.run)
                record_start(run.directory, {"seed": run.seed})

            async def play() -> Result | None:
                async with Fleet(phones) as fleet:
                    return await evaluate(session, title, policy, fleet, Records(run.directory / TRAJECTORIES))

            result = interrupts.run(play())
            if hosts.first:
                every = read_results(run.directory)
                console.print(results_table([one for one in every if comparable(one.measured_on, result.measured_on)]))
                say(console, f"Look at {update_report(session)}")


def answer_data(run: Run, directory: Path, flags: Sequence[str], console: Console, interrupts: Interrupts) -> Path:
    """Answer every annotated step of a directory, without a phone. Return the file of the answers."""
    with locked(run.directory), open_player(run, flags, console) as (session, policy, _):
        save_run(session.run)
        data = open_data(session, directory, run.evaluation.data_frame, "data")
        out = run.directory / OFFLINE / f"{file_name(str(session.run.policy))}-on-{directory.resolve().name}.jsonl"
        interrupts.run(predict(session, policy, data, out, title=f"answer {directory}"))
    return out


def comparable(one: dict[str, str], other: dict[str, str]) -> bool:
    """Return whether two results are of the same tasks and settings."""
    return all(one.get(name) == other.get(name) for name in ("tasks", "settings"))


def carry_out(instruction: str, run: Run, flags: Sequence[str], console: Console, interrupts: Interrupts) -> None:
    """Let the policy carry out an instruction on the first phone. Print its turns, and save the trajectory."""
    ask, task = TerminalAsk(), Task("", instruction)
    phone = open_phone(run.phones, run.seed, guard=run.guard, ask=ask)
    with locked(run.directory), open_player(run, flags, console, phone, OneInstruction(task)) as player:
        session, policy, phones = player
        save_run(session.run)
        record_start(run.directory, {"seed": run.seed})
        records, turns = Records(run.directory / TRAJECTORIES), list[Turn]()

        def on_turn(turn: Turn, response: Response | Malformed) -> None:
            turns.append(turn)
            say(console, turn_line(len(turns), turn, response))

        async def play() -> Episode:
            engine = session.engine(sampling_copy(policy), run.evaluation.temperature, session.screen_cache(policy))
            async with Fleet(phones) as fleet, engine, fleet.lease() as phone:
                agent, most, rng = Agent(engine, session.prompt_format), run.phones.most_turns, Random(run.seed)
                try:
                    return await run_episode(phone, task, agent, most_turns=most, rng=rng, on_turn=on_turn)
                except asyncio.CancelledError:  # Ctrl-C
                    ask.stop()  # the phone would wait for an answer
                    stopped = Trajectory(instruction, "", agent.system(task), tuple(turns), Ending.INTERRUPTED)
                    records.add_trajectory("act", Episode(stopped, (), ()))
                    with suppress(InfrastructureFailure):
                        await phone.perform(SystemButton("Home"))
                    raise

        episode = interrupts.run(play())
        records.add_trajectory("act", episode)
        say(console, ending_line(episode))
        say(console, f"Look at {update_report(session)}")


def turn_line(number: int, turn: Turn, response: Response | Malformed) -> str:
    """Return the line of a turn: its number, thought, action sentence, action, and effect.

    It has no control characters: texts of a policy or a screen may contain them, and a terminal would obey them."""
    if isinstance(response, Malformed):
        line = f"malformed response ({response.reason}): {' '.join(turn.response.split())[:200]}"
    else:
        action, effect = " ".join(describe(response.action)), f" -> {turn.effect}" if turn.effect else ""
        line = f"{response.thought} | {response.sentence} | {action}{effect}"
    printable = "".join(character if character.isprintable() else " " for character in line)
    return f"{number}. {' '.join(printable.split())}"


def ending_line(episode: Episode) -> str:
    """Return how an episode ended, in words."""
    words = {
        Ending.SUCCESS: "done",
        Ending.CLAIMED: "the policy says that it is done; nothing has verified it",
        Ending.FAILURE: "failed",
        Ending.GAVE_UP: "the policy gave up",
        Ending.OUT_OF_STEPS: "stopped after the last turn; --max_turns allows more",
        Ending.SECURE_PAGE: "stopped: the page forbids screenshots",
        Ending.INFRASTRUCTURE_FAILURE: "stopped: the phone failed",
    }
    reason = f" ({episode.failure.message})" if episode.failure else ""
    return words[episode.trajectory.ending] + reason


@contextmanager
def open_player(
    run: Run,
    flags: Sequence[str],
    console: Console,
    opened: AbstractContextManager[list[Phone]] | None = None,
    tasks: TaskSuite | None = None,
    hosts: Hosts | None = None,
) -> Iterator[tuple[Session, Policy, list[Phone]]]:
    """Yield a session whose shapes fit the phones and the tasks, the policy, and the phones.

    flags: of the command line; they win over the policy's agent.json. opened: opens the phones; None: there are none,
    and the run's shapes are kept. tasks, hosts: see `open_session`. Raise ConfigError and PhonesUnavailable."""
    hosts = hosts or Hosts()
    try:
        run = as_trained(replace(run, policy=find_policy(run.policy)), flags, console)
    except (ValueError, OSError) as error:
        raise ConfigError(f"policy: {error}") from error
    with opened or nullcontext([]) as phones:
        check_phones(phones, hosts)
        sizes = {tuple(size) for part in hosts.gather("sizes", list(sizes_of(phones))) for size in part}
        fit = (lambda session: fit_shapes(session, sizes)) if opened else (lambda session: session)
        session, policy = open_session(run, console, fit, tasks, hosts)
        with computing_on(session.mesh):
            yield session, policy, phones


def sizes_of(phones: Sequence[Phone]) -> set[tuple[int, int]]:
    """Return the sizes of the phones' screens. A phone that does not answer is left out later, by its fleet."""
    sizes = set()
    for phone in phones:
        with suppress(PhoneError):
            sizes.add(phone.size)
    return sizes


def as_trained(run: Run, flags: Sequence[str], console: Console) -> Run:
    """Return the run with the prompts and resizing in the policy's agent.json, unless a flag sets them."""
    settings = read_agent_settings(run.policy)
    if settings is None:
        return run
    for name in ("system", "resizing", "answer", "tell_effects"):
        if not any(flag.startswith((f"--{name}=", f"--{name}.")) for flag in flags):
            run = replace(run, **{name: getattr(settings, name)})
    for line in differences(settings, run):
        say(console, f"warning: {line}")
    if not any(flag.startswith("--shapes.response_tokens=") for flag in flags):
        run = replace(run, shapes=replace(run.shapes, response_tokens=settings.response_tokens))
    return run
