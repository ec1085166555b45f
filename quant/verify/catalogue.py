"""The cross product of scale layouts for a contraction, as a frame and as a pivot that reads as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quant.contraction import Contraction, Operand

from .decision import decide
from .verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


def layouts_for(contraction: str | Contraction, operand: Operand) -> tuple[str, ...]:
    """List the layouts worth comparing for one operand of a contraction.

    Rows or output channels (every axis that is not summed) together in blocks of 1 and 128, the reduction axis that
    both operands carry in blocks of 1, 32, 64, 128, and two-level and power-of-two layouts; for rhs also tables.

    Examples
    --------
    >>> layouts_for("mk,kn->mn", "lhs")[:6]
    ('1', 'm:1', 'm:128', 'k:1', 'k:128', 'm:1,k:128')
    """
    parsed = Contraction.parse(contraction)
    axes = parsed.labels_of(operand)
    taps = {link.rhs for link in parsed.links}
    kept = [axis for axis in axes if axis not in parsed.shared and axis not in taps]
    ones = ",".join(f"{axis}:1" for axis in kept)
    wide = ",".join([*(f"{axis}:1" for axis in kept[:-1]), *(f"{axis}:128" for axis in kept[-1:])])
    each = ",".join(f"{axis}:1" for axis in parsed.shared)
    along = parsed.shared[-1] if parsed.shared else ""
    element = ",".join(f"{axis}:1" for axis in axes)
    found = ["1"]
    found += [ones, wide] if kept else []
    if along and operand == "lhs":
        found += [each, f"{along}:128"]
        found += [f"{ones},{along}:128", f"{ones},{along}:32", f"{wide},{along}:128", f"{wide},{each}"] if kept else []
        found += [f"{ones},{along}:32@pow2", f"{ones} * {each}@pow2", f"{ones} * {ones},{along}:16@int"] if kept else []
    elif along:
        found += [each]
        found += [f"{ones},{along}:{block}" for block in (128, 64, 32)] if kept else []
        found += [f"{along}:128"]
        found += [f"{wide},{along}:128", f"{ones},{along}:32@pow2", f"{ones} * {ones},{along}:64@int"] if kept else []
        found += [f"1 * {ones},{along}:16@int"] if kept else [f"1 * {along}:16@int"]
    found += [element]
    if operand == "rhs":
        found += [f"codebook(int8) {ones or '1'}", f"codebook(real) {ones or '1'}"]
    return tuple(dict.fromkeys(found))


def layout_table(
    contraction: str | Contraction = "mk,kn->mn",
    activations: Sequence[str] | None = None,
    weights: Sequence[str] | None = None,
    *,
    sizes: Mapping[str, int],
    native_depth: int = 2,
    **options: Any,
) -> pd.DataFrame:
    """Decide every pair of layouts.

    Parameters
    ----------
    contraction
        As in `decide`.
    activations, weights
        Layouts of lhs and of rhs; `layouts_for` by default.
    sizes, native_depth, options
        As in `decide`.

    Returns
    -------
    frame
        One row a pair: the columns of `Verdict.to_row`, and ``repairs``, the names of what would help, cheapest first.

    Examples
    --------
    >>> frame = layout_table(sizes=dict(m=256, k=512, n=256))
    >>> len(frame), frame["verdict"].value_counts().to_dict()
    (195, {'segmented': 96, 'incompatible': 87, 'once': 12})
    """
    import pandas as pd  # noqa: PLC0415  quant imports fast

    parsed = Contraction.parse(contraction)
    rows: list[dict[str, Any]] = []
    for lhs in activations or layouts_for(parsed, "lhs"):
        for rhs in weights or layouts_for(parsed, "rhs"):
            found = decide(parsed, lhs, rhs, sizes=sizes, native_depth=native_depth, **options)
            rows.append({**_row(found), "lhs": lhs, "rhs": rhs})
    return pd.DataFrame(rows)


def _row(found: Verdict) -> dict[str, Any]:
    row = {"lhs": "", "rhs": "", **found.to_row()}
    counts = {f"rescales_{kind}": found.rescales_by_kind.get(kind, 0) for kind in ("shift", "integer", "float")}
    return {**row, **counts, "repairs": ", ".join(one.name for one in found.repairs)}


def cell(verdict: str, partial_sums: int, rescale: str, needs_reorder: bool) -> str:
    """Write one verdict in a few characters: ``1``, ``4f``, ``16s*``, ``-``.

    The number of partial sums, then what joins them: shift, integer or float; ``*`` after sorting the reduction.
    """
    if verdict == "incompatible":
        return "-"
    return "1" if verdict == "once" else f"{partial_sums}{rescale[0]}{'*' if needs_reorder else ''}"


def layout_pivot(frame: pd.DataFrame) -> pd.DataFrame:
    """Arrange a layout table as a picture: activations down, weights across, one short verdict in each cell.

    Parameters
    ----------
    frame
        Result of `layout_table`.

    Examples
    --------
    >>> frame = layout_table(activations=["m:1", "k:1"], weights=["n:1", "n:1,k:128"], sizes=dict(m=4, k=512, n=4))
    >>> print(layout_pivot(frame).to_string())
    rhs n:1 n:1,k:128
    lhs
    m:1   1        4f
    k:1   -         -
    """
    columns = ("verdict", "partial_sums", "rescale", "needs_reorder")
    texts = [cell(*values) for values in zip(*(frame[name] for name in columns), strict=True)]
    named = frame[["lhs", "rhs"]].assign(cell=texts)
    rows, across = list(dict.fromkeys(named["lhs"])), list(dict.fromkeys(named["rhs"]))
    return named.pivot_table(index="lhs", columns="rhs", values="cell", aggfunc="first").loc[rows, across]
