"""toybox commands that look at files: ls, stat, find, du, readlink, realpath, basename, dirname."""

import fnmatch
import posixpath
import stat as modes
import time
from collections.abc import Iterator

from mobile_r1_jax.phones.simulator.android.commands.toybox.options import Options, UsageFault, parse, tool
from mobile_r1_jax.phones.simulator.android.files import Files, Status
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android

_SDCARD_LINK = "lrw-r--r-- 1 root root 21 2009-01-01 00:00 /sdcard -> /storage/self/primary"


def _owner(path: str) -> tuple[str, str]:
    """Return (user, group) of an absolute path."""
    if path.startswith("/sdcard"):
        return "u0_a125", "media_rw"
    return ("shell", "shell") if path.startswith("/data/local/tmp") else ("root", "root")


def _human(size: int) -> str:
    """Return a size as toybox writes it with -h: 999, 4.0K, 12M."""
    value, unit = float(size), ""
    for unit in ("", "K", "M", "G", "T"):  # noqa: B007
        if value < 1000:
            break
        value /= 1024
    return f"{value:.1f}{unit}" if unit and value < 10 else f"{value:.0f}{unit}"


@tool()
async def ls(android: Android, process: Process) -> int:
    options = parse(process, "1aACdFhlnopRrsStk")
    status = 0
    files: list[str] = []
    directories: list[str] = []
    for path in options.operands or ["."]:
        if not process.files.status(path).mode:
            status = process.fail(f"{path}: No such file or directory")
        elif process.files.is_directory(path) and "d" not in options and not _is_link(process, options, path):
            directories.append(path)
        else:
            files.append(path)
    _print_entries(process, options, [(path, path) for path in files], total=False)
    headed = len(directories) > 1 or bool(files) or "R" in options
    for position, path in enumerate(directories):
        _print_directory(process, options, path, headed=headed, first=not files and position == 0)
    return status


def _is_link(process: Process, options: Options, path: str) -> bool:
    """Return whether ls shows the link /sdcard itself."""
    return (
        bool(options.flags & {"l", "o", "n", "d"})
        and not path.endswith("/")
        and process.files.joined(path) == "/sdcard"
    )


def _print_directory(process: Process, options: Options, path: str, *, headed: bool, first: bool) -> None:
    if headed:
        process.print(("" if first else "\n") + f"{path}:\n")
    names = process.files.names(path)
    shown = [name for name in names if not name.startswith(".") or options.flags & {"a", "A"}]
    entries = [(name, posixpath.join(path, name)) for name in shown]
    if "a" in options:
        entries = [(".", path), ("..", posixpath.join(path, "..")), *entries]
    _print_entries(process, options, entries, total=True)
    if "R" in options:
        for name in shown:
            inner = posixpath.join(path, name)
            if process.files.is_directory(inner):
                _print_directory(process, options, inner, headed=True, first=False)


def _print_entries(process: Process, options: Options, entries: list[tuple[str, str]], *, total: bool) -> None:
    """Print (name, path) entries in the order and the form that the options ask for."""
    known = [(name, path, process.files.status(path)) for name, path in entries]
    if "S" in options:
        known.sort(key=lambda entry: -entry[2].size)
    elif "t" in options:
        known.sort(key=lambda entry: -entry[2].modified)
    known = known[::-1] if "r" in options else known
    long = bool(options.flags & {"l", "o", "n"})
    if total and (long or "s" in options):
        blocks = sum(_blocks(status) for _, _, status in known)
        process.print(f"total {_human(blocks * 1024) if 'h' in options else blocks}\n")
    if long:
        lines = _long_lines(process, options, known)
    else:
        lines = [
            (f"{_blocks(status)} " if "s" in options else "") + _marked(options, name, status)
            for name, _, status in known
        ]
    if "C" in options and lines and not long:
        lines = ["  ".join(lines)]
    process.print("".join(f"{line}\n" for line in lines))


