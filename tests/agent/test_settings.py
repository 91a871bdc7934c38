"""agent.json: the prompt settings of a policy are stored with its weights."""

from dataclasses import replace
from pathlib import Path

import pytest

from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.settings import FILE, AgentSettings, differences, read_agent_settings
from mobile_r1_jax.config import Run


def test_settings_survive_writing_and_reading(tmp_path: Path) -> None:
    settings = AgentSettings("你操作手机。{instruction} {tools}", Resizing(scale=1.0, max_pixels=500_000))
    settings.write(tmp_path)
    assert read_agent_settings(tmp_path) == settings and settings.action_space == "mobile_use"
    answering = AgentSettings("{instruction}", Resizing(), answer=True)
    answering.write(tmp_path)
    assert read_agent_settings(tmp_path) == answering


def test_agent_json_without_answer_and_effects_has_neither(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        '{"system": "{instruction}", "resizing": {"scale": 1.0}, "action_space": "mobile_use"}'
    )
    assert read_agent_settings(tmp_path) == AgentSettings("{instruction}", Resizing(scale=1.0), tell_effects=False)


def test_policy_without_agent_json_has_no_settings(tmp_path: Path) -> None:
    assert read_agent_settings(tmp_path) is None


BROKEN = ("", "{", "[]", '{"system": "x"}', '{"system": "x", "resizing": {"scale": -1}, "action_space": ""}')


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_named_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match=r"agent\.json is broken") as caught:
        read_agent_settings(tmp_path)
    assert "\n" not in str(caught.value)


def test_equal_settings_have_no_differences() -> None:
    settings = AgentSettings("Phone. {instruction}", Resizing(scale=1.0))
    assert differences(settings, settings) == differences(None, settings) == []
    assert differences(AgentSettings(Run().system, Run().resizing), Run()) == []


OTHERS = [
    (replace(Run(), system="Do {instruction}"), ["system: the policy was trained with"]),
    (replace(Run(), answer=True), ["answer: the policy was trained with False, this run has True"]),
    (
        replace(Run(), resizing=Resizing(scale=1.5)),
        ["resizing.scale: the policy was trained with 0.3, this run has 1.5"],
    ),
    (replace(Run(), resizing=Resizing(min_pixels=1, max_pixels=9)), ["resizing.min_pixels", "resizing.max_pixels"]),
]


@pytest.mark.parametrize(("run", "said"), OTHERS)
def test_every_difference_is_a_line_with_both_values(run: Run, said: list[str]) -> None:
    lines = differences(AgentSettings(Run().system, Run().resizing), run)
    assert len(lines) == len(said) and all("\n" not in line for line in lines)
    assert all(line.startswith(words) for line, words in zip(lines, said, strict=True))


def test_another_action_space_is_a_difference() -> None:
    lines = differences(AgentSettings(Run().system, Run().resizing, "computer_use"), Run())
    assert len(lines) == 1 and "computer_use" in lines[0]
