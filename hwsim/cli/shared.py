"""What several subcommands share: consoles, output of frames, progress."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from hwsim.numerics import Progress


def console(*, record: bool = False) -> Console:
    """Console for results: no colour when piped. `record` keeps what is printed for `save_svg`."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, record=record)


def save_svg(recorded: Console, path: Path, title: str) -> None:
    """Save what a recording console printed as a picture that refers to nothing outside itself."""
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME

    svg = recorded.export_svg(title=title, theme=DEFAULT_TERMINAL_THEME)
    own = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    write_text(path, own.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas"))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OSError
        If it can not be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def progress(total: int) -> Iterator[Progress]:
    """Show what is being done on standard error while it lasts; silent when that is no terminal.

    Parameters
    ----------
    total
        Steps expected; the bar is full when as many have been reported.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description:<44}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task("", total=total)

        def report(what: str) -> None:
            bar.update(task, description=what[:44], advance=1)

        yield report


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as JSON values: NaN and missing become null."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return rows


def print_json(data: Any) -> None:
    """Print JSON to standard output."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as CSV, JSON or Parquet by the suffix of `path`, whole or not at all; ``-`` is CSV to stdout.

    Raises
    ------
    ValueError
        If the suffix is none of these, or Parquet lacks its library.
    OSError
        If the file can not be written.
    """
    if str(path) == "-":
        click.echo(frame.to_csv(index=False), nl=False)
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        match path.suffix:
            case ".csv":
                frame.to_csv(partial, index=False)
            case ".json":
                partial.write_text(json.dumps(records(frame), indent=2), encoding="utf-8")
            case ".parquet":
                try:
                    frame.to_parquet(partial)
                except ImportError:
                    msg = "a .parquet file must have pyarrow, which pip install 'hwsim[parquet]' brings"
                    raise ValueError(msg) from None
            case other:
                msg = f"file must end in .csv, .json or .parquet, not {other or path.name!r}"
                raise ValueError(msg)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def interactive() -> bool:
    """Tell whether a person reads standard output."""
    return sys.stdout.isatty()
