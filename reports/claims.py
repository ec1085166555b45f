"""Claims and what was measured of them: a terminal table for any width, and a page in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from .columns import Column, clean, make_column, require
from .grid import Grid, GridRow

VERDICTS = ("holds", "holds only when", "does not hold", "not measured")
_STYLES = {
    "verdict": {
        "holds": "green",
        "holds only when": "yellow",
        "does not hold": "red",
        "not measured": "cyan",
    }
}
_COLUMNS = ("topic", "ids", "claim", "verdict", "result", "condition", "data", "name")
_CASE_COLUMNS = ("name", "when", "result", "holds")


def claims_table(frame: pd.DataFrame, cases: pd.DataFrame, width: int | None = None, *, detail: bool = False) -> Grid:
    """Lay out one row a claim under the heading of its topic.

    Parameters
    ----------
    frame
        One row a claim: topic, ids, claim, verdict, result (number and unit), condition, data, name.
    cases
        One row a case: name of the claim, when, result, holds.
    width
        Terminal columns to use at most; None: as many as the console has.
    detail
        Show every case with its number, and the data, under each claim; else only the conditions of a claim that
        holds in some cases.

    Returns
    -------
    table
        A rich renderable.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    require(frame, "frame", *_COLUMNS)
    require(cases, "cases", *_CASE_COLUMNS)
    shown = frame.reset_index(drop=True)
    rows: list[GridRow] = []
    for index, topic in enumerate(shown["topic"]):
        if index == 0 or topic != shown["topic"][index - 1]:
            rows.append(GridRow(clean(topic).capitalize(), style="bold", heading=True))
        own = cases[cases["name"] == shown["name"][index]]
        note = _details(own, shown["data"][index]) if detail else _conditions(own)
        rows.append(GridRow(clean(shown["ids"][index]), cell=index, note=note or clean(shown["condition"][index])))
    columns = [
        make_column(shown, "claim", label="claim"),
        make_column(shown, "verdict"),
        make_column(shown, "result", label="measured"),
    ]
    return Grid("id", rows, columns, title=summary(frame), width=width, styles=_STYLES)


def summary(frame: pd.DataFrame) -> str:
    """Count the claims by verdict, in one sentence.

    Examples
    --------
    >>> summary(pd.DataFrame({"verdict": ["holds", "holds", "not measured"]}))
    '3 claims: 2 holds, 1 not measured'
    """
    counts = frame["verdict"].value_counts()
    parts = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts]
    return f"{len(frame)} claim{'s' if len(frame) != 1 else ''}: {', '.join(parts)}"


def _conditions(cases: pd.DataFrame) -> str:
    """Cases that hold and that fail, where there are both, each with its number."""
    held, failed = (
        "; ".join(
            f"{clean(when)} ({clean(result).split(' ')[0]})"
            for when, result in cases.loc[cases["holds"] == which, ["when", "result"]].itertuples(index=False)
        )
        for which in (True, False)
    )
    return f"when: {held}\nnot: {failed}" if held and failed else ""


def _details(cases: pd.DataFrame, data: str) -> str:
    lines = [
        f"{'yes' if holds else 'no '}  {clean(when)}: {clean(result)}"
        for when, result, holds in zip(cases["when"], cases["result"], cases["holds"], strict=True)
    ]
    return "\n".join([*lines, f"on: {clean(data)}"])


def claims_markdown(
    frame: pd.DataFrame,
    cases: pd.DataFrame,
    tables: Mapping[str, tuple[pd.DataFrame, str]],
    introduction: Sequence[str],
) -> str:
    """Write a page: a summary, each claim with its cases, the tables.

    Parameters
    ----------
    frame, cases
        As in `claims_table`.
    tables
        Frames whose column names end in units, each with its caption, by heading.
    introduction
        Paragraphs under the title.

    Returns
    -------
    text
        Markdown.
    """
    require(frame, "frame", *_COLUMNS)
    require(cases, "cases", *_CASE_COLUMNS)
    blocks = ["# Claims, measured", *introduction, f"{summary(frame)}."]
    for topic, group in frame.groupby("topic", sort=False):
        blocks.append(f"## {str(topic).capitalize()}")
        lines = ["| id | claim | verdict | measured |", "| --- | --- | --- | --- |"]
        for row in group.to_dict("records"):
            evidence = _evidence(cases[cases["name"] == row["name"]]) or _cell(row["condition"])
            lines.append(f"| {row['ids']} | {_cell(row['claim'])} | **{row['verdict']}** | {evidence} |")
        blocks += ["\n".join(lines), _sources(group)]
    for heading, (table, caption) in tables.items():
        blocks += [f"## {heading}", _markdown_table(table), caption]
    return "\n\n".join(blocks) + "\n"


def _sources(group: pd.DataFrame) -> str:
    """Say what each claim of a topic was measured on."""
    lines = ["Measured on:", ""]
    seen: dict[str, list[str]] = {}
    for data, named in zip(group["data"], group["ids"], strict=True):
        ids = seen.setdefault(str(data), [])
        ids += [one for one in str(named).split() if one not in ids]
    return "\n".join([*lines, *(f"- {', '.join(ids)}: {_cell(data)}." for data, ids in seen.items())])


def _evidence(cases: pd.DataFrame) -> str:
    marked = len(set(cases["holds"])) > 1
    marks = {True: "yes: ", False: "**no**: "} if marked else {True: "", False: ""}
    return "<br>".join(
        f"{marks[bool(holds)]}{_cell(when)}: {_cell(result)}"
        for when, result, holds in zip(cases["when"], cases["result"], cases["holds"], strict=True)
    )


def _cell(text: object) -> str:
    """Escape what Markdown would take for markup inside a table."""
    plain = clean(text)
    return "".join(f"\\{char}" if char in "|*_<[" else char for char in plain)


def _markdown_table(frame: pd.DataFrame) -> str:
    columns = [make_column(frame.reset_index(drop=True), str(name)) for name in frame.columns]
    heads = [f"{column.label} {column.unit.symbol}".strip() for column in columns]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join('---:' if c.numeric else '---' for c in columns)} |"]
    lines += [f"| {' | '.join(_shown(column, index) for column in columns)} |" for index in range(len(frame))]
    return "\n".join(lines)


def _shown(column: Column, index: int) -> str:
    return _cell(column.cells[index] or "-")
