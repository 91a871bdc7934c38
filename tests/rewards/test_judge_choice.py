"""Which judge grades an episode, the judging of single steps, and impossible settings."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import Body, Reply, chat_server, data_of, graded, says
from judged_episodes import CLAIM, DONE, MOVE, NOT_DONE, UNKNOWN, evidence, trajectory

from mobile_r1_jax.agent.actions import Terminate
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.rewards import Evidence, JudgeError, JudgeOutage, JudgeSettings, Score, open_judge
from mobile_r1_jax.rewards.judges.settings import find_problems

STATE = Evidence(replace(trajectory("abc", Progress(True, 0, 3, 2, 2)), outcome=DONE), (MOVE, MOVE, CLAIM))
DONE_CLAIMED, DONE_ONLY = evidence("ab", DONE, (MOVE, CLAIM)), evidence("ab", DONE, (MOVE, MOVE))
FAILED, OPEN = evidence("ab", NOT_DONE, (MOVE, CLAIM)), evidence("ab", UNKNOWN, (MOVE, CLAIM))


@pytest.fixture(autouse=True)
def environment(monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def judge_all(settings: JudgeSettings, folder: Path, *episodes: Evidence) -> list[Score | JudgeOutage]:
    async def inside() -> list[Any]:
        async with open_judge(settings, folder) as judge:
            return [await judge.grade(one) for one in episodes]

    return asyncio.run(inside())


def grades(judged: list[Score | JudgeOutage]) -> list[int | None]:
    return [one.grade if isinstance(one, Score) else None for one in judged]


EVERY = (STATE, DONE_CLAIMED, DONE_ONLY, FAILED, OPEN)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("auto", [4, 4, 2, 0, None]), ("state", [4, None, None, None, None]), ("checks", [4, 4, 2, 0, None])],
)
def test_state_or_checks_decide_without_a_chat_model_and_neither_is_an_outage(tmp_path, kind, expected) -> None:
    judged = judge_all(JudgeSettings(kind), tmp_path, *EVERY)
    assert grades(judged) == expected and list(tmp_path.iterdir()) == []
    assert all(one.lasting for one in judged if isinstance(one, JudgeOutage))


@pytest.mark.parametrize(
    ("kind", "says", "expected", "asked"),
    [
        ("auto", 0, [4, 3, 2, 0, 0], 3),  # checks decide success, not the chat judge
        ("auto", 4, [4, 4, 2, 1, 4], 3),
        ("checks", 1, [3, 3, 2, 1, None], 3),
        ("chat", 2, [2, 2, 2, 2, 2], 5),
        ("state", 4, [4, None, None, None, None], 0),
    ],
)
def test_a_chat_judge_grades_quality_where_checks_decide_success(tmp_path, kind, says, expected, asked) -> None:
    with chat_server(graded(says)) as server:
        settings = JudgeSettings(kind, "m", server.url)
        # Episodes differ only in the known outcome, and the judge sees equal requests: each needs a separate folder.
        judged = [judge_all(settings, tmp_path / str(i), one)[0] for i, one in enumerate(EVERY)]
    assert grades(judged) == expected
    assert sum(one.usage.requests for one in judged) == asked
    assert {one.opinion for one in judged if isinstance(one, Score) and one.usage.requests} <= {says}


def test_an_outage_of_the_chat_judge_is_not_replaced_by_the_checks(tmp_path) -> None:
    with chat_server(graded(4), Reply(500, "{}")) as server:
        settings = JudgeSettings("auto", "m", server.url, pause_s=0.0)
        assert grades(judge_all(settings, tmp_path, DONE_CLAIMED, DONE_ONLY)) == [None, 2]


def test_run_with_a_wrong_key_or_an_unsuitable_model_does_not_start(tmp_path) -> None:
    for reply, words in ((Reply(401, '{"error": {"message": "no"}}'), "OPENAI_API_KEY"), (says("hello"), "no JSON")):
        with chat_server(reply) as server, pytest.raises(JudgeError, match=words):
            judge_all(JudgeSettings("chat", "m", server.url, pause_s=0.0), tmp_path)


# Single steps ---------------------------------------------------------------------------------------------------------


def judge_steps(settings: JudgeSettings, folder: Path, one: Evidence, score: Score) -> tuple[bool | None, ...]:
    async def inside() -> Any:
        async with open_judge(replace(settings, steps=True), folder) as judge:
            return await judge.steps.judge(one, score)

    towards, usage = asyncio.run(inside())
    assert usage.requests == (len(towards) - 1) * settings.tries or settings.tries > 1
    return towards


def by_answer(body: Body) -> Reply:
    """Grades episodes with 4. The step on screen b is wrong, and the step on screen c breaks the judge."""
    if "towards_goal" not in body["messages"][0]["content"]:
        return graded(4)
    [answer] = data_of(body, "Answer")
    towards = {"answer on b": False, "answer on c": "maybe"}.get(answer, True)
    return says(json.dumps({"reason": "", "towards_goal": towards}))


@pytest.mark.parametrize(("last", "grade", "ends"), [(CLAIM, 4, True), (CLAIM, 1, False), (MOVE, 4, None)])
def test_every_step_is_judged_by_the_screens_before_and_after_it(tmp_path, last, grade, ends) -> None:
    one = evidence("abcd", UNKNOWN, (MOVE, MOVE, MOVE, last))
    with chat_server(by_answer) as server:
        settings = JudgeSettings("chat", "m", server.url, pause_s=0.0, tries=1)
        assert judge_steps(settings, tmp_path, one, Score(grade)) == (True, False, None, ends)
    asked = [body for _, _, body in server.requests[1:]]
    assert len(asked) == 3 and all(str(body).count("image_url': {") == 2 for body in asked)


def test_an_episode_without_turns_has_no_steps(tmp_path) -> None:
    with chat_server(by_answer) as server:
        assert judge_steps(JudgeSettings("chat", "m", server.url), tmp_path, evidence(""), Score(0)) == ()


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "chat"}, "kind is chat, which asks a chat model"),
        ({"steps": True}, "steps is True, which asks a chat model"),
        ({"base_url": "localhost:8000"}, "base_url is 'localhost:8000'; give an address"),
        ({"base_url": "ftp://host/v1"}, "give an address"),
        ({"base_url": "http://user:secret@host/v1"}, "put the key into the environment"),
        ({"base_url": "http://host/v1?api-key=secret"}, "put the key into the environment"),
        ({"budget": 5.0}, "budget needs prices"),
        ({"rubric": Path("missing.md")}, "missing.md is not a text file"),
        ({"rubric": Path(__file__).parent}, "is not a text file"),
    ],
)
def test_impossible_settings_are_named(changes, problem) -> None:
    [found] = find_problems(replace(JudgeSettings(), **changes))
    assert problem in found and "secret" not in found


def test_empty_rubric_is_named_and_the_defaults_are_valid(tmp_path) -> None:
    (tmp_path / "empty.md").write_text(" \n")
    assert "is empty" in next(find_problems(JudgeSettings(rubric=tmp_path / "empty.md")))
    assert list(find_problems(JudgeSettings())) == []


def test_claim_is_terminate_with_success() -> None:
    gave_up = Response("", "", Terminate("failure"))
    assert [
        evidence("a", UNKNOWN, answers).claims_success for answers in ((CLAIM,), (gave_up,), (CLAIM, MOVE), ())
    ] == [*(True, False, False, False)]
    assert not Evidence(trajectory("a", ending=Ending.SUCCESS)).claims_success  # other endings are not claims
