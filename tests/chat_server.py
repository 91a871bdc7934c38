"""A real HTTP server with the chat completions protocol, with faults that a test chooses."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """A response. cut: bytes of the body after which the server closes the connection. delay: seconds before it."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None


def says(content: Any, *, tokens: tuple[int, int] = (100, 10), finish: str = "stop", **message: Any) -> Reply:
    """Return a well-formed response whose message has this content."""
    message = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return Reply(200, json.dumps(whole))


def graded(score: Any, reason: str = "as seen") -> Reply:
    """Return a response with a grade."""
    return says(json.dumps({"reason": reason, "score": score}))


def texts(body: Body) -> list[str]:
    """Return the text parts of the user's message of a request, in order."""
    return [part["text"] for part in body["messages"][1]["content"] if part["type"] == "text"]


def images(body: Body) -> list[bytes]:
    """Return the images of a request, in order."""
    urls = [part["image_url"]["url"] for part in body["messages"][1]["content"] if part["type"] == "image_url"]
    return [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in urls]


def data_of(body: Body, name: str) -> list[str]:
    """Return the data of a request under a name, such as Answer, as the judged agent wrote it."""
    found = (re.fullmatch(rf"{name}(?: \d+)? \(data\): (.*)", text, re.DOTALL) for text in texts(body))
    return [json.loads(match[1]) for match in found if match]


class ChatServer(ThreadingHTTPServer):
    """Stores every request as (path, headers, body); `most_at_once` is the largest number of concurrent requests."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[Body], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.requests = answer, []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: object) -> None:
        """Print nothing: clients that give up close their connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: ChatServer = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append((self.path, headers, body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            reply = server.answer(body)
        time.sleep(reply.delay)
        with server.lock:
            server.at_once -= 1
        data = reply.body.encode()
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))} | reply.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: reply.cut])
        self.close_connection = reply.cut is not None

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


@contextmanager
def chat_server(*answers: Reply | Callable[[Body], Reply]) -> Iterator[ChatServer]:
    """Yield a running server that gives the answers in turn, then always the last one."""
    left = list(answers)

    def answer(body: Body) -> Reply:
        following = left.pop(0) if len(left) > 1 else left[0]
        return following if isinstance(following, Reply) else following(body)

    server = ChatServer(answer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
