"""Terminal tables of schemes, layers and differences, for any width, with or without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from .columns import (
    EQUAL_AREA_VALUES,
    MORE_RATIOS,
    Column,
    Row,
    arrange,
    baseline_of,
    clean,
    label_of,
    make_column,
    numbers,
    require,
    scheme_columns,
    text_column,
)
from .grid import Grid, GridRow
from .units import NO_UNIT, choose_unit, decimals, format_number

VERDICT_STYLES = {
    "verdict": {"float": "cyan", "once": "green", "segmented": "yellow", "incompatible": "red"},
}
_LAYER_COLUMNS = {
    "verdict": "cost",
    "sqnr_db": "cost",
    "total_cycles": "cost",
    "utilization": "cost",
    "bound": "cost",
    "energy_pj": "cost",
    "traffic_bytes": "cost",
    "partial_sums": "more",
    "compute_cycles": "more",
    "stall_cycles": "more",
    "weight_bytes": "more",
}


def compare_table(schemes: pd.DataFrame, metadata: Mapping[str, Any] | None = None, width: int | None = None) -> Grid:
    """Lay out one row a scheme: verdict, error, costs, ratios to the baseline, costs at equal area.

    Parameters
    ----------
    schemes
        One row a scheme, column ``scheme``; every other column may be missing.
    metadata
        ``baseline`` names the scheme that the ratios refer to; ``title``, ``workload``, ``accelerator`` and
        ``technology`` make the title.
    width
        Terminal columns to use at most; None: as many as the console has.

    Returns
    -------
    table
        A rich renderable. An incompatible scheme shows dashes for costs and its witness under its row; its
        repair follows, indented. ``*`` marks the best of a column.
    """
    metadata = metadata or {}
    frame, rows = arrange(schemes, metadata)
    columns = scheme_columns(frame, metadata)
    return Grid(
        key="scheme",
        rows=[_scheme_row(row, index, len(rows)) for index, row in enumerate(rows)],
        columns=columns,
        title=title_of(metadata),
        caption=legend(columns, metadata),
        width=width,
        wide_only=frozenset((*MORE_RATIOS, *EQUAL_AREA_VALUES)),
        styles=VERDICT_STYLES,
    )


def _scheme_row(row: Row, index: int, count: int) -> GridRow:
    style = "bold" if row.baseline else "red" if row.verdict == "incompatible" else ""
    return GridRow(
        row.name,
        cell=index,
        style=style,
        note=row.remark,
        indent=row.depth,
        rule=row.baseline and index == 0 and count > 1,
    )


def title_of(metadata: Mapping[str, object]) -> str:
    """Return the title line: what was compared, on what."""
    title = clean(metadata.get("title") or "Quantization schemes side by side")
    where = setup_of(metadata)
    return f"{title}: {where}" if where else title


def setup_of(metadata: Mapping[str, object]) -> str:
    """Return workload, accelerator and technology, as far as the title does not name them."""
    title = str(metadata.get("title") or "")
    named = [clean(metadata[key]) for key in ("workload", "accelerator", "technology") if metadata.get(key)]
    return ", ".join(name for name in named if name not in title)


def legend(columns: Sequence[Column], metadata: Mapping[str, object], mark: str = "*") -> str:
    """Return the sentences that say how to read marks, dashes and ratios.

    Parameters
    ----------
    columns
        Columns of the table.
    metadata
        ``baseline`` is named if the ratios refer to one.
    mark
        The mark of the best.

    Returns
    -------
    text
        The rule by which the best are marked, and what a dash is.
    """
    baseline = baseline_of(metadata)
    parts = []
    if any(any(column.best) for column in columns):
        high = [column.label for column in columns if column.better == "higher" and any(column.best)]
        rule = f"highest {', '.join(dict.fromkeys(high))}; lowest of the rest" if high else "lowest"
        parts.append(f"{mark} best of its column ({rule}); ties share it, {baseline or 'a baseline'} takes part.")
    if any(None in column.cells for column in columns):
        parts.append("A dash is no value: a reference has no error, an incompatible scheme no cost.")
    if any(column.label == "EDP" for column in columns):
        parts.append("EDP is energy times latency.")
    if any(column.name.endswith("_ratio") for column in columns) and baseline:
        parts.append(f"Ratios below 1 save against {baseline}, above 1 cost more.")
    return " ".join(parts)


def layers_table(
    layers: pd.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    width: int | None = None,
    *,
    scheme: str | None = None,
) -> Grid:
    """Lay out one row a layer, scheme after scheme.

    Parameters
    ----------
    layers
        One row a scheme and layer, columns ``scheme`` and ``layer``; every other column may be missing.
    metadata
        ``energy_parts`` lists further energy columns to show.
    width
        Terminal columns to use at most; None: as many as the console has.
    scheme
        Show this scheme only.

    Returns
    -------
    table
        A rich renderable.

    Raises
    ------
    ValueError
        If `scheme` is not in the frame, or the frame has no column ``scheme`` or ``layer``.
    """
    metadata = metadata or {}
    if scheme is not None:
        layers = only_scheme(layers, "layers", scheme)
    frame, columns = layer_columns(layers, metadata)
    rows: list[GridRow] = []
    for index, (name, layer) in enumerate(zip(text_column(frame, "scheme"), frame["layer"], strict=True)):
        if index == 0 or frame["scheme"][index] != frame["scheme"][index - 1]:
            rows.append(GridRow(name, style="bold", heading=True))
        rows.append(GridRow(clean(layer), cell=index, indent=2))
    return Grid(
        "layer",
        rows,
        columns,
        title="Layer by layer",
        width=width,
        wide_only=frozenset(metadata.get("energy_parts") or ()),
        styles=VERDICT_STYLES,
    )


def layer_columns(layers: pd.DataFrame, metadata: Mapping[str, Any]) -> tuple[pd.DataFrame, list[Column]]:
    """Choose and format the columns of the layer table.

    Parameters
    ----------
    layers
        See `layers_table`.
    metadata
        ``energy_parts`` lists further energy columns, shown in the unit of the whole.

    Returns
    -------
    frame, columns
        The frame with a fresh index, and its columns in reading order; columns without a value are left out.

    Raises
    ------
    ValueError
        If the frame has no column ``scheme`` or ``layer``.
    """
    require(layers, "layers", "scheme", "layer")
    frame = layers.reset_index(drop=True)
    wanted = {**_LAYER_COLUMNS, **dict.fromkeys(metadata.get("energy_parts") or (), "energy")}
    energy = choose_unit("energy_pj", numbers(frame["energy_pj"])) if "energy_pj" in frame else None
    return frame, [
        make_column(
            frame,
            name,
            band=band,
            group="energy by part" if band == "energy" else "",
            unit=energy if band == "energy" else None,
        )
        for name, band in wanted.items()
        if name in frame and frame[name].notna().any()
    ]


def only_scheme(frame: pd.DataFrame, what: str, scheme: str) -> pd.DataFrame:
    """Keep the rows of one scheme.

    Raises
    ------
    ValueError
        If there are none.
    """
    require(frame, what, "scheme")
    kept = frame[frame["scheme"] == scheme]
    if kept.empty:
        message = f"scheme must be one of {list(dict.fromkeys(frame['scheme']))}, not {scheme!r}"
        raise ValueError(message)
    return kept


def ledger_table(
    ledger: pd.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    width: int | None = None,
    *,
    scheme: str | None = None,
) -> Grid:
    """Lay out where each difference to the baseline comes from, component by component.

    Parameters
    ----------
    ledger
        One row a scheme, quantity and component; columns ``scheme``, ``quantity`` (a column name whose suffix
        is the unit of the row's values), ``component``, ``baseline_value``, ``value``, ``difference``,
        ``reason``. The components of one scheme and quantity sum to its total.
    metadata
        ``baseline`` names the column of the baseline.
    width
        Terminal columns to use at most; None: as many as the console has.
    scheme
        Show this scheme only.

    Returns
    -------
    table
        A rich renderable, one section a scheme and quantity.

    Raises
    ------
    ValueError
        If `scheme` is not in the frame, or a column is missing.
    """
    frame, sections, columns = ledger_view(ledger, metadata or {}, scheme=scheme)
    rows: list[GridRow] = []
    for heading, indices in sections:
        rows.append(GridRow(heading, style="bold", heading=True))
        rows.extend(GridRow(clean(frame["component"][index]), cell=index, indent=2) for index in indices)
    return Grid("component", rows, columns, title="What differs and why", width=width)


def ledger_view(
    ledger: pd.DataFrame, metadata: Mapping[str, Any], *, scheme: str | None = None
) -> tuple[pd.DataFrame, list[tuple[str, list[int]]], tuple[Column, ...]]:
    """Split a ledger into sections of one scheme and quantity, each in one unit.

    Parameters
    ----------
    ledger
        See `ledger_table`.
    metadata
        ``baseline`` names the column of the baseline.
    scheme
        Keep this scheme only.

    Returns
    -------
    frame, sections, columns
        The rows kept; heading with the totals and row indices of each section; columns over all rows.

    Raises
    ------
    ValueError
        If `scheme` is not in the frame, or a column is missing.
    """
    require(ledger, "ledger", "scheme", "quantity", "component", "baseline_value", "value", "difference")
    if scheme is not None:
        ledger = only_scheme(ledger, "ledger", scheme)
    frame = ledger.reset_index(drop=True)
    fields = ("baseline_value", "value", "difference")
    values = {name: numbers(frame[name]) for name in fields}
    cells: dict[str, list[str | None]] = {name: [None] * len(frame) for name in fields}
    sections: list[tuple[str, list[int]]] = []
    keys = list(zip(text_column(frame, "scheme"), text_column(frame, "quantity"), strict=True))
    for key in dict.fromkeys(keys):
        indices = [index for index, other in enumerate(keys) if other == key]
        mine = [values[name][index] for name in fields for index in indices]
        unit = choose_unit(key[1], mine)
        places = decimals(value / unit.size for value in mine)
        for name in fields:
            for index in indices:
                text = format_number(values[name][index] / unit.size, places)
                signed = name == "difference" and values[name][index] > 0 and text and not text.startswith("<")
                cells[name][index] = f"+{text}" if signed else text
        before, after = (sum(values[name][index] for index in indices) for name in fields[:2])
        totals = [format_number(value / unit.size, places) or "-" for value in (before, after)]
        sections.append((f"{key[0]}: {label_of(key[1])}, {' to '.join(totals)} {unit.symbol}".rstrip(), indices))
    labels = (baseline_of(metadata) or "baseline", "here", "difference")
    no_marks = (False,) * len(frame)
    columns = [
        Column(name, label, NO_UNIT, "", tuple(cells[name]), values[name], no_marks, None)
        for name, label in zip(fields, labels, strict=True)
    ]
    if "reason" in frame:
        columns.append(make_column(frame, "reason", label="why"))
    return frame, sections, tuple(columns)


def frame_table(
    frame: pd.DataFrame,
    title: str = "",
    width: int | None = None,
    *,
    key: str | None = None,
    caption: str = "",
    rank: bool = False,
    max_rows: int | None = None,
    one_unit: bool = False,
) -> Grid:
    """Lay out any frame whose column names end in units.

    Parameters
    ----------
    frame
        Rows to show.
    title, caption
        Lines above and below.
    width
        Terminal columns to use at most; None: as many as the console has.
    key
        Column that names the rows; by default the first.
    rank
        Mark the best of each column that has a better direction.
    max_rows
        Show at most so many rows, and say how many were left out.
    one_unit
        Show all columns but `key` in one unit, as they are to be compared along a row; they have one suffix.

    Returns
    -------
    table
        A rich renderable.

    Raises
    ------
    ValueError
        If the frame has no column, or none called `key`.

    Examples
    --------
    >>> from rich.console import Console
    >>> frame = pd.DataFrame({"layer": ["up", "down"], "energy_pj": [2.5e6, 1.25e7], "total_cycles": [1200, 98304]})
    >>> Console(width=40, color_system=None).print(frame_table(frame))
          energy
    layer     uJ cycles
    ───────────────────
    up       2.5  1,200
    down    12.5 98,304
    ───────────────────
    """
    if not len(frame.columns):
        message = "frame must have a column"
        raise ValueError(message)
    name = str(frame.columns[0]) if key is None else key
    require(frame, "frame", name)
    left_out = 0 if max_rows is None else max(0, len(frame) - max_rows)
    shown = frame.head(len(frame) - left_out).reset_index(drop=True)
    first = make_column(shown, name)
    others = [str(column) for column in shown.columns if column != name]
    unit = choose_unit(others[0], [x for column in others for x in numbers(shown[column])]) if one_unit else None
    columns = [make_column(shown, column, rank=rank, unit=unit) for column in others]
    notes = [caption, f"{left_out:,} more rows." if left_out else ""]
    return Grid(
        f"{first.label} {first.unit.symbol}".strip(),
        [GridRow(cell or "-", cell=index) for index, cell in enumerate(first.cells)],
        columns,
        title=title,
        caption=" ".join(note for note in notes if note),
        width=width,
        styles=VERDICT_STYLES,
    )
