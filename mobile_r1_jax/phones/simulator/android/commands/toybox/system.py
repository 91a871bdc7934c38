"""toybox commands for the system and its processes."""

import calendar
import re
import time

from mobile_r1_jax.phones.simulator.android.commands.toybox.options import UsageFault, parse, tool, usage
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android

_GROUPS = {1004: "input", 1007: "log", 1011: "adb", 1015: "sdcard_rw", 1028: "sdcard_r", 1078: "ext_data_rw",
           1079: "ext_obb_rw", 3001: "net_bt_admin", 3002: "net_bt", 3003: "inet", 3006: "net_bw_stats",
           3009: "readproc", 3011: "uhid"}  # fmt: skip
_RELEASE = "6.1.23-android14-4-00257-g7e35917775b8-ab9964412"
_VERSION = "#1 SMP PREEMPT Mon Apr 17 20:50:58 UTC 2023"
_MEMORY_KIB, _USED_KIB = 2_021_916, 1_604_332
_MOUNTED = (  # device, size and use in KiB, mount point
    ("/dev/block/dm-0", 899_000, 896_000, "/"),
    ("tmpfs", 1_010_956, 1_108, "/dev"),
    ("/dev/block/dm-5", 6_048_892, 1_412_232, "/data"),
    ("/dev/fuse", 6_048_892, 1_412_232, "/storage/emulated"),
)
_STARTED = time.time()


@tool()
async def sleep(android: Android, process: Process) -> int:
    """`sleep SECONDS`, with a fraction or a suffix s, m, h or d."""
    if not process.arguments:
        raise usage(process, "Needs 1 argument")
    seconds = 0.0
    for word in process.arguments:
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(.*)", word, re.ASCII)
        if match is None:
            raise UsageFault(f"Not a number '{word}'")
        factor = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}.get(match[2])
        if factor is None:
            raise UsageFault(f"Unknown suffix '{match[2]}'")
        seconds += float(match[1]) * factor
    await process.shell.session.sleep(seconds)
    return 0


@tool()
async def usleep(android: Android, process: Process) -> int:
    words = parse(process, "", least=1, most=1).operands
    if not words[0].isdigit():
        raise UsageFault(f"not integer: {words[0]}")
    await process.shell.session.sleep(int(words[0]) / 1e6)
    return 0


@tool()
async def whoami(android: Android, process: Process) -> int:
    parse(process, "", most=0)
    process.print("shell\n")
    return 0


@tool()
async def id_(android: Android, process: Process) -> int:
    options = parse(process, "GgnruZ", most=1)
    if options.operands and options.operands[0] not in ("shell", "2000"):
        name = options.operands[0]
        raise UsageFault(f"no such user '{name}'")
    if "Z" in options:
        process.print("u:r:shell:s0\n")
    elif options.flags & {"u", "g"}:
        process.print("shell\n" if "n" in options else "2000\n")
    elif "G" in options:
        names = ["shell", *_GROUPS.values()] if "n" in options else ["2000", *map(str, _GROUPS)]
        process.print(" ".join(names) + "\n")
    else:
        groups = ",".join(f"{number}({name})" for number, name in {2000: "shell", **_GROUPS}.items())
        process.print(f"uid=2000(shell) gid=2000(shell) groups={groups} context=u:r:shell:s0\n")
    return 0


@tool()
async def uname(android: Android, process: Process) -> int:
    options = parse(process, "amnoprsv", most=0)
    values = {"s": "Linux", "n": "localhost", "r": _RELEASE, "v": _VERSION, "m": "x86_64", "o": "Toybox"}
    wanted = set(values) if "a" in options else options.flags or {"s"}
    process.print(" ".join(value for letter, value in values.items() if letter in wanted) + "\n")
    return 0


@tool()
async def hostname(android: Android, process: Process) -> int:
    parse(process, "", most=0)
    process.print("localhost\n")
    return 0


@tool()
async def nproc(android: Android, process: Process) -> int:
    process.print("4\n")
    return 0


@tool()
async def which(android: Android, process: Process) -> int:
    options = parse(process, "a", least=1)
    status = 0
    for name in options.operands:
        path = name if "/" in name else f"/system/bin/{name}"
        if process.files.is_file(path) and process.files.status(path).mode & 0o111:
            process.print(f"{path}\n")
        else:
            status = 1
    return status


