"""A process with simulated phones: python -m mobile_r1_jax.phones.simulator --phones 4 --size 1080x2400.

It prints one line of JSON, {"ports": [...]}, when the phones listen. `adb connect localhost:PORT` connects adb to a
phone. The process ends when its standard input is closed, so that it ends with the process that started it.
"""

import argparse
import asyncio
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Callable

from mobile_r1_jax.phones.simulator.android.daemon import listen
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.screen import check_size

MOST_PHONES = 10_000  # far below the 64,511 ports open to users


def screen_size(text: str) -> tuple[int, int]:
    """Return (width, height) of a text such as "1080x2400"."""
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"screen size {text!r}: must be WIDTHxHEIGHT in pixels, such as 1080x2400")
    size = int(match[1]), int(match[2])
    try:
        check_size(size)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return size


def count(text: str) -> int:
    """Return the number of phones; each listens on its own port."""
    if not re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII) or int(text) > MOST_PHONES:
        raise argparse.ArgumentTypeError(f"number of phones {text!r}: must be from 1 to {MOST_PHONES}")
    return int(text)


def server_address(text: str) -> tuple[str, int]:
    """Return (host, port) of a text such as "127.0.0.1:5037"."""
    match = re.fullmatch(r"([^:\s]+):(\d{1,5})", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"adb server {text!r}: must be HOST:PORT, such as 127.0.0.1:5037")
    return match[1], int(match[2])


async def serve(count: int, size: tuple[int, int], seed: int, adb_server: tuple[str, int] | None) -> None:
    """Serve `count` phones, phone i with seed + i, until the end of standard input or SIGTERM.

    They announce themselves to `adb_server`, if there is one.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    phones = [await listen(Device(size=size, seed=seed + index), adb_server=adb_server) for index in range(count)]
    print(json.dumps({"ports": [phone.port for phone in phones]}), flush=True)
    threading.Thread(target=_when_input_ends, args=(lambda: loop.call_soon_threadsafe(ended.set),), daemon=True).start()
    await ended.wait()
    for phone in phones:
        phone.server.close()


def _when_input_ends(call: Callable[[], object]) -> None:
    # os.read, not sys.stdin: a thread in a buffered read would abort the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    call()


def main() -> None:
    parser = argparse.ArgumentParser(prog="mobile_r1_jax.phones.simulator", description=__doc__)
    parser.add_argument("--phones", type=count, default=1, help="number of phones")
    parser.add_argument("--size", type=screen_size, default=(112, 224), help="screen size, WIDTHxHEIGHT")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first phone; phone i gets seed + i")
    parser.add_argument("--adb-server", type=server_address, help="adb server to announce the phones to, HOST:PORT")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="simulated phones: %(levelname)s: %(message)s")
    try:
        asyncio.run(serve(arguments.phones, arguments.size, arguments.seed, arguments.adb_server))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        parser.exit(1, f"{parser.prog}: error: {arguments.phones} phones cannot listen: {error.strerror}\n")


if __name__ == "__main__":
    main()
