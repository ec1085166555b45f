"""``hwsim presets``."""

from __future__ import annotations

import click

from hwsim.cli.shared import console, print_json, records


@click.command()
@click.argument("name", required=False)
@click.argument("technology_name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def presets(name: str | None, technology_name: str | None, as_json: bool) -> None:
    """List presets, or print the one called NAME as YAML that loads back.

    `hwsim presets technology NAME` prints every constant of a technology with its source.
    """
    from hwsim.accelerator import Accelerator
    from quant.documents import suggest
    from quant.scheme import Scheme

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
    else:
        known = [*Accelerator.presets(), *Scheme.presets(), "technology"]
        msg = f"preset must exist, not {name!r}; {suggest(name, known)}"
        raise ValueError(msg)


def _list(*, as_json: bool) -> None:
    import workloads
    from hwsim.accelerator import Accelerator
    from hwsim.technology import technology_names
    from quant.scheme import Scheme

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
    frame = technology.bibliography_frame()
    if as_json:
        print_json(records(frame))
        return
    from reports import frame_table

    out = console()
    for caveat in technology.caveats:
        out.print(f"- {caveat}")
    out.print(frame_table(frame, title=f"Constants of {technology.name}", width=out.width))
