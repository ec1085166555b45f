"""Error against energy: one labelled point a scheme, and the Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import altair as alt
import pandas as pd

from .columns import Row, arrange, label_of, numbers, require
from .labels import Anchor, Box, place_labels
from .palette import GREY, INK, log_ticks, styled, verdict_styles
from .units import Unit, choose_unit, format_quantity

WIDTH, HEIGHT = 1040, 480
_FACTS = ("sqnr_db", "block_sqnr_db", "energy_pj", "latency_us", "area_um2", "tops_per_w")


def error_column(schemes: pd.DataFrame) -> str | None:
    """Return the column that charts and sentences take as the error: at the block's end, if it is there."""
    for name in ("block_sqnr_db", "sqnr_db"):
        if name in schemes and schemes[name].notna().any():
            return name
    return None


def pareto(energies: Sequence[float], errors: Sequence[float]) -> list[int]:
    """Return the points that no other point beats in one of the two without losing in the other.

    Parameters
    ----------
    energies
        Lower is better.
    errors
        Decibels; higher is better.

    Returns
    -------
    indices
        Ascending energy. Of equal points all stay.

    Examples
    --------
    >>> pareto([1.0, 2.0, 3.0], [10.0, 5.0, 20.0])
    [0, 2]
    """
    points = list(zip(energies, errors, strict=True))

    def beaten(energy: float, error: float) -> bool:
        return any(e <= energy and s >= error and (e < energy or s > error) for e, s in points)

    return sorted((i for i, point in enumerate(points) if not beaten(*point)), key=points.__getitem__)


@dataclass(frozen=True)
class _Scales:
    """Axes of the plot: values to pixels and back (energy logarithmic, error linear and upwards)."""

    low: float
    high: float
    bottom: float
    top: float

    @classmethod
    def around(cls, energies: Sequence[float], errors: Sequence[float]) -> _Scales:
        margin = max(2.0, 0.08 * (max(errors) - min(errors)))
        return cls(min(energies) / 1.35, max(energies) * 1.35, min(errors) - margin, max(errors) + margin)

    @property
    def span(self) -> float:
        return math.log(self.high / self.low)

    def pixels(self, energy: float, error: float) -> tuple[float, float]:
        across = math.log(energy / self.low) / self.span * WIDTH
        return across, (self.top - error) / (self.top - self.bottom) * HEIGHT

    def values(self, across: float, down: float) -> tuple[float, float]:
        energy = self.low * math.exp(across / WIDTH * self.span)
        return energy, self.top - down / HEIGHT * (self.top - self.bottom)

    def x(self, field: str, **axis: Any) -> alt.X:
        scale = alt.Scale(type="log", domain=[self.low, self.high], nice=False)
        return alt.X(
            f"{field}:Q", scale=scale, axis=alt.Axis(values=log_ticks(self.low, self.high), format="~g", **axis)
        )

    def y(self, field: str, **axis: Any) -> alt.Y:
        scale = alt.Scale(domain=[self.bottom, self.top], nice=False, zero=False)
        return alt.Y(f"{field}:Q", scale=scale, axis=alt.Axis(tickCount=8, **axis))


