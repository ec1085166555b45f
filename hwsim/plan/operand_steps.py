"""Steps that bring operands into the form that the array multiplies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwsim.plan.components import Action, Component, Per, Place

if TYPE_CHECKING:
    from quant import FloatFormat, IntFormat, OperandSpec

Role = Literal["lhs", "rhs"]


@dataclass(frozen=True, slots=True)
class ScanRange:
    """Find the range of an operand at run time: a barrier until `barrier_elements` have passed."""

    operand: Role
    elements: int
    scales: int
    barrier_elements: int
    source: FloatFormat
    symmetric: bool

    @property
    def actions(self) -> tuple[Action, ...]:
        """One comparison for each element."""
        per = Per.LHS_FETCH if self.operand == "lhs" else Per.RHS_FETCH
        component = Component("range_scan", (self.source.name, "absmax" if self.symmetric else "minmax"))
        return (Action(component, self.elements, Place.LANE, per),)


@dataclass(frozen=True, slots=True)
class Migrate:
    """Divide activations by the smoothing factor of their channel.

    A static scheme folds the factor into the quantizer's constants, so that it costs storage only; a dynamic
    one multiplies before the range scan.
    """

    elements: int
    folded: bool
    source: FloatFormat

    @property
    def actions(self) -> tuple[Action, ...]:
        """One multiplication for each element, unless folded."""
        if self.folded:
            return ()
        return (Action(Component("float_mul", (self.source.name,)), self.elements, Place.LANE, Per.LHS_FETCH),)


@dataclass(frozen=True, slots=True)
class Quantize:
    """Turn floats into integers: multiply by a reciprocal scale, round, saturate.

    Parameters
    ----------
    at
        ``load``: as floats come from DRAM; ``producer``: a function made the operand and quantizes it in its
        epilogue, so that integers travel through memory; ``requantizer``: a contraction made it and its
        requantizer, counted there, has delivered these very integers; ``earlier``: an earlier layer or call has
        quantized it, counted there, and integers come from memory.
    """

    operand: Role | Literal["out"]
    elements: int
    source: FloatFormat
    target: IntFormat
    spec: OperandSpec
    dynamic: bool
    at: Literal["load", "producer", "requantizer", "earlier"]

    @property
    def actions(self) -> tuple[Action, ...]:
        """One quantization for each element, at each fetch if it happens on loading."""
        if self.at in {"requantizer", "earlier"}:
            return ()
        per = Per.CALL
        if self.at == "load":
            per = Per.LHS_FETCH if self.operand == "lhs" else Per.RHS_FETCH
        component = Component("quantizer", (self.source.name, self.target.bits))
        return (Action(component, self.elements, Place.LANE, per),)


@dataclass(frozen=True, slots=True)
class DequantizeWeights:
    """Turn stored weights into floats on their way from DRAM into the weight buffer."""

    elements: int
    source: IntFormat
    target: FloatFormat

    @property
    def actions(self) -> tuple[Action, ...]:
        """One conversion and one multiplication for each weight."""
        return (
            Action(
                Component("int_to_float", (max(4, self.source.bits),)),
                self.elements,
                Place.LANE,
                Per.RHS_FETCH,
            ),
            Action(Component("float_mul", (self.target.name,)), self.elements, Place.LANE, Per.RHS_FETCH),
        )


@dataclass(frozen=True, slots=True)
class Decode:
    """Look centroids up as indices leave the weight buffer: one table at each column."""

    elements: int
    entries: int
    target: IntFormat

    @property
    def actions(self) -> tuple[Action, ...]:
        """One look-up each time a weight enters the array."""
        component = Component("codebook", (self.entries, self.target.bits))
        return (Action(component, self.elements, Place.COLUMN, Per.RHS_STREAM),)
