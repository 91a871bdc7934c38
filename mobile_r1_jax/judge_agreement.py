"""The agreement of a run's chat judge with simulated episodes of known outcome."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from mobile_r1_jax.agent.trajectory import Trajectory, read_trajectories
from mobile_r1_jax.config import ConfigError, Run
from mobile_r1_jax.evaluation.calibration import (
    Judged,
    agreement_table,
    judge_known,
    spending_lines,
    worst_disagreements,
)
from mobile_r1_jax.phones.providers import known_episodes
from mobile_r1_jax.rewards.judges.choice import known_score, open_judge
from mobile_r1_jax.rewards.judges.judge import Evidence
from mobile_r1_jax.run_directory import JUDGE
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.tasks.suite import DemonstrationStyle
from mobile_r1_jax.viewer.disagreements import write_disagreements

COUNT = 200  # episodes


async def judge_agreement(
    run: Run, console: Console, *, count: int = COUNT, source: Path | None = None
) -> list[Judged]:
    """Grade known episodes with the run's chat judge, print the table, and write the twenty worst disagreements.

    source: directory of trajectories whose outcomes are known, such as RUN/trajectories/task_level; None: `count`
    episodes that the oracle plays, some with deliberate errors. The chat judge grades them for any `judge.kind`. Raises
    ConfigError or JudgeError in one line.
    """
    if not run.judge.model:
        raise ConfigError("judge.model: name the chat model whose agreement is measured: --judge.model=MODEL")
    chosen = replace(run, judge=replace(run.judge, kind="chat", steps=False))
    episodes = list(known_of(chosen, count) if source is None else read_known(source))
    with Progress(console=console) as progress:
        row = progress.add_task("judge", total=len(episodes))
        async with open_judge(chosen.judge, run.directory / JUDGE) as judge:
            judged = await judge_known(judge, episodes, lambda: progress.advance(row))
    page = write_disagreements(run.directory / JUDGE / "disagreements", worst_disagreements(judged), run.resizing)
    console.print(agreement_table(judged))
    for line in (*spending_lines(judged), f"The worst disagreements: {page}"):
        say(console, line)
    return judged


def known_of(run: Run, count: int) -> Iterator[tuple[str, Trajectory]]:
    """Yield the oracle's episodes for the run's phones. Raise ConfigError in one line for a wrong setting."""
    style = DemonstrationStyle(run.system, run.resizing, mistakes=0.0, popups=run.annotations.popups)
    try:
        yield from known_episodes(run.phones, count, run.seed, style)
    except ValueError as error:
        raise ConfigError(f"phones.simulated.{error}") from error


def read_known(directory: Path) -> Iterator[tuple[str, Trajectory]]:
    """Yield the trajectories of a directory with their endings as kinds. Raise ConfigError if there are none."""
    try:
        read = [one for _, one in read_trajectories(directory) if isinstance(one, Trajectory)]
    except OSError as error:
        raise ConfigError(f"{directory} has no trajectories: {error}") from error
    known = [one for one in read if known_score(Evidence(one)) and one.ending.depends_on_policy]
    if not known:
        raise ConfigError(f"no trajectory in {directory} has a known outcome; name those of tasks that are verified")
    yield from ((one.ending.value, one) for one in known)
