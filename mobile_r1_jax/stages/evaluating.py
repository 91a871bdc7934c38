"""An evaluation: the policy plays the held-out tasks on the phones, and the result is written."""

from pathlib import Path
from typing import Any

from mobile_r1_jax.evaluation.metrics import Result, measure
from mobile_r1_jax.evaluation.results import find_result, provenance_of, write_result
from mobile_r1_jax.evaluation.summary import Summary, summarize, summary_from_json
from mobile_r1_jax.model.identity import weights_hash
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.rollouts.agent import Agent
from mobile_r1_jax.rollouts.episodes import Episode, run_episodes
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.run_directory import evaluation_name, left_folders
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.trainer import progress_bar
from mobile_r1_jax.tasks.suite import Split
from mobile_r1_jax.tasks.task import Task
from mobile_r1_jax.viewer import ReportError, write_report


async def evaluate(session: Session, stage: str, policy: Policy, fleet: Fleet[Any], records: Records) -> Result | None:
    """Play the held-out tasks, the same for every stage, and write the result; reuse a result that exists.

    Each host plays its share. Process 0 writes the result; None on another host that does not see its file."""
    run = session.run
    held_out, unseen_apps = evaluation_tasks(session)
    provenance = provenance_of(run, (held_out, unseen_apps), weights=weights_hash(policy))
    existing = find_result(run.directory, stage, provenance)
    if session.hosts.of_first("result", existing is not None):
        return existing
    tasks = [*held_out * run.evaluation.repeats, *unseen_apps]
    played = await play(session, stage, policy, fleet, records, tasks, provenance)
    held_out_count = len(tasks) - len(unseen_apps)
    result = measure(
        stage, played[:held_out_count], played[held_out_count:], provenance, repeats=run.evaluation.repeats
    )
    say(session.console, f"evaluate {stage}: success {result.success}")
    if session.hosts.first:
        write_result(run.directory, result)
        update_report(session)
    return result


def evaluation_tasks(session: Session) -> tuple[list[Task], list[Task]]:
    """Return the tasks of an evaluation: held-out ones, and those on unseen apps.

    A suite without held-out tasks, such as a plain task file, is evaluated on its training tasks."""
    run, suite = session.run, session.tasks
    count, seed = run.evaluation.episodes, run.seed
    unseen_apps = suite.draw(run.evaluation.unseen_app_episodes, seed, Split.UNSEEN_APPS)
    splits = [split for split in (Split.UNSEEN_PARAMETERS, Split.UNSEEN_TEMPLATES) if suite.draw(1, seed, split)]
    if not splits and not unseen_apps and count:
        say(session.console, f"{run.tasks} has no held-out tasks: its training tasks are played")
        splits = [Split.TRAIN]
    held_out: list[Task] = []
    for number, split in enumerate(splits, start=1):
        held_out += suite.draw(count * number // len(splits) - len(held_out), seed, split)
    return held_out, unseen_apps


async def play(
    session: Session,
    stage: str,
    policy: Policy,
    fleet: Fleet[Any],
    records: Records,
    tasks: list[Task],
    provenance: dict[str, str],
) -> list[Summary]:
    """Play this host's share of the tasks, except for those that a killed evaluation with the same provenance has
    finished. Return the summaries of all hosts."""
    run, hosts, name = session.run, session.hosts, evaluation_name(stage)
    own_name, rows = hosts.folder(name), {}
    left = left_folders(records.folder / name, hosts.count) if hosts.first else []
    for folder in (own_name, *(folder.name for folder in left)):
        rows |= records.finished(folder, {"provenance": provenance})
    every = _all_rows(hosts, rows)
    open_tasks = [index for index in range(len(tasks)) if index not in every]
    own = {open_tasks[number] for number in hosts.share(len(open_tasks))}
    with progress_bar(session) as progress:
        row = progress.add_task(f"evaluate {stage}", total=len(own) + len(every), completed=len(every), metric="")

        def keep(index: int, episode: Episode) -> None:
            rows[index] = summarize(episode).as_json() | {"provenance": provenance}
            records.add(own_name, index, episode, rows[index])
            progress.advance(row)

        cache = session.screen_cache(policy)
        with session.sampler(policy) as copy:

            async def play_own() -> None:
                async with session.engine(copy, run.evaluation.temperature, cache) as engine:
                    await run_episodes(
                        fleet,
                        tasks,
                        Agent(engine, session.prompt_format),
                        most_turns=run.phones.most_turns,
                        seed=run.seed,
                        done=set(range(len(tasks))) - own,
                        on_finished=keep,
                    )

            await hosts.until_stop(play_own())
    records.sort(own_name)
    every = _all_rows(hosts, rows)
    return [summary_from_json(every[index]) for index in range(len(tasks))]


def _all_rows(hosts: Hosts, own: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the rows of all hosts, by the number of their episode."""
    return {index: row for part in hosts.gather("episodes", list(own.items())) for index, row in part}


def update_report(session: Session) -> Path | str:
    """Write the report page; return its path, or the reason of a failure, which does not stop the run."""
    try:
        return write_report(session.run.directory)
    except ReportError as error:
        return f"{session.run.directory} (no report: {error})"
