"""``hwsim explore``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.shared import OutputFile, check_streams, console, print_json, records, write_frame
from hwsim.cli.strict import Strict

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.exploration.sweeps import Progress

FRONT = ("latency_us", "energy_pj", "area_um2")
SHORT = {"latency": "latency_us", "energy": "energy_pj", "area": "area_um2", "edp": "energy_delay_pj_s"}
# Rows that a person is shown.
SHOWN = 40


@click.command(cls=Strict)
@click.option("--gemm", "gemms", metavar="MxNxK", help="One product instead of a workload.")
@click.option("--workload", "-w", metavar="NAME|FILE", help="An embedded network or an .npz file.")
@click.option("--scheme", "-s", "schemes", multiple=True, metavar="A,B", help="Schemes.  [default: w8a8-static]")
@click.option("--accelerator", "-a", default="edge-16x16", show_default=True, metavar="NAME|FILE", help="The machine.")
@click.option(
    "--set",
    "fields",
    multiple=True,
    metavar="FIELD=VALUES",
    help="Values of a field: a list 8,16,32, or a range 4:64:x2 (times 2) or 4:64:+4 (plus 4). Give several.",
)
@click.option("--pareto", "front", is_flag=True, help="Only points that none beats in latency, energy and area.")
@click.option("--top", type=click.IntRange(1), help="Only so many best points.")
@click.option("--by", default="latency", show_default=True, metavar="COLUMN", help="What --top and the order go by.")
@click.option("--time-only", is_flag=True, help="Skip energy and area.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Write parts here; goes on later.")
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON.")
@click.option("--csv", type=OutputFile(".csv", allow_dash=True), help="Write rows to a .csv file; - prints them.")
@click.option("--parquet", type=OutputFile(".parquet"), help="Write rows to a .parquet file.")
def explore(
    gemms: str | None,
    workload: str | None,
    schemes: tuple[str, ...],
    accelerator: str,
    fields: tuple[str, ...],
    front: bool,
    top: int | None,
    by: str,
    time_only: bool,
    folder: Path | None,
    as_json: bool,
    csv: Path | None,
    parquet: Path | None,
) -> None:
    """Time, energy and area of every combination of accelerator fields and schemes.

    Fields are named as in YAML (hwsim presets edge-16x16), such as array.rows; with --gemm the sizes m, n and k too.
    """
    import workloads
    from hwsim.exploration import explore as explore_space
    from hwsim.exploration import pareto

    check_streams(as_json=as_json, csv=csv)
    if gemms is not None and workload is not None:
        msg = f"workload must be given by --workload or by --gemm, not both {workload} and {gemms}"
        raise ValueError(msg)
    network = (
        workloads.load(workload or "minilm-block") if gemms is None else workloads.gemm(*workloads.parse_gemm(gemms))
    )
    grid = dict(_parsed(text) for text in fields)
    if len(grid) < len(fields):
        msg = "field must be given once in --set, not twice"
        raise ValueError(msg)
    names = [name.strip() for name in ",".join(schemes or ("w8a8-static",)).split(",") if name.strip()]
    with _progress() as report:
        frame = explore_space(
            network, names, accelerator, grid=grid, costs=not time_only, folder=folder, progress=report
        )
    column = _number(frame, by)
    chosen = frame
    if front:
        chosen = pareto(chosen, [name for name in FRONT if name in frame])
    if front or top is not None:
        chosen = chosen[chosen["reason"].isna()].sort_values(column, kind="stable")
    if top is not None:
        chosen = chosen.head(top)
    if csv is not None:
        write_frame(chosen, csv)
    if parquet is not None:
        write_frame(chosen, parquet)
    if as_json:
        print_json(records(chosen))
    elif str(csv) != "-":
        _print(frame, chosen, network.name, accelerator, list(grid), column, ordered=front or top is not None)


def _number(frame: pd.DataFrame, by: str) -> str:
    """Find the column of numbers that a word means."""
    from quant.documents import suggest

    numbers = [str(name) for name in frame if frame[name].dtype.kind in "iuf"]
    column = SHORT.get(by, by)
    if column not in numbers:
        msg = f"--by must be a column of numbers, not {by!r}; {suggest(by, [*SHORT, *numbers])}"
        raise ValueError(msg)
    return column


def _parsed(text: str) -> tuple[str, list[Any]]:
    """Read ``field=8,16`` or ``field=4:64:x2``."""
    import yaml

    field, equals, values = text.partition("=")
    if not equals or not field.strip() or not values.strip():
        msg = f"--set must look like array.rows=8,16 or array.rows=8:64:x2, not {text!r}"
        raise ValueError(msg)
    found: list[Any] = []
    for item in values.split(","):
        if item.count(":") == 2:
            found += _range(item)
        else:
            found.append(yaml.safe_load(item))
    return field.strip(), found


def _range(text: str) -> list[int | float]:
    start, stop, step = text.split(":")
    try:
        first, last, by = (float(part) for part in (start, stop, step.lstrip("x+")))
    except ValueError:
        first, last, by = 1.0, 0.0, 0.0
    times = step.startswith("x")
    if first > last or (by <= 1 or first <= 0 if times else by <= 0):
        msg = f"range must rise, as 4:64:x2 or 4:64:+4 do, not {text}"
        raise ValueError(msg)
    values = [first]
    while (following := values[-1] * by if times else values[-1] + by) <= last * (1 + 1e-12):
        values.append(following)
    return [int(value) if value == int(value) else value for value in values]


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show rows done on standard error while it lasts; silent when that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda _, __: None
        return
    columns = (TextColumn("points"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"))
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, rows: bar.update(task, completed=done, total=rows)


def _print(
    frame: pd.DataFrame,
    chosen: pd.DataFrame,
    workload: str,
    accelerator: str,
    varied: list[str],
    column: str,
    *,
    ordered: bool,
) -> None:
    from reports import frame_table

    out = console()
    failed = frame["reason"].notna()
    schemes = frame["scheme"].nunique() > 1
    names = [str(name) for name in frame]
    paths = [name for name in names if name in varied or any(name.endswith(f".{field}") for field in varied)]
    wanted = [*paths, "latency_us", "energy_pj", "area_um2", "bound", "energy_delay_pj_s", "utilization"]
    wanted += ["tops_per_w", "total_cycles", "stall_cycles", "traffic_bytes"] if out.width >= 120 else []
    if column not in wanted:
        wanted.insert(len(paths), column)
    shown = chosen[[*(["scheme"] if schemes else []), *(name for name in wanted if name in frame)]].copy()
    fits = chosen["reason"].isna()
    table = shown[fits].rename(columns={path: _short(path, paths) for path in paths})
    for name in table.columns:
        if str(table[name].dtype) in {"category", "Int64"}:
            table[name] = table[name].astype(object if str(table[name].dtype) == "category" else "int64")
    notes = [f"{len(frame):,} points"]
    if failed.any():
        notes.append(f"{failed.sum():,} can not run")
    if ordered:
        notes.append(f"by {column}")
    if len(table):
        title = f"{workload} on {accelerator}"
        caption = f"{', '.join(notes)}."
        out.print(frame_table(table, title=title, width=out.width, max_rows=SHOWN, caption=caption))
    else:
        out.print(f"{', '.join(notes)}.")
    if failed.any():
        for reason, count in frame.loc[failed, "reason"].value_counts().head(3).items():
            if count:
                out.print(f"- {count:,}: {reason}")


def _short(path: str, paths: list[str]) -> str:
    """Last word of a path, with the one before it if others end alike."""
    words = path.split(".")
    alone = sum(other.split(".")[-1] == words[-1] for other in paths) == 1
    return words[-1] if alone else "_".join(words[-2:])
