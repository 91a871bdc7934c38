"""toybox commands that change files: cp, mv, rm, rmdir, mkdir, touch, chmod, truncate, tee, mktemp."""

import itertools
import posixpath
import re

from mobile_r1_jax.phones.simulator.android.commands.toybox.options import UsageFault, parse, sources, tool, usage
from mobile_r1_jax.phones.simulator.android.files import FileError, Files
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android


@tool()
async def rm(android: Android, process: Process) -> int:
    options = parse(process, "frRiv")
    force, recursive = "f" in options, bool(options.flags & {"r", "R"})
    if not options.operands and not force:
        raise usage(process, "Needs 1 argument")
    status = 0
    for path in options.operands:
        try:
            process.files.remove(path, recursive=recursive)
        except FileError as error:
            if not force or not str(error).endswith("No such file or directory"):
                status = process.fail(str(error))
            continue
        if "v" in options:
            process.print(f"rm '{path}'\n")
    return status


@tool()
async def rmdir(android: Android, process: Process) -> int:
    status = 0
    for path in parse(process, "p", least=1).operands:
        try:
            process.files.remove_directory(path)
        except FileError as error:
            status = process.fail(str(error))
    return status


@tool()
async def mkdir(android: Android, process: Process) -> int:
    options = parse(process, "pm:v", least=1)
    status = 0
    for path in options.operands:
        try:
            if "p" in options:
                process.files.make_directories(path)
            else:
                process.files.make_directory(path)
        except FileError as error:
            reason = str(error).rpartition(": ")[2]
            status = process.fail(f"'{path}': {reason}")
    return status


@tool()
async def touch(android: Android, process: Process) -> int:
    options = parse(process, "acm", least=1)
    status, files = 0, process.files
    for path in options.operands:
        if files.is_directory(path) or ("c" in options and not files.is_file(path)):
            continue
        try:
            files.write(path, b"", append=True)
        except FileError as error:
            status = process.fail(f"'{path}': {str(error).rpartition(': ')[2]}")
    return status


@tool()
async def chmod(android: Android, process: Process) -> int:
    """`chmod [-R] MODE FILE …`; the mode is octal or a list such as u+x,go-w."""
    options = parse(process, "Rfv")
    if len(options.operands) < 2:
        raise usage(process, "Need 2 arguments")
    mode, *paths = options.operands
    status = 0
    for path in paths:
        before = process.files.status(path).mode
        bits = _bits(mode, before & 0o777)
        if not before:
            status = process.fail(f"{path}: No such file or directory")
        elif process.files.is_read_only(path):
            status = process.fail(f"{path}: Read-only file system")
        elif process.files.is_file(path):
            file = process.files.files[process.files.absolute(path)]
            file.mode = file.mode & ~0o777 | bits
    return status


def _bits(mode: str, before: int) -> int:
    """Return the permission bits that a mode gives to a file with the bits `before`. Raises UsageFault."""
    if re.fullmatch(r"[0-7]{1,4}", mode):
        return int(mode, 8) & 0o777
    bits = before
    for change in mode.split(","):
        match = re.fullmatch(r"([ugoa]*)([-+=])([rwxX]*)", change)
        if match is None:
            raise UsageFault(f"bad mode '{mode}'")
        who = match[1] if match[1] and "a" not in match[1] else "ugo"
        shifts = [{"u": 6, "g": 3, "o": 0}[person] for person in who]
        what = sum({"r": 4, "w": 2, "x": 1, "X": 1}[letter] for letter in set(match[3]))
        for shift in shifts:
            bits = bits & ~(7 << shift) if match[2] == "=" else bits
            bits = bits & ~(what << shift) if match[2] == "-" else bits | what << shift
    return bits


