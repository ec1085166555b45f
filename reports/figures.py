"""Charts with the words around them: title, caption, and a text for those who cannot see the picture."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from markupsafe import Markup

from .charts import Chart, area_chart, energy_chart, layer_chart, ratio_chart
from .columns import arrange, baseline_of, label_of, numbers
from .scatter import error_column, error_energy_chart, pareto
from .units import format_quantity

# Vega-Lite's major and minor version, which is how vl-convert names the versions it carries.
_VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


@dataclass(frozen=True)
class Figure:
    """One chart on a page.

    Parameters
    ----------
    id
        Identifier in the page.
    title, caption
        Words beside the picture.
    alt
        Words instead of the picture.
    spec
        Vega-Lite specification, for the interactive chart.
    svg
        The picture, for readers without scripts and for the moment before they run.
    """

    id: str
    title: str
    caption: str
    alt: str
    spec: dict[str, Any]
    svg: Markup


@functools.cache
def javascript() -> str:
    """Return the chart library (Vega, Vega-Lite, Vega-Embed) as one script that loads nothing."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_VEGA_LITE)
    return re.sub(r"</(?=script)", r"<\\/", bundle, flags=re.IGNORECASE)


def _figure(name: str, chart: Chart, title: str, caption: str, words: str) -> Figure:
    spec = chart.properties(background="transparent").to_dict()
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE)
    return Figure(f"chart-{name}", title, caption, words, spec, Markup(svg))  # noqa: S704 (escaped by Vega)


def scheme_figures(schemes: pd.DataFrame, metadata: Mapping[str, Any]) -> list[Figure]:
    """Draw the charts that the frame has the columns for.

    Parameters
    ----------
    schemes
        One row a scheme.
    metadata
        ``baseline``, ``energy_parts``, ``area_parts``.

    Returns
    -------
    figures
        Error against energy, energy by part, area by part, ratios: those with something to show.
    """
    figures = []
    words = _error_energy_words(schemes, metadata)
    if words:
        caption = (
            "Up is closer to the reference, left is cheaper. The dashed line is the Pareto front: "
            "below and right of it, another scheme is better in both."
        )
        figures.append(
            _figure("error-energy", error_energy_chart(schemes, metadata), "Error against energy", caption, words)
        )
    for name, key, total, draw in (
        ("energy", "energy_parts", "energy_pj", energy_chart),
        ("area", "area_parts", "area_um2", area_chart),
    ):
        parts = [str(part) for part in metadata.get(key) or ()]
        if parts and all(column in schemes and schemes[column].notna().any() for column in (total, *parts)):
            title = f"Where the {name} goes"
            labels = ", ".join(label_of(part) for part in parts)
            caption = f"Sum of {labels}; the number at the end of a bar is the sum."
            figures.append(_figure(name, draw(schemes, metadata), title, caption, _totals(schemes, metadata, total)))
    ratios = [f"{stem}_ratio" for stem in ("latency", "energy", "area")]
    if any(column in schemes and schemes[column].notna().any() for column in ratios):
        baseline = baseline_of(metadata) or "the baseline"
        caption = f"Left of 1 saves against {baseline}, right of 1 costs more."
        if "equal_area_latency_ratio" in schemes:
            caption += f" Right: every scheme gets the array that fits the area of {baseline}."
        words = f"Dot plot of ratios to {baseline}; the numbers are in the table of schemes."
        figures.append(_figure("ratios", ratio_chart(schemes, metadata), "Ratios", caption, words))
    return figures


def layer_figures(layers: pd.DataFrame, metadata: Mapping[str, Any]) -> list[Figure]:
    """Draw the error of each layer under each scheme, if the frame has one.

    Parameters
    ----------
    layers
        One row a scheme and layer.
    metadata
        Passed to the chart.

    Returns
    -------
    figures
        One or none.
    """
    values = [value for value in numbers(layers["sqnr_db"]) if math.isfinite(value)] if "sqnr_db" in layers else []
    if not values:
        return []
    caption = "SQNR of each layer on its recorded float inputs, dB; lighter is closer to the reference."
    words = (
        f"Grid of schemes and layers; SQNR from {format_quantity('sqnr_db', min(values))} to "
        f"{format_quantity('sqnr_db', max(values))}; the numbers are in the table below."
    )
    return [_figure("layers", layer_chart(layers, metadata), "Error of each layer", caption, words)]


def _error_energy_words(schemes: pd.DataFrame, metadata: Mapping[str, Any]) -> str:
    column = error_column(schemes)
    if column is None or "energy_pj" not in schemes:
        return ""
    frame, rows = arrange(schemes, metadata)
    points = [
        (energy, error, row.name)
        for energy, error, row in zip(numbers(frame["energy_pj"]), numbers(frame[column]), rows, strict=True)
        if math.isfinite(error) and energy > 0
    ]
    if not points:
        return ""
    front = pareto([energy for energy, _, _ in points], [error for _, error, _ in points])
    listed = "; ".join(
        f"{points[k][2]} {format_quantity('energy_pj', points[k][0], typeset=True)}, {points[k][1]:.1f} dB"
        for k in front
    )
    return f"Scatter plot of {len(points)} schemes. On the Pareto front: {listed}."


def _totals(schemes: pd.DataFrame, metadata: Mapping[str, Any], total: str) -> str:
    frame, rows = arrange(schemes, metadata)
    values: Sequence[float] = numbers(frame[total])
    listed = "; ".join(
        f"{row.name} {format_quantity(total, value, typeset=True)}"
        for row, value in zip(rows, values, strict=True)
        if not math.isnan(value)
    )
    return f"Stacked bars. {label_of(total)} of each scheme: {listed}."
