"""``hwsim explore``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.shared import OutputFile, check_streams, console, print_json, records, write_frame
from hwsim.cli.strict import Strict
from hwsim.defaults import DEFAULT_SCHEME

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.exploration.sweeps import Progress
    from workloads import Network

FRONT = ("latency_us", "energy_pj", "area_um2")
SHORT = {"latency": "latency_us", "energy": "energy_pj", "area": "area_um2", "edp": "energy_delay_pj_s"}
# Columns that --time-only leaves out, of those that a word or a table may ask for.
COSTS = ("energy_pj", "area_um2", "energy_delay_pj_s", "tops_per_w", "power_mw")
COLUMNS = ("latency_us", "energy_pj", "area_um2", "bound", "energy_delay_pj_s", "utilization")
WIDE = ("tops_per_w", "total_cycles", "stall_cycles", "traffic_bytes")
# Rows, reasons and values of each that a person is shown.
SHOWN, REASONS, VALUES = 40, 3, 4


@click.command(cls=Strict)
@click.option("--gemm", "gemms", metavar="MxNxK", help="One product instead of a workload.")
@click.option("--workload", "-w", metavar="NAME|FILE", help="An embedded network or an .npz file.")
@click.option("--scheme", "-s", "schemes", multiple=True, metavar="A,B", help=f"Schemes.  [default: {DEFAULT_SCHEME}]")
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
    Exits with 2 if no point can run.
    """
    from hwsim.exploration import explore as explore_space

    check_streams(as_json=as_json, csv=csv)
    network = _network(gemms, workload)
    grid = _grid(fields, sizes=gemms is not None)
    names = [name.strip() for name in ",".join(schemes or (DEFAULT_SCHEME,)).split(",") if name.strip()]
    with _progress() as report:
        frame = explore_space(
            network, names, accelerator, grid=grid, costs=not time_only, folder=folder, progress=report
        )
    column = _number(frame, by, time_only=time_only)
    goals = [name for name in FRONT if name in frame] if front else []
    ordered = front or top is not None
    chosen = _chosen(frame, goals, column, top) if ordered else frame
    for path in (csv, parquet):
        if path is not None:
            write_frame(chosen, path)
    if as_json:
        print_json(records(chosen))
    elif str(csv) != "-":
        alone = f" under {frame['scheme'].iloc[0]}" if frame["scheme"].nunique() == 1 else ""
        title = f"{network.name}{alone} on {accelerator}"
        _print(frame, chosen, title, list(grid), column, ordered=ordered, goals=goals)
    if frame["reason"].notna().all():
        click.echo(f"hwsim: a point must be able to run, not {_points(0, len(frame))}", err=True)
        click.get_current_context().exit(2)


def _network(gemm: str | None, workload: str | None) -> Network:
    import workloads

    if gemm is None:
        return workloads.load(workload or "minilm-block")
    if workload is not None:
        msg = f"workload must be given by --workload or by --gemm, not both {workload} and {gemm}"
        raise ValueError(msg)
    return workloads.gemm(*workloads.parse_gemm(gemm))


def _grid(fields: tuple[str, ...], *, sizes: bool) -> dict[str, list[Any]]:
    """Values by field, all different."""
    grid = dict(_parsed(text) for text in fields)
    if len(grid) < len(fields):
        msg = "field must be given once in --set, not twice"
        raise ValueError(msg)
    for field, values in grid.items():
        _different(field, values, sizes=sizes)
    return grid


def _chosen(frame: pd.DataFrame, goals: list[str], column: str, top: int | None) -> pd.DataFrame:
    """Points that can run and that none beats in the goals, the best of a column first."""
    from hwsim.exploration import pareto

    kept = pareto(frame, goals) if goals else frame
    kept = kept[kept["reason"].isna()].sort_values(column, kind="stable")
    return kept if top is None else kept.head(top)


def _different(field: str, values: list[Any], *, sizes: bool) -> None:
    """Refuse a value that is given twice, as its points would be."""
    from hwsim.exploration.fields import checked_values, full_path

    path = full_path(field, sizes)
    seen: set[str] = set()
    for value in map(str, checked_values(path, values)):
        if value in seen:
            msg = f"values of --set {field} must differ, not be {value} twice"
            raise ValueError(msg)
        seen.add(value)


