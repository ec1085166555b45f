"""Folds of the array and their cycles, by dataflow and convention.

Sums that leave through their neighbours (`Array.drain`) take ``R`` cycles more a fold; a second register for the
stationary operand (`Array.double_buffered`) leaves of all loads only the first ``R``. Where folds overlap
(`Array.overlap_folds`) the skew ``R + C - 2`` is paid once and a fold takes its stream, but not less than ``R``: a
column has one wire for ``R`` results and loads ``R`` operands one after the other. Where a partial tile takes its own
part (`Array.partial_tiles`) its rows and columns stand for ``R`` and ``C``. Several arrays share output tiles and
batches, or the rows that stream, whichever is sooner done. Float sums whose adder takes `hop` cycles are joined in
``hop (hop - 1)`` cycles where they stay, and pass ``R - 1`` elements in ``hop`` cycles each where they do not.

With one segment and ``d = 1`` the counts are those of SCALE-Sim (arXiv 1811.02883), which reports one cycle less
because it counts from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.timing.float_sums import adder_stages, joining_cycles
from hwsim.timing.numbers import Number, ceil_div, maximum, minimum

if TYPE_CHECKING:
    from hwsim.timing.work import Machine, Work


@dataclass(frozen=True, slots=True)
class Folds:
    """Folds of one layer as far as they do not depend on the tiling.

    Parameters
    ----------
    row_tiles, column_tiles
        Cuts of the result by the array.
    passes
        Times the array comes back to a result, with the reduction as the array and the scales cut it.
    moving
        Length of what streams past a stationary operand.
    fixed_cycles, repeated_cycles
        Of the busiest array: in any case, and for each repeat of a tiling. Of arrays that share what streams past,
        `shared_cycles`.
    streams
        Where the folds of an array that holds sums overlap: length of each segment's stream and how many there are,
        the shortest first; `fixed_cycles` are then the tiles of the busiest array.
    late
        Cycles that the last sum of overlapping folds comes later by, behind an adder of several cycles.
    """

    machine: Machine
    row_tiles: Number
    column_tiles: Number
    passes: Number
    moving: Number
    tiles: Number
    fixed_cycles: Number
    repeated_cycles: Number
    shared_cycles: tuple[Number, Number] | None
    streams: tuple[tuple[Number, int], ...] = ()
    late: Number = 0

    def count(self, repeats: Number) -> Number:
        """Folds of all arrays."""
        return self.tiles * repeats

    def cycles(self, repeats: Number) -> Number:
        """Cycles of the busiest array."""
        machine = self.machine
        if self.streams:
            # A column has one wire for as many results as there are rows.
            paced = sum(count * maximum(length, repeats * machine.rows) for length, count in self.streams)
            unused = maximum(0, machine.rows - ceil_div(self.streams[0][0], repeats))  # nothing follows the last
            return self.fixed_cycles * paced - unused + machine.rows + machine.columns - 2 + self.late
        if machine.overlap_folds and machine.dataflow != "output_stationary":
            own = self._overlapping(self.fixed_cycles, self.moving, repeats)
            if self.shared_cycles is None:
                return own
            shared, share = self.shared_cycles
            return minimum(own, self._overlapping(shared, share, repeats))
        own = self.fixed_cycles + self.repeated_cycles * repeats
        if self.shared_cycles is None:
            return own
        return minimum(own, self.shared_cycles[0] + self.shared_cycles[1] * repeats)

    def _overlapping(self, tiles: Number, length: Number, repeats: Number) -> Number:
        """Cycles where the next tile is loaded, and the sums that it continues have left, in as many as rows."""
        rows = self.machine.rows
        unused = maximum(0, rows - ceil_div(length, repeats))  # nothing follows the last
        streaming = rows + tiles * maximum(length, repeats * rows) - unused
        return streaming + rows + self.machine.columns - 2 + self.late


def folds_of(work: Work, machine: Machine) -> Folds:
    """Count the folds of a layer."""
    m, n = work.m + work.extra_rows, work.n + work.extra_columns
    if machine.dataflow == "output_stationary":
        return _summing(work, machine, m, n)
    if machine.dataflow == "weight_stationary":
        return _streaming(work, machine, m, n, (ceil_div(m, machine.rows), ceil_div(n, machine.columns)))
    return _streaming(work, machine, n, m, (ceil_div(m, machine.columns), ceil_div(n, machine.rows)))


def _summing(work: Work, machine: Machine, m: Number, n: Number) -> Folds:
    """Folds of an array that holds sums; a repeat is one more cut of every segment."""
    rows, columns = machine.rows, machine.columns
    high, wide = ceil_div(m, rows), ceil_div(n, columns)
    slices, sums, tiles = work.slices(machine.dot_depth), work.sums, work.batch * high * wide
    mine = tiles if machine.alone else ceil_div(tiles, machine.arrays)
    joining = joining_cycles(_hop(work, machine))
    skew, shifted = rows + columns - 2 + joining, machine.drain == "shift"
    if machine.overlap_folds:
        streams = tuple((ceil_div(length, machine.dot_depth), count) for length, count in work.segments)
        return Folds(machine, high, wide, sums, 0, tiles * sums, mine, 0, None, streams, joining)
    if machine.partial_tiles == "part":
        # Summed over tiles of r rows and c columns: r + c - 2, and r more if results leave through their neighbours.
        skews = wide * m + high * n - (2 - joining) * high * wide + (wide * m if shifted else 0)
        fixed, repeated = tiles * slices, work.batch * sums * skews
    else:
        fixed, repeated = mine * slices, mine * sums * (skew + (rows if shifted else 0))
    return Folds(machine, high, wide, sums, 0, tiles * sums, fixed, repeated, None)


def _streaming(work: Work, machine: Machine, moving: Number, width: Number, grid: tuple[Number, Number]) -> Folds:
    """Folds of an array that holds an operand; a repeat is one more load of every tile of it."""
    rows, columns, batch = machine.rows, machine.columns, work.batch
    passes = work.lines(machine.dot_depth, rows)
    across = batch * ceil_div(width, columns)
    tiles = across * passes
    more = _hop(work, machine) - 1
    late = more * (rows - 1)

    def whole(mine: Number, length: Number) -> tuple[Number, Number]:
        if machine.overlap_folds:
            return mine, length
        # With a second register only the first load is seen.
        load = 0 if machine.double_buffered else mine * rows
        return mine * length + (rows if machine.double_buffered else 0), load + mine * (rows + columns - 2 + late)

    shared = None
    if machine.partial_tiles == "part":
        wide, lines = ceil_div(width, columns), work.slices(machine.dot_depth)
        # Summed over tiles of r rows and c columns: 2 r + c - 2 for each load, and the stream.
        fixed = batch * passes * wide * moving
        repeated = batch * (2 * wide * lines + passes * width - 2 * passes * wide + more * wide * (lines - passes))
    else:
        fixed, repeated = whole(tiles, moving)
        if not machine.alone:
            fixed, repeated = whole(ceil_div(across, machine.arrays) * passes, moving)
            shared = whole(tiles, ceil_div(moving, machine.arrays))
    return Folds(machine, *grid, passes, moving, tiles, fixed, repeated, shared, late=late)


def _hop(work: Work, machine: Machine) -> Number:
    """Cycles of the adder that a sum passes."""
    return adder_stages(machine.technology, machine.cycle_ns) if work.is_float else 1
