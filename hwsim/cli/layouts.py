"""``hwsim layouts``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.shared import OutputFile, console, print_json, records
from hwsim.cli.strict import Strict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from quant.verify import Verdict

DEFAULT_SIZES = {"m": 256, "k": 512, "n": 256}
"""Sizes of the default contraction ``mk,kn->mn`` where none are given."""
_OTHER = "[default: per_tensor where only the other is given]"
STYLES = {"once": "bold green", "segmented": "bold yellow", "incompatible": "bold red"}


def parse_sizes(text: str) -> dict[str, int]:
    """Read ``m=256,k=512,n=256``.

    Raises
    ------
    ValueError
        If a part is not a label and a whole number, or a label is given twice.

    Examples
    --------
    >>> parse_sizes("m=2, k=3")
    {'m': 2, 'k': 3}
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        label, _, value = (piece.strip() for piece in part.partition("="))
        if not label or not value.isdigit():
            msg = f"size must look like m=256,k=512,n=256, not {text!r}"
            raise ValueError(msg)
        if label in sizes:
            msg = f"size of {label} must be given once, not {sizes[label]} and {value}"
            raise ValueError(msg)
        sizes[label] = int(value)
    return sizes


def _default_sizes(contraction: str) -> dict[str, int]:
    """Sizes of the default contraction's labels, if it has no others.

    Raises
    ------
    ValueError
        If it has.
    """
    from quant import Contraction

    parsed = Contraction.parse(contraction)
    if set(parsed.labels) != set(DEFAULT_SIZES):
        computed = {link.out for link in parsed.links}
        wanted = ",".join(f"{label}=..." for label in parsed.labels if label not in computed)
        msg = f"sizes must be given for {contraction}, as --size {wanted} does"
        raise ValueError(msg)
    return dict(DEFAULT_SIZES)


@click.command(cls=Strict)
@click.argument("contraction", default="mk,kn->mn")
@click.option("--lhs", metavar="LAYOUT", help=f"Scale layout of the left operand, the activations. {_OTHER}")
@click.option("--rhs", metavar="LAYOUT", help=f"Scale layout of the right operand, the weights. {_OTHER}")
@click.option("--size", metavar="m=256,k=512,...", help="Length of every axis. [default: m=256,k=512,n=256]")
@click.option("--native-depth", default=2, show_default=True, help="Products the hardware adds before a sum is seen.")
@click.option("--order", metavar="AXES", help="Reduction axes, outermost loop first, such as crs.")
@click.option("--lhs-zero", metavar="LAYOUT", help="Layout of the left zero points. [default: none, symmetric]")
@click.option("--rhs-zero", metavar="LAYOUT", help="Layout of the right zero points. [default: none, symmetric]")
@click.option("--lhs-format", default="int8", show_default=True, help="Integers of the left operand.")
@click.option("--rhs-format", default="int8", show_default=True, help="Integers of the right operand.")
@click.option("--static", is_flag=True, help="Activation scales and zero points are known before run time.")
@click.option(
    "--rhs-kind",
    type=click.Choice(["weight", "activation", "cached"]),
    default="weight",
    show_default=True,
    help="When the right operand is known.",
)
@click.option("--require", type=click.Choice(["once", "segmented"]), help="Exit with 1 if the verdict is a lesser one.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict's fields, or the table's rows.")
@click.option("--image", type=OutputFile(".png", ".svg"), help="Write the table as a .png or .svg picture.")
@click.option("--html", type=OutputFile(".html"), help="Write the table as a self-contained page.")
@click.pass_context
def layouts(
    ctx: click.Context,
    /,
    contraction: str,
    lhs: str | None,
    rhs: str | None,
    size: str | None,
    require: str | None,
    as_json: bool,
    image: Path | None,
    html: Path | None,
    static: bool,
    **options: Any,
) -> None:
    """Tell which scale layouts can be dequantized after accumulation, and prove it.

    CONTRACTION is an einsum or a convolution (default: mk,kn->mn). With --lhs or --rhs, explain that pair of layouts;
    without both, decide a table of them.

    \b
    Layouts: per_tensor  per_token  per_channel  per_channel_in  per_head  per_element
             group:128  block:128x128  mx:32
             axis:block pairs, levels joined by " * ": "m:1,k:128"  "n:1 * n:1,k:16@int"
    Kinds:   @real (default)  @int  @pow2
    Codes:   "codebook(int8) n:1"  "codebook(real) n:1"  "pow2 n:1"

    \b
    hwsim layouts --lhs per_token --rhs n:1,k:128
    hwsim layouts "conv2d stride=2 padding=1" --lhs per_channel_in --size b=1,c=64,h=56,w=56,o=64,r=3,s=3
    hwsim layouts --native-depth 32 --image layouts.png
    """  # noqa: D301  click reads \b
    sizes = parse_sizes(size) if size else _default_sizes(contraction)
    shared: dict[str, Any] = {"sizes": sizes, "lhs_static": static, **options}
    if lhs is None and rhs is None:
        _table(contraction, shared, as_json=as_json, files=(image, html), require=require)
        return
    if image is not None or html is not None:
        msg = f"--image and --html must go with the table of all layouts, not with --lhs {lhs} --rhs {rhs}"
        raise ValueError(msg)
    from quant import decide
    from quant.verify.finding import RANK

    found = decide(contraction, lhs or "per_tensor", rhs or "per_tensor", **shared)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(lambda width: explain(found, width))
    if require is not None and RANK[found.verdict] < RANK[require]:
        # People have just read why; a program that reads JSON finds it there.
        click.echo(f"hwsim: {require} is required, not {found.verdict}", err=True)
        ctx.exit(1)


