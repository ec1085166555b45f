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
    """Find the range of an operand at run time: a barrier until `barrier_elements` have passed.

    Parameters
    ----------
    finds
        Ranges, or the channels whose magnitudes are outliers; for these all of the operand must have passed. What then
        scans the buffered operand for its ranges keeps pace with the quantizer and is no barrier of its own.
    """

    operand: Role
    elements: int
    scales: int
    barrier_elements: int
    source: FloatFormat
    symmetric: bool
    finds: Literal["range", "outliers"] = "range"

    @property
    def actions(self) -> tuple[Action, ...]:
        """One comparison for each element."""
        per = Per.LHS_FETCH if self.operand == "lhs" else Per.RHS_FETCH
        component = Component("range_scan", (self.source.name, "absmax" if self.symmetric else "minmax"))
        return (Action(component, self.elements, Place.LANE, per),)


def _factors(elements: int, source: FloatFormat) -> Action:
    """Multiply each value of lhs by a factor of its channel."""
    return Action(Component("float_mul", (source.name,)), elements, Place.LANE, Per.LHS_FETCH)


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
        return () if self.folded else (_factors(self.elements, self.source),)


@dataclass(frozen=True, slots=True)
class Rotate:
    """Rotate activations along the reduction by a Hadamard matrix: sums and differences in so many stages.

    The matrix is not normalized; weights have been rotated by its inverse offline.

    Parameters
    ----------
    source
        Format of the adders.
    at
        ``load``: as floats come from DRAM; ``producer``: before the operand is quantized and stored.
    """

    elements: int
    block: int
    source: FloatFormat
    at: Literal["load", "producer"] = "load"

    @property
    def lane_slots(self) -> int:
        """One addition is one slot: ``log2(block)`` for each element."""
        return self.elements * (self.block.bit_length() - 1)

    @property
    def actions(self) -> tuple[Action, ...]:
        """One addition for each element and stage; signs are free in an adder."""
        per = Per.LHS_FETCH if self.at == "load" else Per.CALL
        return (Action(Component("float_add", (self.source.name,)), self.lane_slots, Place.LANE, per),)


@dataclass(frozen=True, slots=True)
class RepeatChannels:
    """Repeat the widest channels of an activation, each copy divided by the number of its copies.

    The copies are quantized, stored and multiplied as other channels are; rows of the weight were repeated offline. A
    static scheme folds the division into the quantizer's constants, a dynamic one multiplies before the range scan.

    Parameters
    ----------
    elements
        Values before.
    axis, channels, extra
        Label along which channels lie, how many there are, and how many are added.
    """

    elements: int
    axis: str
    channels: int
    extra: int
    folded: bool
    source: FloatFormat

    @property
    def actions(self) -> tuple[Action, ...]:
        """One multiplication for each value, unless folded."""
        return () if self.folded else (_factors(self.elements, self.source),)


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
    def plain_spec(self) -> OperandSpec:
        """Spec of the integers themselves, before prototypes replace any."""
        return self.spec.replace(code="affine", prototypes=None, width=None) if self.spec.code == "pq" else self.spec

    @property
    def actions(self) -> tuple[Action, ...]:
        """One quantization for each element, at each fetch if it happens on loading."""
        if self.at in {"requantizer", "earlier"}:
            return ()
        per = Per.CALL
        if self.at == "load":
            per = Per.LHS_FETCH if self.operand == "lhs" else Per.RHS_FETCH
        component = Component("quantizer", (self.source.name, self.target.bits))
        quantizer = Action(component, self.elements, Place.LANE, per)
        random_bits = self.spec.random_bits
        if random_bits is None:
            return (quantizer,)
        rounder = Component("rounder", ("stochastic", self.target.bits + random_bits, random_bits))
        return (quantizer, Action(rounder, self.elements, Place.LANE, per))


@dataclass(frozen=True, slots=True)
class EncodePrototypes:
    """Replace pieces of each row of integers by the nearest of a few prototypes (Blalock and Guttag, ICML 2021).

    Parameters
    ----------
    rows, subspaces, width
        Rows, pieces of a row, and length of a piece.
    prototypes
        Of each piece.
    source
        Format of values and prototypes.
    """

    rows: int
    subspaces: int
    width: int
    prototypes: int
    source: IntFormat

    @property
    def lane_slots(self) -> int:
        """A lane encodes one piece a cycle: all products with all prototypes at once."""
        return self.rows * self.subspaces

    @property
    def actions(self) -> tuple[Action, ...]:
        """Products with all prototypes and the search for the largest score, for each piece."""
        component = Component("pq_encoder", (self.prototypes, self.width, self.source.bits))
        return (Action(component, self.lane_slots, Place.LANE, Per.LHS_FETCH),)


@dataclass(frozen=True, slots=True)
class DequantizeWeights:
    """Turn stored weights into floats on their way from DRAM into the weight buffer.

    Parameters
    ----------
    elements, spec, target
        How many, how they are stored, and what they become.
    """

    elements: int
    spec: OperandSpec
    target: FloatFormat

    @property
    def actions(self) -> tuple[Action, ...]:
        """Decode and multiply by the scale, once for each weight."""
        bits = self.spec.integer_format.bits
        match self.spec.code:
            case "codebook":
                width = self.target.bits if self.spec.centroids == "real" else 8
                decoding = [Component("codebook", (self.spec.table_entries, width))]
                if self.spec.centroids != "real":
                    decoding.append(Component("int_to_float", (8,)))
            case "pow2":
                # The code is an exponent: it joins that of the scale.
                decoding = [Component("adder", (8,))]
            case _:
                decoding = [Component("int_to_float", (max(4, bits),))]
                if not self.spec.symmetric:
                    decoding.insert(0, Component("adder", (max(4, bits + 1),)))
        if self.spec.code != "pow2":
            decoding.append(Component("float_mul", (self.target.name,)))
        return tuple(Action(component, self.elements, Place.LANE, Per.RHS_FETCH) for component in decoding)


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
