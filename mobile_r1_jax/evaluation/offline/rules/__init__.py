"""The rule sets by which offline evaluations of phone agents are published, one function each.

Every repository scores by its own rules, so the same answer may be right in one paper and wrong in another. A rule
function takes a golden step and an answer, both as actions of `mobile_use`, and returns a verdict. The functions
reproduce mistakes of the published code and name them in their docstrings, with the exceptions.
An answer that does not parse is wrong under all of them. docs/sources.md names the repositories.
"""

from collections.abc import Mapping
from functools import partial

from mobile_r1_jax.evaluation.offline.rules import (
    agent_cpm,
    aitw,
    android_control,
    clawgui,
    gui_odyssey,
    mobile_r1,
    os_atlas,
    qwen,
)
from mobile_r1_jax.evaluation.offline.rules.rule_set import RuleSet

RULES: Mapping[str, RuleSet] = {
    "mobile_r1": RuleSet("Mobile-R1", mobile_r1.mobile_r1),
    "agentcpm_ac": RuleSet(
        "AgentCPM, AndroidControl",
        partial(agent_cpm.agent_cpm, android_control=True),
        agent_cpm.occurs_switched,
    ),
    "agentcpm": RuleSet("AgentCPM", agent_cpm.agent_cpm, agent_cpm.occurs),
    "qwen": RuleSet("Qwen2.5-VL", qwen.qwen, qwen.occurs),
    "ui_s1": RuleSet("UI-S1 reward", qwen.ui_s1, qwen.occurs_in_training),
    "infigui": RuleSet("InfiGUI-R1", qwen.infigui, qwen.occurs),
    "clawgui": RuleSet("ClawGUI", clawgui.clawgui, clawgui.occurs, clawgui.occurs, clawgui.grounds),
    "os_atlas": RuleSet("OS-Atlas", os_atlas.os_atlas, os_atlas.occurs, grounds=os_atlas.grounds),
    "android_control": RuleSet("AndroidControl paper", android_control.android_control, android_control.occurs),
    "aitw": RuleSet("AITW", aitw.aitw, aitw.occurs),
    "aitz": RuleSet("AITZ", aitw.aitz, aitw.occurs),
    "gui_odyssey": RuleSet("GUI-Odyssey", gui_odyssey.gui_odyssey, gui_odyssey.occurs),
}
__all__ = ["RULES", "RuleSet"]
