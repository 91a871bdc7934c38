"""Simulated Android phones for any program that speaks adb: no emulator, no Android SDK.

Each phone listens on a port of this machine. Connect adb to it and use it as a phone:

  python -m mobile_r1_jax.phones.simulator --port 7001     # prints what to type next
  adb connect 127.0.0.1:7001
  adb -s 127.0.0.1:7001 shell input tap 540 1200
  adb -s 127.0.0.1:7001 exec-out screencap -p > screen.png

A phone accepts a task, and reads the outcome from its own state:

  adb -s 127.0.0.1:7001 shell cmd simulator task send Anna Hello    # prints the instruction
  adb -s 127.0.0.1:7001 shell cmd simulator progress                # prints {"done": false, "remaining": 5, …}
"""

import argparse
import asyncio
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone, listen
from mobile_r1_jax.phones.simulator.android.system import SDK
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.named_tasks import list_tasks
from mobile_r1_jax.phones.simulator.page import PageServer
from mobile_r1_jax.phones.simulator.screen import check_size
from mobile_r1_jax.phones.simulator.trouble import Trouble, read_trouble

MOST_PHONES = 10_000  # far below the number of ports open to users
FIRST_PORT, LAST_PORT = 1024, 65535


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


def chosen_trouble(text: str) -> Trouble:
    """Return the trouble of a JSON object or of a file."""
    try:
        return read_trouble(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def first_port(text: str) -> int:
    """Return a port that a user may open."""
    if not re.fullmatch(r"\d{4,5}", text, re.ASCII) or not FIRST_PORT <= int(text) <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"port {text!r}: must be from {FIRST_PORT} to {LAST_PORT}")
    return int(text)


def server_address(text: str) -> tuple[str, int]:
    """Return (host, port) of a text such as "127.0.0.1:5037"."""
    match = re.fullmatch(r"([^:\s]+):(\d{1,5})", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"adb server {text!r}: must be HOST:PORT, such as 127.0.0.1:5037")
    return match[1], int(match[2])


async def serve(arguments: argparse.Namespace) -> None:
    """Serve phones until SIGTERM or, with --json, until the end of standard input."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    phones = []
    for index in range(arguments.phones):
        device = Device(size=arguments.size, seed=arguments.seed + index)
        port = arguments.port + index if arguments.port else 0
        phones.append(await listen(device, port=port, version=arguments.android, adb_server=arguments.adb_server))
        phones[-1].android.trouble.choose(replace(arguments.trouble, seed=arguments.trouble.seed + index))
    page = PageServer(phones, loop) if arguments.page else None
    if page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
    if arguments.json:
        print(json.dumps({"ports": [phone.port for phone in phones]}), flush=True)
        threading.Thread(target=_when_input_ends, args=(loop.call_soon_threadsafe, ended.set), daemon=True).start()
    else:
        print(what_to_type(phones, page.url if page else ""), flush=True)
    await ended.wait()
    for phone in phones:
        phone.server.close()


def what_to_type(phones: Sequence[ListeningPhone], page: str) -> str:
    """Return what a person can do next: addresses, serials, and commands to copy."""
    android = phones[0].android
    width, height = android.device.size
    addresses = [f"{phone.host}:{phone.port}" for phone in phones]
    adb = f"adb -s {addresses[0]}"
    return "\n".join(
        [
            f"{len(phones)} simulated phone{'s' * (len(phones) > 1)}: {width}x{height}, Android {android.version}. "
            "Ctrl-C to stop.",
            *([f"\nWatch and touch them in a browser: {page}"] if page else []),
            "\nConnect adb. The address is then the serial:",
            *(f"  adb connect {address}" for address in addresses),
            "\nUse it as any phone:",
            f"  {adb} shell input tap {width // 2} {height // 2}",
            f"  {adb} exec-out screencap -p > screen.png",
            "\nGive it a task, run your agent with the instruction that is printed, read the outcome:",
            f"  {adb} shell cmd simulator tasks                    # lists all tasks",
            f"  {adb} shell cmd simulator task send Anna Hello     # starts one",
            f"  {adb} shell cmd simulator progress                 # is it done?",
        ]
    )


def _when_input_ends(call: Callable[..., object], *arguments: object) -> None:
    # os.read, not sys.stdin: a thread in a buffered read would abort the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    call(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m mobile_r1_jax.phones.simulator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--phones", type=count, default=1, metavar="N", help="number of phones (default: 1)")
    add("--size", type=screen_size, default=(1080, 2400), metavar="WxH", help="screen in pixels (default: 1080x2400)")
    add("--android", type=int, choices=SDK, default=14, help="Android version of the phones (default: 14)")
    add("--seed", type=int, default=0, help="random content of the first phone; phone i gets seed + i (default: 0)")
    add("--port", type=first_port, help="port of the first phone; phone i gets port + i (default: free ports)")
    add("--adb-server", type=server_address, metavar="HOST:PORT", help="adb server to announce the phones to")
    add("--trouble", type=chosen_trouble, default=Trouble(), metavar="JSON", help="what goes wrong: JSON, or its file")
    add("--tasks", action="store_true", help="list the tasks, name and instruction, and end")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--page", action="store_true", help="show the live screens in a browser, to click and type on")
    output.add_argument(
        "--json",
        action="store_true",
        help='for programs: print one line, {"ports": [...]}, and end when standard input is closed',
    )
    arguments = parser.parse_args()
    if arguments.port and (last := arguments.port + arguments.phones - 1) > LAST_PORT:
        parser.error(
            f"port {arguments.port}: {arguments.phones} phones need ports up to {last}, but {LAST_PORT} is the last"
        )
    if arguments.tasks:
        print(list_tasks(), end="")
        return
    logging.basicConfig(level=logging.WARNING, format="simulated phones: %(levelname)s: %(message)s")
    try:
        asyncio.run(serve(arguments))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        parser.exit(1, f"{parser.prog}: error: {arguments.phones} phones cannot listen: {error.strerror}\n")


if __name__ == "__main__":
    main()
