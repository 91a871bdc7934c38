"""--help: quick, grouped, and with a description of every field."""

import subprocess
import sys
from dataclasses import replace

import pytest

from mobile_r1_jax.config import Annotations, Run, help_of
from mobile_r1_jax.help import sections
from mobile_r1_jax.model.lora_settings import LoRA

FULL = replace(Run(), lora=LoRA(), action_level=replace(Run().action_level, annotations=Annotations()))


def test_help_describes_every_field_and_its_value() -> None:
    rows = [(flag, meaning) for _, _, rows in sections(FULL) for flag, meaning in rows]
    assert len(rows) > 90
    assert [flag for flag, meaning in rows if len(meaning) < 8 or "\n" in meaning] == []
    assert dict(rows)["--phones.count=16"] and dict(rows)["--shapes.prompt_tokens=[1536, 2560]"]


def test_help_describes_every_section_and_shows_null_values() -> None:
    full, default = ({name: meaning for name, meaning, _ in sections(run)} for run in (FULL, Run()))
    assert set(full) == set(default) and {"the run", "lora", "action_level.annotations", "task_level.loss"} <= set(full)
    assert all(meaning for name, meaning in full.items() if name != "the run")
    assert "null here" in default["lora"] and "null here" not in full["lora"]


def test_help_shows_values_of_files_and_flags(tmp_path) -> None:
    (tmp_path / "run.yaml").write_text("phones: {count: 5}")
    assert "--phones.count=32 " in help_of("launch", "", ["--help"])
    assert "--phones.count=7 " in help_of("launch", "", ["--phones.count=7", "-h"])
    assert "--phones.count=5 " in help_of("launch", "", [f"--config={tmp_path / 'run.yaml'}", "--help"])
    assert "--phones.count=16 " in help_of("launch", "", ["--nonsense", "--help"])


def test_help_starts_with_the_purpose_and_imports_no_slow_library() -> None:
    program = "import sys; from mobile_r1_jax.launch import main; main(['--help']); print(sorted(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    *text, modules = printed.splitlines()
    assert any("python -m mobile_r1_jax.launch --config" in line for line in text[:24])
    assert sum(line.startswith("usage:") for line in text) == 1 and len(text[0]) < 100
    assert not {"'flax'", "'optax'", "'transformers'", "'tensorflow_datasets'"} & set(modules.strip("[]").split(", "))


@pytest.mark.parametrize("arguments", [["--help"], ["nonsense"], ["plan", "--help"], ["export", "--help"]])
def test_main_command_lists_all_commands(arguments: list[str]) -> None:
    result = subprocess.run([sys.executable, "-m", "mobile_r1_jax", *arguments], capture_output=True, text=True)
    assert result.returncode == (2 if arguments == ["nonsense"] else 0)
    assert "Traceback" not in result.stderr and (result.stdout or "choose from launch, evaluate" in result.stderr)
