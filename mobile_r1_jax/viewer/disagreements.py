"""A page of the episodes that a judge grades most wrongly, with every screen and action."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mobile_r1_jax.agent.data_files import DATA, IMAGES
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Trajectory, write_trajectories
from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.evaluation.calibration import Judged
from mobile_r1_jax.rewards.judges.judge import Score
from mobile_r1_jax.viewer.markup import Html, join, tag
from mobile_r1_jax.viewer.page import html_page
from mobile_r1_jax.viewer.reading import read_part
from mobile_r1_jax.viewer.strips import render_strip

PAGE = "disagreements.html"


def write_disagreements(directory: Path, judged: Sequence[Judged], resizing: Resizing) -> Path:
    """Write the episodes into a directory, replacing those of before, and a page of them; return its path.

    resizing: of the images that the responses' coordinates belong to. The directory is one of trajectories, whose
    scores hold `judge_grade` and `known_grade`, so that a person can correct them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DATA).unlink(missing_ok=True)
    shutil.rmtree(directory / IMAGES, ignore_errors=True)
    graded = [one for one in judged if isinstance(one.grade, Score)]
    write_trajectories(directory, map(_with_grades, graded))
    if not graded:
        (directory / DATA).touch()
    part = read_part(directory.name, directory, directory, resizing)
    articles = [join(_verdict(one), render_strip(part, strip)) for one, strip in zip(graded, part.strips, strict=True)]
    summary = f"The {len(graded)} episodes whose grade differs most from what is known, the worst first."
    page = html_page("Judge against known outcomes", summary, {"Disagreements": join(*articles)})
    write_whole(directory / PAGE, page)
    return directory / PAGE


def _with_grades(one: Judged) -> Trajectory:
    grades = {"judge_grade": float(one.grade.grade), "known_grade": float(one.known.grade)}
    return replace(one.trajectory, scores=one.trajectory.scores | grades)


def _verdict(one: Judged) -> Html:
    return tag(
        "p",
        tag("b", f"{one.kind}: judge {one.grade.grade}, known {one.known.grade}. "),
        f"Judge: {one.grade.reason or 'no reason'}. Known: {one.known.reason}.",
        class_="note",
    )
