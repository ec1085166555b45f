"""Charts of a comparison: where energy and area go, ratios to the baseline, error layer by layer."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from .columns import Row, arrange, baseline_of, clean, label_of, numbers, require, text_column
from .files import write_atomic
from .palette import BLUE, GREEN, INK, VERMILION, log_ticks, part_colours, styled
from .units import choose_unit, format_quantity, format_values, split_suffix

# With the names of schemes beside it, a chart is about as wide as a page.
WIDTH, ROW_PX = 960, 22
_RATIOS = {"latency": (BLUE, "circle"), "energy": (VERMILION, "triangle-up"), "area": (GREEN, "square")}
Chart = alt.Chart | alt.LayerChart | alt.HConcatChart


def energy_chart(schemes: pd.DataFrame, metadata: Mapping[str, Any]) -> alt.LayerChart:
    """Stack the parts of each scheme's energy.

    Parameters
    ----------
    schemes
        One row a scheme with ``scheme``, ``energy_pj`` and the parts.
    metadata
        ``energy_parts`` lists the columns that sum to ``energy_pj``.

    Returns
    -------
    chart
        One bar a scheme with its sum written beside it; an incompatible scheme says so instead.

    Raises
    ------
    ValueError
        If the metadata list no parts, or a part is missing from the frame.
    """
    return _breakdown(schemes, metadata, "energy_parts", "energy_pj")


def area_chart(schemes: pd.DataFrame, metadata: Mapping[str, Any]) -> alt.LayerChart:
    """Stack the parts of the area that each scheme's accelerator takes.

    Parameters
    ----------
    schemes
        One row a scheme with ``scheme``, ``area_um2`` and the parts.
    metadata
        ``area_parts`` lists the columns that sum to ``area_um2``.

    Returns
    -------
    chart
        One bar a scheme with its sum written beside it; an incompatible scheme says so instead.

    Raises
    ------
    ValueError
        If the metadata list no parts, or a part is missing from the frame.
    """
    return _breakdown(schemes, metadata, "area_parts", "area_um2")


def _breakdown(schemes: pd.DataFrame, metadata: Mapping[str, Any], key: str, total: str) -> alt.LayerChart:
    parts = [str(part) for part in metadata.get(key) or ()]
    if not parts:
        message = f"metadata must list the columns to stack in {key}"
        raise ValueError(message)
    require(schemes, "schemes", "scheme", total, *parts)
    frame, rows = arrange(schemes, metadata)
    totals = numbers(frame[total])
    unit = choose_unit(total, totals)
    values = {part: numbers(frame[part]) for part in parts}
    names = _axis_names(rows)
    labels = format_values(total, totals, unit)[1]
    bars = [
        {
            "row": names[i],
            "scheme": row.name,
            "part": label_of(part),
            "order": order,
            "value": values[part][i] / unit.size,
            "amount": format_quantity(part, values[part][i], typeset=True),
            "share": f"{values[part][i] / totals[i]:.1%}" if totals[i] else "-",
        }
        for i, row in enumerate(rows)
        for order, part in enumerate(parts)
        if not math.isnan(values[part][i])
    ]
    ends = [
        {"row": names[i], "end": 0.0 if label is None else totals[i] / unit.size, "text": label or _absent(row)}
        for i, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]
    picked = alt.selection_point(fields=["part"], bind="legend", name="picked")
    y = alt.Y("row:N", sort=names, title=None, axis=alt.Axis(grid=False, domain=False, ticks=False))
    stems = [label_of(part) for part in parts]
    colours = part_colours([split_suffix(part)[0] for part in parts])
    stack = (
        alt.Chart(alt.InlineData(values=bars))
        .properties(name="bars")
        .mark_bar(height={"band": 0.74})
        .encode(
            alt.X("value:Q", title=f"{label_of(total)}, {unit.typeset}"),
            y,
            color=alt.Color("part:N", title=None, sort=stems, scale=alt.Scale(domain=stems, range=colours)),
            order="order:Q",
            opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.15)),
            tooltip=["scheme:N", "part:N", "amount:N", "share:N"],
        )
        .add_params(picked)
    )
    sums = (
        alt.Chart(alt.InlineData(values=ends))
        .mark_text(align="left", baseline="middle", dx=5, fontSize=11, color=INK, opacity=0.85)
        .encode(alt.X("end:Q"), y, text="text:N")
    )
    chart = alt.LayerChart(layer=[stack, sums])
    return styled(chart, width=WIDTH, height=ROW_PX * len(rows))


def _absent(row: Row) -> str:
    return f"{row.verdict}: no cost" if row.verdict == "incompatible" else "no value"


def _axis_names(rows: Sequence[Row]) -> list[str]:
    """Name the rows of a chart; a repair points at the row above it, equal names are told apart."""
    names: list[str] = []
    for row in rows:
        name = f"{'→ ' * (row.depth > 0)}{row.name}"
        while name in names:
            name += "\u200b"
        names.append(name)
    return names


def ratio_chart(schemes: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> alt.HConcatChart:
    """Plot latency, energy and area of each scheme as ratios to the baseline's.

    Parameters
    ----------
    schemes
        One row a scheme with ``scheme`` and any of ``latency_ratio``, ``energy_ratio``, ``area_ratio`` and their
        twins at equal area, ``equal_area_latency_ratio`` and ``equal_area_energy_ratio``.
    metadata
        ``baseline`` names the scheme of ratio 1.

    Returns
    -------
    chart
        One panel with the array held equal, one with the area held equal; logarithmic axes, left is better.

    Raises
    ------
    ValueError
        If the frame has none of these columns.
    """
    metadata = metadata or {}
    require(schemes, "schemes", "scheme")
    frame, rows = arrange(schemes, metadata)
    names = _axis_names(rows)
    baseline = baseline_of(metadata) or "the baseline"
    data = {
        title: [
            {"row": names[i], "scheme": row.name, "quantity": stem, "ratio": value, "times": _times(value)}
            for stem in _RATIOS
            if f"{prefix}{stem}_ratio" in frame
            for i, (row, value) in enumerate(zip(rows, numbers(frame[f"{prefix}{stem}_ratio"]), strict=True))
            if value > 0 and math.isfinite(value)
        ]
        for prefix, title in (("", f"same array as {baseline}"), ("equal_area_", f"same area as {baseline}"))
    }
    ratios = [float(str(item["ratio"])) for records in data.values() for item in records]
    if not ratios:
        message = "schemes must have a value in latency_ratio, energy_ratio or area_ratio"
        raise ValueError(message)
    domain = min(*ratios, 1.0) / 1.15, max(*ratios, 1.0) * 1.15
    panels: list[alt.LayerChart] = []
    for title, records in data.items():
        if records:
            panels.append(_ratio_panel(records, names, title, domain, first=not panels))
    return styled(alt.hconcat(*panels, spacing=24))


def _times(ratio: float) -> str:
    return f"{ratio:.3g} ({1 / ratio:.3g} times less)" if ratio < 1 else f"{ratio:.3g}"


def _ratio_panel(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], title: str, domain: tuple[float, float], *, first: bool
) -> alt.LayerChart:
    low, high = domain
    panel_name = "first" if first else "second"
    picked = alt.selection_point(fields=["quantity"], bind="legend", name=f"picked_{panel_name}")
    axis = alt.Axis(labels=first, ticks=False, domain=False, grid=True)
    y = alt.Y("row:N", sort=list(names), scale=alt.Scale(domain=list(names)), title=None, axis=axis)
    x = alt.X(
        "ratio:Q",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=log_ticks(low, high), format="~g", title="ratio (log scale; left of 1 saves)"),
    )
    stems = list(_RATIOS)
    one = alt.Chart(alt.InlineData(values=[{"ratio": 1.0}])).mark_rule(color=INK, opacity=0.5).encode(x)
    points = (
        alt.Chart(alt.InlineData(values=[dict(item) for item in records]))
        .properties(name=f"points_{panel_name}")
        .mark_point(filled=True, size=60)
        .encode(
            x,
            y,
            color=alt.Color(
                "quantity:N",
                title=None,
                scale=alt.Scale(domain=stems, range=[colour for colour, _ in _RATIOS.values()]),
            ),
            shape=alt.Shape(
                "quantity:N", title=None, scale=alt.Scale(domain=stems, range=[shape for _, shape in _RATIOS.values()])
            ),
            opacity=alt.when(picked).then(alt.value(0.95)).otherwise(alt.value(0.1)),
            tooltip=["scheme:N", "quantity:N", alt.Tooltip("times:N", title="ratio")],
        )
        .add_params(picked)
    )
    panel = alt.LayerChart(layer=[one, points])
    return panel.properties(width=WIDTH / 2 - 12, height=ROW_PX * len(names), title=title)


def layer_chart(
    layers: pd.DataFrame, metadata: Mapping[str, Any] | None = None, *, quantity: str = "sqnr_db"
) -> alt.LayerChart:
    """Colour a grid of schemes and layers by one quantity.

    Parameters
    ----------
    layers
        One row a scheme and layer, columns ``scheme``, ``layer`` and the quantity.
    metadata
        Not needed; taken so that all charts are called alike.
    quantity
        Column to show.

    Returns
    -------
    chart
        Schemes down, layers across, the value written in each cell; empty where there is none.

    Raises
    ------
    ValueError
        If a column is missing, or holds no finite number.
    """
    del metadata
    require(layers, "layers", "scheme", "layer", quantity)
    frame = layers.reset_index(drop=True)
    values = numbers(frame[quantity])
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        message = f"layers must have a finite value in {quantity}"
        raise ValueError(message)
    unit, texts = format_values(quantity, values)
    low, high = min(finite), max(finite)
    records = [
        {
            "scheme": scheme,
            "layer": clean(layer),
            "value": min(max(value, low), high) / unit.size,
            "text": text,
            # Both ends of the colour scale need the ink that stands out from them.
            "dark": (min(max(value, low), high) - low) < 0.55 * (high - low),
        }
        for scheme, layer, value, text in zip(text_column(frame, "scheme"), frame["layer"], values, texts, strict=True)
        if text is not None
    ]
    schemes = list(dict.fromkeys(str(item["scheme"]) for item in records))
    across = list(dict.fromkeys(str(item["layer"]) for item in records))
    axis = alt.Axis(grid=False, domain=False, ticks=False)
    base = alt.Chart(alt.InlineData(values=records)).encode(
        alt.X(
            "layer:N",
            sort=across,
            title=None,
            axis=alt.Axis(
                labelAngle=0 if len(across) <= 10 else -45, orient="top", grid=False, domain=False, ticks=False
            ),
        ),
        alt.Y("scheme:N", sort=schemes, title=None, axis=axis),
    )
    title = f"{label_of(quantity)}, {unit.typeset}" if unit.symbol else label_of(quantity)
    cells = base.mark_rect(stroke="white", strokeOpacity=0.25).encode(
        color=alt.Color("value:Q", title=title, scale=alt.Scale(scheme="viridis"), legend=None),
        tooltip=["scheme:N", "layer:N", alt.Tooltip("text:N", title=title)],
    )
    numerals = base.mark_text(fontSize=11).encode(
        text="text:N",
        color=alt.when("datum.dark").then(alt.value("white")).otherwise(alt.value("black")),
    )
    width = max(360, min(WIDTH, 96 * len(across)))
    chart = alt.LayerChart(layer=[cells, numerals])
    return styled(chart, width=width, height=ROW_PX * len(schemes))


def save(chart: Chart, path: Path | str) -> None:
    """Write a chart to a file; its ending says which kind.

    Parameters
    ----------
    chart
        Any chart of this package.
    path
        ``.png`` (twice the pixels of the screen), ``.svg``, or ``.html`` (interactive, self-contained).

    Raises
    ------
    ValueError
        If the ending is another one.
    OSError
        If the file cannot be written; nothing is then left behind.
    """
    path = Path(path)
    kind = path.suffix.lower()
    onto_white = chart.properties(background="white")
    if kind == ".png":
        buffer = io.BytesIO()
        onto_white.save(buffer, format="png", scale_factor=2)
        write_atomic(path, buffer.getvalue())
    elif kind == ".svg":
        text = io.StringIO()
        onto_white.save(text, format="svg")
        write_atomic(path, text.getvalue().encode())
    elif kind == ".html":
        write_atomic(path, onto_white.to_html(inline=True).encode())
    else:
        message = f"chart file must end in .png, .svg or .html, not {path.suffix!r}"
        raise ValueError(message)
