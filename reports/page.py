"""The comparison as one HTML page that needs nothing but a browser: no network, one copy of the chart library."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from .columns import Column, arrange, clean, scheme_columns, text_column
from .figures import Figure, javascript, layer_figures, scheme_figures
from .files import write_atomic
from .palette import VERDICTS
from .sentences import LEAST_DB, statements
from .tables import layer_columns, ledger_view, legend, setup_of, title_of

# Said elsewhere on the page, or only of use to the code that draws it.
_SHOWN_ELSEWHERE = {"title", "energy_parts", "area_parts", "statements", "cautions"}
_LISTS_FIRST = ("assumptions", "sources")
_WHAT = "Quantization schemes side by side"
_SHORT_LAYERS = 24


@dataclass(frozen=True)
class _Cells(Column):
    """A column with what only a page shows: where a group begins, which ratios are losses."""

    opens: bool = False
    worse: tuple[bool, ...] = ()


@dataclass(frozen=True)
class _Group:
    name: str
    count: int


@dataclass(frozen=True)
class _Section:
    heading: str
    rows: list[tuple[int, str]]


def render_page(
    schemes: pd.DataFrame,
    layers: pd.DataFrame | None = None,
    ledger: pd.DataFrame | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    least_db: float = LEAST_DB,
) -> str:
    """Lay out a comparison as a self-contained page.

    Parameters
    ----------
    schemes
        One row a scheme; see `compare_table`. Charts whose columns are missing are left out.
    layers
        One row a scheme and layer; see `layers_table`. None or empty: no such section.
    ledger
        One row a scheme, quantity and component; see `ledger_table`. None or empty: no such section.
    metadata
        ``title``, ``workload``, ``accelerator``, ``technology``, ``baseline``, ``energy_parts``, ``area_parts``,
        ``assumptions``, ``sources``; any other entry is printed as it is.
    least_db
        Error that a scheme must reach to be called best in cost, dB.

    Returns
    -------
    html
        A page that refers to nothing outside itself. Every text of the frames is escaped.

    Raises
    ------
    ValueError
        If a frame lacks a column that names its rows.
    """
    metadata = metadata or {}
    frame, rows = arrange(schemes, metadata)
    columns = _with_losses(scheme_columns(frame, metadata))
    figures = scheme_figures(schemes, metadata)
    layer_section = None if layers is None or layers.empty else _layer_section(layers, metadata)
    every = [*figures, *(layer_section["figures"] if layer_section else ())]
    facts, lists = _metadata(metadata)
    subtitle = "" if (metadata.get("title") or _WHAT) == _WHAT else _WHAT
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title_of(metadata),
            heading=clean(metadata.get("title") or _WHAT),
            setup=". ".join(item for item in (subtitle, setup_of(metadata)) if item),
            statements=statements(schemes, metadata, least_db=least_db, typeset=True),
            rows=rows,
            described=[row for row in rows if row.note and not row.remark],
            tables=_tables(columns),
            legend=legend(columns, metadata, mark="★"),
            verdicts=set(VERDICTS),
            figures=figures,
            layers=layer_section,
            ledger=None if ledger is None or ledger.empty else _ledger_section(ledger, metadata),
            facts=facts,
            lists=lists,
            specs=_json({figure.id: figure.spec for figure in every}),
            bundle=Markup(javascript()) if every else "",  # noqa: S704 (the chart library itself, no text of a user)
        )
    )


def write_page(
    path: Path | str,
    schemes: pd.DataFrame,
    layers: pd.DataFrame | None = None,
    ledger: pd.DataFrame | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    least_db: float = LEAST_DB,
) -> None:
    """Write the page of `render_page` to a file, all of it or nothing.

    Parameters
    ----------
    path
        File to write; its folder must exist.
    schemes, layers, ledger, metadata, least_db
        See `render_page`.

    Raises
    ------
    ValueError
        If a frame lacks a column that names its rows.
    OSError
        If the file cannot be written; an existing one is then unchanged.
    """
    text = render_page(schemes, layers, ledger, metadata, least_db=least_db)
    write_atomic(Path(path), text.encode())


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _json(value: object) -> Markup:
    """Write JSON for a script element: no character that could end the element."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


def _with_losses(columns: Sequence[Column]) -> list[_Cells]:
    cells = []
    for index, column in enumerate(columns):
        before = columns[index - 1]
        ratio = column.name.endswith("_ratio") and column.values is not None
        worse = tuple(value > 1 + 5e-4 for value in column.values or ()) if ratio else (False,) * len(column.cells)
        opens = index > 0 and (column.group != before.group or (not column.group and column.band != before.band))
        cells.append(_Cells(**vars(column), opens=opens, worse=worse))
    return cells


def _tables(columns: Sequence[_Cells]) -> list[dict[str, Any]]:
    """Split the columns into a table of values and one of comparisons, each as wide as a page."""
    tables = []
    for title, kept in (
        ("Error and cost", [column for column in columns if column.band in {"cost", "more"}]),
        ("Compared", [column for column in columns if column.band not in {"cost", "more"}]),
    ):
        if kept or not columns:
            runs = itertools.groupby(kept, key=lambda column: column.group)
            groups = [_Group(name, len(list(run))) for name, run in runs]
            named = any(group.name for group in groups)
            tables.append({"title": title, "columns": kept, "groups": groups if named else []})
    return tables if columns else tables[:1]


def _layer_section(layers: pd.DataFrame, metadata: Mapping[str, Any]) -> dict[str, Any]:
    frame, columns = layer_columns(layers, metadata)
    figures: list[Figure] = layer_figures(frame, metadata)
    names = text_column(frame, "layer")
    sections = [
        _Section(scheme, [(index, names[index]) for index, _ in run])
        for scheme, run in itertools.groupby(enumerate(text_column(frame, "scheme")), key=lambda item: item[1])
    ]
    return {
        "columns": _with_losses(columns),
        "figures": figures,
        "sections": sections,
        "count": len(frame),
        "short": len(frame) <= _SHORT_LAYERS,
    }


def _ledger_section(ledger: pd.DataFrame, metadata: Mapping[str, Any]) -> dict[str, Any]:
    frame, sections, columns = ledger_view(ledger, metadata)
    names, schemes = text_column(frame, "component"), text_column(frame, "scheme")
    by_scheme: dict[str, list[_Section]] = {}
    for heading, indices in sections:
        by_scheme.setdefault(schemes[indices[0]], []).append(
            _Section(heading, [(index, names[index]) for index in indices])
        )
    return {
        "columns": _with_losses(columns),
        "schemes": [
            {"name": name, "sections": parts, "count": sum(len(part.rows) for part in parts)}
            for name, parts in by_scheme.items()
        ],
    }


def _metadata(metadata: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
    """Split the metadata into facts of one line and lists; what holds nothing is left out."""
    facts: list[tuple[str, str]] = []
    lists: list[tuple[str, list[str]]] = []
    first = [key for key in _LISTS_FIRST if key in metadata]
    for key in (*first, *(key for key in metadata if key not in first)):
        value = metadata[key]
        name = clean(key).replace("_", " ")
        if key in _SHOWN_ELSEWHERE or value is None or value == "":
            continue
        if isinstance(value, Mapping):
            lists.append((name, [f"{clean(item)}: {clean(entry)}" for item, entry in value.items()]))
        elif isinstance(value, (list, tuple)):
            lists.append((name, [clean(item) for item in value]))
        else:
            facts.append((name, clean(value)))
    named = [(name[:1].upper() + name[1:], items) for name, items in lists if items]
    return facts, named
