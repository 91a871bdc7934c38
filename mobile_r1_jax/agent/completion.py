"""What was sampled for a prompt, and a prompt with the completions that are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from mobile_r1_jax.agent.prompts import Prompt


@dataclass(frozen=True)
class Completion:
    """Token ids with the stop token, and what the sampler knew of them.

    logps: log-probability of each token under the whole distribution, which training recomputes; empty where nothing
    was sampled, as in annotations. truncated_logps: under the distribution that was drawn from, where top-p or top-k
    cut it off; else empty. policy_version: updates of the policy that sampled it.
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
