"""``hwsim presets``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.shared import console, print_json, records
from hwsim.cli.strict import Strict

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.technology import Technology
    from quant import Scheme
    from workloads import Network

_PLURALS = {
    "accelerator": "Accelerators",
    "scheme": "Schemes",
    "technology": "Technologies",
    "workload": "Workloads (the number of tokens may be another)",
}


@click.command(cls=Strict)
@click.argument("name", required=False)
@click.argument("technology_name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def presets(name: str | None, technology_name: str | None, as_json: bool) -> None:
    """List presets, or print the one called NAME.

    Accelerators and schemes are printed as YAML that loads back, a technology as its constants with their sources, a
    workload as its layers. `hwsim presets technology FILE` prints the constants of a technology of your own.
    """
    if technology_name is not None and name != "technology":
        msg = f"presets must be given one name, not {name} and {technology_name}"
        raise ValueError(msg)
    if name is None:
        _list(as_json=as_json)
    else:
        _show(name, technology_name, as_json=as_json)


def _show(name: str, technology_name: str | None, *, as_json: bool) -> None:
    import workloads
    from hwsim.accelerator import Accelerator
    from hwsim.technology import technology_names
    from quant import Scheme

    if name == "technology":
        _technology(technology_name, as_json=as_json)
    elif name in technology_names():
        _technology(name, as_json=as_json)
    elif name in Accelerator.presets() or name in Scheme.presets():
        _document(Accelerator.load(name) if name in Accelerator.presets() else Scheme.load(name), as_json=as_json)
    elif name in workloads.names() or name.endswith(".npz") or "-prefill-" in name or "-decode-" in name:
        _workload(workloads.load(name), as_json=as_json)
    else:
        raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    """Say that there is no such preset, and which is nearest of any kind."""
    import difflib

    known = [listed for _, listed, _ in _rows()]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    tail = f"did you mean {near[0]}?" if near else "hwsim presets lists them"
    return f"preset must exist, not {name!r}; {tail}"


def _document(document: Accelerator | Scheme, *, as_json: bool) -> None:
    from quant import Scheme, explain

    if as_json:
        print_json(document.model_dump(mode="json", exclude_none=True))
        return
    click.echo(document.to_yaml(), nl=False)
    for subject, text in explain(document).items() if isinstance(document, Scheme) else ():
        click.echo(f"# {subject}: {text}")


def _workload(network: Network, *, as_json: bool) -> None:
    """Print contractions and where the network comes from."""
    import pandas as pd

    from reports import frame_table

    rows = [
        {
            "layer": layer.name,
            "contraction": layer.contraction,
            "sizes": " ".join(f"{label}={size}" for label, size in layer.sizes.items()),
            "rhs": layer.rhs_kind,
            "macs": layer.macs,
        }
        for layer in network.layers
    ]
    if as_json:
        tensors = "shapes only" if network.shapes_only else "weights and inputs"
        sizes = [{**row, "sizes": dict(layer.sizes)} for row, layer in zip(rows, network.layers, strict=True)]
        print_json({"name": network.name, "source": network.source, "tensors": tensors, "layers": sizes})
        return
    out = console()
    out.print(f"{network.name}: {network.source}", markup=False)
    if network.shapes_only:
        out.print("Shapes only: costs can be computed, errors can not.")
    frame = pd.DataFrame(rows)
    caption = f"{len(rows):,} contractions, {network.macs:,} MACs."
    out.print(frame_table(frame, width=out.width, max_rows=len(frame), caption=caption))


def _rows() -> list[tuple[str, str, str]]:
    """Kind, name and description of everything that can be named."""
    import workloads
    from hwsim.accelerator import Accelerator
    from hwsim.technology import Technology, technology_names
    from quant import Scheme

    rows = [("accelerator", n, Accelerator.load(n).description) for n in Accelerator.presets()]
    rows += [("scheme", n, Scheme.load(n).description) for n in Scheme.presets()]
    rows += [("technology", n, Technology.load(n).node.title) for n in technology_names()]
    rows += [("workload", n, workloads.load(n).source) for n in workloads.names()]
    return rows


def _list(*, as_json: bool) -> None:
    rows = _rows()
    if as_json:
        print_json([{"kind": kind, "name": n, "description": text} for kind, n, text in rows])
        return
    from rich.table import Table
    from rich.text import Text

    out = console()
    longest = max(len(name) for _, name, _ in rows)
    for number, kind in enumerate(dict.fromkeys(kind for kind, _, _ in rows)):
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(min_width=longest, no_wrap=True)
        table.add_column()
        for _, name, text in (row for row in rows if row[0] == kind):
            table.add_row(name, Text(text))
        out.print("\n" * bool(number) + _PLURALS[kind], style="bold")
        out.print(table)


def _technology(name: str | None, *, as_json: bool) -> None:
    from hwsim.technology import Technology, technology_names
    from quant.documents import suggest

    if name is None:
        msg = f"technology must be followed by a name or a .yaml file; known: {', '.join(technology_names())}"
        raise ValueError(msg)
    if name not in technology_names() and not name.endswith((".yaml", ".yml")):
        msg = f"technology must be a preset or a .yaml file, not {name!r}; {suggest(name, technology_names())}"
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
