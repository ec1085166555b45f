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
class MultiplyOutliers:
    """Multiply the outlier channels in floating point and add the products to the dequantized sums.

    Weights of these channels are dequantized for it, as bitsandbytes does (`MatMul8bitLt`, ``subB``).

    Parameters
    ----------
    batch, rows, channels, columns
        Two matrices ``[rows, channels] x [channels, columns]`` for each of the batch.
    weights
        Format of the stored weights.
    target
        Float format of both operands; sums are fp32.
    """

    batch: int
    rows: int
    channels: int
    columns: int
    weights: IntFormat
    target: FloatFormat

    @property
    def lane_slots(self) -> int:
        """One multiply-accumulate is one slot; conversions and the last addition are stages of the same pipeline."""
        return self.batch * self.rows * self.channels * self.columns

    @property
    def actions(self) -> tuple[Action, ...]:
        """Dequantize the weights, multiply, and add once for each output."""
        weights = self.batch * self.channels * self.columns
        return (
            Action(Component("int_to_float", (max(4, self.weights.bits),)), weights, Place.LANE),
            Action(Component("float_mul", (self.target.name,)), weights, Place.LANE),
            Action(Component("float_mac", (self.target.name,)), self.lane_slots, Place.LANE),
            Action(Component("float_add", ("fp32",)), self.batch * self.rows * self.columns, Place.LANE),
        )


@dataclass(frozen=True, slots=True)
class RescalePartialSums:
    """Bring each partial sum to a common scale and add it to an outer accumulator.

    Parameters
    ----------
    kind
        ``float``: each sum is converted, multiplied by the product of its scales and added in fp32. ``shift`` and
        ``integer``: it is shifted, or multiplied and shifted, and added to an integer of `outer_bits`.
    reach
        Greatest left shift. Where the scales of one output lie further apart, the lower sums lose bits: they are
        shifted right, towards minus infinity.
    """

    count: int
    kind: Literal["float", "integer", "shift"]
    accumulator_bits: int
    factor_bits: int = 0
    reach: int = 0
    outer_bits: int = 32

    @property
    def actions(self) -> tuple[Action, ...]:
        """Convert, scale and add, once for each partial sum."""
        components: tuple[Component, ...]
        match self.kind:
            case "float":
                components = (
                    Component("float_mul", ("fp32",)),
                    Component("dequantizer", (self.accumulator_bits, "fp32")),
                    Component("float_add", ("fp32",)),
                )
            case "integer":
                components = (Component("multiplier", (max(2, self.factor_bits), self.accumulator_bits)),)
            case "shift":
                components = ()
        if self.kind != "float":
            if self.reach:
                components = (*components, Component("shifter", (self.outer_bits, self.reach + 1)))
            components = (*components, Component("adder", (self.outer_bits,)))
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
    clamp
        Function whose range results saturate to, beside that of `target`: ``relu`` or ``relu6``.
    """

    count: int
    unit: Literal["fixed", "double", "shift", "float"]
    profile: str
    accumulator_bits: int
    multiplier_bits: int
    target: IntFormat
    clamp: Literal["relu", "relu6"] | None = None

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
    """Convert accumulators to float and multiply by the scales of their row and column, one after the other.

    Parameters
    ----------
    multiplications
        Of each result: one for every operand with a scale that has not been joined with partial sums.
    shifted
        Whether joined sums stand for a power of two each, which is added to the exponent.
    """

    count: int
    accumulator_bits: int
    target: FloatFormat
    multiplications: int = 2
    shifted: bool = False

    @property
    def actions(self) -> tuple[Action, ...]:
        """One conversion and its multiplications for each output."""
        components = [Component("int_to_float", (self.accumulator_bits,))]
        if self.multiplications:
            components = [Component("dequantizer", (self.accumulator_bits, "fp32"))]
            components += [Component("float_mul", ("fp32",))] * (self.multiplications - 1)
        if self.shifted:
            components.append(Component("adder", (8,)))
        return tuple(Action(component, self.count, Place.LANE) for component in components)
