"""``hwsim presets``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.shared import console, print_json, records
from hwsim.cli.strict import Strict

if TYPE_CHECKING:
    from hwsim.technology import Technology


@click.command(cls=Strict)
@click.argument("name", required=False)
@click.argument("technology_name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def presets(name: str | None, technology_name: str | None, as_json: bool) -> None:
    """List presets, or print the one called NAME as YAML that loads back.

    `hwsim presets technology NAME` prints every constant of a technology with its source.
    """
    from hwsim.accelerator import Accelerator
    from quant import Scheme, explain
    from quant.documents import suggest

    if name is None:
        _list(as_json=as_json)
    elif name == "technology":
        _technology(technology_name, as_json=as_json)
    elif name in Accelerator.presets() or name in Scheme.presets():
        document = Accelerator.load(name) if name in Accelerator.presets() else Scheme.load(name)
        if as_json:
            print_json(document.model_dump(mode="json", exclude_none=True))
        else:
            click.echo(document.to_yaml(), nl=False)
            for subject, text in explain(document).items() if isinstance(document, Scheme) else ():
                click.echo(f"# {subject}: {text}")
    else:
        known = [*Accelerator.presets(), *Scheme.presets(), "technology"]
        msg = f"preset must exist, not {name!r}; {suggest(name, known)}"
        raise ValueError(msg)


def _list(*, as_json: bool) -> None:
    import workloads
    from hwsim.accelerator import Accelerator
    from hwsim.technology import technology_names
    from quant import Scheme

    rows = [("accelerator", n, Accelerator.load(n).description) for n in Accelerator.presets()]
    rows += [("scheme", n, Scheme.load(n).description) for n in Scheme.presets()]
    rows += [("technology", n, f"hwsim presets technology {n}") for n in technology_names()]
    rows += [("workload", n, workloads.load(n).source) for n in workloads.names()]
    if as_json:
        print_json([{"kind": kind, "name": n, "description": text} for kind, n, text in rows])
        return
    from rich.table import Table

    table = Table("kind", "name", "description", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _technology(name: str | None, *, as_json: bool) -> None:
    from hwsim.technology import Technology, technology_names
    from quant.documents import suggest

    if name is None or (name not in technology_names() and not name.endswith((".yaml", ".yml"))):
        msg = f"technology must be named, not {name!r}; {suggest(name or '', technology_names())}"
        raise ValueError(msg)
    technology = Technology.load(name)
    if as_json:
        print_json(records(technology.bibliography_frame()))
        return
    _print_bibliography(technology)


def _print_bibliography(technology: Technology) -> None:
    """Print constants with a number for each source, then the sources; notes are in the JSON."""
    from rich.table import Table

    out = console()
    out.print(f"{technology.name}: {technology.node_nm} nm, {technology.voltage_v:g} V", style="bold")
    for caveat in technology.caveats:
        out.print(f"- {caveat}")
    table = Table("constant", "value", "unit", "nm", "V", "confidence", "source", box=None, pad_edge=False)
    for name in ("value", "nm", "V", "source"):
        next(column for column in table.columns if column.header == name).justify = "right"
    sources: dict[str, int] = {}
    for entry in technology.bibliography():
        number = sources.setdefault(f"{entry['source']}{_year(entry)}", len(sources) + 1)
        cells = (f"{entry['value']:.4g}", entry["unit"], _text(entry["node_nm"]), _text(entry["voltage_v"]))
        table.add_row(entry["name"], *cells, entry["confidence"], f"[{number}]")
    out.print(table, markup=False)
    out.print("\nSources", style="bold")
    for source, number in sources.items():
        out.print(f"[{number}] {source}", markup=False)


def _year(entry: dict[str, Any]) -> str:
    year = _text(entry["year"])
    return f", {year}" if year and year not in entry["source"] else ""


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
