"""Calibration: the table for good and deliberately bad judges, and the page of their worst errors."""

import asyncio
import io
import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from chat_server import Body, Reply, chat_server, data_of, graded
from rich.console import Console

from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Trajectory, read_trajectories, write_trajectories
from mobile_r1_jax.config import ConfigError, Run
from mobile_r1_jax.evaluation.agreement import mean_interval, measure_agreement
from mobile_r1_jax.evaluation.calibration import agreement_of, agreement_table, judge_known, worst_disagreements
from mobile_r1_jax.judge_agreement import judge_agreement
from mobile_r1_jax.phones.providers import known_episodes
from mobile_r1_jax.phones.settings import PhoneSettings, SimulatedSettings
from mobile_r1_jax.rewards import Evidence, JudgeOutage, JudgeSettings, Score, StateJudge
from mobile_r1_jax.tasks.suite import DemonstrationStyle

PHONES = PhoneSettings(simulated=SimulatedSettings(size=(112, 224)))
STYLE = DemonstrationStyle("Phone. Task: {instruction}", Resizing(scale=1.0), mistakes=0.0, popups=0.1)


@pytest.fixture(scope="module")
def known() -> list[tuple[str, Trajectory]]:
    return list(known_episodes(PHONES, 40, 0, STYLE))


def test_calibration_episodes_have_their_known_grades(known) -> None:
    grades: dict[str, set[int]] = {}
    for kind, one in known:
        grades.setdefault(kind, set()).add(StateJudge().score(one).grade)
        assert '"terminate", "status": "success"' in one.turns[-1].response
    assert grades["success"] == {4} and grades["detour"] == {3}
    assert grades["near miss"] <= {0, 1} and grades["false claim"] <= {0, 1} and len(grades) == 4


def test_seed_determines_the_episodes(known) -> None:
    assert list(known_episodes(PHONES, 40, 0, STYLE)) == known
    assert list(known_episodes(PHONES, 8, 1, STYLE)) != known[:8]


class Says:
    """A judge whose grade is a function of the known grade."""

    def __init__(self, of: dict[int, int]) -> None:
        self.of = of

    async def grade(self, evidence: Evidence) -> Score | JudgeOutage:
        grade = self.of.get(StateJudge().score(evidence.trajectory).grade)
        return JudgeOutage("gone") if grade is None else Score(grade, "because", opinion=grade)


@pytest.mark.parametrize(
    ("of", "false_complete", "false_reject", "within_one"),
    [
        ({0: 0, 1: 1, 3: 3, 4: 4}, 0.0, 0.0, 1.0),  # perfect
        ({0: 4, 1: 4, 3: 4, 4: 4}, 1.0, 0.0, 0.5),  # believes every claim
        ({0: 0, 1: 0, 3: 0, 4: 0}, 0.0, 1.0, 0.5),  # strict
        ({0: 4, 1: 4, 3: 0, 4: 0}, 1.0, 1.0, 0.0),  # upside down
        ({3: 3, 4: 4}, math.nan, 0.0, 1.0),  # gone for failures
    ],
)
def test_table_shows_the_errors_of_a_judge(known, of, false_complete, false_reject, within_one) -> None:
    judged = asyncio.run(judge_known(Says(of), known))
    agreement = agreement_of(judged)
    shares = (agreement.false_complete, agreement.false_reject, agreement.within_one)
    found = [share.value for share in shares]
    assert found == pytest.approx([false_complete, false_reject, within_one], nan_ok=True)
    table = agreement_table(judged)
    assert [*table.columns[0].cells] == ["detour", "false claim", "near miss", "success", "all"]
    assert [column._cells[-1] for column in table.columns][1:5] == ["40", *map(str, shares)]
    assert [*table.columns[5].cells][-1] == str(replace(shares[0], hits=20 * (0 not in of), of=40))
    worst = worst_disagreements(judged)
    assert [one.difference for one in worst] == sorted((one.difference for one in worst), reverse=True)
    assert len(worst) <= 20 and all(one.difference for one in worst)


def test_completed_task_without_a_claim_is_in_neither_rate() -> None:
    agreement = measure_agreement([Score(4, opinion=4), None, JudgeOutage("")], [Score(2), Score(4), Score(0)])
    assert agreement.as_metrics() == {"judge_within_one": 0.0}


