"""``hwsim claims``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsim.cli.shared import (
    OutputFile,
    check_streams,
    console,
    print_json,
    progress,
    records,
    write_frame,
    write_text,
)
from hwsim.cli.strict import Strict

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.claims import Finding

_TABLES = {
    "rounding": "Rounding, mode by mode",
    "zero-points": "What zero points on the weights add",
    "strategies": "The strategies, side by side",
    "training": "Training quantized",
}
_CAPTIONS = {
    "rounding": "Errors in steps, of values with 0 to 100 of them; sums are of 1,024 values. Hardware cuts 16 of 24 "
    "bits off at 45 nm; a dash is no model. Software is numpy, processor time a value.",
    "zero-points": "256 x 512 x N int8, sums formed by an extra channel of the array or by adders beside it, against "
    "the same product without. Energy is that of the whole call, and moves also where another tiling becomes the "
    "fastest; MAC energy is that of products and sums.",
    "strategies": "MiniLM block on edge-16x16 as the chapter describes the strategies: one scale a tensor, float32 "
    "elsewhere. One and many rows: cycles of M x 512 x 512 with M = 1 and 256.",
    "training": "Digits of scikit-learn, a network of 64, 32 and 10 values on the integer datapath, trained equally "
    "long for both.",
}


@click.command(cls=Strict)
@click.option(
    "--only", "-o", multiple=True, metavar="ID|NAME|TOPIC", help="Measure these claims; give several. [default: all]"
)
@click.option("--cases", "detail", is_flag=True, help="Show every case with its number, and the data.")
@click.option("--tables/--no-tables", default=None, help="Print the tables too. [default: unless --only is given]")
@click.option("--json", "as_json", is_flag=True, help="Print claims, cases and tables as JSON.")
@click.option("--csv", type=OutputFile(".csv", allow_dash=True), help="Write rows to a .csv file; - prints them.")
@click.option("--markdown", type=OutputFile(".md"), help="Write a page, as docs/claims.md is.")
def claims(
    only: tuple[str, ...],
    detail: bool,
    tables: bool | None,
    as_json: bool,
    csv: Path | None,
    markdown: Path | None,
) -> None:
    """Measure the claims of the source documents on quantization again, one row each.

    Each claim is tried under several conditions. It holds if it holds under all of them, holds only when it does
    under some. Everything is computed now: seeded data, real activations, the models of this package; only times in
    software differ from run to run. An interrupt keeps what is measured.
    """
    from hwsim.claims import cases_frame, findings, select, to_frame

    check_streams(as_json=as_json, csv=csv)
    with_tables = not only if tables is None else tables
    names = list(_TABLES) if with_tables else []
    measured: list[Finding] = []
    frames: dict[str, pd.DataFrame] = {}
    interrupted = False
    with progress(len(select(only)) + len(names)) as report:
        try:
            for finding in findings(only, report):
                measured.append(finding)  # noqa: PERF402  what is measured outlives an interrupt
            for name in names:
                report(f"table: {name}")
                frames[name] = _table(name)
        except KeyboardInterrupt:
            interrupted = True
    frame, cases = to_frame(measured), cases_frame(measured)
    if interrupted and not measured:
        raise click.Abort
    if csv is not None:
        write_frame(frame, csv)
    if markdown is not None and not interrupted:
        write_text(markdown, _page(frame, cases, frames, only))
        click.echo(f"wrote {markdown}", err=True)
    if as_json:
        print_json(
            {"claims": records(frame), "cases": records(cases)}
            | {name.replace("-", "_"): records(one) for name, one in frames.items()}
        )
    elif str(csv) != "-":
        _print(frame, cases, frames, detail=detail)
    if interrupted:
        raise click.Abort


def _table(name: str) -> pd.DataFrame:
    from hwsim.claims import rounding_table, strategy_table, training_table, zero_point_table

    match name:
        case "rounding":
            return rounding_table()
        case "zero-points":
            return zero_point_table()
        case "strategies":
            return strategy_table()
        case _:
            return training_table()


def _print(frame: pd.DataFrame, cases: pd.DataFrame, tables: dict[str, pd.DataFrame], *, detail: bool) -> None:
    from reports import claims_table, frame_table

    out = console()
    out.print(claims_table(frame, cases, out.width, detail=detail))
    for name, table in _filled(tables).items():
        out.print()
        out.print(frame_table(table, title=_TABLES[name], caption=_CAPTIONS[name], width=out.width))


def _filled(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Leave out a table without rows: what it needs is not installed, and the claims say so."""
    return {name: table for name, table in tables.items() if len(table)}


def _page(frame: pd.DataFrame, cases: pd.DataFrame, tables: dict[str, pd.DataFrame], only: tuple[str, ...]) -> str:
    from reports import claims_markdown

    command = " ".join(["hwsim claims", *(f"--only {word}" for word in only), "--markdown docs/claims.md"])
    introduction = [
        f"Made by `{command}`, which measures everything again. Ids are those of [concepts.md](concepts.md): N the "
        'lecture notes, B the blog post "HW Compatible Quantization", C the chapter on strategies, "The Math Behind '
        'Quantization". Words in quotation marks are theirs.',
        "A claim is tried under several conditions, and each trial is a comparison of measured numbers. It *holds* if "
        "all agree with it, *holds only when* some do, *does not hold* if none does. Data are seeded, real activations "
        "come from the embedded MiniLM block, physical numbers from the models in [technology.md](technology.md). "
        "Times in software depend on the machine that ran this. Products are written m x k x n.",
    ]
    captioned = {_TABLES[name]: (table, _CAPTIONS[name]) for name, table in _filled(tables).items()}
    return claims_markdown(frame, cases, captioned, introduction)
