"""A limit of requests and tokens in a minute."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass


@dataclass
class Request:
    """A request that has started. tokens: an estimate until its answer is there."""

    at: float
    tokens: int


class RateLimit:
    """Lets requests start as long as the last `window_s` seconds hold fewer than `requests`, and room for tokens.

    The tokens of a request are known after its answer. Until then it counts as the largest one so far.
    """

    def __init__(self, requests: int | None, tokens: int | None, window_s: float = 60.0) -> None:
        self._requests, self._tokens, self._window = requests, tokens, window_s
        self._recent: deque[Request] = deque()
        self._turn = asyncio.Lock()
        self._largest, self._held_until = 0, 0.0

    async def start(self) -> Request:
        """Wait until a request may start, in the order of the calls. Give its tokens to `finish` later."""
        async with self._turn:
            while (seconds := self._seconds_left(time.monotonic())) > 0:
                await asyncio.sleep(seconds)
            request = Request(time.monotonic(), self._largest)
            self._recent.append(request)
            return request

    def finish(self, request: Request, tokens: int) -> None:
        """Record the tokens that a request took."""
        request.tokens, self._largest = tokens, max(tokens, self._largest)

    def hold(self, seconds: float) -> None:
        """Let no request start for some seconds."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    def _seconds_left(self, now: float) -> float:
        while self._recent and self._recent[0].at <= now - self._window:
            self._recent.popleft()
        full = self._requests is not None and len(self._recent) >= self._requests
        used = sum(request.tokens for request in self._recent)
        if self._recent and (full or (self._tokens is not None and used + self._largest > self._tokens)):
            return max(self._recent[0].at + self._window - now, self._held_until - now)
        return self._held_until - now
