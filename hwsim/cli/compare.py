"""``hwsim compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.shared import (
    OutputFile,
    check_streams,
    console,
    print_json,
    progress,
    records,
    save_svg,
    write_frame,
)
from hwsim.cli.strict import Strict

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from hwsim.comparison import Comparison
    from hwsim.numerics import Progress
    from quant import Scheme

    Advantages = tuple[pd.DataFrame, pd.DataFrame]


@click.command(cls=Strict)
@click.argument("workload", default="minilm-block")
@click.option(
    "--scheme", "-s", "schemes", multiple=True, metavar="NAME|FILE", help="A scheme; give several. [default: fifteen]"
)
@click.option("--accelerator", "-a", default="edge-16x16", show_default=True, metavar="NAME|FILE", help="The machine.")
@click.option("--baseline", "-b", default="fp32", show_default=True, metavar="NAME|FILE", help="What ratios refer to.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Repetitions of the workload.")
@click.option("--per-layer", is_flag=True, help="Show every layer of every scheme too.")
@click.option(
    "--explain",
    is_flag=True,
    help="Say what each difference to the baseline is made of, and which are too small to rank.",
)
@click.option("--costs-only", is_flag=True, help="Skip the numerics: no errors, only costs.")
@click.option(
    "--technologies",
    "-t",
    multiple=True,
    metavar="all|NAME|FILE",
    help="Say whether the ranking holds in other technologies: all of them, or one; give several.",
)
@click.option("--advantages", is_flag=True, help="Show memory, power, latency and area against fp32 and fp16.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a list of rows, one a scheme; with --per-layer, --explain, -t or --advantages an object: schemes, and "
    "layers, explanation and near_ties, technologies, advantages and losses as asked.",
)
@click.option(
    "--csv",
    type=OutputFile(".csv", allow_dash=True),
    help="Write rows to a .csv file, one a scheme, or one a layer with --per-layer; - prints them.",
)
@click.option("--parquet", type=OutputFile(".parquet"), help="Write the same rows to a .parquet file.")
@click.option("--svg", type=OutputFile(".svg"), help="Save what is printed, or would be without --json, as a picture.")
@click.option("--html", type=OutputFile(".html", ".htm"), help="Write a self-contained page with plots.")
def compare(
    workload: str,
    schemes: tuple[str, ...],
    accelerator: str,
    baseline: str,
    batch: int,
    per_layer: bool,
    explain: bool,
    costs_only: bool,
    technologies: tuple[str, ...],
    advantages: bool,
    as_json: bool,
    csv: Path | None,
    parquet: Path | None,
    svg: Path | None,
    html: Path | None,
) -> None:
    """Put quantization schemes side by side: verdict, error, latency, energy, area.

    WORKLOAD is minilm-block (the default: a MiniLM-L6 transformer block with trained weights and the activations of
    real sentences), an .npz file of operands lhs [m, k] and rhs [k, n], or for its costs alone resnet50 or a
    transformer by its shape: gpt2-prefill-512, gpt2-decode-512, minilm-l6-prefill-128, tinyllama-1.1b-decode-2048.
    """
    import hwsim
    import workloads
    from quant import Scheme

    check_streams(as_json=as_json, csv=csv)
    network = workloads.load(workload)
    chosen = [Scheme.load(name) for name in schemes or hwsim.DEFAULT_SCHEMES]
    measured = not costs_only and not network.shapes_only
    steps = (len(chosen) + 2) * (2 + (len(network.layers) if measured else 0)) + 27 * advantages
    with progress(steps) as report:
        result = hwsim.compare(
            network,
            _with_references(chosen) if advantages else chosen,
            accelerator,
            baseline=baseline,
            batch=batch,
            numerics=measured,
            technologies="all" if "all" in technologies else technologies,
            progress=report,
        )
        tables = _advantages(result, report) if advantages else None
    frame = result.layers if per_layer else result.schemes
    if csv is not None:
        write_frame(frame, csv)
    if parquet is not None:
        write_frame(frame, parquet)
    if html is not None:
        from reports import write_page

        write_page(html, result.schemes, result.layers, result.ledger, result.metadata)
        click.echo(f"wrote {html}", err=True)
    if as_json:
        print_json(_json(result, tables, per_layer=per_layer, explain=explain))
    silent = as_json or str(csv) == "-"
    if svg is not None or not silent:
        _print(result, tables, per_layer=per_layer, explain=explain, svg=svg, silent=silent)


def _with_references(schemes: list[Scheme]) -> list[Scheme]:
    """Add the floating point that the advantages are taken against, where it is missing."""
    from hwsim.advantages import REFERENCES
    from quant import Scheme

    names = {scheme.name for scheme in schemes}
    return [*schemes, *(Scheme.load(name) for name in REFERENCES if name not in names)]


def _json(result: Comparison, advantages: Advantages | None, *, per_layer: bool, explain: bool) -> Any:
    """Rows of the schemes, in an object with what else was asked for."""
    from hwsim.rankings import near_ties

    asked = {}
    if per_layer:
        asked["layers"] = result.layers
    if explain:
        asked["explanation"] = result.ledger
        asked["near_ties"] = near_ties(result.pairs)
    if result.technologies is not None:
        asked["technologies"] = result.technologies
    if advantages is not None:
        asked["advantages"], asked["losses"] = advantages
    schemes = records(result.schemes)
    return {"schemes": schemes, **{name: records(frame) for name, frame in asked.items()}} if asked else schemes


def _print(
    result: Comparison, advantages: Advantages | None, *, per_layer: bool, explain: bool, svg: Path | None, silent: bool
) -> None:
    from reports import compare_table, headlines, layers_table, ledger_table

    out = console(record=svg is not None, silent=silent)
    out.print(compare_table(result.schemes, result.metadata, out.width))
    out.print("\nIn short", style="bold")
    for sentence in headlines(result.schemes, result.metadata):
        out.print(f"- {sentence}")
    if result.metadata["counted"]:
        out.print(f"- {result.metadata['counted']}")
    if result.technologies is not None:
        _print_technologies(out, result.technologies)
    if advantages is not None:
        _print_advantages(out, *advantages)
    if per_layer:
        out.print(layers_table(result.layers, result.metadata, out.width))
    if explain:
        out.print(ledger_table(result.ledger, result.metadata, out.width))
        _print_near_ties(out, result.pairs)
    if svg is not None:
        save_svg(out, svg, "hwsim compare")


def _print_near_ties(out: Console, pairs: pd.DataFrame) -> None:
    """One table a quantity: neighbours whose order the sources leave open."""
    import pandas as pd

    from hwsim.rankings import QUANTITIES, near_ties
    from reports import frame_table

    found = near_ties(pairs)
    for quantity, what in QUANTITIES.items():
        rows = found[found["quantity"] == quantity]
        if len(rows):
            unit = quantity.removeprefix("energy_delay_").removeprefix("energy_").removeprefix("area_")
            named = [f"{one} and {two}" for one, two in zip(rows["better"], rows["worse"], strict=True)]
            ends = {f"{name}_{unit}": rows[name].to_numpy() for name in ("low", "difference", "high")}
            shown = pd.DataFrame({"neighbours": named, **ends})
            title = f"Closer in {what} than the sources agree"
            out.print(frame_table(shown, title=title, width=out.width, max_rows=len(shown), one_unit=True))


def _print_technologies(out: Console, priced: pd.DataFrame) -> None:
    """One table a quantity: schemes by technologies."""
    from reports import frame_table

    rows = priced[priced["scheme"].notna()]
    for quantity, title in (("energy_pj", "Energy by technology"), ("area_um2", "Area by technology")):
        names = list(dict.fromkeys(rows["technology"]))
        table = rows.pivot_table(index="scheme", columns="technology", values=quantity, sort=False)[names]
        suffix = quantity.rsplit("_", 1)[1]
        shown = table.rename(columns={name: f"{name}_{suffix}" for name in names}).reset_index()
        out.print(frame_table(shown, title=title, width=out.width, key="scheme", rank=True, one_unit=True))


def _advantages(result: Comparison, report: Progress) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Factors against floating point on this workload, and matrix products where they are below 1.

    The products are tried for the schemes at hand, of many for the few that lose in ways of their own.
    """
    from hwsim.advantages import CASES, REFERENCES, advantages, losing_cases

    accelerator = next(iter(result.results.values())).accelerator
    own = {name: found.scheme for name, found in result.results.items() if name not in REFERENCES}
    few = len(own) <= len(CASES)
    tried = [scheme for name, scheme in own.items() if few or name in CASES] or CASES
    return advantages(result.results), losing_cases(accelerator, tried, progress=report)


def _print_advantages(out: Console, frame: pd.DataFrame, cases: pd.DataFrame) -> None:
    from reports import frame_table

    caption = "Times better than fp32 and fp16: above 1 the scheme saves, below 1 it loses."
    out.print(
        frame_table(
            frame.drop(columns="loses"),
            title="Memory, power, latency and chip area",
            width=out.width,
            key="scheme",
            caption=caption,
            max_rows=len(frame),
        )
    )
    if cases.empty:
        out.print("They lose none of the four on any product of 1 to 256 rows and columns and 4 to 512 steps.")
        return
    out.print(
        frame_table(
            cases,
            title="Where they lose most, over products as --gemm MxNxK takes them",
            width=out.width,
            key="scheme",
            max_rows=len(cases),
        )
    )