def test_bootstrap_interval_contains_the_mean_and_narrows_with_more_values() -> None:
    few, many = mean_interval([1.0, 3.0] * 4), mean_interval([1.0, 3.0] * 400)
    assert few[0] == many[0] == 2 and few[1] < many[1] < 2 < many[2] < few[2]
    assert mean_interval([5.0]) == (5.0, 5.0, 5.0) and all(map(math.isnan, mean_interval([])))


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.images, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += [dict(attrs)["src"]] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.text += data


def believing(body: Body) -> Reply:
    """A judge that grades every claim of success as a complete task, with markup in its reason."""
    claims = any('"terminate", "status": "success"' in answer for answer in data_of(body, "Answer"))
    return graded(4 if claims else 0, "<b>it says so</b>")


def run_of(folder: Path, url: str) -> Run:
    judge = JudgeSettings("auto", "m", url, input_price=10.0, output_price=10.0, concurrency=4)
    return replace(Run(), folder=folder, phones=PHONES, judge=judge, resizing=STYLE.resizing, system=STYLE.system)


def measure(run: Run, **options: object) -> tuple[str, list]:
    console = Console(file=io.StringIO(), width=160)
    judged = asyncio.run(judge_agreement(run, console, **options))
    return console.file.getvalue(), judged


def test_command_prints_the_table_and_draws_the_worst_disagreements(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with chat_server(believing) as server:
        printed, judged = measure(run_of(tmp_path, server.url), count=40)
        assert len(server.requests) == 41  # one is the check before
        again, _ = measure(run_of(tmp_path, server.url), count=40)
        assert len(server.requests) == 42 and "40 of 40 grades were kept" in again
    assert len(judged) == 40 and "100.0 [" in printed and "Judge against known outcomes" in printed
    assert "cost a trajectory: 0.00110 [0.00110, 0.00110]" in printed and "seconds a trajectory" in printed
    folder = tmp_path / "run" / "judge" / "disagreements"
    page = Page((folder / "disagreements.html").read_text())
    read = [one for _, one in read_trajectories(folder)]
    assert len(read) == 20 and all(one.scores["judge_grade"] == 4 and one.scores["known_grade"] < 2 for one in read)
    assert len(page.images) == sum(len(one.turns) for one in read)
    assert all((folder / unquote(source)).is_file() for source in page.images)
    assert page.text.count("judge 4, known 0") + page.text.count("judge 4, known 1") == 20
    assert "<b>it says so</b>" in page.text


def test_episodes_of_a_run_are_read_and_other_directories_are_refused(tmp_path, monkeypatch, known) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write_trajectories(tmp_path / "played", [one for _, one in known[:8]])
    write_trajectories(
        tmp_path / "mute", [replace(one, progress=None, outcome=Outcome.UNKNOWN) for _, one in known[:2]]
    )
    with chat_server(graded(4)) as server:
        run = run_of(tmp_path, server.url)
        printed, judged = measure(run, source=tmp_path / "played")
        assert len(judged) == 8 and {one.kind for one in judged} == {"success", "failure"} and "failure" in printed
        for source, words in (("mute", "has a known outcome"), ("nothing", "no trajectories")):
            with pytest.raises(ConfigError, match=words):
                measure(run, source=tmp_path / source)
    with pytest.raises(ConfigError, match=r"--judge\.model=MODEL"):
        measure(replace(run, judge=JudgeSettings()))


def test_perfect_judge_gives_a_page_without_disagreements(tmp_path, monkeypatch, known) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    truth = {json.dumps([t.response for t in one.turns]) + one.task: StateJudge().score(one).grade for _, one in known}

    def perfect(body: Body) -> Reply:
        [task], answers = data_of(body, "Task"), data_of(body, "Answer")
        return graded(truth.get(json.dumps(answers) + task, 0))

    with chat_server(perfect) as server:
        _, judged = measure(run_of(tmp_path, server.url), count=8)
    assert not worst_disagreements(judged)
    assert "The 0 episodes" in (tmp_path / "run" / "judge" / "disagreements" / "disagreements.html").read_text()
