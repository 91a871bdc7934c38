"""A web page with the live screens of simulated phones, which takes clicks, drags, keys and text.

Only this machine can reach it. Another web page in the same browser cannot use it: the server refuses requests for
other host names, and input without the token that only the page holds. The phones belong to their event loop, so every
request runs there, between two commands of adb.
"""

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from mobile_r1_jax.phones.simulator.android.commands.touch import input_
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.screen import one_colour

MOST_BYTES = 65_536  # of one input
_SECONDS = 10.0  # longest wait for the event loop, and for a silent browser
_PAGE = Path(__file__).with_name("page.html")

T = TypeVar("T")


class PageServer(ThreadingHTTPServer):
    """The server of the page, on a free port of 127.0.0.1. `serve_forever` runs in a separate thread.

    phones: the phones to show. loop: the event loop that they run in. Raises OSError if the port cannot be opened.
    """

    daemon_threads = True

    def __init__(self, phones: Sequence[ListeningPhone], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.phones, self._loop = phones, loop
        self.token = secrets.token_urlsafe(16)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def run(self, function: Callable[[], T]) -> T:
        """Return the result of `function`, called in the phones' event loop. Raises TimeoutError."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(_SECONDS)


class _Refused(Exception):
    """A request that is refused, with a status and a reason in one line."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS

    def do_GET(self) -> None:
        self._answer(self._read)

    def do_POST(self) -> None:
        self._answer(self._act)

    def _answer(self, respond: Callable[[], tuple[str, bytes]]) -> None:
        """Send what `respond` returns, a content type and a body, or the reason why it refuses."""
        try:
            self._check_host()
            status, (kind, body) = HTTPStatus.OK, respond()
        except _Refused as error:
            status, kind, body = error.status, "text/plain; charset=utf-8", str(error).encode()
            self.close_connection = True  # the rest of the request was not read
        except TimeoutError:
            status, kind, body = HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", b"the phones are busy"
        with suppress(ConnectionError):  # the browser has left
            self.send_response(status)
            for name, value in self._headers(kind, len(body)).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def _check_host(self) -> None:
        host = re.sub(r":\d+$", "", self.headers.get("Host", ""))
        if host not in ("127.0.0.1", "localhost"):
            raise _Refused(HTTPStatus.FORBIDDEN, f"host {host!r}: open the page as {self.server.url}")

    def _headers(self, kind: str, length: int) -> dict[str, str]:
        own = f"'nonce-{self.server.token}'"
        sources = f"img-src 'self' data:; connect-src 'self'; script-src {own}; style-src {own}"
        return {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Cache-Control": "no-store",
            "Content-Security-Policy": f"default-src 'none'; {sources}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
        }

    def _read(self) -> tuple[str, bytes]:
        path = self.path.split("?")[0]
        if path == "/":
            page = _PAGE.read_text(encoding="utf-8").replace("{{token}}", self.server.token)
            return "text/html; charset=utf-8", page.encode()
        if path == "/phones":
            return _json([_describe(phone) for phone in self.server.phones])
        if path.endswith("/screen"):
            android = self._phone(path.removesuffix("/screen"))
            return "image/png", self.server.run(lambda: _picture(android))
        android = self._phone(path)
        return _json(self.server.run(lambda: _look(android)))

    def _act(self) -> tuple[str, bytes]:
        if not secrets.compare_digest(self.headers.get("X-Token", "").encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.FORBIDDEN, "wrong token: load the page again")
        android = self._phone(self.path)
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,9}", length, re.ASCII) or int(length) > MOST_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an input has at most {MOST_BYTES} bytes")
        action = _action(android, self.rfile.read(int(length)))
        self.server.run(action)
        return _json({})

    def _phone(self, path: str) -> Android:
        match = re.fullmatch(r"/phones/(\d{1,5})", path, re.ASCII)
        if match is None or int(match[1]) >= len(self.server.phones):
            raise _Refused(HTTPStatus.NOT_FOUND, f"nothing is at {path!r}")
        return self.server.phones[int(match[1])].android

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the terminal shows what to type."""


def _json(value: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(value).encode()


def _describe(phone: ListeningPhone) -> dict[str, Any]:
    width, height = phone.android.device.size
    return {"name": f"{phone.host}:{phone.port}", "width": width, "height": height}


def _picture(android: Android) -> bytes:
    """Return the PNG of the screen. It does not count as a capture: it causes no trouble, and a slow page stays slow.

    A secure page is black, as in every mirror of a phone.
    """
    return one_colour(android.device.size, "black") if android.device.secure else android.device.picture()


def _look(android: Android) -> dict[str, Any]:
    """Return the hash of the screen and, after `cmd simulator task` or `reset`, the task and its progress."""
    device = android.device
    look = {"screen": hashlib.sha256(_picture(android)).hexdigest()[:16], "task": device.instruction}
    return look | (device.progress() if device.instruction else {})


def _action(android: Android, body: bytes) -> Callable[[], object]:
    """Return the call that performs an input: {"touch": [x1, y1, x2, y2, milliseconds]}, {"key": …} or {"text": …}.

    Points are in device pixels. Raises _Refused for anything else.
    """
    try:
        [(kind, value)] = json.loads(body).items()
    except (ValueError, AttributeError, RecursionError):  # no JSON, not one entry, not an object, too deep
        kind, value = "", None
    if kind == "touch" and isinstance(value, list) and len(value) == 5 and all(type(part) is int for part in value):
        return lambda: input_(android, ["swipe", *map(str, value)], b"")
    if kind == "key" and isinstance(value, str) and re.fullmatch("[A-Z_]{1,40}", value):
        return lambda: input_(android, ["keyevent", value], b"")
    if kind == "text" and isinstance(value, str):
        return lambda: android.device.type_text(value)
    raise _Refused(HTTPStatus.BAD_REQUEST, "an input is one of touch: [x1, y1, x2, y2, milliseconds], key, text")
