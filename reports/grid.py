"""A terminal table that adapts to its width: headers over groups of columns, notes under rows, stacked bands."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.jupyter import JupyterMixin
from rich.measure import Measurement
from rich.text import Text

from .columns import Column

MARK = "*"
MISSING = "-"
MIN_WIDTH = 24
WIDE = 100
_MIN_KEY, _MIN_TEXT = 12, 12
_ASCII = {"×": "x", "µ": "u", "²": "2", "–": "-", "—": "-", "≤": "<", "≥": ">", "’": "'", "·": " "}


@dataclass(frozen=True)
class GridRow:
    """Name of a row and what surrounds its cells.

    Parameters
    ----------
    name
        Text of the first column.
    style
        Style of the name.
    note
        Text under the row, over the full width.
    indent
        Columns to indent the name by.
    rule
        Draw a line after the row.
    heading
        The row is a heading: its name only, over the full width.
    cell
        Index of the row's cells in the columns; ignored for a heading.
    """

    name: str
    cell: int = 0
    style: str = ""
    note: str = ""
    indent: int = 0
    rule: bool = False
    heading: bool = False


@dataclass(frozen=True)
class Grid(JupyterMixin):
    """A table of texts as a rich renderable that never exceeds the width it is given.

    Columns that do not fit beside each other continue in a further band under the first one, with the
    names repeated; columns of texts are wrapped before that.

    Parameters
    ----------
    key
        Header of the first column.
    rows
        In order.
    columns
        In order. Neighbours with the same group stay in one band where they fit in one.
    title, caption
        Lines above and below.
    width
        Columns of the terminal to use at most; None: all of them.
    wide_only
        Names of columns that are left out of a table narrower than 100.
    styles
        Style of a cell by column name and text, such as ``{"verdict": {"once": "green"}}``.
    """

    key: str
    rows: Sequence[GridRow]
    columns: Sequence[Column]
    title: str = ""
    caption: str = ""
    width: int | None = None
    wide_only: frozenset[str] = frozenset()
    styles: dict[str, dict[str, str]] = field(default_factory=dict)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Tell rich the widths between which the table can be drawn."""
        width = self._width(options)
        return Measurement(min(MIN_WIDTH, width), width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for a terminal's width and encoding."""
        width = self._width(options)
        line = "-" if options.ascii_only else "─"
        for text in self._lines(width, line):
            shown = _in_ascii(text, options.encoding) if options.ascii_only else text
            shown.rstrip()
            shown.no_wrap, shown.overflow = True, "crop"
            yield shown

    def _width(self, options: ConsoleOptions) -> int:
        return options.max_width if self.width is None else min(self.width, options.max_width)

    def _lines(self, width: int, line: str) -> Iterator[Text]:
        if self.title:
            yield from _wrap(self.title, width, "bold")
        for index, band in enumerate(self._bands(width)):
            if index:
                yield Text()
            yield from _Band(self, band, width, line, notes=index == 0).lines()
        if self.caption:
            yield from _wrap(self.caption, width, "dim")

    def _bands(self, width: int) -> list[list[Column]]:
        """Pack the columns into as few bands as fit, whole groups first."""
        room = width - self.key_range(width)[0]
        bands: list[list[Column]] = [[]]
        shown = [column for column in self.columns if width >= WIDE or column.name not in self.wide_only]
        for group in _runs(shown):
            pieces = [[column] for column in group] if _least(group) > room else [group]
            for piece in pieces:
                if bands[-1] and _least(bands[-1]) + _least(piece) > room:
                    bands.append([])
                bands[-1].extend(piece)
        return bands

    def key_range(self, width: int) -> tuple[int, int]:
        """Return the least and the greatest width that the first column can use."""
        names = [row.indent + cell_len(row.name) for row in self.rows if not row.heading]
        most = max([cell_len(self.key), *names])
        return min(most, max(_MIN_KEY, width // 5)), most


@dataclass(frozen=True)
class _Band:
    """Columns side by side, with their widths settled."""

    grid: Grid
    columns: Sequence[Column]
    total: int
    line: str
    notes: bool

    def lines(self) -> Iterator[Text]:
        key, widths = self._settle()
        used = min(self.total, key + sum(width + 1 for width in widths))
        rule = Text(self.line * used, style="dim")
        yield from self._header(key, widths)
        yield rule
        for row in self.grid.rows:
            if row.heading:
                yield from _wrap(row.name, self.total, row.style)
                continue
            yield from self._row(row, key, widths)
            if row.note and self.notes:
                yield from _wrap(row.note, self.total, "dim italic", indent=row.indent + 4)
            if row.rule:
                yield rule
        yield rule

    def _settle(self) -> tuple[int, list[int]]:
        """Give texts what numbers leave: first the names of rows, then columns from the widest down."""
        least_key, key = self.grid.key_range(self.total)
        widths = [_natural(column) for column in self.columns]
        over = key + sum(width + 1 for width in widths) - self.total
        texts = [index for index, column in enumerate(self.columns) if not column.numeric]
        while over > 0:
            widest = max(texts, key=lambda index: widths[index], default=None)
            if widest is not None and widths[widest] > max(key, _floor(self.columns[widest])):
                widths[widest] -= 1
            elif key > least_key:
                key -= 1
            elif widest is not None and widths[widest] > _floor(self.columns[widest]):
                widths[widest] -= 1
            else:
                break
            over -= 1
        return key, widths

    def _header(self, key: int, widths: Sequence[int]) -> Iterator[Text]:
        if any(column.group for column in self.columns):
            yield from self._groups(key, widths)
        heads = [_head(column, width) for column, width in zip(self.columns, widths, strict=True)]
        height = max([1, *(len(head) for head in heads)])
        for level in range(height):
            text = Text(_fit(self.grid.key if level == height - 1 else "", key), style="bold")
            for column, width, head in zip(self.columns, widths, heads, strict=True):
                below = height - level
                text.append(" " + _aligned(head[-below] if below <= len(head) else "", width, column))
            yield text

    def _groups(self, key: int, widths: Sequence[int]) -> Iterator[Text]:
        """Draw the group names between rules over their columns; a name wider than its columns takes more lines."""
        spans: list[tuple[int, list[str]]] = []
        column = 0
        for name, members in itertools.groupby(self.columns, key=lambda member: member.group):
            count = len(list(members))
            span = sum(widths[column : column + count]) + count
            column += count
            # Two columns stay blank before the rules, and one on each side of the name.
            spans.append((span, _break(name, span - 4) if name and span > 4 else []))
        height = max(len(lines) for _, lines in spans)
        for below in range(height, 0, -1):
            text = Text(" " * key, style="dim")
            for span, lines in spans:
                room = span - 2
                label = f" {lines[-below]} " if below <= len(lines) else ""
                left = (room - cell_len(label)) // 2
                fill = self.line if label and below == 1 else " "
                text.append("  " + fill * left + label + fill * (room - left - cell_len(label)))
            yield text

    def _row(self, row: GridRow, key: int, widths: Sequence[int]) -> Iterator[Text]:
        names = _break(row.name, key - row.indent)
        cells = [
            [_aligned(part, width, column) for part in _parts(column, row.cell, width)]
            for column, width in zip(self.columns, widths, strict=True)
        ]
        for level in range(max([len(names), *(len(cell) for cell in cells)])):
            name = names[level] if level < len(names) else ""
            text = Text(_fit(" " * row.indent + name, key), style=row.style)
            for column, width, cell in zip(self.columns, widths, cells, strict=True):
                text.append(" ")
                text.append(cell[level] if level < len(cell) else " " * width, self._style(column, row.cell))
            yield text

    def _style(self, column: Column, index: int) -> str:
        text = column.cells[index]
        if text is None:
            return "dim"
        if column.best[index]:
            return "bold green"
        return self.grid.styles.get(column.name, {}).get(text, "")


def _in_ascii(text: Text, encoding: str) -> Text:
    """Write a text in characters that an old encoding has, character by character so that styles keep place."""
    plain = "".join(_ASCII.get(char, char) for char in text.plain)
    plain = plain.encode(encoding, "replace").decode(encoding)
    return Text(plain, style=text.style, spans=text.spans)


def _cell(column: Column, index: int) -> str:
    """Return a cell's text; in a column with marks, every cell keeps a place for one."""
    text = column.cells[index] or MISSING
    if any(column.best):
        text += MARK if column.best[index] else " "
    return text


def _parts(column: Column, index: int, width: int) -> list[str]:
    text = _cell(column, index)
    return [text] if column.numeric else _break(text, width)


def _aligned(text: str, width: int, column: Column) -> str:
    return " " * (width - cell_len(text)) + text if column.numeric else _fit(text, width)


def _runs(columns: Sequence[Column]) -> list[list[Column]]:
    return [list(run) for _, run in itertools.groupby(columns, key=lambda column: column.band)]


def _head(column: Column, width: int) -> list[str]:
    """Break a header into lines: label, then unit; over marked numbers it ends where the numbers end."""
    space = " " if any(column.best) else ""
    lines = textwrap.wrap(column.label, max(width - len(space), 1), break_long_words=False)
    return [line + space for line in (*lines, column.unit.symbol) if line]


def _natural(column: Column) -> int:
    """Width that a column wants: its cells and the longest word of its header."""
    cells = max([cell_len(_cell(column, index)) for index in range(len(column.cells))], default=1)
    words = [cell_len(word) + any(column.best) for word in (*column.label.split(), column.unit.symbol)]
    return max([cells, *words])


def _floor(column: Column) -> int:
    """Width that a column needs: all of it for numbers, enough to wrap in for texts."""
    natural = _natural(column)
    return natural if column.numeric else min(natural, _MIN_TEXT)


def _least(columns: Sequence[Column]) -> int:
    return sum(_floor(column) + 1 for column in columns)


def _fit(text: str, width: int) -> str:
    return set_cell_size(text, max(width, 0))


def _break(text: str, width: int) -> list[str]:
    """Break a text into lines of at most so many terminal cells, at spaces or after hyphens where it has them."""
    width = max(width, 1)
    if cell_len(text) <= width:
        return [text]
    if cell_len(text) == len(text):
        return textwrap.wrap(text, width) or [""]
    lines, current = [], ""
    for char in text:
        if cell_len(current + char) > width and current:
            lines.append(current)
            current = ""
        current += char
    return [*lines, current]


def _wrap(text: str, width: int, style: str, indent: int = 0) -> Iterator[Text]:
    indent = min(indent, max(width - 8, 0))
    for part in text.splitlines() or [""]:
        for line in _break(part, width - indent):
            yield Text(" " * indent + line, style=style)
