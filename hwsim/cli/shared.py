"""What several subcommands share: consoles, output of frames, progress."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from hwsim.numerics import Progress


class _Trimmed:
    """A text stream that drops blanks before the end of a line, which tables and wrapped sentences leave."""

    _BLANKS = re.compile(r"[ \t]+((?:\x1b\[[0-9;]*m)*)(?=\n|$)")

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write whole lines."""
        return self._stream.write(self._BLANKS.sub(r"\1", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console(*, record: bool = False, silent: bool = False) -> Console:
    """Console for results: no colour when piped. `record` keeps what is printed for `save_svg`, `silent` only that."""
    from rich.console import Console

    file = cast("IO[str]", _Trimmed(io.StringIO() if silent else sys.stdout))
    return Console(highlight=False, soft_wrap=False, record=record, file=file)


def save_svg(recorded: Console, path: Path, title: str) -> None:
    """Save what a recording console printed as a picture that refers to nothing outside itself."""
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME

    svg = recorded.export_svg(title=title, theme=DEFAULT_TERMINAL_THEME)
    own = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    write_text(path, own.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas"))


class OutputFile(click.Path):
    """A file to write, refused before any work if its ending or its folder does not fit.

    Parameters
    ----------
    suffixes
        Endings that the option can write.
    allow_dash
        Take ``-`` for standard output.
    """

    def __init__(self, *suffixes: str, allow_dash: bool = False) -> None:
        super().__init__(dir_okay=False, allow_dash=allow_dash, path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take a path or say what is wrong with it."""
        path = Path(value)
        if self.allow_dash and str(path) == "-":
            return path
        if path.suffix not in self.suffixes:
            rule = f"file must end in {' or '.join(self.suffixes)}, not {path.suffix or path.name!r}"
            self.fail(f"{rule}{'; - prints' if self.allow_dash else ''}", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{path} must be in a folder that exists, not in {path.parent}", param, ctx)
        return super().convert(value, param, ctx)


def check_streams(*, as_json: bool, csv: Path | None) -> None:
    """Refuse two formats on one standard output.

    Raises
    ------
    ValueError
        If both are asked for.
    """
    if as_json and str(csv) == "-":
        msg = "--json and --csv - must not be given together: both print to standard output"
        raise ValueError(msg)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Lend a name to write to that takes the place of `path` at the end; an error names `path`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OSError
        If it can not be written.
    """
    with _whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


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
    with _whole(path) as partial:
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


def interactive() -> bool:
    """Tell whether a person reads standard output."""
    return sys.stdout.isatty()
