"""Rewards of responses, steps and trajectories."""

from mobile_r1_jax.rewards.action import Golden, StepRules, action_reward, step_reward
from mobile_r1_jax.rewards.format import step_format_reward, turn_format_reward
from mobile_r1_jax.rewards.judges.checks import ChecksJudge
from mobile_r1_jax.rewards.judges.choice import known_score, open_judge
from mobile_r1_jax.rewards.judges.judge import Evidence, Judge, JudgeError, JudgeOutage, Score, Usage, task_reward
from mobile_r1_jax.rewards.judges.settings import JudgeSettings
from mobile_r1_jax.rewards.judges.state import StateJudge

__all__ = [
    "ChecksJudge",
    "Evidence",
    "Golden",
    "Judge",
    "JudgeError",
    "JudgeOutage",
    "JudgeSettings",
    "Score",
    "StateJudge",
    "StepRules",
    "Usage",
    "action_reward",
    "known_score",
    "open_judge",
    "step_format_reward",
    "step_reward",
    "task_reward",
    "turn_format_reward",
]
