"""Cycles of every resource under a tiling: sums of a fixed part and a part for each fetch or repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.timing.numbers import Number, ceil_div, maximum, minimum, plus, round_up

if TYPE_CHECKING:
    from hwsim.timing.folds import Folds
    from hwsim.timing.tiling import Tiling
    from hwsim.timing.work import Machine, Work


# Share of a fold that port and lanes have for operands, if results take all of it.
_LEAST = 1 / 64


@dataclass(frozen=True, slots=True)
class Busy:
    """Cycles that each resource is busy with one layer, whatever waits for what."""

    compute: Number
    dram: Number
    sram: Number
    vector: Number


class Pace:
    """How long a layer takes on a machine, by tiling.

    What a barrier has read and scanned is in `barrier`, and in nothing after it.
    """

    def __init__(self, work: Work, machine: Machine, folds: Folds) -> None:
        self.work, self.machine, self.folds = work, machine, folds
        lanes, bandwidth = machine.lanes, machine.dram_bits_per_cycle
        self.lhs_bits, self.rhs_bits = work.lhs.total_dram_bits, work.rhs.total_dram_bits
        self.scanned_bits = sum(scan.elements * scan.source_bits for scan in work.scans)
        self.scanned_slots = sum(scan.elements for scan in work.scans)
        self.barrier = sum(scan.elements * maximum(1 / lanes, scan.source_bits / bandwidth) for scan in work.scans)
        # What is scanned stays in the buffer until it is quantized; more than that is read a second time.
        self.again_bits = sum(
            (scan.elements * scan.stored.dram_bits > machine.activation.capacity_bits) * scan.stored.total_dram_bits
            for scan in work.scans
        )
        self.write_bits = work.out.total_dram_bits + work.shared_bits
        self.fixed_bits = work.bias_bits + self.again_bits + self.write_bits
        self._buffers()
        self._ends()

    def _buffers(self) -> None:
        """Bits of operands and results inside the chip."""
        work = self.work
        self.lhs_inside = work.lhs_held * work.lhs.sram_bits
        self.rhs_inside = work.rhs.elements * work.rhs.sram_bits
        self.sums_inside = work.out.elements * work.sum_bits
        self.results_inside = work.out.elements * work.out.sram_bits
        # A tensor that stays is read where it is, or copied to the tiles of its operand at each fetch.
        there = work.lhs_in_place and work.lhs.dram_bits == 0
        self.lhs_filled = 0 if there else self.lhs_inside
        self.lhs_copied = 0 if work.lhs_in_place else work.lhs.elements * work.lhs.kept_bits
        self.rhs_copied = work.rhs.elements * work.rhs.kept_bits
        self.results_kept = work.out.elements * work.out.kept_bits + work.side_writes

    def _ends(self) -> None:
        """Find what nothing hides: operands of the first fold on their way in, results of the last on their way out."""
        work, machine, folds = self.work, self.machine, self.folds
        rows, columns = minimum(work.m, machine.rows), minimum(work.n, machine.columns)
        depth = work.k if machine.dataflow == "output_stationary" else ceil_div(work.k, folds.passes)
        lhs_bits, rhs_bits = depth * rows * work.lhs.dram_bits, depth * columns * work.rhs.dram_bits
        self.first_weight_cycles = self._ports(0, rhs_bits) if work.rhs_is_weight else 0
        self.first_cycles = self._ports(maximum(lhs_bits - self.scanned_bits, 0), rhs_bits)
        slots = plus(
            plus(0, work.lhs_slots, depth * rows / work.lhs.elements),
            work.rhs_slots,
            depth * columns / work.rhs.elements,
        )
        self.first_slot_cycles = slots / machine.lanes
        self.last_cycles = rows * columns * work.out.dram_bits / machine.dram_bits_per_cycle
        # Results pass the lanes while they leave the array, one a column and cycle.
        passing = rows * columns * (work.out_slots / work.out.elements) / machine.lanes
        self.late_cycles = maximum(passing - (rows + machine.columns - 1), 0)

    def _ports(self, lhs_bits: Number, rhs_bits: Number, other_bits: Number = 0) -> Number:
        """Cycles of the ports."""
        if self.work.rhs_is_weight:
            return self.machine.dram_cycles(other_bits + lhs_bits, rhs_bits)
        return self.machine.dram_cycles(other_bits + lhs_bits + rhs_bits, 0)

    def operand_bits(self, tiling: Tiling) -> Number:
        """Bits of both operands through the ports."""
        return self.lhs_bits * tiling.lhs_fetches + self.rhs_bits * tiling.rhs_fetches

    def copied_bits(self, tiling: Tiling) -> Number:
        """Bits of tensors that stay on chip, from where they are kept to the tiles of their operand."""
        return self.lhs_copied * tiling.lhs_fetches + self.rhs_copied * tiling.rhs_fetches

    def streams(self, tiling: Tiling) -> tuple[Number, Number]:
        """Count the times each operand is read from its buffer into the array."""
        folds = self.folds
        match self.machine.dataflow:
            case "output_stationary":
                return folds.column_tiles, folds.row_tiles
            case "weight_stationary":
                return folds.column_tiles, tiling.repeats
            case _:
                return tiling.repeats, folds.row_tiles

    def passes(self, tiling: Tiling) -> Number:
        """Count the times the array comes back to each result."""
        if self.machine.dataflow == "output_stationary":
            return self.folds.passes * tiling.repeats
        return self.folds.passes

    def busy(self, tiling: Tiling, *, after_barrier: bool = False) -> Busy:
        """Cycles of each resource, with or without what the barrier has done."""
        work, machine = self.work, self.machine
        other = self.fixed_bits - self.scanned_bits if after_barrier else self.fixed_bits
        slots = work.call_slots - self.scanned_slots if after_barrier else work.call_slots
        slots = plus(plus(slots, work.lhs_slots, tiling.lhs_fetches), work.rhs_slots, tiling.rhs_fetches)
        lhs_streams, rhs_streams = self.streams(tiling)
        activation = self.lhs_inside * lhs_streams + self.lhs_filled * tiling.lhs_fetches + self.copied_bits(tiling)
        sram = maximum(
            (activation + self.results_kept + self.work.side_reads) / machine.activation.bits_per_cycle,
            self.rhs_inside * (rhs_streams + tiling.rhs_fetches) / machine.weight.bits_per_cycle,
        )
        sums = 2 * (self.sums_inside * (self.passes(tiling) - 1) + self.results_inside)
        return Busy(
            compute=self.folds.cycles(tiling.repeats),
            dram=self._ports(self.lhs_bits * tiling.lhs_fetches, self.rhs_bits * tiling.rhs_fetches, other),
            sram=maximum(sram, sums / machine.output.bits_per_cycle),
            vector=slots / machine.lanes,
        )

    def cycles(self, tiling: Tiling) -> Number:
        """Cycles after barrier and latency."""
        port, exposed, rest = self.waits(tiling)
        return maximum(port, exposed + rest)

    def waits(self, tiling: Tiling) -> tuple[Number, Number, Number]:
        """Cycles of the port, cycles that the rest of the machine waits for it, and cycles of that rest.

        The port is busy all the time, or waits for room; or the array is busy, once the operands of the first fold
        are there and prepared, until the last results leave; or the lanes are, once those operands are there.
        """
        busy, machine = self.busy(tiling, after_barrier=True), self.machine
        ends, array = self.first_cycles, self.first_slot_cycles + maximum(busy.compute, busy.sram)
        if not machine.activation.double_buffered:
            ends = ends + self._ports(self.lhs_bits * tiling.lhs_fetches, 0)
        if not machine.weight.double_buffered:
            ends = ends + self._ports(0, self.rhs_bits * tiling.rhs_fetches)
        rest = maximum(busy.vector, array + self.late_cycles)
        exposed = minimum(ends + self.last_cycles, busy.dram)
        return maximum(busy.dram, self._room_cycles(tiling, busy.compute)), exposed, rest

    def _room_cycles(self, tiling: Tiling, compute: Number) -> Number:
        """Cycles for which the operands must have room: from the request of each part until its last use.

        No buffer gives more room than its capacity, all the time.
        """
        machine = self.machine
        sides = (
            (
                machine.activation,
                self.lhs_filled,
                tiling.lhs_fetches,
                tiling.lhs_part_bits,
                self._ports(self.lhs_bits, 0),
            ),
            (machine.weight, self.rhs_inside, tiling.rhs_fetches, tiling.rhs_part_bits, self._ports(0, self.rhs_bits)),
        )
        cycles: Number = 0
        for buffer, inside, fetches, part, port in sides:
            held = inside * fetches * machine.latency_cycles
            if not (type(part) is int and part == 0):
                held = held + part * (compute + port * fetches)
            cycles = maximum(cycles, held / maximum(buffer.capacity_bits, 1))
        return cycles

    def meetings(self) -> tuple[Number, Number]:
        """Count folds that a panel of lhs, and one of rhs, must serve for the next to come and be prepared meanwhile.

        Results of those folds take their share of port and lanes.
        """
        work, folds = self.work, self.folds
        lanes, high, wide = self.machine.lanes, work.batch * folds.row_tiles, work.batch * folds.column_tiles
        tiles = high * folds.column_tiles
        fold = folds.cycles(1) / tiles
        # Never nothing is left, or one slow fold would wait for ever.
        at_port = maximum(fold - self._ports(0, 0, self.write_bits) / tiles, fold * _LEAST)
        lhs, rhs = self._ports(self.lhs_bits, 0) / (high * at_port), self._ports(0, self.rhs_bits) / (wide * at_port)
        if any(not (type(slots) is int and slots == 0) for slots in (work.lhs_slots, work.rhs_slots)):
            at_lanes = maximum(fold - work.out_slots / tiles / lanes, fold * _LEAST)
            lhs = maximum(lhs, work.lhs_slots / (high * lanes * at_lanes))
            rhs = maximum(rhs, work.rhs_slots / (wide * lanes * at_lanes))
        return round_up(lhs), round_up(rhs)
