"""Cycles of every resource under a tiling: sums of a fixed part and a part for each fetch or repeat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hwsim.timing.numbers import Number, ceil_div, maximum, minimum, plus, root, round_down, where

if TYPE_CHECKING:
    from hwsim.timing.folds import Folds
    from hwsim.timing.tiling import Tiling
    from hwsim.timing.work import Machine, Work


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
        self.lhs_inside = work.lhs.elements * work.lhs.sram_bits
        self.rhs_inside = work.rhs.elements * work.rhs.sram_bits
        self.sums_inside = work.out.elements * work.sum_bits
        self.results_inside = work.out.elements * work.out.sram_bits
        # A tensor that stays is read where it is, or copied to the tiles of its operand at each fetch.
        there = work.lhs.in_place and work.lhs.dram_bits == 0
        self.lhs_filled = 0 if there else self.lhs_inside
        self.lhs_copied = 0 if work.lhs.in_place else work.lhs.elements * work.lhs.kept_bits
        self.rhs_copied = work.rhs.elements * work.rhs.kept_bits
        self.results_kept = work.out.elements * work.out.kept_bits

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
            (activation + self.results_kept) / machine.activation.bits_per_cycle,
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

        The port is busy all the time; or the array is, once the operands of the first fold are there and prepared,
        until the last results leave; or the lanes are, once those operands are there.
        """
        busy, machine = self.busy(tiling, after_barrier=True), self.machine
        ends, array = self.first_cycles, self.first_slot_cycles + maximum(busy.compute, busy.sram)
        if machine.activation.double_buffered and machine.weight.double_buffered:
            array = array + self.head_cycles(tiling)
        if not machine.activation.double_buffered:
            ends = ends + self._ports(self.lhs_bits * tiling.lhs_fetches, 0)
        if not machine.weight.double_buffered:
            ends = ends + self._ports(0, self.rhs_bits * tiling.rhs_fetches)
        return busy.dram, minimum(ends + self.last_cycles, busy.dram), maximum(busy.vector, array + self.late_cycles)

    def head_cycles(self, tiling: Tiling) -> Number:
        """Cycles by which the array is late while it meets the tiles of the first chunk for the first time.

        Every fold then needs a new tile of the operand that stays, and needs none when it meets them again.
        """
        if type(tiling.head) is int and tiling.head == 1:
            return 0
        lhs, rhs = self._lateness
        late = where(tiling.keeps == 1, lhs, rhs)
        return late * (tiling.head - 1)

    @cached_property
    def _lateness(self) -> tuple[Number, Number]:
        """Cycles that a panel of lhs or rhs takes to come and be prepared beyond those of the fold that needs it.

        Results of the folds before it take their share of port and lanes.
        """
        work, folds, machine = self.work, self.folds, self.machine
        high, wide = work.batch * folds.row_tiles, work.batch * folds.column_tiles
        tiles = high * folds.column_tiles
        fold = folds.cycles(1) / tiles
        written, passing = self.write_bits / tiles, work.out_slots / tiles
        lhs = self._ports(self.lhs_bits / high, 0, written)
        rhs = self._ports(0, self.rhs_bits / wide, written)
        if not (type(work.lhs_slots) is int and work.lhs_slots == 0):
            lhs = maximum(lhs, (work.lhs_slots / high + passing) / machine.lanes)
        if not (type(work.rhs_slots) is int and work.rhs_slots == 0):
            rhs = maximum(rhs, (work.rhs_slots / wide + passing) / machine.lanes)
        return maximum(lhs - fold, 0), maximum(rhs - fold, 0)

    def longest_chunks(self) -> tuple[Number, Number]:
        """Tiles of lhs and of rhs beyond which a longer chunk would be later at its start than it saves at the port.

        A chunk of ``c`` takes ``base + late (c - 1)`` cycles, and at the port no less than ``fixed + again / c``.
        """
        folds = self.folds
        base = self.first_cycles + self.last_cycles + self.first_slot_cycles + self.late_cycles + folds.cycles(1)
        other = self.fixed_bits - self.scanned_bits
        once_lhs, once_rhs = self._ports(self.lhs_bits, 0, other), self._ports(0, self.rhs_bits, other)
        lhs, rhs = self._lateness
        if self.machine.weight_bits_per_cycle is not None:
            # No sum of two ports: what is certain is the repeated part alone.
            once_lhs = once_rhs = 0
        return (
            _crossing(base, lhs, once_lhs, self._ports(0, self.rhs_bits) * folds.row_tiles),
            _crossing(base, rhs, once_rhs, self._ports(self.lhs_bits, 0) * folds.column_tiles),
        )


def _crossing(base: Number, late: Number, fixed: Number, again: Number) -> Number:
    """Solve ``base + late (c - 1) = fixed + again / c`` for the largest whole c, at least 1; infinite if never late."""
    slope = where(late > 0, late, 1)
    half = (base - late - fixed) / 2
    longest = round_down((root(half * half + slope * again) - half) / slope)
    return where(late > 0, maximum(longest, 1), np.inf)
