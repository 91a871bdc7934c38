"""Grades of a chat judge on disk: an answered request is not paid for again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.json_lines import append_line, read_objects
from mobile_r1_jax.rewards.judges.judge import Usage

FILE = "grades.jsonl"


class GradeCache:
    """The file grades.jsonl in a folder, one answer in each line. It survives a kill in the middle of a line.

    usage: of all lines, also of requests without a grade. Raises OneLineError for a line that holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        rows = read_objects(self._path)
        try:
            self._answers: dict[str, Any] = {row["key"]: row["answer"] for row in rows if "answer" in row}
            self.usage = sum((Usage(**row["usage"]) for row in rows), Usage())
        except (KeyError, TypeError) as error:
            raise OneLineError(f"{self._path} holds no grades of a judge ({error!r}); name another folder") from error

    def find(self, key: str) -> Any:
        """Return the answer of a key, JSON types, or None."""
        return self._answers.get(key)

    def add(self, key: str, answer: Any, usage: Usage) -> None:
        """Append an answer, or None for a failed request, with its usage. Raises OSError that names the file."""
        row = {"key": key, "usage": asdict(usage)} | ({} if answer is None else {"answer": answer})
        append_line(self._path, json.dumps(row, ensure_ascii=False))
        self.usage += usage
        if answer is not None:
            self._answers[key] = answer
