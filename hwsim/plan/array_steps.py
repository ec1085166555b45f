"""Steps of the array: the contraction itself, and the sums that zero points need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwsim.plan.components import Action, Component, Place
from quant import FloatFormat, Format, IntFormat

if TYPE_CHECKING:
    from hwsim.plan.operand_steps import Role


@dataclass(frozen=True, slots=True)
class MultiplyAccumulate:
    """The contraction itself, cut into segments of the reduction where scales force it.

    Parameters
    ----------
    batch, m, k, n
        The contraction as matrices ``[batch, m, k] x [batch, k, n]``.
    boundaries
        First index of each segment of k; ``(0,)`` is one sum.
    lhs, rhs
        Formats that enter the multiplier; both integer or both float.
    accumulator_bits
        Width of the integer accumulator; 0 for a float one, which is fp32.
    unit
        ``multiply``, ``shift`` (power-of-two weights), ``lookup`` (a table of `prototypes` entries for each step of k
        and column, of which lhs chooses one) or ``float``.
    """

    batch: int
    m: int
    k: int
    n: int
    boundaries: tuple[int, ...]
    lhs: Format
    rhs: Format
    accumulator_bits: int
    unit: Literal["multiply", "shift", "lookup", "float"]
    saturate: bool = False
    prototypes: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.batch * self.m * self.k * self.n

    @property
    def segments(self) -> int:
        """Partial sums of each output."""
        return len(self.boundaries)

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of lhs and rhs that enter an element in one step; of rhs a whole table with ``lookup``."""
        return self.lhs.bits, self.rhs.bits * self.prototypes

    @property
    def component(self) -> Component:
        """The multiply-accumulate unit of one processing element."""
        lhs_bits, rhs_bits = _signed_bits(self.lhs), _signed_bits(self.rhs)
        match self.unit:
            case "multiply":
                return Component("integer_mac", (lhs_bits, rhs_bits, self.accumulator_bits, self.saturate))
            case "shift":
                # bits of the weight code: sign and exponents 0 .. 2**(bits-1) - 2
                largest = (1 << (self.rhs.bits - 1)) - 2
                return Component("shift_mac", (lhs_bits, largest, self.accumulator_bits, self.saturate))
            case "lookup":
                return Component("pq_lookup", (self.prototypes, self.rhs.bits, self.accumulator_bits))
            case "float":
                name = self.lhs.name if isinstance(self.lhs, FloatFormat) else str(self.lhs)
                return Component("float_mac", (name,))

    @property
    def actions(self) -> tuple[Action, ...]:
        """One MAC for each product; the registers around it follow from the array, not from the plan."""
        return (Action(self.component, self.macs, Place.ELEMENT),)


def _signed_bits(form: Format) -> int:
    """Width of a signed multiplier's input that holds a format: one more bit for an unsigned one."""
    return form.bits + (isinstance(form, IntFormat) and not form.signed)


@dataclass(frozen=True, slots=True)
class SumForZeroPoint:
    """Add up an operand along the reduction, for the zero point of the other one.

    With ``adders`` one adder and register at each row (or column) sums what streams past; with ``channel`` the
    array computes one more column (or row) against ones.
    """

    operand: Role
    elements: int
    bits: int
    by: Literal["adders", "channel"]
    mac: Component

    @property
    def actions(self) -> tuple[Action, ...]:
        """One addition, or one multiply-accumulate of the extra channel, for each element."""
        if self.by == "channel":
            return (Action(self.mac, self.elements, Place.ELEMENT),)
        place = Place.ROW if self.operand == "lhs" else Place.COLUMN
        return (
            Action(Component("adder", (self.bits,)), self.elements, place),
            Action(Component("register", (self.bits,)), self.elements, place),
        )
