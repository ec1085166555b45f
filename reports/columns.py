"""Columns ready to print: label, unit, texts and best marks; the same for terminal tables and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from .units import NO_UNIT, SCALED, Unit, format_values, split_suffix

Better = Literal["lower", "higher"]

_LABELS = {
    "sqnr": "SQNR",
    "block_sqnr": "block SQNR",
    "energy_delay": "EDP",
    "tops_per_w": "TOPS/W",
    "weight": "weights",
    "macs": "MACs",
    "mac": "MAC",
    "sram": "SRAM",
    "dram": "DRAM",
    "utilization": "array use",
    "equal_area_array": "array",
    "equal_area_tops_per_w": "TOPS/W",
}
_LOWER_IS_BETTER = frozenset({*SCALED, "_cycles", "_ratio"})
_HIGHER_IS_BETTER = frozenset({"tops_per_w", "equal_area_tops_per_w", "utilization"})


@dataclass(frozen=True)
class Column:
    """One column of texts.

    Parameters
    ----------
    name
        Column name in the frame.
    label, unit
        Header; the unit may be empty.
    group
        Header above the labels of neighbouring columns of the same group; may be empty.
    cells
        One text a row, None where there is no value.
    values
        Numbers in the frame's unit, NaN where there is none; None for a column of texts.
    best
        Whether the row's value is the best of the column.
    better
        The direction that is better; None if neither is.
    band
        Neighbouring columns of one band stay beside each other where a table must be split.
    """

    name: str
    label: str
    unit: Unit
    group: str
    cells: tuple[str | None, ...]
    values: tuple[float, ...] | None
    best: tuple[bool, ...]
    better: Better | None
    band: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers."""
        return self.values is not None


@dataclass(frozen=True)
class Row:
    """What one row of the scheme table says beside its cells.

    Parameters
    ----------
    name
        Scheme.
    verdict
        ``once``, ``segmented``, ``incompatible`` or ``float``.
    note
        One line: the witness of a refused scheme, what a repair does, or what the scheme is; may be empty.
    depth
        0, or 1 for the repair of the row before it (2 for a repair of that repair, ...).
    baseline
        Whether the ratios refer to this row.
    """

    name: str
    verdict: str
    note: str
    depth: int
    baseline: bool

    @property
    def remark(self) -> str:
        """The note where it explains the row itself: why a scheme is refused, what a repair does."""
        return self.note if self.verdict == "incompatible" or self.depth else ""


def direction(name: str) -> Better | None:
    """Say which direction of a column is better.

    Costs (energy, time, power, area, bytes, cycles and their ratios) are better low; decibels, TOPS/W and
    utilization are better high, and so are their ratios; other columns have no better.

    Examples
    --------
    >>> direction("energy_pj"), direction("block_sqnr_db"), direction("tops_per_w_ratio"), direction("macs")
    ('lower', 'higher', 'higher', None)
    """
    stem, suffix = split_suffix(name)
    if name in _HIGHER_IS_BETTER or suffix == "_db" or (suffix == "_ratio" and stem in _HIGHER_IS_BETTER):
        return "higher"
    return "lower" if suffix in _LOWER_IS_BETTER else None


def label_of(name: str) -> str:
    """Name a column for people, without its unit.

    Examples
    --------
    >>> label_of("total_cycles"), label_of("block_sqnr_db"), label_of("partial_sums"), label_of("energy_ratio")
    ('cycles', 'block SQNR', 'partial sums', 'energy ratio')
    """
    stem, suffix = split_suffix(name)
    if suffix:
        stem = stem.removeprefix("equal_area_")
    if suffix == "_cycles":
        return "cycles" if stem == "total" else clean(f"{stem.replace('_', ' ')} cycles")
    label = _LABELS.get(stem) or clean(stem.replace("_", " "))
    return f"{label} {suffix[1:]}" if suffix in {"_ratio", "_share"} else label


def clean(text: object) -> str:
    """Return a text on one line without control characters, so that a name cannot move the cursor."""
    return "".join(char if char.isprintable() else " " for char in str(text))


def numbers(series: pd.Series[Any]) -> tuple[float, ...]:
    """Return a column as floats, NaN where it has no value."""
    return tuple(float(value) for value in pd.to_numeric(series).astype("float64"))


def is_numeric(series: pd.Series[Any]) -> bool:
    """Tell whether a column holds numbers (or nothing at all) rather than texts or truth values."""
    if series.dtype == object or str(series.dtype) in {"str", "string"}:
        present = series.dropna()
        return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present)
    return bool(pd.api.types.is_numeric_dtype(series)) and series.dtype != bool


def best_marks(values: Sequence[float], cells: Sequence[str | None], better: Better | None) -> tuple[bool, ...]:
    """Mark the best values of a column.

    Parameters
    ----------
    values
        Numbers, NaN where there is none.
    cells
        Their texts. Values that read the same as the best one share its mark.
    better
        Direction; None marks nothing.

    Returns
    -------
    marks
        One truth value a row. Nothing is marked where fewer than two values read differently.

    Examples
    --------
    >>> best_marks([3.0, 1.0, float("nan")], ["3", "1", None], "lower")
    (False, True, False)
    """
    present = [value for value in values if not math.isnan(value)]
    if better is None or len({cell for cell in cells if cell is not None}) < 2:
        return (False,) * len(values)
    best = min(present) if better == "lower" else max(present)
    winner = cells[list(values).index(best)]
    return tuple(cell is not None and cell == winner for cell in cells)