@tool()
async def date(android: Android, process: Process) -> int:
    """`date [-u] [-d DATE] [-D FORMAT] [-r FILE] [+FORMAT]`. The shell's user may not set the clock."""
    options = parse(process, "d:D:r:u", most=1)
    now = time.time()
    if (path := options.value("r")) is not None:
        status = process.files.status(path)
        if not status.mode:
            return process.fail(f"{path}: No such file or directory")
        now = float(status.modified)
    if (text := options.value("d")) is not None:
        now = _moment(text, options.value("D"), now)
    form = options.operands[0] if options.operands else "+%a %b %e %H:%M:%S UTC %Y"
    if not form.startswith("+"):
        if not re.fullmatch(r"\d{8}(\d{2}|\d{4})?(\.\d{2})?", form):
            raise UsageFault(f"bad date {form}")
        raise UsageFault("cannot set date: Operation not permitted")
    nanoseconds = f"{int(now % 1 * 1e9):09d}"
    form = form[1:].replace("%%", "\0").replace("%s", str(int(now))).replace("%N", nanoseconds).replace("\0", "%%")
    process.print(time.strftime(form, time.gmtime(now)) + "\n")
    return 0


_DATES = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M",
)


def _moment(text: str, form: str | None, now: float) -> float:
    """Return the seconds since 1970 of a date. Raises UsageFault."""
    if match := re.fullmatch(r"@(\d{1,11})(?:\.\d+)?", text):
        return float(match[1])
    for known in (form,) if form else _DATES:
        try:
            return float(calendar.timegm(time.strptime(text, known)))
        except (ValueError, OverflowError):
            continue
    if form is None and (match := re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text)):
        return now // 86400 * 86400 + int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or "0")
    raise UsageFault(f"bad date '{text}'")


@tool()
async def df(android: Android, process: Process) -> int:
    options = parse(process, "hk")
    human = "h" in options
    status, shown = 0, []
    for path in options.operands:
        if not process.files.status(path).mode:
            status = process.fail(f"'{path}': No such file or directory")
            continue
        where = process.files.absolute(path).replace("/sdcard", "/storage/emulated", 1)
        shown.append(max((row for row in _MOUNTED if where.startswith(row[3])), key=lambda row: len(row[3])))
    titles = ("Size", "Avail") if human else ("1K-blocks", "Available")
    process.print(f"{'Filesystem':15} {titles[0]:>9} {'Used':>8} {titles[1]:>9} Use% Mounted on\n")
    for name, size, used, mounted in shown if options.operands else _MOUNTED:
        cells = [_size(blocks) if human else str(blocks) for blocks in (size, used, size - used)]
        process.print(f"{name:15} {cells[0]:>9} {cells[1]:>8} {cells[2]:>9} {used * 100 // size:3d}% {mounted}\n")
    return status


def _size(kib: int) -> str:
    return f"{kib / 1024 / 1024:.1f}G" if kib >= 1024 * 1024 else f"{kib // 1024}M"


@tool()
async def free(android: Android, process: Process) -> int:
    options = parse(process, "bkmgt", most=0)
    shift = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}[next(iter(options.flags), "b")]
    total, used, left = (kib * 1024 >> shift for kib in (_MEMORY_KIB, _USED_KIB, _MEMORY_KIB - _USED_KIB))
    process.print(
        "\t\ttotal        used        free      shared     buffers\n"
        f"Mem:{total:17d}{used:12d}{left:12d}{0:12d}{0:12d}\n"
        f"-/+ buffers/cache:{used:15d}{left:12d}\n"
        f"Swap:{0:16d}{0:12d}{0:12d}\n"
    )
    return 0


@tool()
async def uptime(android: Android, process: Process) -> int:
    options = parse(process, "ps", most=0)
    seconds = int(time.time() - _STARTED)
    if "s" in options:
        process.print(time.strftime("%Y-%m-%d %H:%M:%S\n", time.gmtime(_STARTED)))
        return 0
    clock, hours, minutes = time.strftime("%H:%M:%S", time.gmtime()), seconds // 3600, seconds // 60 % 60
    up = f"{hours}:{minutes:02d}" if hours else f"{minutes} min"
    process.print(f"up {up}\n" if "p" in options else f" {clock} up {up},  0 users,  load average: 0.42, 0.37, 0.31\n")
    return 0


@tool()
async def nothing(android: Android, process: Process) -> int:
    """`sync`: everything is written at once."""
    return 0
