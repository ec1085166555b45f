"""The accumulator: a register of a stated width behind an adder tree, and everything that may happen on overflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from quant.formats import IntFormat, Overflow, Rounding

_UNSTATED = cast("Overflow", None)


class AccumulatorOverflowError(ArithmeticError):
    """A trapping accumulator left its range.

    Attributes
    ----------
    output : tuple of int
        Index of the first output, in C order, whose register overflowed.
    step : 0, 1, ...
        Accumulation step of that output; `dot_depth` products make one step.
    value : int
        Sum that did not fit.
    """

    def __init__(self, output: tuple[int, ...], step: int, value: int, register: str) -> None:
        super().__init__(
            f"accumulator must stay within {register}, not reach {value} at step {step} of output {output}"
        )
        self.output = output
        self.step = step
        self.value = value


@dataclass(frozen=True, slots=True)
class Accumulator:
    """What happens between the products and the sum that leaves the array.

    Products are exact. `dot_depth` neighbouring products along the reduction meet in an adder tree; its sum loses
    `dropped_bits` low bits and is added to the register: one step. The register starts at the initial value, or at
    0 if it spills.

    Parameters
    ----------
    bits : 8..64
        Width of the two's complement register.
    overflow
        What the register does with a sum that does not fit. Unstated, it wraps, and operands whose single product
        might not fit are refused.
    dot_depth : 1 or more
        Products per step. The last step is filled with zeros.
    tree_bits : bits, 8..64, or None
        Width of every adder of the tree; None is wide enough. The tree adds neighbours pairwise, an odd one out
        moves up. Products enter it whole.
    tree_overflow
        What each adder of the tree does with a sum that does not fit `tree_bits`.
    dropped_bits : bits, 0..31
        Low bits cut off each tree sum (rounding down). The register, the initial value and the result then count
        in units of ``2**dropped_bits``.
    spill_steps : steps, 1 or more, or None
        After so many steps, and at the end, the register is added to an outer register and cleared. The initial
        value is then in the outer register, which is the result.
    spill_bits, spill_overflow
        Width of the outer register, 8..64, and what it does with a sum that does not fit.
    final_bits : bits, 8..64, or None
        The result is shifted right by `final_shift`, rounded by `final_rounding` and saturated to this width,
        once, at the end. None leaves it alone.
    final_shift : bits, 0..62
        Right shift before the final saturation.
    final_rounding
        Rounding of the final shift.

    Raises
    ------
    ValueError
        If a field is outside its range, or a final shift has no final width.

    Notes
    -----
    Public hardware in these terms: an int32 MAC is ``Accumulator()``. The pair saturation of x86 ``vpmaddubsw``, and
    of FBGEMM's 16-bit accumulation (``matmul_u8i8acc16_ref``, ``src/RefImplementations.cc``), is ``dot_depth=2,
    tree_bits=16``. The accumulator of NVDLA (``hw/v1/ias/precision.html``: 34 bits for int8, one rounding
    saturation) is ``bits=34, final_bits=32``.

    Examples
    --------
    >>> Accumulator(16, Overflow.SATURATE, dot_depth=4).range
    (-32768, 32767)
    """

    bits: int = 32
    overflow: Overflow = _UNSTATED
    dot_depth: int = 1
    tree_bits: int | None = None
    tree_overflow: Overflow = Overflow.SATURATE
    dropped_bits: int = 0
    spill_steps: int | None = None
    spill_bits: int = 32
    spill_overflow: Overflow = Overflow.WRAP
    final_bits: int | None = None
    final_shift: int = 0
    final_rounding: Rounding = Rounding.HALF_AWAY
    overflow_stated: bool = field(init=False, repr=False, compare=False, default=True)

    def __post_init__(self) -> None:
        if cast("Overflow | None", self.overflow) is None:
            object.__setattr__(self, "overflow", Overflow.WRAP)
            object.__setattr__(self, "overflow_stated", False)
        for name in ("overflow", "tree_overflow", "spill_overflow"):
            if not isinstance(getattr(self, name), Overflow):
                msg = f"{name} must be an Overflow, not {getattr(self, name)!r}"
                raise TypeError(msg)
        for name in ("bits", "tree_bits", "spill_bits", "final_bits"):
            _check(name, getattr(self, name), 8, 64, optional=name in {"tree_bits", "final_bits"})
        _check("dot_depth", self.dot_depth, 1, None)
        _check("dropped_bits", self.dropped_bits, 0, 31)
        _check("spill_steps", self.spill_steps, 1, None, optional=True)
        _check("final_shift", self.final_shift, 0, 62)
        if self.final_shift and self.final_bits is None:
            msg = f"final_shift must be 0 without final_bits, not {self.final_shift}"
            raise ValueError(msg)

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value of the register."""
        return _range(self.bits)

    @property
    def spill_range(self) -> tuple[int, int]:
        """Smallest and largest value of the outer register."""
        return _range(self.spill_bits)

    @property
    def tree_range(self) -> tuple[int, int] | None:
        """Smallest and largest value of an adder of the tree; None if it is wide enough."""
        return None if self.tree_bits is None else _range(self.tree_bits)

    @property
    def is_plain(self) -> bool:
        """Whether one register takes the products whole: no spills, narrow adders or dropped bits."""
        return self.spill_steps is None and self.tree_bits is None and not self.dropped_bits

    @property
    def result_bits(self) -> int:
        """Width of the sum that leaves, bits."""
        if self.final_bits is not None:
            return self.final_bits
        return self.bits if self.spill_steps is None else self.spill_bits

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the results: int32 if they fit, else int64."""
        return np.dtype(np.int32 if self.result_bits <= 32 else np.int64)

    @property
    def format(self) -> IntFormat:
        """Format of the sum that leaves."""
        return IntFormat(self.result_bits)


def _range(bits: int) -> tuple[int, int]:
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def _check(name: str, value: int | None, lo: int, hi: int | None, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{name} must be an int, not {value!r}"
        raise TypeError(msg)
    if value < lo or (hi is not None and value > hi):
        rule = f"in {lo}..{hi}" if hi is not None else f"at least {lo}"
        msg = f"{name} must be {rule}, not {value}"
        raise ValueError(msg)
