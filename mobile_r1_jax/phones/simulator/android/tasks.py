"""The tasks of a simulated phone, as its recent apps and its activity manager list them."""

from dataclasses import dataclass, field
from zlib import crc32


@dataclass
class Task:
    """One task. `activity` is the class on top, as ".HomeActivity"."""

    id: int
    package: str
    activity: str


@dataclass
class Tasks:
    """All tasks, the one in front first. `note` must be called after everything that can change the foreground."""

    tasks: list[Task] = field(default_factory=list)
    running: set[str] = field(default_factory=set)  # packages with a process
    seen: set[tuple[str, str]] = field(default_factory=set)  # (package, activity) that were in front
    last_id: int = 0

    def note(self, package: str, activity: str) -> None:
        """Put the task of the foreground app first, and make it if it does not exist."""
        front = self.tasks[0] if self.tasks else None
        if front is not None and front.package == package and front.activity == activity:
            return
        task = next((task for task in self.tasks if task.package == package), None)
        if task is None:
            self.last_id += 1
            task = Task(self.last_id, package, activity)
        else:
            self.tasks.remove(task)
        task.activity = activity
        self.tasks.insert(0, task)
        self.running.add(package)
        self.seen.add((package, activity))

    def remove(self, task_id: int) -> Task | None:
        """Take a task out of the recent apps and return it; None if there is no such task."""
        task = next((task for task in self.tasks if task.id == task_id), None)
        if task is not None:
            self.tasks.remove(task)
            self.running.discard(task.package)
        return task


def token(*names: object) -> str:
    """Return the hash that Android would print for an object; the same object has always the same."""
    return f"{crc32(repr(names).encode()) & 0xFFFFFFF:x}"


def uid(package: str) -> int:
    """Return the user id of an app."""
    return 1000 if package == "android" else 10_000 + crc32(package.encode()) % 900