def _number(frame: pd.DataFrame, by: str, *, time_only: bool) -> str:
    """Find the column of numbers that a word means."""
    from quant.documents import suggest

    numbers = [str(name) for name in frame if frame[name].dtype.kind in "iuf"]
    column = SHORT.get(by, by)
    if column not in numbers:
        if time_only and column in COSTS:
            msg = f"--by {by} must go without --time-only, which leaves energy and area out"
            raise ValueError(msg)
        words = [word for word, meant in SHORT.items() if meant in numbers]
        msg = f"--by must be a column of numbers, not {by!r}; {suggest(by, [*words, *numbers])}"
        raise ValueError(msg)
    return column


LONGEST_RANGE = 1 << 20


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
        if len(values) > LONGEST_RANGE:
            msg = f"range must have at most {LONGEST_RANGE:,} values, not more: {text}"
            raise ValueError(msg)
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
    title: str,
    varied: list[str],
    column: str,
    *,
    ordered: bool,
    goals: list[str],
) -> None:
    from reports import frame_table
    from reports.columns import label_of

    out = console()
    failed = frame["reason"].notna()
    names = [str(name) for name in frame]
    paths = [name for name in names if name in varied or any(name.endswith(f".{field}") for field in varied)]
    wanted = [*(["scheme"] if frame["scheme"].nunique() > 1 else []), *paths]
    wanted += [] if column in COLUMNS else [column]
    wanted += [*COLUMNS, *(WIDE if out.width >= 120 else [])]
    shown = chosen[list(dict.fromkeys(name for name in wanted if name in frame))].copy()
    table = shown[chosen["reason"].isna()].rename(columns={path: _short(path, paths) for path in paths})
    for name in table.columns:
        if str(table[name].dtype) in {"category", "Int64"}:
            table[name] = table[name].astype(object if str(table[name].dtype) == "category" else "int64")
    notes = [_points(len(frame), len(frame))]
    if failed.any():
        notes.append(f"{failed.sum():,} can not run")
    if goals:
        notes.append(f"{len(chosen):,} that none beats in {_listed([label_of(goal) for goal in goals])}")
    if ordered:
        notes.append(f"by {label_of(column)}")
    if len(table) > SHOWN:
        first = "" if ordered else " in the order of --set"
        notes.append(f"the first {SHOWN}{first}; --csv FILE writes all{'' if ordered else ', --top N sorts'}")
    caption = f"{', '.join(notes)}."
    if len(table):
        out.print(frame_table(table, title=title, width=out.width, max_rows=SHOWN, caption=caption))
    else:
        out.print(caption, markup=False)
    for line in _failures(frame[failed], frame, ["scheme", *paths], paths):
        out.print(line, markup=False)


def _points(count: int, of: int) -> str:
    """Count points.

    Examples
    --------
    >>> _points(1, 1), _points(1024, 1024), _points(0, 3)
    ('1 point', '1,024 points', 'none of 3 points')
    """
    points = f"{of:,} point{'' if of == 1 else 's'}"
    return points if count == of else f"{count or 'none'} of {points}"


def _listed(words: list[str]) -> str:
    """Join words as a sentence does.

    Examples
    --------
    >>> _listed(["latency"]), _listed(["latency", "energy", "area"])
    ('latency', 'latency, energy and area')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _failures(failed: pd.DataFrame, frame: pd.DataFrame, varied: list[str], paths: list[str]) -> Iterator[str]:
    """Say why points can not run, and what is particular about them: the values that not all points have."""
    reasons = failed["reason"].astype(str)
    counts = reasons.value_counts()
    for reason, count in counts.head(REASONS).items():
        here = failed[reasons == reason]
        parts = []
        for path in varied:
            values = here[path].drop_duplicates().tolist()
            if len(values) < frame[path].nunique():
                some = ", ".join(map(str, values[:VALUES])) + (", ..." if len(values) > VALUES else "")
                parts.append(f"{_short(path, paths)} {some}")
        where = f" with {' and '.join(parts)}" if parts else ""
        yield f"- {_points(int(count), int(count))}{where}: {reason}"
    if len(counts) > REASONS:
        yield f"- {len(counts) - REASONS:,} other reasons: --csv FILE writes all."


def _short(path: str, paths: list[str]) -> str:
    """Last word of a path, with the one before it if others end alike; rates with their unit.

    Examples
    --------
    >>> _short("array.rows", ["array.rows"]), _short("memories.dram.bandwidth_gb_per_s", [])
    ('rows', 'bandwidth GB/s')
    """
    words = path.split(".")
    alone = sum(other.split(".")[-1] == words[-1] for other in paths) <= 1
    return (words[-1] if alone else "_".join(words[-2:])).replace("_gb_per_s", " GB/s")