def make_column(
    frame: pd.DataFrame,
    name: str,
    *,
    label: str | None = None,
    group: str = "",
    band: str = "",
    rank: bool = False,
    unit: Unit | None = None,
) -> Column:
    """Format one column of a frame.

    Parameters
    ----------
    frame
        Any frame with unit suffixes in its column names.
    name
        The column.
    label
        Header; by default made from the name.
    group
        Header above neighbouring columns.
    band
        Neighbouring columns of one band stay beside each other.
    rank
        Mark the best values, if the column has a better direction.
    unit
        Unit to show numbers in; by default the one in which they read best.

    Returns
    -------
    column
        Texts, one a row.
    """
    series = frame[name]
    header = label_of(name) if label is None else label
    if not is_numeric(series):
        texts = tuple(None if pd.isna(value) or value == "" else _text(value) for value in series)
        return Column(name, header, NO_UNIT, group, texts, None, (False,) * len(texts), None, band)
    values = numbers(series)
    unit, cells = format_values(name, values, unit)
    if unit.symbol in {header, "x"}:
        unit = NO_UNIT
    better = direction(name)
    best = best_marks(values, cells, better) if rank else (False,) * len(cells)
    return Column(name, header, unit, group, tuple(cells), values, best, better, band)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return clean(value)


def require(frame: pd.DataFrame, what: str, *names: str) -> None:
    """Check that a frame has the columns that a table cannot do without.

    Raises
    ------
    ValueError
        If one is missing.
    """
    for name in names:
        if name not in frame:
            message = f"{what} must have a column {name}, not only {[str(column) for column in frame.columns]}"
            raise ValueError(message)


def baseline_of(metadata: Mapping[str, object]) -> str:
    """Return the baseline scheme's name, empty if the metadata name none."""
    return clean(metadata.get("baseline") or "")


def text_column(frame: pd.DataFrame, name: str) -> list[str]:
    """Return a column of texts, empty texts where the column or its value is missing."""
    if name not in frame:
        return [""] * len(frame)
    return ["" if pd.isna(value) else clean(value) for value in frame[name]]


def arrange(schemes: pd.DataFrame, metadata: Mapping[str, object]) -> tuple[pd.DataFrame, tuple[Row, ...]]:
    """Order the schemes for reading: the baseline first, each repair right after what it repairs.

    Parameters
    ----------
    schemes
        One row a scheme, with columns ``scheme`` and, if there are any, ``verdict``, ``repair_of``, ``note``.
    metadata
        ``baseline`` names the scheme that the ratios refer to.

    Returns
    -------
    frame, rows
        The frame in that order with a fresh index, and one `Row` for each of its rows.

    Raises
    ------
    ValueError
        If the frame has no column ``scheme``.
    """
    require(schemes, "schemes", "scheme")
    names, verdicts = text_column(schemes, "scheme"), text_column(schemes, "verdict")
    parents, notes = text_column(schemes, "repair_of"), text_column(schemes, "note")
    baseline = baseline_of(metadata)
    order: list[tuple[int, int]] = []
    placed: set[int] = set()

    def place(index: int, depth: int) -> None:
        if index in placed:
            return
        placed.add(index)
        order.append((index, depth))
        for child, parent in enumerate(parents):
            if parent and parent == names[index]:
                place(child, depth + 1)

    first = [index for index, name in enumerate(names) if name == baseline]
    roots = [index for index, parent in enumerate(parents) if not parent or parent not in names]
    for index in (*first, *roots, *range(len(names))):
        place(index, 0)
    frame = schemes.iloc[[index for index, _ in order]].reset_index(drop=True)
    rows = tuple(
        Row(names[index], verdicts[index], notes[index], depth, bool(baseline) and names[index] == baseline)
        for index, depth in order
    )
    return frame, rows


_COST = ("sqnr_db", "block_sqnr_db", "latency_us", "energy_pj", "area_um2", "tops_per_w")
_MORE = ("total_cycles", "power_mw", "energy_delay_pj_s", "weight_bytes", "traffic_bytes")
_RATIO = ("latency_ratio", "energy_ratio", "area_ratio")
MORE_RATIOS = ("power_ratio", "energy_delay_ratio", "weight_ratio", "traffic_ratio")
# Follow from the ratios beside them: left out of a narrow table.
EQUAL_AREA_VALUES = ("equal_area_latency_us", "equal_area_energy_pj")
_EQUAL_AREA = (
    "equal_area_array",
    *EQUAL_AREA_VALUES,
    "equal_area_tops_per_w",
    "equal_area_latency_ratio",
    "equal_area_energy_ratio",
)


def scheme_columns(frame: pd.DataFrame, metadata: Mapping[str, object]) -> tuple[Column, ...]:
    """Choose and format the columns of the scheme table, in reading order.

    Parameters
    ----------
    frame
        Arranged schemes. Columns that are missing or hold no value at all are left out.
    metadata
        ``baseline`` names the scheme that the ratios refer to.

    Returns
    -------
    columns
        Verdict; error and cost; further costs; ratios to the baseline; the same with equal area.
    """
    baseline = baseline_of(metadata) or "the baseline"
    groups = [
        ("cost", "", ("verdict", *_COST)),
        ("more", "", _MORE),
        ("ratio", f"ratio to {baseline}", _RATIO),
        ("more ratios", f"ratio to {baseline}", MORE_RATIOS),
        ("area", f"with the area of {baseline}", _EQUAL_AREA),
    ]
    return tuple(
        make_column(
            frame,
            name,
            label=label_of(name).removesuffix(" ratio") if band in {"ratio", "more ratios"} else None,
            group=group,
            band=band,
            rank=True,
        )
        for band, group, names in groups
        for name in names
        if name in frame and frame[name].notna().any()
    )
