import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from mobile_r1_jax.agent.actions import Malformed, Wait
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.rewards import (
    ChatJudge,
    JudgeOutage,
    Progress,
    Score,
    StateJudge,
    read_progress,
    step_format_reward,
    task_reward,
    turn_format_reward,
)


def screenshot(shade: int) -> Screenshot:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(file, "PNG")
    return Screenshot(file.getvalue())


def trajectory(screens: str, progress: Progress | None = None, ending: Ending = Ending.SUCCESS) -> Trajectory:
    """One turn per letter; equal letters are equal screens."""
    turns = tuple(Turn(screenshot(ord(letter)), f"answer on {letter}") for letter in screens)
    scores = progress.as_scores() if progress else {}
    return Trajectory("buy milk", "Shop", "you drive a phone", turns, ending, scores)


@pytest.mark.parametrize(
    ("turns", "ending", "progress", "grade"),
    [
        (3, Ending.SUCCESS, Progress(True, 2, 2, 3), 4),
        (4, Ending.SUCCESS, Progress(True, 2, 2, 3), 3),
        (3, Ending.OUT_OF_STEPS, Progress(True, 2, 2, 3), 2),
        (3, Ending.GAVE_UP, Progress(True, 2, 2, 3), 2),
        (3, Ending.GAVE_UP, Progress(False, 1, 2, 3), 1),
        (3, Ending.OUT_OF_STEPS, Progress(False, 2, 3, 3), 1),
        (3, Ending.FAILURE, Progress(False, 2, 3, 3), 1),
        (3, Ending.OUT_OF_STEPS, Progress(False, 1, 3, 3), 0),
        (3, Ending.FAILURE, Progress(False, 1, 3, 3), 0),
        (3, Ending.OUT_OF_STEPS, Progress(False, 0, 0, 3), 0),
    ],
)
def test_the_state_judge_follows_the_rubric(turns, ending, progress, grade) -> None:
    score = StateJudge().score(trajectory("abcd"[:turns], progress, ending))
    assert score.grade == grade
    assert score.value == grade / 4


def test_the_state_judge_without_the_phones_progress_is_an_outage() -> None:
    outage = StateJudge().score(trajectory("abc"))
    assert isinstance(outage, JudgeOutage)
    assert "milestones_total" in outage.reason


def test_progress_takes_the_shortest_way_from_the_start_and_the_rest_from_the_end() -> None:
    start = {"done": False, "remaining": 6, "milestones": [0, 3]}
    end = {"done": False, "remaining": 2, "milestones": [2, 3]}
    assert read_progress(start, end) == Progress(False, 2, 3, shortest_steps=6)
    assert read_progress(start, end | {"shortest": 7}).shortest_steps == 7  # a pop-up had to be closed


def test_format_rewards_are_zero_or_one_per_step_and_minus_or_plus_one_per_turn() -> None:
    good, bad = Response("", "", Wait(1)), Malformed("no tags")
    assert (step_format_reward(good), step_format_reward(bad)) == (1, 0)
    assert (turn_format_reward(good), turn_format_reward(bad)) == (1, -1)
    assert task_reward(Score(3), [good, good, bad, good]) == 0.75 + 0.5
    assert task_reward(Score(4), [good]) == 2
    assert task_reward(Score(0), [bad]) == -1


def test_a_grade_off_the_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 4"):
        Score(5)


# The chat judge against a real HTTP server ----------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Answers with the given (status, body) pairs in turn, then with the last one, and keeps what it was sent."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = list(answers), []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        answers = self.server.answers
        status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        """Keeps the test's output quiet."""


def says(content: str) -> tuple[int, str]:
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


@pytest.fixture
def serve(monkeypatch) -> Iterator:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("JUDGE_KEY", "secret")
    servers = []

    def start(*answers: tuple[int, str]) -> tuple[Server, ChatJudge]:
        server = Server(*answers)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1/"
        return server, ChatJudge(url, api_key_variable="JUDGE_KEY", pause_s=0.0, timeout_s=5)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_chat_judge_sends_the_rubric_and_every_screen_and_answer_in_order(serve) -> None:
    server, judge = serve(says('{"reason": "bought it", "score": 4}'))
    assert judge.score(trajectory("abc")) == Score(4, "bought it")
    (path, headers, body), *others = server.requests
    assert not others
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["temperature"] == 0.1
    assert body["response_format"] == {"type": "json_object"}
    system, user = body["messages"]
    assert system["role"] == "system"
    assert "JSON" in system["content"]
    images = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
    sent = [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in images]
    assert sent == [screenshot(ord(letter)).png for letter in "abc"]
    kinds = [part["type"] if part["type"] == "image_url" else part["text"] for part in user["content"]]
    assert "buy milk" in kinds[0]
    order = [kind for kind in kinds if kind == "image_url" or "answer on" in kind]
    expected = [part for letter in "abc" for part in ("image_url", f"answer on {letter}")]
    assert all(want in have for want, have in zip(expected, order, strict=True))
    assert Ending.SUCCESS.value not in " ".join(kinds)


def test_the_chat_judge_tries_again_after_an_error_status_and_an_unusable_answer(serve) -> None:
    server, judge = serve((503, "busy"), says("I think it is a 3"), says('{"reason": "slow", "score": 3}'))
    assert judge.score(trajectory("ab")) == Score(3, "slow")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [
        (500, "broken"),
        (200, "no json"),
        (200, '{"choices": []}'),
        (200, '{"choices": [{"message": {"content": null}}]}'),
        says('{"score": 7}'),
        says('{"score": "4"}'),
        says('{"score": true}'),
        says('{"score": 3.5}'),
        says("[4]"),
    ],
)
def test_three_failures_are_an_outage_and_never_a_grade(serve, answer) -> None:
    server, judge = serve(answer)
    outage = judge.score(trajectory("ab"))
    assert isinstance(outage, JudgeOutage)
    assert "failed 3 times" in outage.reason
    assert "secret" not in outage.reason
    assert len(server.requests) == 3


def test_nobody_listening_is_an_outage(serve) -> None:
    server, judge = serve((200, ""))
    server.shutdown()
    server.server_close()
    assert isinstance(judge.score(trajectory("ab")), JudgeOutage)


def test_tries_are_five_seconds_apart(serve, monkeypatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("mobile_r1_jax.rewards.judges.chat.time.sleep", pauses.append)
    server, _ = serve((500, ""))
    ChatJudge(f"http://127.0.0.1:{server.server_port}").score(trajectory("a"))
    assert pauses == [5.0, 5.0]