def _blocks(status: Status) -> int:
    return -(-status.size // 4096) * 4


def _marked(options: Options, name: str, status: Status) -> str:
    if modes.S_ISDIR(status.mode):
        return name + ("/" if options.flags & {"F", "p"} else "")
    return name + ("*" if "F" in options and status.mode & 0o111 else "")


def _long_lines(process: Process, options: Options, known: list[tuple[str, str, Status]]) -> list[str]:
    rows, lines = [], []
    for name, path, status in known:
        user, group = _owner(process.files.absolute(path))
        if "n" in options:
            user, group = ("2000", "2000") if user == "shell" else ("0", "0")
        size = _human(status.size) if "h" in options else str(status.size)
        links = "2" if modes.S_ISDIR(status.mode) else "1"
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(status.modified))
        rows.append((modes.filemode(status.mode), links, user, group, size, when, _marked(options, name, status)))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(5)]
    for (name, _, _), (mode, links, user, group, size, when, shown) in zip(known, rows, strict=True):
        owner = user.ljust(widths[2]) + ("" if "o" in options else f" {group.ljust(widths[3])}")
        line = f"{mode} {links.rjust(widths[1])} {owner} {size.rjust(widths[4])} {when} {shown}"
        is_link = name.startswith("/") and process.files.joined(name) == "/sdcard" and not name.endswith("/")
        lines.append(_SDCARD_LINK if is_link else line)
    return lines


_KINDS = ((modes.S_ISDIR, "directory"), (modes.S_ISCHR, "character device"), (modes.S_ISREG, "regular file"))


@tool()
async def stat(android: Android, process: Process) -> int:
    options = parse(process, "c:", least=1)
    status = 0
    for path in options.operands:
        found = process.files.status(path)
        if not found.mode:
            status = process.fail(f"'{path}': No such file or directory")
            continue
        values = _stat_values(process.files, path, found)
        form = options.value("c")
        process.print(_formatted(form, values) + "\n" if form is not None else _STAT.format_map(values))
    return status


_STAT = """  File: {n}
  Size: {s}\t Blocks: {b}\t IO Blocks: 512\t {F}
Device: fe00h/65024d\t Inode: {i}\t Links: {h}\t Device type: 0,0
Access: (0{a}/{A})\tUid: ({u:>5}/{U:>8})\tGid: ({g:>5}/{G:>8})
Access: {y}
Modify: {y}
Change: {y}
"""


def _stat_values(files: Files, path: str, found: Status) -> dict[str, str]:
    """Return the value of each letter of `stat -c`."""
    user, group = _owner(files.absolute(path))
    moment = time.strftime("%Y-%m-%d %H:%M:%S.000000000 +0000", time.gmtime(found.modified))
    kind = next((name for test, name in _KINDS if test(found.mode)), "unknown")
    return {
        "n": path, "N": f"`{path}'", "s": str(found.size), "b": str(_blocks(found) * 2), "B": "512", "F": kind,
        "a": f"{found.mode & 0o777:o}", "A": modes.filemode(found.mode), "f": f"{found.mode:x}", "h": "1", "i": "4711",
        "u": "2000" if user == "shell" else "0", "U": user, "g": "2000" if group == "shell" else "0", "G": group,
        "y": moment, "Y": str(found.modified), "x": moment, "X": str(found.modified), "z": moment,
        "Z": str(found.modified),
    }  # fmt: skip


def _formatted(form: str, values: dict[str, str]) -> str:
    pieces = form.replace("%%", "\0").split("%")
    return "".join([pieces[0], *(values.get(piece[:1], "?") + piece[1:] for piece in pieces[1:])]).replace("\0", "%")


