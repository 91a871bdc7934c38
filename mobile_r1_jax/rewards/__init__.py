"""Rewards of responses, steps and trajectories."""

from mobile_r1_jax.rewards.action import Golden, StepRules, action_reward, step_reward
from mobile_r1_jax.rewards.format import step_format_reward, turn_format_reward
from mobile_r1_jax.rewards.judges.chat import ChatJudge
from mobile_r1_jax.rewards.judges.judge import Judge, JudgeOutage, Score, task_reward
from mobile_r1_jax.rewards.judges.state import StateJudge

__all__ = [
    "ChatJudge",
    "Golden",
    "Judge",
    "JudgeOutage",
    "Score",
    "StateJudge",
    "StepRules",
    "action_reward",
    "step_format_reward",
    "step_reward",
    "task_reward",
    "turn_format_reward",
]
