"""A rule set: by which rules an answer to a golden step is judged, and how its scores are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mobile_r1_jax.agent.actions import Action, Click, LongPress, Malformed, SystemButton
from mobile_r1_jax.evaluation.offline.judging import WRONG, GoldenStep, Verdict

Rule = Callable[[GoldenStep, Action], Verdict]
Test = Callable[[Action], bool]


def always(action: Action) -> bool:
    """Return True, for a rule set that knows all actions."""
    return True


def one_of(*types: type, buttons: tuple[str, ...] = ()) -> Test:
    """Return a test whether an action has one of the types, or is one of the system buttons."""

    def test(action: Action) -> bool:
        return isinstance(action, types) or (isinstance(action, SystemButton) and action.button in buttons)

    return test


def touches(golden: Action, verdict: Verdict, is_read: bool) -> bool:
    """Return whether a step counts in the grounding score: all golden clicks and long presses [ours]."""
    return isinstance(golden, (Click, LongPress))


@dataclass(frozen=True)
class RuleSet:
    """A published rule set.

    title: for tables. rule: judges an answer that parses. occurs: whether its data set has a golden action; other steps
    are not scored. reads: whether its parser reads an answer; others are wrong. grounds: whether a step counts in the
    grounding score, by golden action, verdict and whether the answer was read.
    """

    title: str
    rule: Rule
    occurs: Test = always
    reads: Test = always
    grounds: Callable[[Action, Verdict, bool], bool] = touches

    def judge(self, golden: GoldenStep, predicted: Action | Malformed) -> Verdict | None:
        """Return the verdict on an answer, or None if the golden action does not occur in the rule set's data."""
        if not self.occurs(golden.action):
            return None
        if not self.is_read(predicted):
            return WRONG
        return self.rule(golden, predicted)

    def is_read(self, predicted: Action | Malformed) -> bool:
        """Return whether the rule set's parser reads an answer."""
        return not isinstance(predicted, Malformed) and self.reads(predicted)
