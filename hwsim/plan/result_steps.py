"""Steps that turn the sums of the array into results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hwsim.plan.components import Action, Component, Place
from quant import FloatFormat, Format, IntFormat


@dataclass(frozen=True, slots=True)
class CorrectZeroPoints:
    """Subtract zero point times sum from every (partial) sum: one multiply-add for each term and output."""

    count: int
    zero_point_bits: int
    sum_bits: int

    @property
    def actions(self) -> tuple[Action, ...]:
        """Narrow multiplications and accumulator-wide additions."""
        return (
            Action(Component("multiplier", (self.zero_point_bits, self.sum_bits)), self.count, Place.LANE),
            Action(Component("adder", (self.sum_bits,)), self.count, Place.LANE),
        )


@dataclass(frozen=True, slots=True)
class RescalePartialSums:
    """Bring each partial sum to a common scale and add it to an outer accumulator."""

    count: int
    kind: Literal["float", "integer", "shift"]
    accumulator_bits: int

    @property
    def actions(self) -> tuple[Action, ...]:
        """Convert, scale and add, once for each partial sum."""
        match self.kind:
            case "float":
                components = (
                    Component("dequantizer", (self.accumulator_bits, "fp32")),
                    Component("float_add", ("fp32",)),
                )
            case "integer":
                components = (
                    Component("multiplier", (8, self.accumulator_bits)),
                    Component("adder", (self.accumulator_bits,)),
                )
            case "shift":
                components = (
                    Component("shifter", (self.accumulator_bits, 32)),
                    Component("adder", (self.accumulator_bits,)),
                )
        return tuple(Action(component, self.count, Place.LANE) for component in components)


@dataclass(frozen=True, slots=True)
class AddBias:
    """Add the bias: as integers of the accumulator's scale, or as floats after dequantization."""

    count: int
    target: Format

    @property
    def actions(self) -> tuple[Action, ...]:
        """One addition for each output; an integer bias preloads the accumulator and costs none."""
        if isinstance(self.target, IntFormat):
            return ()
        return (Action(Component("float_add", ("fp32",)), self.count, Place.LANE),)


@dataclass(frozen=True, slots=True)
class Requantize:
    """Multiply accumulators by a scale, round, add the zero point and saturate.

    Parameters
    ----------
    unit
        ``fixed`` (one product, one rounding shift), ``double`` (rounded twice), ``shift`` or ``float``.
    profile, multiplier_bits
        What it computes: the profile of that name, or of a multiplier so wide if the machine's is below 32 bits.
    """

    count: int
    unit: Literal["fixed", "double", "shift", "float"]
    profile: str
    accumulator_bits: int
    multiplier_bits: int
    target: IntFormat

    @property
    def actions(self) -> tuple[Action, ...]:
        """One requantization for each output."""
        match self.unit:
            case "fixed" | "double":
                arguments: tuple[int | str | bool, ...] = (
                    "fixed",
                    self.accumulator_bits,
                    self.multiplier_bits,
                    self.unit == "double",
                )
            case "shift" | "float":
                arguments = (self.unit, self.accumulator_bits)
        return (Action(Component("requantizer", arguments), self.count, Place.LANE),)


@dataclass(frozen=True, slots=True)
class Dequantize:
    """Convert accumulators to float and multiply by the scales of their row and column."""

    count: int
    accumulator_bits: int
    target: FloatFormat

    @property
    def actions(self) -> tuple[Action, ...]:
        """One conversion with its multiplication for each output."""
        return (Action(Component("dequantizer", (self.accumulator_bits, "fp32")), self.count, Place.LANE),)