def error_energy_chart(schemes: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> alt.LayerChart:
    """Plot error against energy, one labelled point a scheme, with the Pareto front.

    Parameters
    ----------
    schemes
        One row a scheme with ``scheme``, ``energy_pj`` and ``block_sqnr_db`` (else ``sqnr_db``).
    metadata
        ``baseline`` names the scheme that is drawn as a line where it has no error.

    Returns
    -------
    chart
        Energy on a logarithmic axis, decibels upwards: the upper left is best.

    Raises
    ------
    ValueError
        If no scheme has both an energy and a finite error.
    """
    require(schemes, "schemes", "scheme", "energy_pj")
    frame, rows = arrange(schemes, metadata or {})
    column = error_column(frame)
    energies = numbers(frame["energy_pj"])
    errors = numbers(frame[column]) if column else (math.nan,) * len(rows)
    shown = [i for i in range(len(rows)) if math.isfinite(errors[i]) and energies[i] > 0]
    if column is None or not shown:
        message = "schemes must have a row with energy_pj and a finite block_sqnr_db or sqnr_db"
        raise ValueError(message)
    unit = choose_unit("energy_pj", [energies[i] for i in shown])
    # A baseline without an error is a line, and the axis reaches it.
    unplaced = [i for i, row in enumerate(rows) if row.baseline and i not in shown and energies[i] > 0]
    lines: list[dict[str, float | str]] = [
        {
            "energy": energies[i] / unit.size,
            "label": f"{rows[i].name}: {format_quantity('energy_pj', energies[i], typeset=True)}, no error",
        }
        for i in unplaced
    ]
    scales = _Scales.around(
        [energies[i] / unit.size for i in shown] + [energies[i] / unit.size for i in unplaced],
        [errors[i] for i in shown],
    )
    records = _records(frame, rows, shown, unit, column, scales)
    titles = f"energy, {unit.typeset} (log scale)", f"{label_of(column)}, dB (up is closer to the reference)"
    axes = scales.x("energy", title=titles[0]), scales.y("error", title=titles[1])
    label_axes = scales.x("label_x", title=titles[0]), scales.y("label_y", title=titles[1])
    front = [records[k] for k in pareto([item["energy"] for item in records], [item["error"] for item in records])]
    layers = [
        *_baseline_layers(lines, axes[0]),
        alt.Chart(alt.InlineData(values=[{name: item[name] for name in ("energy", "error")} for item in front]))
        .mark_line(interpolate="step-after", color=INK, opacity=0.35, strokeDash=[5, 4], strokeWidth=1.2)
        .encode(*axes),
        *_point_layers(records, axes, label_axes),
    ]
    chart = alt.LayerChart(layer=layers)
    return styled(chart, width=WIDTH, height=HEIGHT)


def _records(
    frame: pd.DataFrame, rows: Sequence[Row], shown: Sequence[int], unit: Unit, column: str, scales: _Scales
) -> list[dict[str, Any]]:
    """Return one record a point: values, where its label goes, what its tooltip says."""
    energies, errors = numbers(frame["energy_pj"]), numbers(frame[column])
    pixels = [scales.pixels(energies[i] / unit.size, errors[i]) for i in shown]
    front = [pixels[k] for k in pareto([energies[i] for i in shown], [errors[i] for i in shown])]
    labels = place_labels(pixels, [rows[i].name for i in shown], WIDTH, HEIGHT, _steps(front))
    records = []
    for i, (across, down), label in zip(shown, pixels, labels, strict=True):
        label_x, label_y = scales.values(*label.position)
        leader_x, leader_y = scales.values(*(label.end((across, down)) if label.leader else (across, down)))
        facts = {
            label_of(name): format_quantity(name, float(frame[name][i]), typeset=True)
            for name in _FACTS
            if name in frame
        }
        records.append(
            {
                "scheme": rows[i].name,
                "verdict": rows[i].verdict or "unknown",
                "energy": energies[i] / unit.size,
                "error": errors[i],
                "anchor": label.anchor,
                "label_x": label_x,
                "label_y": label_y,
                "leader_x": leader_x,
                "leader_y": leader_y,
                **{f"fact_{name}": text for name, text in facts.items()},
            }
        )
    return records


def _steps(front: Sequence[tuple[float, float]]) -> list[Box]:
    """Return the line of the front as thin rectangles: right, then up."""
    steps = []
    for (x, y), (next_x, next_y) in itertools.pairwise(front):
        steps += [Box(x, y - 1, next_x, y + 1), Box(next_x - 1, next_y, next_x + 1, y)]
    return steps


def _baseline_layers(lines: Sequence[Mapping[str, float | str]], x: alt.X) -> list[alt.Chart]:
    if not lines:
        return []
    data = alt.InlineData(values=[dict(line) for line in lines])
    rule = alt.Chart(data).mark_rule(color=GREY, strokeWidth=1.5).encode(x)
    text = (
        alt.Chart(data)
        .mark_text(align="right", baseline="bottom", dx=-6, fontSize=11, color=INK, opacity=0.8)
        .encode(x, y=alt.value(HEIGHT - 6), text="label:N")
    )
    return [rule, text]


def _point_layers(
    records: Sequence[dict[str, Any]], axes: tuple[alt.X, alt.Y], label_axes: tuple[alt.X, alt.Y]
) -> list[alt.Chart]:
    data = alt.InlineData(values=list(records))
    styles = verdict_styles({item["verdict"] for item in records})
    picked = alt.selection_point(fields=["verdict"], bind="legend", name="picked")
    opacity = alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12))
    names = ["scheme", "verdict", *(name for name in records[0] if name.startswith("fact_"))]
    points = (
        alt.Chart(data)
        .properties(name="points")
        .mark_point(filled=True, size=90)
        .encode(
            *axes,
            color=alt.Color(
                "verdict:N", title=None, scale=alt.Scale(domain=list(styles), range=[c for c, _ in styles.values()])
            ),
            shape=alt.Shape(
                "verdict:N", title=None, scale=alt.Scale(domain=list(styles), range=[s for _, s in styles.values()])
            ),
            opacity=opacity,
            tooltip=[alt.Tooltip(f"{name}:N", title=name.removeprefix("fact_")) for name in names],
        )
        .add_params(picked)
    )
    leaders = (
        alt.Chart(data)
        .mark_rule(color=INK, opacity=0.5, strokeWidth=0.8)
        .encode(*axes, x2="leader_x:Q", y2="leader_y:Q")
    )
    texts = [
        alt.Chart(data)
        .transform_filter(f"datum.anchor === '{anchor}'")
        .mark_text(align=anchor, baseline="middle", fontSize=11, color=INK)
        .encode(*label_axes, text="scheme:N", opacity=opacity)
        for anchor in get_args(Anchor)
    ]
    return [leaders, points, *texts]