@tool()
async def find(android: Android, process: Process) -> int:
    """`find [PATH …] [-name PATTERN] [-iname PATTERN] [-type f|d] [-maxdepth N] [-mindepth N] [-delete] [-print]`."""
    words = list(process.arguments)
    paths = []
    while words and not words[0].startswith(("-", "(", "!")):
        paths.append(words.pop(0))
    tests: dict[str, str] = {}
    while words:
        name = words.pop(0)
        if name in ("-print", "-delete"):
            tests[name] = ""
        elif name in ("-name", "-iname", "-type", "-maxdepth", "-mindepth") and words:
            tests[name] = words.pop(0)
        else:
            raise UsageFault(f"bad arg '{name}'")
    status = 0
    for path in paths or ["."]:
        if not process.files.status(path).mode:
            status = process.fail(f"'{path}': No such file or directory")
            continue
        for found, depth in list(_below(process.files, path, 0)):
            if not _passes(process.files, found, depth, tests):
                continue
            if "-delete" in tests:
                process.files.remove(found, recursive=True)
            else:
                process.print(f"{found}\n")
    return status


def _below(files: Files, path: str, depth: int) -> Iterator[tuple[str, int]]:
    yield path, depth
    if files.is_directory(path):
        for name in files.names(path):
            yield from _below(files, posixpath.join(path, name), depth + 1)


def _passes(files: Files, path: str, depth: int, tests: dict[str, str]) -> bool:
    name = posixpath.basename(path.rstrip("/")) or "/"
    kind = "d" if files.is_directory(path) else "f"
    return (
        fnmatch.fnmatchcase(name, tests.get("-name", "*"))
        and fnmatch.fnmatchcase(name.lower(), tests.get("-iname", "*").lower())
        and tests.get("-type", kind) == kind
        and int(tests.get("-mindepth", "0")) <= depth <= int(tests.get("-maxdepth", "1000"))
    )


@tool()
async def du(android: Android, process: Process) -> int:
    options = parse(process, "ahkms")
    status = 0
    for path in options.operands or ["."]:
        if not process.files.status(path).mode:
            status = process.fail(f"{path}: No such file or directory")
            continue
        inside = list(_below(process.files, path, 0))
        for found, depth in reversed(inside):
            shown = depth == 0 or ("s" not in options and ("a" in options or process.files.is_directory(found)))
            if shown:
                under = [other for other, _ in inside if (other + "/").startswith(found.rstrip("/") + "/")]
                blocks = sum(_blocks(process.files.status(other)) for other in under)
                size = (
                    _human(blocks * 1024) if "h" in options else str(-(-blocks // 1024) if "m" in options else blocks)
                )
                process.print(f"{size}\t{found}\n")
    return status


@tool()
async def readlink(android: Android, process: Process) -> int:
    options = parse(process, "efnq", least=1)
    status = 0
    for path in options.operands:
        if options.flags & {"e", "f"}:
            where = process.files.joined(path)
            target = "/storage/emulated/0" + where[7:] if (where + "/").startswith("/sdcard/") else where
        elif process.files.joined(path) == "/sdcard":
            target = "/storage/self/primary"
        else:
            status = 1
            continue
        process.print(target + ("" if "n" in options else "\n"))
    return status


@tool()
async def realpath(android: Android, process: Process) -> int:
    status = 0
    for path in parse(process, "", least=1).operands:
        where = process.files.joined(path)
        if not process.files.status(posixpath.dirname(where)).mode:
            status = process.fail(f"{path}: No such file or directory")
            continue
        process.print(("/storage/emulated/0" + where[7:] if (where + "/").startswith("/sdcard/") else where) + "\n")
    return status


@tool()
async def basename(android: Android, process: Process) -> int:
    options = parse(process, "as:", least=1)
    names = options.operands
    suffix = options.value("s") or ""
    if not options.flags and len(names) > 1:
        suffix, names = names[1], names[:1]
    for name in names:
        last = posixpath.basename(name.rstrip("/")) or "/"
        process.print((last.removesuffix(suffix) if last != suffix else last) + "\n")
    return 0


@tool()
async def dirname(android: Android, process: Process) -> int:
    for path in parse(process, "", least=1).operands:
        process.print((posixpath.dirname(path.rstrip("/")) or ("/" if path.startswith("/") else ".")) + "\n")
    return 0
