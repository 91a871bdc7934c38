"""agent.json: how a policy was prompted travels with its weights."""

from pathlib import Path

import pytest

from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.settings import FILE, AgentSettings, read_agent_settings


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    settings = AgentSettings("你操作手机。{instruction} {tools}", Resizing(scale=1.0, max_pixels=500_000))
    settings.write(tmp_path)
    assert read_agent_settings(tmp_path) == settings and settings.action_space == "mobile_use"
    answering = AgentSettings("{instruction}", Resizing(), answer=True)
    answering.write(tmp_path)
    assert read_agent_settings(tmp_path) == answering


def test_a_policy_from_before_answer_and_effects_knows_neither(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        '{"system": "{instruction}", "resizing": {"scale": 1.0}, "action_space": "mobile_use"}'
    )
    assert read_agent_settings(tmp_path) == AgentSettings("{instruction}", Resizing(scale=1.0), tell_effects=False)


def test_a_policy_of_another_trainer_has_none(tmp_path: Path) -> None:
    assert read_agent_settings(tmp_path) is None


BROKEN = ("", "{", "[]", '{"system": "x"}', '{"system": "x", "resizing": {"scale": -1}, "action_space": ""}')


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_named_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match=r"agent\.json is broken") as caught:
        read_agent_settings(tmp_path)
    assert "\n" not in str(caught.value)
