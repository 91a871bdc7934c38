"""toybox commands for processes: ps, pidof, pgrep, pkill, killall."""

import re
import zlib

from mobile_r1_jax.phones.simulator.android.commands.toybox.options import UsageFault, parse, tool, usage
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android


def _processes(android: Android, process: Process) -> list[dict[str, str]]:
    """Return the running processes: the system's, the apps' in use, and the caller's."""
    names = {"init": (1, "root"), "zygote64": (330, "root"), "surfaceflinger": (412, "system"), "adbd": (455, "shell"),
             "system_server": (640, "system"), "com.android.systemui": (871, "u0_a121")}  # fmt: skip
    for package in (android.home_package, android.keyboard.split("/")[0], android.device.focus[0]):
        number = zlib.crc32(package.encode())
        names.setdefault(package, (1000 + number % 1000, f"u0_a{number % 100}"))
    names |= {"sh": (2345, "shell"), process.name: (2346, "shell")}
    return [
        {
            "USER": user, "PID": str(pid), "PPID": "2345" if pid == 2346 else "1" if pid < 640 or pid > 2000 else "330",
            "VSZ": "12345678", "RSS": "45678", "WCHAN": "0", "ADDR": "0", "S": "R" if pid == 2346 else "S",
            "NAME": name, "ARGS": name, "CMD": name, "COMM": name[-15:], "COMMAND": name, "UID": user, "C": "0",
            "STIME": "00:00", "TTY": "?", "TIME": "00:00:00", "CMDLINE": name,
        }
        for name, (pid, user) in names.items()
    ]  # fmt: skip


@tool()
async def ps(android: Android, process: Process) -> int:
    """`ps [-A] [-e] [-f] [-p PID,…] [-u USER,…] [-o FIELD,…]`. Without -A it shows the processes of this shell."""
    options = parse(process, "Aefo:p:u:w")
    rows = _processes(android, process)
    if "o" in options:
        columns = [name.partition("=")[0].upper() for name in (options.value("o") or "").split(",")]
    elif "f" in options:
        columns = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    else:
        columns = ["USER", "PID", "PPID", "VSZ", "RSS", "WCHAN", "ADDR", "S", "NAME"]
    for column in columns:
        if column not in rows[0]:
            raise UsageFault(f"bad -o {column}")
    if (pids := options.value("p")) is not None:
        rows = [row for row in rows if row["PID"] in pids.split(",")]
    elif (users := options.value("u")) is not None:
        rows = [row for row in rows if row["USER"] in users.split(",")]
    elif not options.flags & {"A", "e"}:
        rows = [row for row in rows if row["PID"] in ("2345", "2346")]
    table = [dict(zip(columns, columns, strict=True)), *rows]
    widths = {column: max(len(row[column]) for row in table) for column in columns}
    for row in table:
        cells = [
            row[name].rjust(width) if name in ("PID", "PPID", "VSZ", "RSS") else row[name].ljust(width)
            for name, width in widths.items()
        ]
        process.print(" ".join(cells).rstrip() + "\n")
    return 0


@tool()
async def pidof(android: Android, process: Process) -> int:
    options = parse(process, "so:x")
    left_out = (options.value("o") or "").split(",")
    found = [
        row["PID"]
        for name in options.operands
        for row in _processes(android, process)
        if row["NAME"] == name and row["PID"] not in left_out
    ]
    if found:
        process.print(" ".join(found[:1] if "s" in options else found) + "\n")
    return int(not found)


@tool()
async def pgrep(android: Android, process: Process) -> int:
    options = parse(process, "flox", most=1)
    if not options.operands:
        raise usage(process, "No PATTERN")
    try:
        wanted = re.compile(options.operands[0])
    except re.error as error:
        raise UsageFault(f"bad regex '{options.operands[0]}'") from error
    search = wanted.fullmatch if "x" in options else wanted.search
    found = [row for row in _processes(android, process) if row["PID"] != "2346" and search(row["NAME"])]
    for row in found:
        process.print(row["PID"] + (f" {row['NAME']}" if "l" in options else "") + "\n")
    return int(not found)


@tool()
async def pkill(android: Android, process: Process) -> int:
    """`pkill PATTERN`, `killall NAME`: the shell's user may end nothing but its own processes."""
    words = [word for word in process.arguments if not word.startswith("-")]
    if not words:
        raise usage(process, "Needs 1 argument" if process.name == "killall" else "No PATTERN")
    others = (row for row in _processes(android, process) if row["PID"] not in ("2345", "2346"))
    found = [row for row in others if words[0] in row["NAME"]]
    if not found:
        return process.fail(f"{words[0]}: No such process") if process.name == "killall" else 1
    for row in found:
        process.complain(f"{row['PID']}: Operation not permitted")
    return 1
