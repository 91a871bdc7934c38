"""Evaluation of a policy on annotated data: by a separate command, and after each stage of a run."""

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from mobile_r1_jax.agent.coordinates import FrameSetting
from mobile_r1_jax.agent.data_files import data_file, read_lines
from mobile_r1_jax.agent.json_fields import BrokenError, get_field, parse_json
from mobile_r1_jax.agent.screenshots import PUBLISHED_RESIZING
from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.config import ConfigError
from mobile_r1_jax.evaluation.offline.answering import GoldenData, answer_questions, open_golden_data, read_questions
from mobile_r1_jax.evaluation.offline.predictions import answered_steps
from mobile_r1_jax.evaluation.offline.scores import Scores, score_predictions
from mobile_r1_jax.evaluation.offline.tables import print_scores
from mobile_r1_jax.model.decode_layout import sampling_copy
from mobile_r1_jax.model.identity import weights_hash
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.run_directory import OFFLINE, evaluation_name
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.golden import describe_frame, room_of
from mobile_r1_jax.stages.trainer import progress_bar


def open_data(session: Session, directory: Path, frame: FrameSetting, field: str) -> GoldenData:
    """Read annotated data once, and print how it was read.

    frame: of its coordinates, see `Annotations.frame`. field: the setting that names the directory. Raise ConfigError
    in one line if no step is usable.
    """
    try:
        data = open_golden_data(directory, frame, PUBLISHED_RESIZING)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{field}: {error}") from error
    say(session.console, describe_frame(str(data_file(directory)), data.frame, field))
    broken = f"; left out: {len(data.broken)} lines, the first: {data.broken[0]}" if data.broken else ""
    say(session.console, f"{field}: {data.steps} golden steps{broken}")
    return data


async def predict(
    session: Session,
    policy: Policy,
    data: GoldenData,
    out: Path,
    *,
    title: str,
    temperature: float = 0.0,
    seen_apps: Collection[str] | None = None,
) -> None:
    """Answer every golden step that `out` does not answer yet, and append the predictions to it.

    The policy sees the golden history. The engine runs at full batch. title: of the progress bar. temperature: 0 is
    greedy. seen_apps: those that the policy was trained on, if they are known. Steps that the run has no room for are
    printed and listed beside `out`. Raise OneLineError if `out` is of another policy or other data, OSError that names
    the file.
    """
    made_by = provenance(session, policy, data, temperature)
    answered = answered_steps(out, made_by)
    out.parent.mkdir(parents=True, exist_ok=True)
    room = replace(room_of(session), response_tokens=max(session.run.shapes.prompt_tokens))  # only the history has some
    questions = read_questions(data, session.prompt_format, room, answered=answered, seen_apps=seen_apps)
    with progress_bar(session) as progress:
        row = progress.add_task(title, total=data.steps, completed=len(answered), metric="")
        async with session.engine(sampling_copy(policy), temperature, session.screen_cache(policy)) as engine:
            left_out = await answer_questions(
                questions,
                engine,
                session.prompt_format,
                out,
                made_by=made_by,
                seed=session.run.seed,
                on_answered=lambda: progress.advance(row),
            )
    if left_out:
        listed = out.with_suffix(".left-out.txt")
        write_whole(listed, "".join(f"{line}\n" for line in left_out))
        say(session.console, f"{title}: left out, and listed in {listed}: {left_out[0]}")


async def evaluate_on_data(session: Session, stage: str, policy: Policy, data: GoldenData) -> Scores:
    """Answer the golden steps after a stage, score the answers by all rule sets, and print the tables.

    stage: its title, such as "base". Predictions and the JSON result are in the folder `offline` of the run directory;
    they are used again if policy, data and settings are the same.
    """
    out = session.run.directory / OFFLINE / f"{evaluation_name(stage)}.jsonl"
    try:
        answered_steps(out, provenance(session, policy, data, 0.0))
    except ValueError:  # of an earlier policy: the run has been changed since
        out.unlink()
    await predict(session, policy, data, out, title=f"evaluate {stage} on data", seen_apps=training_apps(session))
    scores = score_predictions(out)
    print_scores(scores, session.console, f"{stage} on {data.directory}", out.with_suffix(".json"))
    return scores


def provenance(session: Session, policy: Policy, data: GoldenData, temperature: float) -> str:
    """Return a hash of all that the predictions depend on: weights, data and settings."""
    run = session.run
    with data_file(data.directory).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    settings = {"system": run.system, "resizing": asdict(run.resizing), "actions": list(session.prompt_format.actions)}
    settings |= {"response_tokens": run.shapes.response_tokens, "compute": run.precision.compute}
    settings |= {"tell_effects": run.tell_effects}
    settings |= {"temperature": temperature, "top_p": run.top_p, "top_k": run.top_k, "seed": run.seed}
    settings |= {"weights": weights_hash(policy), "data": digest, "frame": data.frame.kind}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def training_apps(session: Session) -> frozenset[str]:
    """Return the apps of a run's annotations and phones."""
    directories = session.run.annotations.directories
    written = () if directories else session.run.phones.simulated.apps
    return frozenset(written).union(*map(apps_of, directories))


def apps_of(directory: Path) -> frozenset[str]:
    """Return the apps of a directory of annotated trajectories, without reading its screenshots."""
    apps = set()
    for _, line in read_lines(directory):
        with suppress(BrokenError):  # a broken line is reported where it is trained on
            apps.add(get_field(parse_json(line, dict, "line"), "app_name", str) if isinstance(line, str) else "")
    return frozenset(apps)
