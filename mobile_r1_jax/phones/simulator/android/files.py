"""The simulated phone's storage: an in-memory file system with Android's directories and error messages."""

import posixpath
import stat
import time
from dataclasses import dataclass, field, replace

_DIRECTORIES = ("/", "/data", "/data/local", "/data/local/tmp", "/sdcard", "/sdcard/DCIM", "/sdcard/Download",
                "/sdcard/Pictures", "/storage", "/storage/emulated", "/system", "/system/bin", "/dev")  # fmt: skip
_READ_ONLY = ("/", "/system", "/system/bin", "/storage", "/storage/emulated", "/dev")
_ALIASES = ("/storage/emulated/0", "/storage/self/primary", "/mnt/sdcard")  # of /sdcard
_SINKS = ("/dev/null", "/dev/zero", "/dev/tty")


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
    """The file system, seen from a working directory. All views of a phone share `files` and `directories`.

    `directories` maps a path to its modification time. /storage/emulated/0 is /sdcard.
    """

    files: dict[str, File] = field(default_factory=dict)
    directories: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_DIRECTORIES, int(time.time())))
    directory: str = "/"

    def at(self, directory: str) -> "Files":
        """Return a view from another working directory."""
        return replace(self, directory=directory)

    def joined(self, path: str) -> str:
        """Return `path` as an absolute path without "..", "." and doubled slashes."""
        return posixpath.normpath("/" + posixpath.join(self.directory, path).lstrip("/"))

    def absolute(self, path: str) -> str:
        """Return the unique path of a file: as `joined`, without an alias of /sdcard."""
        where = self.joined(path)
        for alias in _ALIASES:
            if where == alias or where.startswith(alias + "/"):
                return "/sdcard" + where[len(alias) :]
        return where

    def read(self, path: str) -> bytes:
        where = self.absolute(path)
        if where in _SINKS:
            return b""
        if where in self.directories:
            raise FileError(f"{path}: Is a directory")
        if where not in self.files:
            raise FileError(f"{path}: No such file or directory")
        return self.files[where].data

    def write(
        self,
        path: str,
        data: bytes,
        *,
        append: bool = False,
        permissions: int | None = None,
        modified: int | None = None,
    ) -> None:
        """Create, replace or extend a file. `modified` is in seconds since 1970; the default is now.

        A new file has the permissions 0660; an existing one keeps its own, unless `permissions` names others.
        """
        where = self.absolute(path)
        if where in _SINKS:
            return
        self._check_place(path, where)
        if where in self.directories:
            raise FileError(f"{path}: Is a directory")
        old = self.files.get(where)
        before = old.data if append and old else b""
        when = int(time.time()) if modified is None else modified
        bits = permissions if permissions is not None else old.mode if old else 0o660
        self.files[where] = File(before + data, stat.S_IFREG | bits & 0o777, when)

    def _check_place(self, path: str, where: str) -> None:
        """Raise FileError if nothing can be created at `where`."""
        parent = posixpath.dirname(where)
        if parent not in self.directories:
            missing = "Not a directory" if parent in self.files else "No such file or directory"
            raise FileError(f"{path}: {missing}")
        if parent in _READ_ONLY:
            raise FileError(f"{path}: Read-only file system")

    def remove(self, path: str, *, recursive: bool = False) -> None:
        where = self.absolute(path)
        if where in self.files:
            self._check_place(path, where)
            del self.files[where]
            return
        if where not in self.directories:
            raise FileError(f"{path}: No such file or directory")
        if not recursive:
            raise FileError(f"{path}: Is a directory")
        if where in _DIRECTORIES:
            raise FileError(f"{path}: Permission denied")
        for name in self._inside(where):
            self.directories.pop(name, None)
            self.files.pop(name, None)
        del self.directories[where]

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        if self.names(path):
            raise FileError(f"{path}: Directory not empty")
        self.remove(path, recursive=True)

    def move(self, source: str, target: str) -> None:
        """Rename a file, or a directory with its content. `target` is the new path itself."""
        old, new = self.absolute(source), self.absolute(target)
        self._check_place(target, new)
        if old in _DIRECTORIES:
            raise FileError(f"{source}: Permission denied")
        if (new + "/").startswith(old + "/"):
            raise FileError(f"{source}: Invalid argument" if new != old else f"{source}: same file")
        if old in self.files:
            self._check_place(source, old)
            self.files[new] = self.files.pop(old)
            return
        for name in (old, *self._inside(old)):
            moved = new + name[len(old) :]
            if name in self.directories:
                self.directories[moved] = self.directories.pop(name)
            else:
                self.files[moved] = self.files.pop(name)

    def _inside(self, where: str) -> list[str]:
        return [name for name in (*self.directories, *self.files) if name.startswith(where.rstrip("/") + "/")]

    def make_directory(self, path: str) -> None:
        where = self.absolute(path)
        if self.status(path).mode:
            raise FileError(f"{path}: File exists")
        self._check_place(path, where)
        self.directories[where] = int(time.time())

    def make_directories(self, path: str) -> None:
        """Create a directory and those above it, as far as they are missing."""
        where = self.absolute(path)
        missing = []
        while where not in self.directories:
            if where in self.files:
                raise FileError(f"{path}: File exists")
            if posixpath.dirname(where) in _READ_ONLY:
                raise FileError(f"{path}: Read-only file system")
            missing.append(where)
            where = posixpath.dirname(where)
        self.directories |= dict.fromkeys(missing, int(time.time()))

    def status(self, path: str) -> Status:
        where = self.absolute(path)
        if where in self.directories:
            return Status(stat.S_IFDIR | 0o771, 4096, self.directories[where])
        if where in self.files:
            file = self.files[where]
            return Status(file.mode, len(file.data), file.modified)
        if where in _SINKS:
            return Status(stat.S_IFCHR | 0o666, 0, 0)
        return Status(0, 0, 0)

    def is_file(self, path: str) -> bool:
        return self.absolute(path) in self.files

    def is_directory(self, path: str) -> bool:
        return self.absolute(path) in self.directories

    def is_read_only(self, path: str) -> bool:
        where = self.absolute(path)
        return (where if where in self.directories else posixpath.dirname(where)) in _READ_ONLY

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory. Raises FileError if there is no such directory."""
        where = self.absolute(path)
        if where not in self.directories:
            raise FileError(f"{path}: {'Not a directory' if where in self.files else 'No such file or directory'}")
        start = len(where.rstrip("/")) + 1
        return sorted(name[start:] for name in self._inside(where) if name[start:] and "/" not in name[start:])
