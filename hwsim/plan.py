"""The plan of one layer: ordered steps, each one thing the hardware does.

Numerics execute a plan, timing schedules it, energy multiplies its counts, area lists its components and the
report prints it: all of them read the same steps, so a scheme can not be priced as one thing and computed as
another. A step knows its shapes, its formats and how many primitive actions it takes.

Counts are arithmetic on sizes and so broadcast when sizes are columns.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from quant import FloatFormat, Format, IntFormat

if TYPE_CHECKING:
    from quant import OperandSpec, Scheme, Verdict
    from workloads import Layer

Role = Literal["lhs", "rhs"]


class Place(enum.Enum):
    """Where a component is built, which decides how many of it there are."""

    ELEMENT = "element"  # one in each processing element
    ROW = "row"  # one at each row's edge of the array
    COLUMN = "column"  # one at each column's edge of the array
    LANE = "lane"  # one in each lane of the vector unit


class Per(enum.Enum):
    """How often the actions of a step are repeated within one call."""

    CALL = "call"
    LHS_FETCH = "lhs_fetch"  # each time the left operand comes from DRAM
    RHS_FETCH = "rhs_fetch"
    RHS_STREAM = "rhs_stream"  # each time the right operand is read into the array


@dataclass(frozen=True, slots=True)
class Component:
    """A piece of hardware that a technology can price: a method of `Technology` and its arguments."""

    kind: str
    arguments: tuple[int | str | bool, ...]

    def __str__(self) -> str:
        template = _LABELS.get(self.kind)
        if template is None:
            return f"{self.kind}({', '.join(map(str, self.arguments))})"
        return template(*self.arguments)


_LABELS: dict[str, Callable[..., str]] = {
    "integer_mac": lambda a, b, c, saturate: f"{a}x{b}-bit MAC into {c} bits{', saturating' if saturate else ''}",
    "shift_mac": lambda a, shift, c, saturate: (
        f"{a}-bit shift-by-0..{shift} MAC into {c} bits{', saturating' if saturate else ''}"
    ),
    "dot_product": lambda depth, a, b, c: f"{depth}-deep {a}x{b}-bit dot product into {c} bits",
    "float_mac": lambda fmt: f"{fmt} MAC",
    "register": lambda bits: f"{bits}-bit register",
    "adder": lambda bits: f"{bits}-bit adder",
    "multiplier": lambda a, b: f"{a}x{b}-bit multiplier",
    "shifter": lambda bits, positions: f"{bits}-bit shifter of {positions} positions",
    "float_add": lambda fmt: f"{fmt} adder",
    "float_mul": lambda fmt: f"{fmt} multiplier",
    "int_to_float": lambda bits: f"{bits}-bit to float converter",
    "range_scan": lambda fmt, kind: f"{fmt} {kind} scanner",
    "quantizer": lambda fmt, bits: f"{fmt} to {bits}-bit quantizer",
    "dequantizer": lambda bits, fmt: f"{bits}-bit to {fmt} dequantizer",
    "codebook": lambda entries, bits: f"{entries}-entry {bits}-bit table",
    "requantizer": lambda kind, bits, multiplier=0, twice=False: (
        f"{bits}x{multiplier}-bit requantizer{', rounding twice' if twice else ''}"
        if kind == "fixed"
        else f"{bits}-bit {kind} requantizer"
    ),
}


@dataclass(frozen=True, slots=True)
class Action:
    """So many uses of one component."""

    component: Component
    count: int
    place: Place
    per: Per = Per.CALL


@dataclass(frozen=True, slots=True)
class Stored:
    """An operand or result as memories hold it.

    Parameters
    ----------
    elements
        Number of values.
    dram_bits, sram_bits : bits for each element
        Widths outside and inside the chip.
    overhead_bits : bits
        Scales, zero points and tables that travel with the tensor.
    """

    elements: int
    dram_bits: int
    sram_bits: int
    overhead_bits: int = 0

    @property
    def total_dram_bits(self) -> int:
        """Bits of one transfer of the whole tensor."""
        return self.elements * self.dram_bits + self.overhead_bits


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
        requantizer, counted there, has delivered these very integers.
    """

    operand: Role | Literal["out"]
    elements: int
    source: FloatFormat
    target: IntFormat
    spec: OperandSpec
    dynamic: bool
    at: Literal["load", "producer", "requantizer"]

    @property
    def actions(self) -> tuple[Action, ...]:
        """One quantization for each element, at each fetch if it happens on loading."""
        if self.at == "requantizer":
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
        ``multiply``, ``shift`` (power-of-two weights) or ``float``.
    """

    batch: int
    m: int
    k: int
    n: int
    boundaries: tuple[int, ...]
    lhs: Format
    rhs: Format
    accumulator_bits: int
    unit: Literal["multiply", "shift", "float"]
    saturate: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.batch * self.m * self.k * self.n

    @property
    def segments(self) -> int:
        """Partial sums of each output."""
        return len(self.boundaries)

    @property
    def register_bits(self) -> int:
        """Bits of the registers in one element: both operands and the accumulator."""
        return self.lhs.bits + self.rhs.bits + (self.accumulator_bits or 32)

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
            case "float":
                name = self.lhs.name if isinstance(self.lhs, FloatFormat) else str(self.lhs)
                return Component("float_mac", (name,))

    @property
    def actions(self) -> tuple[Action, ...]:
        """One MAC for each product; operand registers shift once with it."""
        return (
            Action(self.component, self.macs, Place.ELEMENT),
            Action(Component("register", (self.lhs.bits + self.rhs.bits,)), self.macs, Place.ELEMENT),
        )


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


Step = (
    ScanRange
    | Migrate
    | Quantize
    | DequantizeWeights
    | Decode
    | MultiplyAccumulate
    | SumForZeroPoint
    | CorrectZeroPoints
    | RescalePartialSums
    | AddBias
    | Requantize
    | Dequantize
)


@dataclass(frozen=True)
class Plan:
    """What the hardware does for one layer under one scheme.

    Parameters
    ----------
    layer, scheme
        What is planned.
    verdict
        Of the scale layouts; None where the MAC is a float one.
    steps
        In order.
    lhs, rhs, bias, out
        The tensors as memories hold them; `bias` None without one.
    """

    layer: Layer
    scheme: Scheme
    verdict: Verdict | None
    steps: tuple[Step, ...]
    lhs: Stored
    rhs: Stored
    bias: Stored | None
    out: Stored
    mac: MultiplyAccumulate = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mac", next(s for s in self.steps if isinstance(s, MultiplyAccumulate)))

    @property
    def extra_columns(self) -> int:
        """Columns that the array computes beyond the contraction's own, for zero-point sums."""
        return sum(isinstance(s, SumForZeroPoint) and s.by == "channel" and s.operand == "lhs" for s in self.steps)

    @property
    def extra_rows(self) -> int:
        """Rows that the array computes beyond the contraction's own, for zero-point sums."""
        return sum(isinstance(s, SumForZeroPoint) and s.by == "channel" and s.operand == "rhs" for s in self.steps)

    @property
    def verdict_name(self) -> str:
        """``once``, ``segmented`` or ``float``."""
        return "float" if self.verdict is None else self.verdict.verdict

    @property
    def weight_bytes(self) -> float:
        """Bytes of stored constants: weights with their scales, zero points and tables, and the bias."""
        if self.layer.rhs_kind != "weight":
            return 0.0
        return (self.rhs.total_dram_bits + (self.bias.total_dram_bits if self.bias else 0)) / 8

    def __str__(self) -> str:
        lines = [f"{self.layer.name} under {self.scheme.name}: {self.verdict_name}"]
        for step in self.steps:
            counts = ", ".join(f"{a.count:,} x {a.component}" for a in step.actions) or "no extra hardware"
            lines.append(f"  {type(step).__name__}: {counts}")
        return "\n".join(lines)
