"""The results of a run's evaluations, in results.jsonl, and what each result depends on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobile_r1_jax.agent.json_lines import append_line, read_objects
from mobile_r1_jax.config import Run
from mobile_r1_jax.evaluation.metrics import Result, Share
from mobile_r1_jax.tasks.task import Task

RESULTS = "results.jsonl"  # in a run directory
SHARES = ("success", "steps", "format_errors", "recovery", "unseen_app", "claimed", "false_completion", "any_success")


def provenance_of(run: Run, tasks: Sequence[Sequence[Task]], *, weights: str) -> dict[str, str]:
    """Return hashes of all that an evaluation's result depends on.

    These are the policy's weights, its prompts, the tasks, and the settings that policies to compare have in common."""
    prompts = {"system": run.system, "tell_effects": run.tell_effects, "resizing": asdict(run.resizing)}
    prompts |= {"response_tokens": run.shapes.response_tokens, "compute": run.precision.compute}
    settings = {"size": run.phones.simulated.size, "source": run.phones.source, "most_turns": run.phones.most_turns}
    settings |= {"temperature": run.evaluation.temperature, "top_p": run.top_p, "top_k": run.top_k}
    settings |= {"repeats": run.evaluation.repeats, "seed": run.seed}
    if run.phones.source != ("simulated",):
        settings |= {"guard": asdict(run.guard)}
    hashes = {name: _hash(value) for name, value in {"prompts": prompts, "settings": settings}.items()}
    return {"weights": weights, "tasks": _hash([[task.id for task in some] for some in tasks])} | hashes


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def write_result(directory: Path, result: Result) -> None:
    """Append a result to results.jsonl in the run directory."""
    append_line(directory / RESULTS, json.dumps(asdict(result)))


def read_results(directory: Path) -> list[Result]:
    """Return the newest result of each stage, in the order in which they were first measured."""
    results = (
        Result(**{name: Share(**value) if name in SHARES else value for name, value in row.items()})
        for row in read_objects(directory / RESULTS)
    )
    return list({result.stage: result for result in results}.values())


def find_result(directory: Path, stage: str, provenance: dict[str, str]) -> Result | None:
    """Return the stage's newest result if its provenance (`provenance_of`) is the given one, else None."""
    newest = next((result for result in read_results(directory) if result.stage == stage), None)
    return newest if newest and newest.measured_on == provenance else None