def _print(parts: Callable[[int], list[RenderableType]]) -> None:
    """Print without the spaces that fill lines up to the width."""
    out = console()
    with out.capture() as captured:
        for part in parts(out.width):
            out.print(part)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), color=out.is_terminal)


def _table(
    contraction: str,
    shared: dict[str, Any],
    *,
    as_json: bool,
    files: tuple[Path | None, Path | None],
    require: str | None,
) -> None:
    if require is not None:
        msg = f"--require must go with --lhs or --rhs, not with the table of all layouts, as {require} holds for a pair"
        raise ValueError(msg)
    from quant import layout_table
    from reports import LayoutPicture, layout_chart, save

    frame = layout_table(contraction, **shared)
    sizes = " ".join(f"{label}={length}" for label, length in shared["sizes"].items())
    title = f"{contraction}   {sizes}   native depth {shared['native_depth']}"
    for path in files:
        if path is not None:
            save(layout_chart(frame, title), path)
            click.echo(f"wrote {path}", err=True)
    if as_json:
        print_json(records(frame))
    else:
        _print(lambda _: [LayoutPicture(frame, title)])


def explain(found: Verdict, width: int) -> list[RenderableType]:
    """Lay one verdict out for people: the verdict, why, the plan, the witness, the repairs."""
    from rich.text import Text

    problem = found.problem
    sizes = " ".join(f"{label}={length}" for label, length in problem.shape)
    head = Text()
    head.append(found.verdict.upper(), style=STYLES[found.verdict])
    head.append(f"   {problem.contraction}   lhs {problem.lhs}   rhs {problem.rhs}   {sizes}")
    parts: list[RenderableType] = [head, _indented(Text(found.explanation))]
    parts += [_titled("What it would take" if found.verdict == "incompatible" else "Plan"), _indented(_plan(found))]
    if found.corrections:
        parts += [_titled("Zero points"), _indented(_corrections(found))]
    if found.witness is not None:
        checked = "checked" if found.witness.check() else "NOT CONFIRMED"
        parts += [_titled(f"Witness ({checked} in exact rationals)"), _indented(Text(str(found.witness)))]
    if found.repairs:
        parts += [_titled("Repairs, cheapest at run time first"), _indented(_repairs(found, width), 0)]
    return parts


def _indented(part: RenderableType, below: int = 1) -> RenderableType:
    from rich.padding import Padding

    return Padding(part, (0, 0, below, 2), expand=False)


def _titled(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text, style="bold")


