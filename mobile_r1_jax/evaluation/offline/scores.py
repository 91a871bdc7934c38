"""Scores of predictions under rule sets: of all steps and of groups of them, and the steps on which they disagree."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from mobile_r1_jax.agent.actions import Action, Malformed, action_arguments, action_name
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.evaluation.metrics import Share
from mobile_r1_jax.evaluation.offline.judging import Verdict
from mobile_r1_jax.evaluation.offline.predictions import Prediction, read_predictions
from mobile_r1_jax.evaluation.offline.rules import RULES

ALL = "all"


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """A prediction without its screen: verdicts and grounds by rule set. golden, predicted: as text; malformed: why the
    answer has no action, or ""."""

    trajectory: str
    step: int
    steps: int | None
    action: str
    app: str
    seen: bool | None
    subsets: tuple[str, ...]
    golden: str
    predicted: str
    malformed: str
    verdicts: tuple[Verdict | None, ...]
    grounds: tuple[bool, ...]

    @property
    def is_disputed(self) -> bool:
        """Return whether the rule sets that score the step disagree on it."""
        return len({verdict.right for verdict in self.verdicts if verdict is not None}) > 1

    @property
    def cells(self) -> tuple[str, ...]:
        """Return by rule set: 2 if the step is right, 1 if the type alone is, 0 if neither, - if it is not scored."""
        return tuple("-" if verdict is None else str(verdict.type_match + verdict.right) for verdict in self.verdicts)


@dataclass(frozen=True)
class Score:
    """The scores of some steps under one rule set.

    success: of the trajectories whose golden steps are all there, those with every step right; none for the steps of
    one kind of action. goal_progress: the mean share of their steps before the first wrong one. grounding: of the
    clicks that the rule set counts, those that are right. argument_errors: answers of the right type that are wrong.
    format_errors: answers that do not parse.
    """

    accuracy: Share
    type_match: Share
    success: Share
    goal_progress: float
    grounding: Share
    argument_errors: int
    format_errors: int

    def as_json(self) -> dict[str, Any]:
        """Return the score with the intervals of its shares; without those of trajectories if it has none."""
        shares = {
            name: {"hits": share.hits, "of": share.of, "interval": list(share.interval)}
            for name, share in vars(self).items()
            if isinstance(share, Share) and share.of
        }
        rest = {"argument_errors": self.argument_errors, "format_errors": self.format_errors}
        return {**shares, **({"goal_progress": self.goal_progress} if self.success.of else {}), **rest}


@dataclass(frozen=True)
class Scores:
    """Judged predictions. rules: the names of the rule sets. broken: "file:line: reason" of the lines left out."""

    rules: tuple[str, ...]
    steps: tuple[JudgedStep, ...]
    broken: tuple[str, ...] = ()

    def of(self, rule: str, test: Callable[[JudgedStep], bool] = lambda step: True) -> Score:
        """Return the score of the steps that pass a test, under one of the rule sets."""
        return score_steps([step for step in self.steps if test(step)], self.rules.index(rule))

    def groups(self, rule: str) -> dict[str, dict[str, Score]]:
        """Return kind of group -> group -> score; the groups with the most steps first."""
        kinds: dict[str, Callable[[JudgedStep], Sequence[str]]] = {
            "action": lambda step: (step.action,),
            "apps": lambda step: () if step.seen is None else ("seen" if step.seen else "unseen",),
            "subset": lambda step: step.subsets,
            "app": lambda step: (step.app,) if step.app else (),
        }
        found: dict[str, dict[str, Score]] = {}
        for kind, names in kinds.items():
            members: dict[str, list[JudgedStep]] = defaultdict(list)
            for step in self.steps:
                for name in names(step):
                    members[name].append(step)
            ordered = sorted(members.items(), key=lambda pair: (-len(pair[1]), pair[0]))
            found[kind] = {
                name: score_steps(steps, self.rules.index(rule), whole=kind != "action") for name, steps in ordered
            }
        return found

    @property
    def disputed(self) -> list[JudgedStep]:
        """Return the steps on which the rule sets disagree, in the order of the trajectories' names."""
        disputed = (step for step in self.steps if step.is_disputed)
        return sorted(disputed, key=lambda step: (len(step.trajectory), step.trajectory, step.step))

    @property
    def incomplete(self) -> int:
        """Return the number of trajectories that lack golden steps; they are in no task success."""
        return sum(not _is_complete(steps) for steps in _by_trajectory(self.steps).values())

    @property
    def format_errors(self) -> list[tuple[str, int]]:
        """Return the reasons why answers do not parse with their numbers, the most frequent first."""
        return Counter(step.malformed for step in self.steps if step.malformed).most_common()

    def as_json(self) -> dict[str, Any]:
        """Return all scores, and the disputed steps with their cells."""
        rules = {}
        for rule in self.rules:
            groups = {
                kind: {name: score.as_json() for name, score in members.items()}
                for kind, members in self.groups(rule).items()
            }
            rules[rule] = self.of(rule).as_json() | {"groups": groups}
        disputed = [
            {
                "trajectory": step.trajectory,
                "step": step.step,
                "golden": step.golden,
                "predicted": step.predicted or step.malformed,
                "verdicts": dict(zip(self.rules, step.cells, strict=True)),
            }
            for step in self.disputed
        ]
        counts = {"steps": len(self.steps), "incomplete_trajectories": self.incomplete}
        return {**counts, "broken": list(self.broken), "rules": rules, "disputed": disputed}