@tool()
async def truncate(android: Android, process: Process) -> int:
    options = parse(process, "cs:", least=1)
    size = options.number("s", process)
    if size is None or size < 0:
        raise usage(process, "Needs -s")
    for path in options.operands:
        before = process.files.read(path) if process.files.is_file(path) else b""
        process.files.write(path, before[:size].ljust(size, b"\0"))
    return 0


@tool()
async def tee(android: Android, process: Process) -> int:
    options = parse(process, "ai")
    read, _ = await sources(process, [])
    status = 0
    for path in options.operands:
        try:
            process.files.write(path, read[0].data, append="a" in options)
        except FileError as error:
            status = process.fail(str(error))
    process.out(read[0].data)
    return status


@tool()
async def mktemp(android: Android, process: Process) -> int:
    options = parse(process, "dp:qtu", most=1)
    template = options.operands[0] if options.operands else "tmp.XXXXXXXXXX"
    directory = options.value("p") or ("" if options.operands else "/data/local/tmp")
    stem = posixpath.join(directory, template.rstrip("X"))
    width = len(template) - len(template.rstrip("X"))
    names = (f"{stem}{number:0{width}d}" for number in itertools.count())
    path = next(name for name in names if not process.files.status(name).mode)
    if "d" in options:
        process.files.make_directory(path)
    elif "u" not in options:
        process.files.write(path, b"", permissions=0o600)
    process.print(f"{path}\n")
    return 0


def _targets(process: Process, operands: list[str], directory: str | None) -> list[tuple[str, str]]:
    """Return (source, target) for cp and mv. Raises UsageFault."""
    if directory is None:
        if len(operands) < 2:
            raise UsageFault("Needs 2 arguments")
        *operands, directory = operands
        if not process.files.is_directory(directory):
            if len(operands) > 1:
                raise UsageFault(f"'{directory}' not directory")
            return [(operands[0], directory)]
    return [(path, posixpath.join(directory, posixpath.basename(path.rstrip("/")))) for path in operands]


@tool()
async def mv(android: Android, process: Process) -> int:
    options = parse(process, "finTvt:", least=1)
    status = 0
    for source, target in _targets(process, options.operands, options.value("t")):
        if not process.files.status(source).mode:
            status = process.fail(f"bad '{source}': No such file or directory")
            continue
        if "n" in options and process.files.status(target).mode:
            continue
        try:
            if process.files.is_directory(target) and process.files.status(source).mode:
                process.files.remove_directory(target)
            process.files.move(source, target)
        except FileError as error:
            status = process.fail(f"'{target}': {str(error).rpartition(': ')[2]}")
    return status


@tool()
async def cp(android: Android, process: Process) -> int:
    options = parse(process, "adfHiLnPprRTvt:", least=1)
    recursive = bool(options.flags & {"r", "R", "a"})
    status = 0
    for source, target in _targets(process, options.operands, options.value("t")):
        if not process.files.status(source).mode:
            status = process.fail(f"bad '{source}': No such file or directory")
        elif process.files.is_directory(source) and not recursive:
            status = process.fail(f"Skipped dir '{source}'")
        elif (process.files.absolute(target) + "/").startswith(process.files.absolute(source) + "/"):
            status = process.fail(f"'{source}' is '{target}'")
        elif "n" not in options or not process.files.status(target).mode:
            try:
                _copy(process.files, source, target, keep=bool(options.flags & {"a", "p"}))
            except FileError as error:
                status = process.fail(f"'{target}': {str(error).rpartition(': ')[2]}")
                continue
            if "v" in options:
                process.print(f"cp '{source}' -> '{target}'\n")
    return status


def _copy(files: Files, source: str, target: str, *, keep: bool) -> None:
    if files.is_file(source):
        status = files.status(source)
        modified = status.modified if keep else None
        return files.write(target, files.read(source), permissions=status.mode, modified=modified)
    if not files.is_directory(target):
        files.make_directory(target)
    for name in files.names(source):
        _copy(files, posixpath.join(source, name), posixpath.join(target, name), keep=keep)
    return None
