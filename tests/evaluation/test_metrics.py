"""Evaluation metrics: what counts as a success, and the uncertainty of a share."""

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console
from sample_episodes import ASTRAY, BROKEN, DONE, GARBAGE, GIVEN_UP, HIDDEN, LOST, MOVE, STRAIGHT, episode

from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.evaluation.metrics import Result, Share, measure
from mobile_r1_jax.evaluation.summary import summarize
from mobile_r1_jax.evaluation.tables import ended_by_phones, results_table, table_rows
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.rollouts.failures import Failure


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998), table I; the others by hand
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_intervals_are_wilson_intervals(hits: int, of: int, low: float, high: float) -> None:
    assert Share(hits, of).interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("of", [1, 7, 60, 200, 1000])
def test_interval_contains_its_share_and_is_within_0_and_1(of: int) -> None:
    for hits in {0, 1, of // 3, of - 1, of}:
        low, high = Share(hits, of).interval
        assert 0 <= low <= hits / of <= high <= 1
        assert "-0" not in str(Share(hits, of))


def test_more_episodes_make_an_interval_narrower() -> None:
    widths = [high - low for low, high in (Share(of // 2, of).interval for of in (20, 200, 2000))]
    assert widths == sorted(widths, reverse=True)


def test_empty_share_is_nan_and_printed_as_a_dash() -> None:
    assert math.isnan(Share(0, 0).value) and Share(0, 0).interval == (0, 1) and str(Share(0, 0)) == "-"


def test_share_is_printed_in_per_cent_with_its_interval() -> None:
    assert str(Share(50, 100)) == "50.0 [40.4, 59.6]"


def test_turn_is_right_if_it_makes_progress_or_ends_a_completed_task() -> None:
    assert STRAIGHT.made_progress == (True, True, True)
    assert ASTRAY.made_progress == (False, True, True, True, True)
    assert LOST.made_progress == (False, False)


def test_ending_an_incomplete_task_is_a_wrong_turn() -> None:
    assert episode(Ending.FAILURE, (3, 2, 2), MOVE, DONE).made_progress == (True, False)
    assert episode(Ending.GAVE_UP, (3, 2, 2), MOVE, GIVEN_UP).made_progress == (True, False)


def test_episode_is_off_path_if_a_turn_before_its_last_made_no_progress() -> None:
    assert not STRAIGHT.off_path and ASTRAY.off_path and LOST.off_path
    assert not episode(Ending.FAILURE, (3, 2, 2), MOVE, DONE).off_path  # it stopped on the path, too early
    assert episode(Ending.SUCCESS, (3, 3, 2, 1, 1), GARBAGE, MOVE, MOVE, DONE).off_path


def test_phone_without_progress_has_neither_right_nor_wrong_turns() -> None:
    silent = episode(Ending.SUCCESS, (), MOVE, DONE)
    assert silent.made_progress == () and not silent.off_path


def measured(stage: str, episodes: list[Episode], unseen_app: list[Episode], repeats: int = 1) -> Result:
    return measure(stage, *([*map(summarize, some)] for some in (episodes, unseen_app)), repeats=repeats)


def test_metrics_have_the_right_denominators() -> None:
    result = measured("base", [STRAIGHT, ASTRAY, LOST, BROKEN], [LOST, STRAIGHT, STRAIGHT, BROKEN])
    assert result == Result(
        "base",
        success=Share(2, 3),
        steps=Share(7, 10),
        format_errors=Share(1, 10),
        recovery=Share(1, 2),
        unseen_app=Share(2, 3),
        infrastructure_failures=2,
        claimed=Share(2, 3),
        false_completion=Share(0, 2),
        reasons={"no answer within N s": 2},
    )


def test_claim_counts_as_success_only_if_a_verifier_agrees() -> None:
    false = episode(Ending.FAILURE, (), MOVE, DONE)
    claimed = replace(false, trajectory=replace(false.trajectory, ending=Ending.CLAIMED, outcome=Outcome.UNKNOWN))
    result = measured("base", [STRAIGHT, false, claimed, LOST, BROKEN], [])
    assert result.success == Share(1, 3) and result.claimed == Share(3, 4) and result.unknown == 1
    assert result.false_completion == Share(1, 2)
    assert "unknown outcomes 1" in ended_by_phones(result)


def test_pass_at_k_is_the_share_of_tasks_with_a_success_in_k_episodes() -> None:
    played = [LOST, LOST, BROKEN, BROKEN, STRAIGHT, LOST, LOST, BROKEN]
    result = measured("base", played, [], repeats=2)
    assert result.success == Share(1, 5) and result.any_success == Share(1, 3) and result.repeats == 2
    assert measured("base", played, []).any_success == Share(0, 0)


def test_secure_pages_are_counted_separately_and_are_in_no_share() -> None:
    result = measured("base", [STRAIGHT, HIDDEN, BROKEN], [HIDDEN])
    assert result.success == Share(1, 1) and result.unseen_app == Share(0, 0)
    assert (result.infrastructure_failures, result.secure_pages) == (1, 2)
    assert result.reasons == {"a page forbids screenshots": 2, "no answer within N s": 1}


def test_table_counts_episodes_ended_by_phones_by_reason() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(results_table([measured("base", [STRAIGHT, HIDDEN, BROKEN], []), measured("last", [STRAIGHT], [])]))
    text = " ".join(console.export_text().split())
    assert "base: infrastructure failures 1, secure pages 1" in text and "last:" not in text
    assert "a page forbids screenshots: 1; no answer within N s: 1" in text
    assert ended_by_phones(measured("last", [STRAIGHT], [])) == ""


def test_table_of_four_stages_fits_80_characters_without_cut_numbers() -> None:
    stages = ("base", "format finetuning", "action-level", "task-level")
    console = Console(width=80, record=True, file=io.StringIO())
    results = [measured(stage, [STRAIGHT, ASTRAY, LOST] * 40, [LOST]) for stage in stages]
    console.print(results_table(results))
    text = console.export_text()
    assert "…" not in text and text.count("66.7") == 8 and "False completion" in text
    assert all(f"[{100 * low:.1f}, {100 * high:.1f}]" in text for low, high in [results[0].success.interval])
    assert not re.search(r"\[[\d.]+, +│", text)  # no interval is broken over two lines


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no answer within 15 s", "no answer within 0.5 s"),
        ("device 'emulator-5554' not found", "device 'R58M12' not found"),
        ("screenshot is cut short: a PNG of 17 bytes", "screenshot is cut short: a PNG of 9999 bytes"),
        ("no size in 'Error: 0x7f'", 'no size in "it"'),
    ],
)
def test_failures_with_one_cause_have_one_kind(one: str, other: str) -> None:
    kinds = {Failure(reason, "", 0, "").kind for reason in (one, other, f"{one}: {'x' * 99}")}
    assert len(kinds) == 2 and all(len(kind) <= 60 for kind in kinds)


def test_metrics_without_played_episodes_have_empty_shares() -> None:
    result = measured("base", [BROKEN], [])
    assert result.success == Share(0, 0) and result.infrastructure_failures == 1
    assert table_rows([result]) == []
