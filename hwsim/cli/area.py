"""``hwsim area``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.shared import OutputFile, check_streams, console, print_json, records, write_frame
from hwsim.cli.strict import Strict

if TYPE_CHECKING:
    from hwsim.sharing import SharedArea


@click.command(cls=Strict)
@click.argument("workload", default="minilm-block")
@click.option(
    "--scheme",
    "-s",
    "schemes",
    multiple=True,
    metavar="NAME|FILE",
    default=("w8a8-static", "w8a8-dynamic", "w4a8-g128"),
    show_default=True,
    help="A scheme that the machine must run; give several.",
)
@click.option("--accelerator", "-a", default="edge-16x16", show_default=True, metavar="NAME|FILE", help="The machine.")
@click.option("--technology", "-t", metavar="NAME|FILE", help="Technology instead of the machine's own.")
@click.option("--widest", is_flag=True, help="Build one integer MAC, as wide as any scheme needs, for all of them.")
@click.option("--json", "as_json", is_flag=True, help="Print the parts and their totals.")
@click.option("--csv", type=OutputFile(".csv", allow_dash=True), help="Write the parts to a .csv file; - prints them.")
def area(
    workload: str,
    schemes: tuple[str, ...],
    accelerator: str,
    technology: str | None,
    widest: bool,
    as_json: bool,
    csv: Path | None,
) -> None:
    """Area of one machine that runs several schemes: a parts list that sums to the total, and each scheme alone."""
    from hwsim.accelerator import Accelerator
    from hwsim.sharing import shared_area

    check_streams(as_json=as_json, csv=csv)
    machine = Accelerator.load(accelerator)
    if technology is not None:
        machine = machine.replace(technology=technology)
    shared = shared_area(schemes, workload, machine, widest=widest)
    if csv is not None:
        write_frame(shared.to_frame(), csv)
    if as_json:
        print_json(_json(shared))
    elif str(csv) != "-":
        _print(shared)


def _json(shared: SharedArea) -> dict[str, Any]:
    return {
        "area_um2": shared.built.total_um2,
        "notes": list(shared.notes),
        "machines": records(shared.summary()),
        "parts": records(shared.to_frame()),
    }


def _print(shared: SharedArea) -> None:
    from reports import frame_table

    out = console()
    frame = shared.to_frame()
    names = ["part", "component", "place", "count", "area_um2", "area_share"]
    if out.width >= 120:
        names += ["area_low_um2", "area_high_um2", "leakage_uw", "schemes"]
    title = f"One {shared.accelerator.name} for {', '.join(shared.alone)}: {shared.technology.name}"
    out.print(frame_table(frame[names], title=title, width=out.width, key="component", max_rows=200))
    summary = shared.summary()
    kept = ["scheme", "area_um2", "area_low_um2", "area_high_um2"]
    kept += [part for part in ("array_um2", "edge_um2", "vector_um2", "sram_um2") if summary[part].any()]
    out.print(frame_table(summary[kept], title="Together and alone", width=out.width, key="scheme"))
    apart = sum(alone.total_um2 for alone in shared.alone.values())
    together = shared.built.total_um2
    out.print(f"One machine takes {together / 1e6:.2f} mm2; one for each scheme would take {apart / 1e6:.2f} mm2.")
    for note in shared.notes:
        out.print(f"- {note}", markup=False)
