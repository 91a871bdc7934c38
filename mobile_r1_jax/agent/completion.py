"""Completions, and a prompt with the group of completions that are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from mobile_r1_jax.agent.prompts import Prompt


@dataclass(frozen=True)
class Completion:
    """The token ids of a response, with the stop token and the sampler's log-probabilities.

    logps: log-probability of each token under the full distribution, which training recomputes; empty for annotations,
    as nothing was sampled. truncated_logps: the same under the distribution after top-p or top-k; empty without them.
    policy_version: number of updates of the policy that sampled it.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...] = ()
    truncated_logps: tuple[float, ...] = ()
    policy_version: int = 0


@dataclass(frozen=True)
class PromptGroup:
    """A prompt with its G completions and an advantage for each."""

    prompt: Prompt
    completions: Sequence[Completion]
    advantages: Sequence[float]
