"""A task file as a suite: draws, splits and instructions."""

from collections import Counter
from pathlib import Path

import pytest

from mobile_r1_jax.agent.screenshots import PUBLISHED_RESIZING
from mobile_r1_jax.phones.simulator.suite import SimulatorTasks
from mobile_r1_jax.tasks.file_suite import FileTasks
from mobile_r1_jax.tasks.program import Check, Program
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split
from mobile_r1_jax.tasks.task import Task

FILE = """
- id: timeout
  app: settings
  instruction: ["Wait {n} minutes", "等{n}分钟"]
  values: {n: {1: 60000, 2: 120000, 5: 300000, 10: 600000}}
  held_out: {n: [5, 10]}
  checks: [{shell: settings get system screen_off_timeout, equals: "{n}"}]
- id: send
  app: messages
  instruction: Send {text} to {name}
  values: {text: [Hi, Yes, No], name: [Ann, Bob]}
  held_out: {text: No, name: Bob}
  checks: [{shell: "content query --uri content://sms/sent", contains: "{text} {name}"}]
- {id: dark, app: settings, instruction: Turn on dark mode, checks: [{shell: cmd uimode night, contains: "yes"}]}
- id: light
  app: settings
  instruction: Turn on light mode
  split: unseen_templates
  checks: [{shell: cmd uimode night, contains: "no"}]
- {id: alarm, app: clock, instruction: Set an alarm, split: unseen_apps, checks: []}
"""


@pytest.fixture
def suite(tmp_path: Path) -> FileTasks:
    (tmp_path / "tasks.yaml").write_text(FILE)
    return FileTasks(tmp_path / "tasks.yaml")


def test_every_split_has_its_tasks(suite: FileTasks) -> None:
    names = {split: {task.name for task in suite.draw(60, 0, split)} for split in Split}
    assert names == {
        Split.TRAIN: {"timeout", "send", "dark"},
        Split.UNSEEN_PARAMETERS: {"timeout", "send"},
        Split.UNSEEN_TEMPLATES: {"light"},
        Split.UNSEEN_APPS: {"alarm"},
    }
    assert suite.instructions(Split.TRAIN) == {
        *("Wait 1 minutes", "Wait 2 minutes", "等1分钟", "等2分钟"),
        *("Send Hi to Ann", "Send Yes to Ann", "Turn on dark mode"),
    }
    held_out = {"Send No to Ann", "Send No to Bob", "Send Hi to Bob", "Send Yes to Bob"}
    assert suite.instructions(Split.UNSEEN_PARAMETERS) == {
        *("Wait 5 minutes", "Wait 10 minutes", "等5分钟", "等10分钟"),
        *held_out,
    }


@pytest.mark.parametrize("split", list(Split))
def test_draws_are_reproducible_and_use_the_instructions_of_the_file(suite: FileTasks, split: Split) -> None:
    tasks = suite.draw(50, 3, split)
    assert tasks == FileTasks(suite.file).draw(50, 3, split) and len(tasks) == 50
    assert {task.instruction for task in tasks} == suite.instructions(split)
    assert suite.draw(0, 3, split) == []
    if len(suite.instructions(split)) > 1:
        assert tasks != suite.draw(50, 4, split)


def test_every_template_is_drawn_equally_often(suite: FileTasks) -> None:
    counts = Counter(task.name for task in suite.draw(31, 1, Split.TRAIN))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_instruction_uses_labels_and_checks_use_their_values(suite: FileTasks) -> None:
    task = next(task for task in suite.draw(20, 0, Split.TRAIN) if task.instruction == "Wait 2 minutes")
    assert task.program.checks == (Check("settings get system screen_off_timeout", "equals", "120000"),)


def test_split_without_tasks_draws_none(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text("- {id: a, app: b, instruction: c, checks: []}\n")
    assert FileTasks(path).draw(5, 0, Split.UNSEEN_APPS) == []


def test_ids_distinguish_tasks_and_are_unchanged_without_a_program(suite: FileTasks) -> None:
    tasks = {task.id: task for split in Split for task in suite.draw(60, 0, split)}
    assert len(tasks) == len({(task.app, task.instruction, task.program) for task in tasks.values()})
    plain = Task("shop", "Buy tea", {"seed": 1})
    assert plain.id == Task("shop", "Buy tea", {"seed": 1}, name="x", steps=3).id == "cecf85f13de991c8"
    changed = Task("shop", "Buy tea", {"seed": 1}, Program(checks=(Check("true", "equals", ""),)))
    assert changed.id != plain.id


def test_task_file_has_no_demonstrations(suite: FileTasks) -> None:
    with pytest.raises(NotImplementedError, match=r"tasks\.yaml has no demonstrations"):
        suite.demonstrations(1, 0, DemonstrationStyle("", PUBLISHED_RESIZING, 0, 0))


def test_simulator_templates_have_no_unseen_templates() -> None:
    suite = SimulatorTasks(("settings",), ("clock",), 0, (112, 224))
    assert suite.draw(3, 0, Split.UNSEEN_TEMPLATES) == [] and not suite.instructions(Split.UNSEEN_TEMPLATES)
    assert len(suite.draw(3, 0, Split.UNSEEN_PARAMETERS)) == 3
