"""Cycles of every resource under a tiling: sums of a fixed part and a part for each fetch or repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.timing.feeds import Arrival, Feed, stalls
from hwsim.timing.numbers import Number, ceil_div, maximum, minimum, plus, round_up, where

if TYPE_CHECKING:
    from hwsim.timing.folds import Folds
    from hwsim.timing.tiling import Tiling
    from hwsim.timing.work import Machine, Scan, Work


# Share of a fold that port and lanes have for operands, if results take all of it.
_LEAST = 1 / 64


@dataclass(frozen=True, slots=True)
class Busy:
    """Cycles that each resource is busy with one layer, whatever waits for what."""

    compute: Number
    dram: Number
    sram: Number
    vector: Number


@dataclass(frozen=True, slots=True)
class Steady:
    """Cycles of port, lanes and array, and those that the array waits; loads of both operands, and results."""

    port: Number
    vector: Number
    array: Number
    waits: Number
    both: Feed
    out: Feed


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
        self.fixed_bits = self.again_bits + self.write_bits
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
        """Find what operands take on their way in, and results on their way out."""
        work, machine = self.work, self.machine
        port = machine.dram_bits_per_cycle
        own = machine.weight_bits_per_cycle if work.rhs_is_weight else None
        self.apart = own is not None
        lhs_scans, rhs_scans = ([s for s in work.scans if s.of_lhs is side] for side in (True, False))
        self.lhs = self._arrival(self.lhs_bits, work.lhs_slots, lhs_scans, self.again_bits, port)
        self.rhs = self._arrival(self.rhs_bits, work.rhs_slots, rhs_scans, work.bias_bits, port if own is None else own)
        self.written = self.write_bits / port
        self.passing = work.out_slots / machine.lanes

    def _arrival(self, bits: Number, slots: Number, scans: list[Scan], more: Number, port: Number) -> Arrival:
        """Cycles of an operand; `more` bits come with it once."""
        read, elements = sum(s.elements * s.source_bits for s in scans), sum(s.elements for s in scans)
        before = 0 if not scans and type(more) is int and more == 0 else (read - more) / port
        lanes = self.machine.lanes
        return Arrival(bits / port, slots / lanes, before, elements / lanes if scans else 0)

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
            dram=self._ports(
                self.lhs_bits * tiling.lhs_fetches, self.rhs_bits * tiling.rhs_fetches + work.bias_bits, other
            ),
            sram=maximum(sram, sums / machine.output.bits_per_cycle),
            vector=slots / machine.lanes,
        )

    def cycles(self, tiling: Tiling) -> Number:
        """Cycles but for the first transfers and the last: those of a tiling decide nothing for a longer layer."""
        steady = self._steady(tiling)
        return maximum(steady.port, maximum(steady.vector, steady.array + steady.waits))

    def waits(self, tiling: Tiling) -> tuple[Number, Number, Number]:
        """Cycles of the port, cycles that the rest of the machine waits for it, and cycles of that rest.

        The port is busy all the time; or the array is busy or waits for loads, once the operands of the first fold
        are there and prepared, until the last results leave; or the lanes are, once those operands are there.
        """
        steady = self._steady(tiling)
        both, out = steady.both, steady.out
        rest = maximum(steady.vector, both.prepared + both.behind + steady.array + steady.waits + out.behind)
        return steady.port, minimum(both.first + out.first, steady.port), rest

    def _steady(self, tiling: Tiling) -> Steady:
        """Follow the machine between its first loads and its last results."""
        busy = self.busy(tiling, after_barrier=True)
        array = maximum(busy.compute, busy.sram)
        rows, columns = self.grid(tiling)
        high, wide = ceil_div(rows, tiling.block_rows), ceil_div(columns, tiling.block_columns)
        results = self.work.batch * rows * columns
        fold = array / (results * tiling.parts)
        lhs, rhs, both = self._feeds(tiling, rows, columns, fold, columns / wide)
        write, passing = self.written / results, self.passing / results
        # Results pass the lanes while they leave the array.
        leaving = minimum(self._draining(rows, columns), fold / maximum(tiling.lhs_pieces, tiling.rhs_pieces))
        late = maximum(passing - leaving, 0)
        vector = busy.vector
        if not (type(tiling.parts) is int and tiling.parts == 1):
            # Where a sum is made in parts, the results of a block leave together, and none before its last part.
            block = rows * columns / (high * wide)
            burst = (block - 1) * maximum(0, maximum(write, passing) - fold)
            late = late + where(tiling.parts > 1, burst, 0)
            idle = (tiling.parts - 1) * block * fold - (vector - self.passing) * block / results
            vector = vector + where(tiling.parts > 1, maximum(idle, 0), 0)
        out = Feed(results, tiling.out_depth, write, 0, 0, late)
        waits = stalls(self.machine, lhs, rhs, both, out, tiling.keeps, array, self.apart)
        port = busy.dram
        if self.apart:
            # While weights come for the first folds, the other port has only the first loads and their results.
            done = lhs.depth * lhs.together * lhs.first + rhs.together * write
            other = self.lhs.port * tiling.lhs_fetches - self.lhs.port_before + self.written
            port = maximum(port, other + maximum(0, rhs.together * rhs.slower - done))
        return Steady(port, vector, array, waits, both, out)

    def _feeds(
        self, tiling: Tiling, rows: Number, columns: Number, fold: Number, across: Number
    ) -> tuple[Feed, Feed, Feed]:
        """Find the loads of each operand, and of both at once; `across` folds of a block are beside each other."""
        latency, parts = self.machine.latency_cycles, self.work.batch * tiling.parts
        lhs_parts, rhs_parts = parts * tiling.lhs_pieces, parts * tiling.rhs_pieces
        lhs = self.lhs.feed(
            rows * lhs_parts, ceil_div(rows, tiling.lhs_group) * lhs_parts, tiling.lhs_fetches, tiling.lhs_depth,
            fold * across / tiling.lhs_pieces, latency,
        )  # fmt: skip
        rhs = self.rhs.feed(
            columns * rhs_parts, ceil_div(columns, tiling.rhs_group) * rhs_parts, tiling.rhs_fetches,
            tiling.rhs_depth, fold / tiling.rhs_pieces, latency,
        )  # fmt: skip
        # The first folds wait for one row of rhs, then for lhs row by row.
        below = (lhs.together - 1) * (lhs.slower - fold * rhs.together)
        if self.apart:
            first = maximum(lhs.first, rhs.first)
            ends = maximum(lhs.first + lhs.prepared, rhs.first + rhs.prepared)
            ends = maximum(ends, minimum(lhs.first, rhs.first) + lhs.prepared + rhs.prepared)
        else:
            below = below + (rhs.together - 1) * rhs.slower * minimum(lhs.together - 1, 1)
            first = lhs.first + rhs.first
            ends = lhs.first + maximum(lhs.prepared, rhs.first) + rhs.prepared
        both = Feed(
            minimum(lhs.loads, rhs.loads),
            minimum(lhs.depth, rhs.depth),
            first,
            ends - first,
            maximum(lhs.latency, rhs.latency),
            maximum(rhs.behind, below),
        )
        return lhs, rhs, both

    def first_weight_cycles(self, tiling: Tiling) -> Number:
        """Cycles of the port for the weights of the first fold."""
        if not self.work.rhs_is_weight:
            return 0
        return self.rhs.port / (self.work.batch * self.grid(tiling)[1] * tiling.parts * tiling.rhs_pieces)

    def grid(self, tiling: Tiling) -> tuple[Number, Number]:
        """Cuts of the result in the order of the machine: by the array, or along what moves by its chunks."""
        match self.machine.dataflow:
            case "output_stationary":
                return self.folds.row_tiles, self.folds.column_tiles
            case "weight_stationary":
                return tiling.repeats, self.folds.column_tiles
            case _:
                return self.folds.row_tiles, tiling.repeats

    def _draining(self, rows: Number, columns: Number) -> Number:
        """Cycles at the end of a fold in which results leave, counted from the one that completes the first."""
        work, machine = self.work, self.machine
        match machine.dataflow:
            case "output_stationary":
                return machine.rows + machine.columns - 1 + (machine.rows if machine.drain == "shift" else 0)
            case "weight_stationary":
                return ceil_div(work.m + work.extra_rows, rows) + machine.columns - 1
            case _:
                return ceil_div(work.n + work.extra_columns, columns) + machine.columns - 1

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