def rule_names(text: str) -> tuple[str, ...]:
    """Return the rule sets that a text names: "all", or names between commas. Raise OneLineError for another name."""
    names = tuple(RULES) if text == ALL else tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in RULES]:
        raise OneLineError(f"rules: there is no rule set {unknown[0]!r}; choose {ALL}, or from {', '.join(RULES)}")
    return names


def score_predictions(path: Path, rules: Sequence[str] = tuple(RULES)) -> Scores:
    """Judge the predictions of a file. Broken lines are left out and listed. Raise OneLineError if no line is left."""
    steps, broken, makers = [], [], set()
    for number, read in read_predictions(path):
        if isinstance(read, Malformed):
            broken.append(f"{path}:{number}: {read.reason}")
        else:
            steps.append(judge_step(read, rules))
            makers.add(read.made_by)
    if not steps:
        first = f"; the first: {broken[0]}" if broken else ""
        raise OneLineError(f"{path}: no usable prediction, {len(broken)} broken lines{first}")
    if len(makers) > 1:
        raise OneLineError(f"{path}: predictions of {len(makers)} policies or settings (made_by); keep one in a file")
    return Scores(tuple(rules), tuple(steps), tuple(broken))


def judge_step(prediction: Prediction, rules: Sequence[str]) -> JudgedStep:
    """Judge one prediction by each of the rule sets."""
    golden, answer = prediction.golden, prediction.predicted
    verdicts = tuple(RULES[rule].judge(golden, answer) for rule in rules)
    grounds = tuple(
        verdict is not None and RULES[rule].grounds(golden.action, verdict, RULES[rule].is_read(answer))
        for rule, verdict in zip(rules, verdicts, strict=True)
    )
    is_malformed = isinstance(answer, Malformed)
    return JudgedStep(
        trajectory=prediction.trajectory,
        step=prediction.step,
        steps=prediction.steps,
        action=action_name(golden.action),
        app=prediction.app,
        seen=prediction.seen,
        subsets=prediction.subsets,
        golden=_text(golden.action),
        predicted="" if is_malformed else _text(answer),
        malformed=answer.reason or "malformed" if is_malformed else "",
        verdicts=verdicts,
        grounds=grounds,
    )


def score_steps(steps: Sequence[JudgedStep], rule: int, *, whole: bool = True) -> Score:
    """Return the score of steps under the rule set with the index `rule`. Steps that it does not score are left out.

    whole: the steps are those of whole trajectories.
    """
    scored = [(step, verdict) for step in steps if (verdict := step.verdicts[rule]) is not None]
    grounded = [verdict.right for step, verdict in scored if step.grounds[rule]]
    trajectories = [
        verdicts
        for of_one in (_by_trajectory(steps).values() if whole else ())
        if _is_complete(of_one) and (verdicts := _right_in_order(of_one, rule))
    ]
    progress = [(*verdicts, False).index(False) / len(verdicts) for verdicts in trajectories]
    return Score(
        accuracy=_share(verdict.right for _, verdict in scored),
        type_match=_share(verdict.type_match for _, verdict in scored),
        success=_share(all(verdicts) for verdicts in trajectories),
        goal_progress=mean(progress) if progress else 0.0,
        grounding=_share(grounded),
        argument_errors=sum(verdict.type_match and not verdict.right for _, verdict in scored),
        format_errors=sum(bool(step.malformed) for step, _ in scored),
    )


def _right_in_order(steps: Sequence[JudgedStep], rule: int) -> list[bool]:
    ordered = sorted(steps, key=lambda step: step.step)
    return [verdict.right for step in ordered if (verdict := step.verdicts[rule]) is not None]


def _by_trajectory(steps: Iterable[JudgedStep]) -> Mapping[str, list[JudgedStep]]:
    found: dict[str, list[JudgedStep]] = defaultdict(list)
    for step in steps:
        found[step.trajectory].append(step)
    return found


def _is_complete(steps: Sequence[JudgedStep]) -> bool:
    return steps[0].steps in (None, len(steps))


def _share(hits: Iterable[bool]) -> Share:
    values = list(hits)
    return Share(sum(values), len(values))


def _text(action: Action) -> str:
    return json.dumps(action_arguments(action), ensure_ascii=False)
