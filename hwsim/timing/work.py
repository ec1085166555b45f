"""The numbers that the closed form reads: of a plan, its `Work`; of an accelerator, its `Machine`.

Every number is one value or a column of them, so that one text serves one layer on one machine and a million design
points. What decides between formulas (dataflow, how results leave, buffering) is one value in all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim import plan as steps
from hwsim.timing.numbers import Number, ceil_div, floor_div, maximum, minimum

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan, Step, Stored


@dataclass(frozen=True, slots=True)
class Scan:
    """A range scan: the elements that must pass before anything else, as memory holds them, of lhs or rhs."""

    elements: Number
    source_bits: int
    stored: Stored
    of_lhs: bool


@dataclass(frozen=True, slots=True)
class Work:
    """Counts and bits of one layer's plan.

    Parameters
    ----------
    name
        Of the layer, for errors; works that differ in nothing else are equal.
    batch, m, k, n
        The contraction as matrices ``[batch, m, k] x [batch, k, n]``.
    extra_rows, extra_columns
        Beyond the contraction's own, for sums of zero points.
    segments
        Lengths of the sums that the reduction is cut into, and how many there are of each.
    sum_bits
        Width of an unfinished sum.
    bias_bits
        Of the bias, and of what functions read beside the results.
    rhs_is_weight
        Whether rhs takes the port of weights.
    is_float
        Whether sums are floats.
    call_slots, lhs_slots, rhs_slots
        Elements through the vector unit: once, and for each fetch of an operand.
    out_slots
        Those of `call_slots` that results are.
    shared_bits
        Written beside the results, for other layers.
    side_reads, side_writes
        Bits of tensors that stay on chip, to and from functions.
    kept_bits
        Of the activation buffer that other tensors take.
    scans
        Barriers, one after the other.
    lhs_held
        Values that the activation buffer holds of lhs in all.
    lhs_row, lhs_halo
        Those of one more row of the product, and beside a run of rows.
    lhs_in_place
        Whether the array reads a lhs that stays on chip where it is.
    """

    name: str = field(compare=False)
    batch: Number
    m: Number
    k: Number
    n: Number
    extra_rows: int
    extra_columns: int
    segments: tuple[tuple[Number, Number], ...]
    sum_bits: int
    lhs: Stored
    rhs: Stored
    out: Stored
    bias_bits: Number
    rhs_is_weight: bool
    is_float: bool
    call_slots: Number
    lhs_slots: Number
    rhs_slots: Number
    out_slots: Number
    shared_bits: Number
    kept_bits: Number
    scans: tuple[Scan, ...]
    side_reads: Number
    side_writes: Number
    lhs_held: Number
    lhs_row: Number
    lhs_halo: Number
    lhs_in_place: bool

    @classmethod
    def of(cls, plan: Plan) -> Work:
        """Read a plan."""
        mac, held = plan.mac, plan.held
        always: Number = 0
        call: Number = 0
        lhs: Number = 0
        rhs: Number = 0
        for step in plan.steps:
            elements, per = _lane_use(step)
            if per is None:
                always = always + elements
            elif per is steps.Per.CALL:
                call = call + elements
            elif per is steps.Per.LHS_FETCH:
                lhs = lhs + elements
            elif per is steps.Per.RHS_FETCH:
                rhs = rhs + elements
        quantized = [step.elements for step in plan.steps if isinstance(step, steps.Quantize) and step.operand == "out"]
        return cls(
            name=plan.layer.name,
            batch=mac.batch,
            m=mac.m,
            k=mac.k,
            n=mac.n,
            extra_rows=plan.extra_rows,
            extra_columns=plan.extra_columns,
            segments=_lengths(mac.boundaries, mac.k),
            # A float sum is fp32.
            sum_bits=mac.accumulator_bits or 32,
            lhs=plan.lhs,
            rhs=plan.rhs,
            out=plan.out,
            bias_bits=(0 if plan.bias is None else plan.bias.total_dram_bits)
            + sum(one.stored.total_dram_bits for one in plan.side if not one.written),
            rhs_is_weight=plan.layer.rhs_kind == "weight",
            is_float=mac.unit == "float",
            call_slots=call + always,
            lhs_slots=lhs,
            rhs_slots=rhs,
            out_slots=always + sum(quantized),
            shared_bits=(0 if plan.shared is None else plan.shared.total_dram_bits)
            + sum(one.stored.total_dram_bits for one in plan.side if one.written),
            kept_bits=8 * plan.kept_bytes,
            scans=tuple(
                Scan(step.barrier_elements, stored.dram_bits, stored, step.operand == "lhs")
                for step in plan.steps
                if isinstance(step, steps.ScanRange)
                for stored in (plan.lhs if step.operand == "lhs" else plan.rhs,)
            ),
            side_reads=sum(one.stored.elements * one.stored.kept_bits for one in plan.side if not one.written),
            side_writes=sum(one.stored.elements * one.stored.kept_bits for one in plan.side if one.written),
            lhs_held=held.elements,
            lhs_row=held.row,
            lhs_halo=held.halo,
            lhs_in_place=plan.lhs_in_place,
        )

    @property
    def macs(self) -> Number:
        """Multiply-accumulates."""
        return self.batch * self.m * self.k * self.n

    @property
    def sums(self) -> Number:
        """Partial sums of each result."""
        return sum(count for _, count in self.segments)

    @property
    def longest(self) -> Number:
        """Length of the longest segment."""
        longest: Number = 0
        for length, _ in self.segments:
            longest = maximum(longest, length)
        return longest

    def lhs_room(self, rows: Number) -> Number:
        """Bits that so many neighbouring rows of the product take in the activation buffer."""
        patches = self.k * rows
        if type(self.lhs_halo) is int and self.lhs_halo == 0:
            return patches * self.lhs.sram_bits
        return minimum(patches, self.lhs_row * rows + self.lhs_halo) * self.lhs.sram_bits

    def lhs_rows(self, bits: Number) -> Number:
        """Neighbouring rows of the product for which so many bits have room."""
        patches = floor_div(bits, self.k * self.lhs.sram_bits)
        if type(self.lhs_halo) is int and self.lhs_halo == 0:
            return patches
        windows = floor_div(bits - self.lhs_halo * self.lhs.sram_bits, self.lhs_row * self.lhs.sram_bits)
        return maximum(patches, windows)

    def slices(self, depth: Number) -> Number:
        """Slices of so much of the reduction that the segments are cut into."""
        return sum(count * ceil_div(length, depth) for length, count in self.segments)

    def lines(self, depth: Number, rows: Number) -> Number:
        """Count groups of `rows` slices, none across two segments."""
        return sum(count * ceil_div(ceil_div(length, depth), rows) for length, count in self.segments)


def _lengths(boundaries: tuple[int, ...], k: int) -> tuple[tuple[int, int], ...]:
    if len(boundaries) == 1:
        return ((k, 1),)
    lengths, counts = np.unique(np.diff((*boundaries, k)), return_counts=True)
    return tuple(zip(lengths.tolist(), counts.tolist(), strict=True))


def lane_elements(step: Step, repeats: dict[steps.Per, Number]) -> Number:
    """Elements that a step passes through the vector unit."""
    elements, per = _lane_use(step)
    return elements if per is None else elements * repeats[per]


def _lane_use(step: Step) -> tuple[Number, steps.Per | None]:
    """Elements through the vector unit, and how often; None for those that come with the results.

    Corrections, bias and the final scaling of one result are stages of one pipeline and count once.
    """
    match step:
        case steps.ScanRange() | steps.Quantize() | steps.DequantizeWeights():
            actions = step.actions
            return (actions[0].count, actions[0].per) if actions else (0, None)
        case steps.RescalePartialSums() | steps.Requantize() | steps.Dequantize():
            return step.count, None
        case steps.MultiplyOutliers() | steps.ApplyFunction():
            return step.lane_slots, None
        case steps.Migrate() | steps.RepeatChannels():
            return (0, None) if step.folded else (step.elements, steps.Per.LHS_FETCH)
        case steps.Rotate() | steps.EncodePrototypes():
            return step.lane_slots, step.actions[0].per
        case (
            steps.Decode()
            | steps.MultiplyAccumulate()
            | steps.SumForZeroPoint()
            | steps.CorrectZeroPoints()
            | steps.AddBias()
        ):
            return 0, None


@dataclass(frozen=True, slots=True)
class Buffer:
    """One on-chip memory.

    Parameters
    ----------
    capacity_bits, tile_bits
        In all, and for one tile: half of a double buffer.
    bits_per_cycle
        Of all banks together.
    """

    capacity_bits: Number
    tile_bits: Number
    bits_per_cycle: Number
    double_buffered: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """Numbers of an accelerator; fields as in `Accelerator`, those with a unit in cycles."""

    technology: str
    dataflow: str
    drain: str
    double_buffered: bool
    overlap_folds: bool
    partial_tiles: str
    rows: Number
    columns: Number
    dot_depth: Number
    arrays: Number
    lanes: Number
    activation: Buffer
    weight: Buffer
    output: Buffer
    cycle_ns: Number
    dram_bits_per_cycle: Number
    weight_bits_per_cycle: Number | None
    latency_cycles: Number

    @classmethod
    def of(cls, accelerator: Accelerator) -> Machine:
        """Read an accelerator."""
        values: dict[str, Any] = {}

        def field(path: str) -> Any:
            outer, _, name = path.rpartition(".")
            if outer not in values:
                holder: Any = accelerator
                for part in outer.split(".") if outer else ():
                    holder = getattr(holder, part)
                values[outer] = holder
            return getattr(values[outer], name)

        return cls.from_fields(field)

    @classmethod
    def from_fields(cls, field: Callable[[str], Any]) -> Machine:
        """Build from a function that knows each field of an accelerator by its path in YAML, such as ``array.rows``."""
        cycle_ns = 1e3 / field("clock_mhz")
        own = field("memories.dram.weight_bandwidth_gb_per_s")
        return cls(
            technology=field("technology"),
            dataflow=field("array.dataflow"),
            drain=field("array.drain"),
            double_buffered=field("array.double_buffered"),
            overlap_folds=field("array.overlap_folds"),
            partial_tiles=field("array.partial_tiles"),
            rows=field("array.rows"),
            columns=field("array.columns"),
            dot_depth=field("array.dot_depth"),
            arrays=field("arrays"),
            lanes=field("vector.lanes"),
            activation=_buffer(field, "memories.activation"),
            weight=_buffer(field, "memories.weight"),
            output=_buffer(field, "memories.output"),
            cycle_ns=cycle_ns,
            dram_bits_per_cycle=8 * field("memories.dram.bandwidth_gb_per_s") * cycle_ns,
            weight_bits_per_cycle=None if own is None else 8 * own * cycle_ns,
            latency_cycles=field("memories.dram.latency_ns") / cycle_ns,
        )

    @property
    def alone(self) -> bool:
        """Whether there is one array in all rows."""
        return type(self.arrays) is int and self.arrays == 1

    def beside(self, work: Work) -> Machine:
        """Give the machine that a layer sees while other tensors stay in the activation buffer.

        An operand that the array reads where it is needs no tile.
        """
        if type(work.kept_bits) is int and work.kept_bits == 0:
            return self
        memory = self.activation
        left = maximum(memory.capacity_bits - work.kept_bits, 0)
        tile = 8 * floor_div(left, 16) if memory.double_buffered else left
        if work.lhs_in_place:
            tile = maximum(work.lhs.elements, self.rows * self.dot_depth) * work.lhs.sram_bits
        return replace(self, activation=replace(memory, capacity_bits=left, tile_bits=tile))

    @property
    def elements(self) -> Number:
        """Multipliers of all arrays."""
        return self.arrays * self.rows * self.columns * self.dot_depth

    def dram_cycles(self, other_bits: Number, weight_bits: Number) -> Number:
        """Cycles that the ports are busy with weights and everything else."""
        if self.weight_bits_per_cycle is None:
            return (other_bits + weight_bits) / self.dram_bits_per_cycle
        return maximum(other_bits / self.dram_bits_per_cycle, weight_bits / self.weight_bits_per_cycle)


def _buffer(field: Callable[[str], Any], path: str) -> Buffer:
    capacity, double_buffered = field(f"{path}.capacity_bytes"), field(f"{path}.double_buffered")
    return Buffer(
        capacity_bits=8 * capacity,
        tile_bits=8 * floor_div(capacity, 2) if double_buffered else 8 * capacity,
        bits_per_cycle=field(f"{path}.banks") * field(f"{path}.bank_width_bits"),
        double_buffered=double_buffered,
    )
