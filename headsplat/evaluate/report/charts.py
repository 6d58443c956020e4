"""SVG charts for a self-contained HTML page, without scripts, fonts or external images.

Charts scale with their container (viewBox). Colors are the page's CSS variables, which follow the
light and dark theme.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 520, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 18, 12, 36
COLORS = ("var(--a)", "var(--b)", "var(--c)", "var(--d)", "var(--e)")


@dataclass(frozen=True)
class Series:
    """One line or point cloud: label, x and y of equal length; NaN in y breaks a line."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round tick values that cover [low, high]."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / about))
    step *= next((m for m in (1, 2, 5, 10) if span / (step * m) <= about), 10)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number as a label: at most four significant digits, no exponent for ordinary sizes."""
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:.4g}"


@dataclass(frozen=True)
class _Axes:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / max(self.x_high - self.x_low, 1e-12)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / max(self.y_high - self.y_low, 1e-12)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def frame(self, x_label: str, y_label: str, log_y: bool = False) -> str:
        parts = []
        for tick in ticks(self.y_low, self.y_high):
            y = self.y(tick)
            text = f"{10**tick:.0e}" if log_y else number(tick)
            parts.append(
                f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            )
        for tick in ticks(self.x_low, self.x_high, 7):
            parts.append(
                f'<text x="{self.x(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" '
                f'text-anchor="middle">{number(tick)}</text>'
            )
        x, y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text x="{x}" y="{HEIGHT - 3}" text-anchor="middle">{html.escape(x_label)}</text>'
            f'<text x="11" y="{y}" text-anchor="middle" transform="rotate(-90 11 {y})">'
            f"{html.escape(y_label)}</text>"
        )
        return "".join(parts)


def _svg(body: str, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f"{body}</svg>"
    )


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    keys = "".join(
        f'<span><i style="background:{COLORS[i % len(COLORS)]}"></i>{html.escape(s.label)}</span>'
        for i, s in enumerate(series)
    )
    return f'<div class="legend">{keys}</div>'


def _limits(series: Sequence[Series]) -> _Axes:
    x = np.concatenate([np.asarray(s.x, float) for s in series])
    y = np.concatenate([np.asarray(s.y, float) for s in series])
    y = y[np.isfinite(y)]
    if not len(y):
        return _Axes(0, 1, 0, 1)
    pad = 0.06 * max(y.max() - y.min(), 1e-6)
    return _Axes(float(x.min()), float(x.max()), float(y.min() - pad), float(y.max() + pad))


def lines(
    series: Sequence[Series], x_label: str, y_label: str, title: str, log_y: bool = False
) -> str:
    """Line chart; `log_y` draws positive values on a decimal logarithm of five decades at most."""
    if log_y:
        floor = 1e-5 * max(max(s.y) for s in series)
        series = [
            Series(s.label, s.x, np.log10(np.maximum(np.asarray(s.y, float), floor)).tolist())
            for s in series
        ]
    axes = _limits(series)
    parts = [axes.frame(x_label, y_label, log_y)]
    for i, s in enumerate(series):
        path, pen = [], "M"
        for x, y in zip(s.x, s.y, strict=True):
            if not math.isfinite(y):
                pen = "M"
                continue
            path.append(f"{pen}{axes.x(x):.1f} {axes.y(y):.1f}")
            pen = "L"
        color = COLORS[i % len(COLORS)]
        parts.append(f'<path class="line" style="stroke:{color}" d="{"".join(path)}"/>')
    return _svg("".join(parts), title) + _legend(series)


def scatter(series: Sequence[Series], x_label: str, y_label: str, title: str) -> str:
    """Scatter plot."""
    axes = _limits(series)
    parts = [axes.frame(x_label, y_label)]
    for i, s in enumerate(series):
        points = "".join(
            f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2.2"/>'
            for x, y in zip(s.x, s.y, strict=True)
        )
        parts.append(f'<g style="fill:{COLORS[i % len(COLORS)]}" opacity=".6">{points}</g>')
    return _svg("".join(parts), title) + _legend(series)


def bars(rows: Sequence[tuple[str, float, str]], title: str) -> str:
    """Horizontal bars as HTML: (label, value >= 0, text shown), longest value full width."""
    longest = max((value for _, value, _ in rows), default=0) or 1
    body = "".join(
        f'<div class="bar"><span>{html.escape(label)}</span>'
        f'<b><i style="width:{100 * value / longest:.1f}%"></i></b>'
        f"<em>{html.escape(text)}</em></div>"
        for label, value, text in rows
    )
    return f'<div class="bars" role="img" aria-label="{html.escape(title)}">{body}</div>'


def ranges(rows: Sequence[tuple[str, float, float, float, float]], title: str) -> str:
    """Two spans per row on one scale: (label, low, high of the first, low, high of the second)."""
    values = [v for _, *spans in rows for v in spans]
    low, high = min(values, default=0), max(values, default=1)
    width = max(high - low, 1e-9)

    def span(a: float, b: float, name: str) -> str:
        left, size = 100 * (a - low) / width, max(100 * (b - a) / width, 0.8)
        return f'<i class="{name}" style="left:{left:.1f}%;width:{size:.1f}%"></i>'

    body = "".join(
        f'<div class="bar"><span>{html.escape(label)}</span>'
        f'<b class="two">{span(a, b, "first")}{span(c, d, "second")}</b>'
        f"<em>{a:.2f} to {b:.2f}</em></div>"
        for label, a, b, c, d in rows
    )
    return f'<div class="bars" role="img" aria-label="{html.escape(title)}">{body}</div>'
