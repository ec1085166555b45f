"""The processing element: what a multiply-accumulate is built of in one element of an array, and what a use takes.

The plan says what is multiplied; depth, dataflow and buffering of the array say with which registers.

================= =========================== =======================================
dataflow          take a value with each use  hold a value
================= =========================== =======================================
output stationary both operands               the sum, in the unit
weight stationary lhs                         rhs, twice if `Array.double_buffered`
input stationary  rhs                         lhs, twice if `Array.double_buffered`
================= =========================== =======================================

Where an operand is held, sums pass from element to element; the unit's register is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim.plan import Component, SumForZeroPoint

if TYPE_CHECKING:
    from hwsim.accelerator import Array
    from hwsim.cost.pricing import Number
    from hwsim.plan import MultiplyAccumulate, Plan
    from hwsim.timing import Timing

_DEEP = {"integer_mac": "dot_product", "shift_mac": "shift_dot_product", "float_mac": "float_dot_product"}


@dataclass(frozen=True, slots=True)
class Element:
    """Components of one processing element.

    Parameters
    ----------
    unit
        The multiply-accumulate unit, or a dot product unit of `depth` products.
    product
        One of its multipliers, which rests where a slice of the reduction is shorter than the unit.
    adder
        That of its sum.
    moving_bits, held_bits : bits
        Operand registers that take a new value with each use, and those of an operand that stays.
    held_value_bits : bits
        One value of the operand that stays.
    sum_bits : bits
        Accumulator or passing sum, part of the unit.
    shifts_sums
        Whether finished sums leave through the registers of their neighbours, behind a multiplexer.
    """

    unit: Component
    product: Component
    adder: Component
    depth: Number
    moving_bits: int
    held_bits: int
    held_value_bits: int
    sum_bits: int
    shifts_sums: bool

    @classmethod
    def of(cls, mac: MultiplyAccumulate, array: Array) -> Element:
        """Build the element that an array needs for a multiply-accumulate step."""
        depth, unit = array.dot_depth, mac.component
        if np.max(depth) > 1:
            unit = Component(_DEEP[unit.kind], (depth, *unit.arguments))
        lhs_bits, rhs_bits = mac.operand_bits
        lhs, rhs = depth * lhs_bits, depth * rhs_bits
        copies = 2 if array.double_buffered else 1
        moving, held, value = {
            "output_stationary": (lhs + rhs, 0, 0),
            "weight_stationary": (lhs, copies * rhs, rhs_bits),
            "input_stationary": (rhs, copies * lhs, lhs_bits),
        }[array.dataflow]
        sums = mac.accumulator_bits or 32
        shifts = array.dataflow == "output_stationary" and array.drain == "shift"
        adder = Component("adder", (sums,)) if mac.accumulator_bits else Component("float_add", ("fp32",))
        return cls(unit, _product(mac), adder, depth, moving, held, value, sums, shifts)

    @property
    def register_bits(self) -> int:
        """Bits that are clocked each cycle."""
        return self.moving_bits + self.held_bits + self.sum_bits

    @property
    def components(self) -> dict[str, Component]:
        """By what they are for."""
        found = {"unit": self.unit, "moving": Component("register", (self.moving_bits,))}
        if np.max(self.held_bits) > 0:
            found["held"] = Component("register", (self.held_bits,))
        if self.shifts_sums:
            found["drain"] = Component("multiplexer", (self.sum_bits,))
        return found


@dataclass(frozen=True, slots=True)
class Uses:
    """How often the elements of an array work on one layer.

    Parameters
    ----------
    macs, channel_macs
        Products of the contraction, and of an extra channel that sums an operand for zero points.
    units, channel_units
        Uses of a unit for each: a slice of the reduction that a unit adds at once.
    loads
        Times that a register takes a value on its way to the element that holds it.
    """

    macs: Number
    channel_macs: Number
    units: Number
    channel_units: Number
    loads: Number

    @classmethod
    def of(cls, plan: Plan, array: Array, timing: Timing) -> Uses:
        """Count them."""
        mac, slices = plan.mac, timing.schedule.slices
        channel = sum(
            step.elements for step in plan.steps if isinstance(step, SumForZeroPoint) and step.by == "channel"
        )
        # A value that is held enters at the edge and passes half of the rows on average; one more step puts it in use.
        path = (array.rows + 1) / 2 + (1 if array.double_buffered else 0)
        values = {
            "output_stationary": 0,
            "weight_stationary": plan.rhs.elements * timing.schedule.rhs_streams,
            # Of a convolution the patches: a value is held wherever a window sees it.
            "input_stationary": mac.batch * mac.m * mac.k * timing.schedule.lhs_streams,
        }[array.dataflow]
        return cls(
            macs=mac.macs,
            channel_macs=channel,
            units=mac.batch * mac.m * mac.n * slices,
            channel_units=channel * slices / mac.k,
            loads=values * path,
        )


def _product(mac: MultiplyAccumulate) -> Component:
    """One multiplier of the unit."""
    kind, arguments = mac.component.kind, mac.component.arguments
    match kind:
        case "integer_mac":
            return Component("multiplier", arguments[:2])
        case "shift_mac":
            return Component("shift_multiplier", arguments[:2])
        case "pq_lookup":
            return Component("codebook", arguments[:2])
        case _:
            return Component("float_mul", arguments[:1])
