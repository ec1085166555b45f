"""Pictures of a layout table: which pairs of scale layouts can be dequantized after accumulation.

Takes the frame of one row a pair with ``lhs``, ``rhs``, ``verdict``, ``partial_sums``, ``rescale``, ``needs_reorder``.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from .columns import require

if TYPE_CHECKING:
    import altair as alt
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table
    from rich.text import Text

COLUMNS = ("lhs", "rhs", "verdict", "partial_sums", "rescale", "needs_reorder")
STYLES = {"once": "bold green", "segmented": "yellow", "incompatible": "red"}
MEANINGS = {
    "once": "one dequantization after the whole sum",
    "segmented": "integer partial sums per output, joined by shift, integer, float",
    "incompatible": "no dequantization after accumulation is right",
}
COLOURS = {
    "once": ("#0072B2", "white"),
    "segmented, shift": ("#F6C9A8", "black"),
    "segmented, integer": ("#EA9A5B", "black"),
    "segmented, float": ("#D55E00", "white"),
    "incompatible": ("#EFE6EC", "#8A3F6B"),
}
"""Fill and ink: blue and vermilion of Okabe and Ito, the darker the dearer the rescale."""
_MARKS = {"once": "1", "segmented": "4f", "incompatible": "-"}
_GAP = 1
_CORNER = "lhs \\ rhs"


def _cells(frame: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    """Verdict and short text of every pair."""
    require(frame, "frame", *COLUMNS)
    cells = {}
    for row in frame[list(COLUMNS)].itertuples(index=False):
        star = "*" if row.needs_reorder else ""
        text = {"once": "1", "incompatible": "-"}.get(
            str(row.verdict), f"{row.partial_sums}{str(row.rescale)[0]}{star}"
        )
        cells[str(row.lhs), str(row.rhs)] = str(row.verdict), text
    return cells


class LayoutPicture:
    """A rich renderable: activation layouts down, weight layouts across, one short verdict in each cell.

    Where the terminal is wide enough each column is headed by its layout, folded at commas; where it is not, by a
    letter that a list below explains, and so are the rows if need be.

    Parameters
    ----------
    frame
        One row a pair of layouts.
    title
        Line above the picture.
    """

    def __init__(self, frame: pd.DataFrame, title: str = "") -> None:
        self._cells = _cells(frame)
        self._rows = list(dict.fromkeys(lhs for lhs, _ in self._cells))
        self._across = list(dict.fromkeys(rhs for _, rhs in self._cells))
        self._title = title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text  # noqa: PLC0415  reports load rich only to print

        if self._title:
            yield Text(self._title, style="bold")
        longest = max(len(text) for _, text in self._cells.values())
        label = max(len(_CORNER), *(len(row) for row in self._rows))
        heads = [_fold(name) for name in self._across]
        widths = [max(longest, *(len(part) for part in head)) + _GAP for head in heads]
        if label + sum(widths) <= options.max_width:
            yield self._table(self._rows, heads, range(len(heads)))
        else:
            yield from self._lettered(label, longest, options.max_width)
        yield from self._meanings()

    def _lettered(self, label: int, longest: int, width: int) -> Iterator[RenderableType]:
        """Head columns by letters, rows too if they leave no room, in as many panels as it takes."""
        from rich.text import Text  # noqa: PLC0415

        count = len(self._across)
        heads = [[string.ascii_lowercase[i % 26]] for i in range(count)]
        rows, room = self._rows, (width - label) // (longest + _GAP)
        named = room >= count
        if not named:
            rows = [string.ascii_uppercase[i % 26] for i in range(len(rows))]
            room = max(1, (width - len(_CORNER)) // (longest + _GAP))
        for start in range(0, count, room):
            if start:
                yield Text("")
            yield self._table(rows, heads, range(start, min(start + room, count)))
        yield from _legend([f"{head[0]} {name}" for head, name in zip(heads, self._across, strict=True)], width)
        if not named:
            yield from _legend([f"{row} {name}" for row, name in zip(rows, self._rows, strict=True)], width)

    def _table(self, rows: list[str], heads: list[list[str]], columns: range) -> Table:
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
        table.add_column(Text(_CORNER), no_wrap=True, vertical="bottom")
        for column in columns:
            table.add_column(Text("\n".join(heads[column])), justify="right", no_wrap=True, vertical="bottom")
        for name, row in zip(rows, self._rows, strict=True):
            texts = []
            for column in columns:
                verdict, text = self._cells.get((row, self._across[column]), ("", ""))
                texts.append(Text(text, style=STYLES.get(verdict, "")))
            table.add_row(Text(name, style="bold"), *texts)
        return table

    def _meanings(self) -> Iterator[Text]:
        from rich.text import Text  # noqa: PLC0415

        yield Text("")
        present = dict.fromkeys(verdict for verdict, _ in self._cells.values())
        for verdict in (name for name in MEANINGS if name in present):
            line = Text()
            line.append(f"{_MARKS[verdict]:>3}", style=STYLES[verdict])
            line.append(f"  {verdict}: {MEANINGS[verdict]}")
            yield line
        if any(text.endswith("*") for _, text in self._cells.values()):
            yield Text("  *  after the reduction is sorted by scale")


def _legend(entries: list[str], width: int) -> Iterator[Text]:
    """List names in columns, read downwards."""
    from rich.text import Text  # noqa: PLC0415

    room = max(len(entry) for entry in entries) + 2
    columns = max(1, width // room)
    deep = -(-len(entries) // columns)
    yield Text("")
    for line in range(deep):
        yield Text("".join(entry.ljust(room) for entry in entries[line::deep]).rstrip(), style="dim")


def _fold(layout: str) -> list[str]:
    """Break a layout into short lines: at its code, between levels, after commas.

    Examples
    --------
    >>> _fold("codebook(int8) n:1"), _fold("n:1 * n:1,k:64@int")
    (['codebook', '(int8)', 'n:1'], ['n:1 *', 'n:1', 'k:64@int'])
    """
    text = layout.replace("(", "\n(").replace(") ", ")\n").replace(" * ", " *\n").replace(",", "\n")
    return text.split("\n")


def layout_chart(frame: pd.DataFrame, title: str = "") -> alt.LayerChart:
    """Draw a layout table as a heat map with the short verdict in each cell.

    Colour repeats what the text says. Further columns of the frame (``varying``, ``repairs``, ``accumulator_bits``)
    appear when the pointer rests on a cell of the HTML page.

    Parameters
    ----------
    frame
        One row a pair of layouts.
    title
        Line above the chart.
    """
    import altair as alt  # noqa: PLC0415  altair takes half a second to load

    from .palette import styled  # noqa: PLC0415

    cells = _cells(frame)
    texts = [cells[str(a), str(b)][1] for a, b in zip(frame["lhs"], frame["rhs"], strict=True)]
    extra = [name for name in ("varying", "accumulator_bits", "repairs") if name in frame]
    kinds = [
        f"segmented, {rescale}" if verdict == "segmented" else str(verdict)
        for verdict, rescale in zip(frame["verdict"], frame["rescale"], strict=True)
    ]
    data = frame[[*COLUMNS, *extra]].assign(cell=texts, kind=kinds)
    rows, across = list(dict.fromkeys(data["lhs"])), list(dict.fromkeys(data["rhs"]))
    base = alt.Chart(data).encode(
        x=alt.X(
            "rhs:N", sort=across, title="weight scales", axis=alt.Axis(orient="top", labelAngle=-40, labelLimit=220)
        ),
        y=alt.Y("lhs:N", sort=rows, title="activation scales", axis=alt.Axis(labelLimit=220)),
    )
    present = [name for name in COLOURS if name in kinds]
    scale = alt.Scale(domain=present, range=[COLOURS[name][0] for name in present])
    squares = base.mark_rect(stroke="white", strokeWidth=1).encode(
        color=alt.Color("kind:N", scale=scale, title=None, legend=alt.Legend(orient="bottom")),
        tooltip=[*(alt.Tooltip(f"{name}:N") for name in COLUMNS), *(alt.Tooltip(f"{name}:N") for name in extra)],
    )
    inks = alt.Scale(domain=present, range=[COLOURS[name][1] for name in present])
    marks = base.mark_text(fontSize=12).encode(text="cell:N", color=alt.Color("kind:N", scale=inks, legend=None))
    subtitle = "1 = once; 4f = four partial sums joined by f float, i integer, s shift; - = incompatible"
    chart: alt.LayerChart = alt.LayerChart(layer=[squares, marks]).resolve_scale(color="independent")
    return styled(
        chart,
        title=alt.TitleParams(title or "Dequantization after accumulation", subtitle=subtitle, anchor="start"),
        width=alt.Step(46),
        height=alt.Step(24),
    )
