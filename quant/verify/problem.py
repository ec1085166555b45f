"""What a verdict is about: a contraction of known sizes, two scale layouts, and the machine that adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from quant.contraction import Contraction, Gemm, Operand
from quant.formats import IntFormat
from quant.layout import Level, ScaleLayout, parse_layout

RhsKind = Literal["weight", "activation", "cached"]
OPERANDS: tuple[Operand, Operand] = ("lhs", "rhs")


@dataclass(frozen=True, slots=True)
class Varying:
    """A level whose scale changes along the reduction.

    Attributes
    ----------
    operand
        ``lhs`` or ``rhs``.
    level
        Index of the level in its layout.
    axis, block
        Reduction axis and the elements that share a scale along it.
    kind
        ``real``, ``int`` or ``pow2``.
    """

    operand: Operand
    level: int
    axis: str
    block: int
    kind: str


@dataclass(frozen=True, slots=True)
class Problem:
    """The question that a verdict answers, checked and with every default filled in.

    Attributes
    ----------
    contraction, shape
        The sum, and ``(label, size)`` of every label.
    lhs, rhs, lhs_zero, rhs_zero
        Scale layouts and zero-point layouts.
    order
        Reduction labels, outermost loop first.
    native_depth : products
        How many products the hardware adds before a partial sum can be seen.
    lhs_format, rhs_format
        Integers that reach the multipliers.
    lhs_static
        The scale and zero point of lhs are known before run time.
    rhs_kind
        ``weight``: known before run time; ``activation``; ``cached``: computed once and used many times.
    """

    contraction: Contraction
    shape: tuple[tuple[str, int], ...]
    lhs: ScaleLayout
    rhs: ScaleLayout
    lhs_zero: ScaleLayout | None
    rhs_zero: ScaleLayout | None
    order: tuple[str, ...]
    native_depth: int
    lhs_format: IntFormat
    rhs_format: IntFormat
    lhs_static: bool
    rhs_kind: RhsKind

    @property
    def sizes(self) -> dict[str, int]:
        """Size of every label."""
        return dict(self.shape)

    @property
    def gemm(self) -> Gemm:
        """Sizes of the matrix product."""
        return self.contraction.gemm(self.sizes)

    def layout(self, operand: Operand) -> ScaleLayout:
        """Scale layout of one operand."""
        return self.lhs if operand == "lhs" else self.rhs

    def levels(self) -> Iterator[tuple[Operand, int, Level]]:
        """Walk through ``(operand, index, level)`` of both layouts."""
        for operand in OPERANDS:
            for index, level in enumerate(self.layout(operand).levels):
                yield operand, index, level

    def reduced(self, operand: Operand) -> tuple[str, ...]:
        """Axes of an operand whose position changes while one output is summed."""
        links = self.contraction.links
        linked = {link.lhs for link in links} if operand == "lhs" else {link.rhs for link in links}
        shared = self.contraction.shared
        return tuple(x for x in self.contraction.labels_of(operand) if x in shared or x in linked)


def build_problem(
    contraction: str | Contraction,
    lhs: str | ScaleLayout,
    rhs: str | ScaleLayout,
    sizes: Mapping[str, int],
    *,
    native_depth: int = 2,
    order: Sequence[str] | None = None,
    lhs_zero: str | ScaleLayout | None = None,
    rhs_zero: str | ScaleLayout | None = None,
    lhs_format: str | IntFormat = "int8",
    rhs_format: str | IntFormat = "int8",
    lhs_static: bool = False,
    rhs_kind: RhsKind = "weight",
) -> Problem:
    """Check every argument and fill in the defaults.

    Raises
    ------
    ValueError
        If an argument breaks a rule of the contraction, the layout grammar or the machine.
    """
    parsed = Contraction.parse(contraction)
    full = parsed.complete(sizes)
    if native_depth < 2:
        msg = f"native_depth must be at least 2, not {native_depth}"
        raise ValueError(msg)
    if rhs_kind not in ("weight", "activation", "cached"):
        msg = f"rhs_kind must be one of weight, activation, cached, not {rhs_kind!r}"
        raise ValueError(msg)
    loops = parsed.reduction if order is None else tuple(order)
    if sorted(loops) != sorted(parsed.reduction):
        msg = f"order must name each of {', '.join(parsed.reduction) or 'no label'} once, not {','.join(loops)!r}"
        raise ValueError(msg)
    left = parse_layout(lhs, parsed.lhs, parsed, "lhs")
    right = parse_layout(rhs, parsed.rhs, parsed, "rhs")
    return Problem(
        parsed,
        tuple(full.items()),
        left,
        right,
        None if lhs_zero is None else parse_layout(lhs_zero, parsed.lhs, parsed, "lhs"),
        None if rhs_zero is None else parse_layout(rhs_zero, parsed.rhs, parsed, "rhs"),
        loops,
        native_depth,
        left.table_format or (IntFormat.parse(lhs_format) if isinstance(lhs_format, str) else lhs_format),
        right.table_format or (IntFormat.parse(rhs_format) if isinstance(rhs_format, str) else rhs_format),
        lhs_static,
        rhs_kind,
    )
