"""The simulated phone's storage: an in-memory file system with Android's directories and error messages."""

import posixpath
import stat
import time
from dataclasses import dataclass, field

_DIRECTORIES = ("/", "/data", "/data/local", "/data/local/tmp", "/sdcard", "/sdcard/Download", "/sdcard/Pictures",
                "/storage", "/storage/emulated", "/system", "/system/bin", "/dev")  # fmt: skip
_READ_ONLY = ("/", "/system", "/system/bin", "/storage", "/storage/emulated", "/dev")


@dataclass
class File:
    """One file: content, permission bits with the file type, modification time in whole seconds since 1970."""

    data: bytes
    mode: int
    modified: int


@dataclass(frozen=True)
class Status:
    """The result of stat. `mode` is 0 if the path does not exist."""

    mode: int
    size: int
    modified: int


class FileError(Exception):
    """A failed operation, with the text that Android prints: "/sdcard/x: No such file or directory"."""


@dataclass
class Files:
    """The file system. `resolve` makes paths absolute; /storage/emulated/0 is /sdcard, a relative path starts at /."""

    files: dict[str, File] = field(default_factory=dict)
    directories: set[str] = field(default_factory=lambda: set(_DIRECTORIES))

    def read(self, path: str) -> bytes:
        where = resolve(path)
        if where == "/dev/null":
            return b""
        if where in self.directories:
            raise FileError(f"{path}: Is a directory")
        if where not in self.files:
            raise FileError(f"{path}: No such file or directory")
        return self.files[where].data

    def write(
        self, path: str, data: bytes, *, append: bool = False, permissions: int = 0o660, modified: int | None = None
    ) -> None:
        """Create, replace or extend a file. `modified` is in seconds since 1970; the default is now."""
        where = resolve(path)
        if where == "/dev/null":
            return
        parent = posixpath.dirname(where)
        if where in self.directories:
            raise FileError(f"{path}: Is a directory")
        if parent not in self.directories:
            raise FileError(f"{path}: No such file or directory")
        if parent in _READ_ONLY:
            raise FileError(f"{path}: Read-only file system")
        before = self.files[where].data if append and where in self.files else b""
        when = int(time.time()) if modified is None else modified
        self.files[where] = File(before + data, stat.S_IFREG | permissions & 0o777, when)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        where = resolve(path)
        if where in self.files:
            del self.files[where]
        elif where not in self.directories:
            raise FileError(f"{path}: No such file or directory")
        elif where in _DIRECTORIES:
            raise FileError(f"{path}: Permission denied")
        elif not recursive:
            raise FileError(f"{path}: Is a directory")
        else:
            inside = where + "/"
            self.directories = {d for d in self.directories if d != where and not d.startswith(inside)}
            self.files = {name: file for name, file in self.files.items() if not name.startswith(inside)}

    def make_directories(self, path: str) -> None:
        where = resolve(path)
        while where not in self.directories:
            if where in self.files:
                raise FileError(f"{path}: File exists")
            if posixpath.dirname(where) in _READ_ONLY:
                raise FileError(f"{path}: Read-only file system")
            self.directories.add(where)
            where = posixpath.dirname(where)

    def status(self, path: str) -> Status:
        where = resolve(path)
        if where in self.directories:
            return Status(stat.S_IFDIR | 0o771, 4096, 0)
        if where in self.files:
            file = self.files[where]
            return Status(file.mode, len(file.data), file.modified)
        return Status(0, 0, 0)

    def is_file(self, path: str) -> bool:
        return resolve(path) in self.files

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory. Raises FileError if there is no such directory."""
        where = resolve(path)
        if where not in self.directories:
            raise FileError(f"{path}: {'Not a directory' if where in self.files else 'No such file or directory'}")
        inside = where.rstrip("/") + "/"
        below = (p[len(inside) :] for p in (*self.directories, *self.files) if p.startswith(inside))
        return sorted(name for name in below if name and "/" not in name)


def resolve(path: str) -> str:
    """Return the unique path of a file: absolute, without "..", doubled slashes or the alias of /sdcard."""
    where = posixpath.normpath("/" + path.lstrip("/"))
    alias = "/storage/emulated/0"
    if where == alias or where.startswith(alias + "/"):
        where = "/sdcard" + where[len(alias) :]
    return where
