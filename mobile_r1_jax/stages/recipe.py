"""The recipe: three stages in sequence, with an evaluation on held-out tasks before the first and after each."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from rich.console import Console

from mobile_r1_jax.agent.settings import AgentSettings
from mobile_r1_jax.config import Run
from mobile_r1_jax.evaluation.metrics import Result
from mobile_r1_jax.evaluation.offline.answering import GoldenData
from mobile_r1_jax.evaluation.tables import results_table
from mobile_r1_jax.model.checkpoints.huggingface import save_policy
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import computing_on
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.phones.providers import open_phones
from mobile_r1_jax.provenance import record_start
from mobile_r1_jax.rewards.judges.choice import open_judge
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.run_directory import JUDGE, POLICY, TRAJECTORIES, begin, check, check_storage, inputs_of, locked
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.runtime.host_memory import keep_freed_memory
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.runtime.interrupts import Interrupts
from mobile_r1_jax.session import Session, check_lengths, open_session
from mobile_r1_jax.stages import action_level, format_finetuning, task_level
from mobile_r1_jax.stages.declaration import STAGES
from mobile_r1_jax.stages.evaluating import evaluate, update_report
from mobile_r1_jax.stages.export import find_and_hash_policy
from mobile_r1_jax.stages.golden import GoldenSteps, golden_steps
from mobile_r1_jax.stages.host_checks import (
    check_alike,
    check_folder,
    check_one_host,
    check_phones,
    check_updates,
    share_of_phones,
)
from mobile_r1_jax.stages.offline import evaluate_on_data, open_data
from mobile_r1_jax.training.tracking import check_tracking


def run_recipe(run: Run, console: Console, interrupts: Interrupts, *, force: bool, hosts: Hosts | None = None) -> None:
    """Check the run, train and evaluate, and print the table of results.

    Args:
      force: discard the contents of the run's directory that do not match the run.
      hosts: the processes of the run; all call this. None: this one alone.

    Raise ConfigError in one line before anything expensive starts, HostsError, OSError, and Interrupted.
    """
    keep_freed_memory()
    check_tracking(run.tracking)
    check_storage(run)
    hosts, began = hosts or Hosts(), time.time()
    with locked(run.directory) if hosts.first else nullcontext():
        check_one_host(run, hosts)
        run, policy_hash = find_and_hash_policy(run)
        if hosts.first and not force:
            check(run, policy_hash)
        check_folder(run, hosts)
        check_alike(run, inputs_of(run, policy_hash), hosts)
        check_updates(run, hosts)
        settings, first = share_of_phones(run, hosts)
        session, policy = open_session(run, console, hosts=hosts)
        if hosts.first:
            begin(run, policy_hash, say=partial(say, console))
            record_start(run.directory, {"seed": run.seed})
        has_steps = {"format_finetuning", "action_level"} & set(run.stages)
        steps = hosts.in_turn("golden steps", lambda: golden_steps(session)) if has_steps else None
        for line in steps.report if steps else ():
            say(console, line)
        with open_phones(settings, run.seed + first, guard=run.guard) as phones, computing_on(session.mesh):
            check_phones(phones, hosts)
            results = interrupts.run(train_and_evaluate(session, policy, steps, phones))
        if hosts.first:
            console.print(results_table(results))
            say(console, f"{(time.time() - began) / 60:.1f} minutes. Look at {update_report(session)}")


async def train_and_evaluate(
    session: Session, policy: Policy, steps: GoldenSteps | None, phones: Sequence[Any]
) -> list[Result]:
    """Run the run's stages, the first two on `steps`, and the evaluations; return the results of the evaluations.

    Completed work is not repeated: a stage continues from its last checkpoint, and a result is reused if weights, tasks
    and settings are the same.
    """
    run, results = session.run, []
    records = Records(run.directory / TRAJECTORIES)
    judged = (
        open_judge(run.judge, run.directory / session.hosts.folder(JUDGE))
        if "task_level" in run.stages
        else nullcontext()
    )
    async with Fleet(phones) as fleet, judged as judge:
        check_lengths(session, fleet.sizes)
        data = data_of(session)
        results.append(await evaluate_all(session, "base", policy, fleet, records, data))
        train = {
            "format_finetuning": lambda policy: format_finetuning.train(session, policy, steps.format_finetuning),
            "action_level": lambda policy: action_level.train(session, policy, steps.action_level),
            "task_level": lambda policy: task_level.train(session, policy, fleet, judge, records),
        }
        for stage in run.stages:
            policy = await train[stage](policy)
            results.append(await evaluate_all(session, STAGES[stage], policy, fleet, records, data))
    save_policy(policy, run.directory / POLICY, like=run.policy, base=run.policy_base)
    settings = AgentSettings(
        run.system,
        run.resizing,
        answer=run.answer,
        response_tokens=run.shapes.response_tokens,
        tell_effects=run.tell_effects,
    )
    if session.hosts.first:
        settings.write(run.directory / POLICY)
    return results


def data_of(session: Session) -> GoldenData | None:
    """Return the annotated data that a run is evaluated on, if there is any. Raise ConfigError in one line."""
    settings = session.run.evaluation
    return settings.data and open_data(session, settings.data, settings.data_frame, "evaluation.data")


async def evaluate_all(
    session: Session, title: str, policy: Policy, fleet: Fleet[Any], records: Records, data: GoldenData | None
) -> Result:
    """Evaluate the policy on phones and, if there is any, on annotated data. Return the result on phones."""
    result = await evaluate(session, title, policy, fleet, records)
    if data:
        await evaluate_on_data(session, title, policy, data)
    return result
