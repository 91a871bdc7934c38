import re

import pytest

from mobile_r1_jax.viewer.charts import MOST_POINTS, curve, endings_bar, nice_ticks, smooth_values, thin_points


@pytest.mark.parametrize("span", [(0, 1), (-3, 7), (2e-5, 9e-5), (1e6, 1.2e6), (5, 5), (0, 0), (-2, -2)])
def test_ticks_are_few_round_numbers_around_the_values(span: tuple[float, float]) -> None:
    ticks = nice_ticks(*span)
    assert 3 <= len(ticks) <= 6
    assert ticks[0] <= span[0] and span[1] <= ticks[-1] + 1e-9 * abs(span[1])
    step = ticks[1] - ticks[0]
    assert re.fullmatch(r"[125](\.0+)?e[+-]\d+", f"{step:.1e}")


def test_smoothing_keeps_the_mean_and_reduces_noise() -> None:
    assert smooth_values([3.0] * 50) == pytest.approx([3.0] * 50)
    noisy = [float(index % 2) for index in range(300)]
    assert max(smooth_values(noisy)[20:-20]) < 0.55
    assert smooth_values([7.0]) == [7.0]


def test_long_curves_become_means_and_keep_the_last_step() -> None:
    points = thin_points([(step, step % 2) for step in range(1, 10_001)])
    assert len(points) <= MOST_POINTS and points[-1][0] == 10_000
    assert all(value == pytest.approx(0.5, abs=0.1) for _, value in points)


def test_higher_values_are_drawn_higher_and_later_values_further_right() -> None:
    svg = curve("reward", [(1, 0.0), (2, 5.0), (10, 10.0)])
    raw = re.search(r'd="M([^"]+)" class="raw"', svg)[1].split()
    (x1, y1), (x2, y2), (x3, y3) = (map(float, place.split(",")) for place in raw)
    assert x1 < x2 < x3 and y1 > y2 > y3
    assert (x2 - x1) / (x3 - x1) == pytest.approx(1 / 9, abs=0.01)
    assert "reward: 0 at 1, 10 at 10" in svg


def test_curve_may_have_one_point() -> None:
    assert "<circle" in curve("reward", [(1, 0.5)])


def test_endings_fill_the_bar_by_their_shares() -> None:
    widths = [float(width) for width in re.findall(r'width="([\d.]+)"', endings_bar({"success": 3, "failure": 1}))]
    assert widths == [75, 25]
