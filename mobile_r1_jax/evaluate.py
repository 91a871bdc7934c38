"""python -m mobile_r1_jax.evaluate: play tasks with a policy on any phones, without training."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mobile_r1_jax.command_line import check_alone, on_all_hosts, run_command, take_flag, take_value
from mobile_r1_jax.config import SIMULATOR, ConfigError, Run, parse_run
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.runtime.interrupts import Interrupts

DESCRIPTION = """Play tasks with a policy on phones, and print the table. Nothing is trained.
The policy is a Hugging Face directory or a stage of a run. Its agent.json says how it is prompted.
Results go to FOLDER/evaluations/NAME. A stopped evaluation resumes; other policies add rows to the table.

  python -m mobile_r1_jax.evaluate --policy=runs/tiny:task_level
  python -m mobile_r1_jax.evaluate --policy=DIRECTORY --tasks=FILE.yaml --phones.source=[devices]
  python -m mobile_r1_jax.evaluate --policy=DIRECTORY --evaluation.episodes=50 --evaluation.repeats=4
  python -m mobile_r1_jax.evaluate --tasks=FILE.yaml --dry_run
  python -m mobile_r1_jax.evaluate --policy=DIRECTORY --data=DIRECTORY --rules=all
  python -m mobile_r1_jax.evaluate --predictions=FILE.jsonl --rules=all
  python -m mobile_r1_jax.evaluate --judge_agreement --judge.model=MODEL --judge.base_url=URL

  --dry_run            run every setup and check of the task file once on a phone, and print each answer
  --data=DIRECTORY     answer annotated steps, without a phone, and print the benchmark's table
  --predictions=FILE   print the table of answers that were written before, by this or another model
  --rules=NAMES        rule sets of the table, such as uground,aitw; all: every one (docs/howto/offline-benchmark.md)
  --judge_agreement    compare the chat judge with simulated episodes whose outcome is known
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("evaluate", DESCRIPTION, arguments, evaluate)


def evaluate(arguments: list[str], console: Console, interrupts: Interrupts) -> None:
    """Evaluate the policy, or try the tasks."""
    dry, flags = take_flag(arguments, "--dry_run")
    judges, flags = take_flag(flags, "--judge_agreement")
    data, flags = take_value(flags, "--data")
    predictions, flags = take_value(flags, "--predictions")
    rules, flags = take_value(flags, "--rules")
    run = parse_run("evaluate", flags)
    run = replace(run, folder=run.folder / "evaluations")
    if not (dry or judges) and data is predictions is None:
        with on_all_hosts(run, console, interrupts) as hosts:
            from mobile_r1_jax.stages.playing import evaluate_policy  # here, as importing transformers takes seconds

            evaluate_policy(run, flags, console, interrupts, hosts)
        return
    check_alone(run, "evaluate with --dry_run, --data, --predictions or --judge_agreement")
    if dry:
        try_tasks(run, console)
        return
    if judges:
        from mobile_r1_jax.judge_agreement import judge_agreement

        interrupts.run(judge_agreement(run, console))
        return
    if predictions is not None:
        score(Path(predictions), rules, console)
        return
    from mobile_r1_jax.stages.playing import answer_data

    answers = answer_data(run, Path(data), flags, console, interrupts)
    score(answers, rules, console)


def score(predictions: Path, rules: str | None, console: Console) -> None:
    """Print the table of answers to annotated steps."""
    from mobile_r1_jax.evaluation.offline.scores import rule_names, score_predictions
    from mobile_r1_jax.evaluation.offline.tables import print_scores

    try:
        scores = score_predictions(predictions, rule_names(rules or "all"))
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    print_scores(scores, console, str(predictions), predictions.with_suffix(".json"))


def try_tasks(run: Run, console: Console) -> None:
    """Run every setup, check and teardown of a task file once, on the first phone."""
    from mobile_r1_jax.phones.adb.dry_run import try_on
    from mobile_r1_jax.phones.providers import open_file_tasks, open_phone

    if run.tasks == SIMULATOR:
        raise ConfigError("tasks: --dry_run tries a task file; name one, such as --tasks=configs/tasks/aosp.yaml")
    tasks = open_file_tasks(run.tasks).one_of_each()
    with open_phone(run.phones, run.seed) as [phone]:
        for line in try_on(phone, tasks):
            say(console, line)


if __name__ == "__main__":
    sys.exit(main())
