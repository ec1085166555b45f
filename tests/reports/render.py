"""Renderables as the text that a terminal or a file would get."""

from __future__ import annotations

import io

from rich.cells import cell_len
from rich.console import Console, RenderableType


class AsciiFile(io.StringIO):
    """A file that takes ASCII only, like standard output under LC_ALL=C."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "ascii"


def rendered(renderable: RenderableType, width: int, *, terminal: bool = False, ascii_only: bool = False) -> str:
    file = AsciiFile() if ascii_only else io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None, _environ={}
    )
    console.print(renderable)
    return file.getvalue()


def widest(text: str) -> int:
    return max(cell_len(line) for line in text.splitlines())
