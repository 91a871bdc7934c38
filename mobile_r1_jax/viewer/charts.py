"""Charts as inline SVG: shares with intervals, curves with a smoothed line, bars of the endings of trajectories."""

import math
from collections.abc import Mapping, Sequence

from mobile_r1_jax.evaluation.metrics import Share
from mobile_r1_jax.viewer.markup import Html, join, number, tag

MOST_POINTS = 400  # of a curve; longer curves are drawn as means of neighbouring points
_SMOOTHING = 30  # a curve's width divided by the standard deviation of the smoothing kernel [ours]

# Sizes in units of the SVG; one unit is at most one CSS pixel.
_ROW, _NAME, _SCALE, _VALUE = 30, 128, 250, 60
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 150, 44, 8, 8, 20


def intervals(title: str, rows: Sequence[tuple[str, Share]]) -> Html:
    """Return a chart with a dot for each named share, from 0 to 100 %, and its 95 % interval as a line.

    A dotted line marks the first share. Shares of 0 cases get no dot.
    """
    bottom = len(rows) * _ROW
    scale = [
        join(
            tag("line", x1=_at(tick), x2=_at(tick), y1=0.0, y2=float(bottom), class_="grid"),
            tag(
                "text",
                f"{100 * tick:.0f}" + (" %" if tick == 1 else ""),
                x=_at(tick),
                y=bottom + 16,
                class_="tick middle",
            ),
        )
        for tick in (0, 0.25, 0.5, 0.75, 1)
    ]
    if rows and rows[0][1].of:
        start = _at(rows[0][1].value)
        scale.append(tag("line", x1=start, x2=start, y1=0.0, y2=float(bottom), class_="start"))
    drawn = [_interval(name, share, index) for index, (name, share) in enumerate(rows)]
    said = "; ".join(f"{name} {share}" for name, share in rows)
    svg = tag(
        "svg",
        *scale,
        *drawn,
        viewBox=f"0 0 {_NAME + _SCALE + _VALUE} {bottom + 22}",
        role="img",
        aria_label=f"{title} in per cent with 95 % intervals: {said}",
    )
    return tag("figure", tag("figcaption", title), svg, class_="intervals")


def _interval(name: str, share: Share, index: int) -> Html:
    middle = index * _ROW + _ROW / 2
    label = tag("text", name, x=0, y=middle + 4, class_="name")
    if not share.of:
        return join(label, tag("text", "none", x=_NAME + _SCALE + _VALUE, y=middle + 4, class_="tick end"))
    low, high = share.interval
    return tag(
        "g",
        tag("title", f"{name}: {share} %, {share.hits} of {share.of}"),
        label,
        tag("line", x1=_at(max(0.0, low)), x2=_at(high), y1=middle, y2=middle, class_="interval"),
        tag("circle", cx=_at(share.value), cy=middle, r=5.5, class_="dot"),
        tag("text", f"{100 * share.value:.1f}", x=_NAME + _SCALE + _VALUE, y=middle + 4, class_="value end"),
        class_=f"rank{min(index, 3)}",
    )


def _at(share: float) -> float:
    return _NAME + share * (_SCALE - 12)


def curve(name: str, points: Sequence[tuple[float, float]]) -> Html:
    """Return a curve over updates: raw values faint, smoothed values strong. `points` are finite (step, value)."""
    points = thin_points(points)
    steps, values = [step for step, _ in points], [value for _, value in points]
    smooth = smooth_values(values)
    ticks = nice_ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)
    first, last = steps[0], max(steps[-1], steps[0] + 1)
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + (step - first) / (last - first) * inner_width
        return x, _TOP + (high - value) / (high - low) * inner_height

    raw, course = ([place(*point) for point in zip(steps, line, strict=True)] for line in (values, smooth))
    svg = tag(
        "svg",
        *(_level(tick, place(first, tick)[1]) for tick in ticks),
        tag("text", _short(first), x=_LEFT, y=_HEIGHT - 5, class_="tick"),
        tag("text", _short(steps[-1]), x=_WIDTH - _RIGHT, y=_HEIGHT - 5, class_="tick end"),
        tag("path", d=_path(raw), class_="raw"),
        tag("path", d=_path(course), class_="course")
        if len(points) > 1
        else tag("circle", cx=raw[0][0], cy=raw[0][1], r=2),
        tag("line", y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="cursor"),
        tag("circle", r=3.5, class_="cursor"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{name}: {_short(values[0])} at {_short(first)}, {_short(values[-1])} at {_short(steps[-1])}",
        data_points=" ".join(
            f"{_short(step)},{_short(value)},{_short(mean)},{number(x)},{number(y)}"
            for step, value, mean, (x, y) in zip(steps, values, smooth, course, strict=True)
        ),
    )
    caption = tag("figcaption", tag("span", name), tag("output", _short(smooth[-1])))
    return tag("figure", caption, svg, class_="curve")


def _level(value: float, y: float) -> Html:
    return join(
        tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"),
        tag("text", _short(value), x=_LEFT - 6, y=y + 3.5, class_="tick end"),
    )


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + " ".join(f"{number(x)},{number(y)}" for x, y in places)


def smooth_values(values: Sequence[float]) -> list[float]:
    """Return the values smoothed by a Gaussian with a standard deviation of 1/30 of the curve, at least one value."""
    width = max(1.0, len(values) / _SMOOTHING)
    reach = math.ceil(3 * width)
    kernel = [math.exp(-0.5 * (offset / width) ** 2) for offset in range(reach + 1)]
    means = []
    for index in range(len(values)):
        near = range(max(0, index - reach), min(len(values), index + reach + 1))
        weights = [kernel[abs(other - index)] for other in near]
        means.append(sum(weight * values[other] for weight, other in zip(weights, near, strict=True)) / sum(weights))
    return means


def thin_points(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most MOST_POINTS points: means of neighbours, each at the step of its last point."""
    run = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + run] for start in range(0, len(points), run)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def nice_ticks(low: float, high: float) -> list[float]:
    """Return three to five round numbers that cover `low` to `high`."""
    if high - low <= 1e-9 * max(1e-12, abs(high)):
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(start, stop + 1)]


def endings_bar(counts: Mapping[str, int]) -> Html:
    """Return one bar divided by the endings of trajectories; a key gives the class of its colour."""
    total, x, cuts = sum(counts.values()), 0.0, []
    for ending, count in counts.items():
        width = 100 * count / total if total else 0.0
        cuts.append(tag("rect", x=x, y=0, width=width, height=8, class_=f"fill-{ending}"))
        x += width
    return tag("svg", *cuts, viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true", class_="endings")


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.3g}"
