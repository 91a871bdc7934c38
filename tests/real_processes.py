"""The processes of simulated phones, which tests kill and freeze."""

import os
import signal
from pathlib import Path

from mobile_r1_jax.phones.providers.simulated import SimulatedPhones


def members(group: int) -> dict[int, str]:
    """Return the live processes of a process group: id to name."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        state, _, its_group = rest.split()[:3]
        if int(its_group) == group and state != "Z":
            found[int(stat.parent.name)] = name
    return found


def command(group: int) -> int:
    """Return the process id of adb or of the simulator in a child's process group; the others are shells."""
    return next(pid for pid, name in members(group).items() if name != "sh")


def commands_of(parent: int) -> dict[str, int]:
    """The commands behind the phones of a process, by name: "adb", and "python" for the simulator."""
    stats = [stat.read_text().rsplit(")", 1) for stat in Path("/proc").glob("[0-9]*/stat")]
    children = [int(head.split()[0]) for head, rest in stats if int(rest.split()[1]) == parent]
    found = {name: pid for child in children for pid, name in members(child).items()}
    return {name: pid for name, pid in found.items() if name != "sh"}


def hit(which: str, source: SimulatedPhones, number: signal.Signals) -> None:
    """Sends a signal to the real processes: "adb", "simulator" or "adb simulator"."""
    children = {"adb": source.adb.service.child, "simulator": source.simulator.service.child}
    for name in which.split():
        os.kill(command(children[name].group), number)
