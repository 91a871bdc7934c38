"""Files that readers see complete or not at all, even if the writer is killed."""

import os
from pathlib import Path

from mobile_r1_jax.agent.errors import name_file


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8 and rename it into place. Raise OSError that names the file, such as for a full disk;
    the old file then stays."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with name_file(path):
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
