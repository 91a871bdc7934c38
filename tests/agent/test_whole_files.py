"""A file is written completely or not at all."""

import os
import resource
from pathlib import Path

import pytest

from mobile_r1_jax.agent.whole_files import write_whole


def test_text_replaces_the_old_file_and_leaves_no_draft(tmp_path: Path) -> None:
    for text in ("{}\n", "", "手机 " * 1000):
        write_whole(tmp_path / "file.json", text)
        assert (tmp_path / "file.json").read_text(encoding="utf-8") == text
    assert os.listdir(tmp_path) == ["file.json"]


def test_full_disk_error_names_the_file_and_keeps_the_old_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "inputs.json", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"inputs\.json"):
            write_whole(tmp_path / "inputs.json", "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "inputs.json").read_text() == "old" and os.listdir(tmp_path) == ["inputs.json"]