class _Rows:
    """A table of literal texts: square brackets are indices here, not markup."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def add_row(self, *cells: str) -> None:
        """Add a row."""
        from rich.text import Text

        self.table.add_row(*(Text(cell) for cell in cells))

    def __rich__(self) -> Table:
        return self.table


def _grid(*columns: str, heads: bool = True) -> _Rows:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=heads, header_style="dim")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    return _Rows(table)


def _plan(found: Verdict) -> _Rows:
    from quant.verify.sentences import describe

    table = _grid("", "", heads=False)
    cut = found.segments
    order = " then ".join(found.order) or "nothing"
    table.add_row("reduction", f"{order}, {found.reduction_length:,} steps")
    if found.varying:
        table.add_row("varying", ", ".join(describe(one) for one in found.varying))
    if cut.runs > 1:
        sorted_text = f", sorted by scale ({found.gathered:,} elements gathered)" if found.needs_reorder else ""
        table.add_row(
            "partial sums",
            f"{found.partial_sums:,} per output{sorted_text}; aligned {found.segment:,}, shortest {found.min_run:,}; "
            f"{cut.runs:,} in order, {cut.classes:,} after sorting",
        )
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.rescales_by_kind.items())
        table.add_row("rescale", f"{found.rescale} ({kinds} per output)")
    table.add_row("native depth", f"{found.native_depth}, {found.utilization:.1%} used if padded")
    for step in found.decode:
        table.add_row(
            "before the MAC", f"{step.operand} decoded by {'real table' if step.kind == 'real' else step.kind}"
        )
    for part in found.epilogue:
        index = ", ".join(f"{axis}/{block}" if block > 1 else axis for axis, block in part.blocks)
        where = "per output" if part.when == "epilogue" else "per partial sum"
        name = f"s_{part.operand}" + (f"[{index}]" if index else "")
        table.add_row("factor", f"{name}, {where}: {part.entries:,} {part.kind}, {part.bytes:,} bytes")
    if found.verdict != "incompatible":
        _add_accumulators(found, table)
    return table


def _add_accumulators(found: Verdict, table: _Rows) -> None:
    bias, width, problem = found.bias, found.accumulator, found.problem
    places = {"accumulator": "int32 in the accumulator", "outer": "with the outer sum", "epilogue": "in the epilogue"}
    scale = "in floating point" if bias.scale == "float" else f"scale {bias.scale}"
    table.add_row("bias", f"{places[bias.where]}, {scale}")
    outer = {"none": "", "int": f", then int{width.outer_bits}", "fp32": ", then fp32"}[width.outer]
    products = f"{width.length:,} product{'s' if width.length > 1 else ''}"
    zero = f", {width.corrected_bits} with zero points taken off" if found.corrections else ""
    formats = f"{problem.lhs_format} x {problem.rhs_format}"
    table.add_row("accumulator", f"{width.bits} bits for {products} of {formats}{zero}{outer}")


def _corrections(found: Verdict) -> _Rows:
    table = _grid("term", "layout", "when", ">channels", ">adds", ">multiply-adds", ">constants")
    for one in found.corrections:
        numbers = (one.extra_channels, one.adds, one.multiply_adds, one.constants)
        table.add_row(one.term, one.layout, one.when, *(f"{number:,}" for number in numbers))
        if one.condition:
            table.add_row("", f"if {one.condition}", "")
    return table


def _repairs(found: Verdict, width: int) -> _Rows:
    wide = width >= 110
    table = _grid("repair", "what it does", "reals", "then", *([">offline"] if wide else []), ">run time")
    for one in found.repairs:
        after = one.after
        then = after.verdict if after.verdict == "once" else f"{after.partial_sums:,} {after.rescale}"
        name, does, exact = one.name, one.does, "exact" if one.exact else "rounds"
        table.add_row(name, does, exact, then, *([_operations(one.offline_operations)] if wide else []), _run_time(one))
    return table


def _run_time(one: Any) -> str:
    text = _operations(one.run_time_operations)
    return f"{text} or 0" if any(work.unless for work in one.run_time) else text


def _operations(count: int) -> str:
    """Write a count of operations with three digits.

    Examples
    --------
    >>> _operations(131072), _operations(40), _operations(0)
    ('131 k', '40', '0')
    """
    for limit, unit in ((10**12, " T"), (10**9, " G"), (10**6, " M"), (10**3, " k")):
        if count >= limit:
            return f"{count / limit:.3g}{unit}"
    return str(count)
