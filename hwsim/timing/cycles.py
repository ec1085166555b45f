"""Cycles of a plan in closed form, over one design point or columns of many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim import plan as steps
from hwsim.timing.folds import folds_of
from hwsim.timing.numbers import Number, is_column, maximum, minimum, round_up, where
from hwsim.timing.pace import Busy, Pace
from hwsim.timing.tiling import Tiling, best_tiling, require_tiles
from hwsim.timing.work import Machine, Work, lane_elements

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from hwsim.timing.folds import Folds

__all__ = ["BOUNDS", "Schedule", "Timing", "Traffic", "closed_form", "lane_elements", "read_time"]

BOUNDS = ("compute", "dram", "sram", "vector", "scan")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bits through one memory.

    Parameters
    ----------
    read_bits, write_bits : bits
        In each direction.
    """

    read_bits: Number
    write_bits: Number

    @property
    def total_bits(self) -> Number:
        """Both directions."""
        return self.read_bits + self.write_bits


@dataclass(frozen=True, slots=True)
class Schedule:
    """Folds of the array and movements of the operands for one layer.

    Parameters
    ----------
    folds, compute_cycles
        Passes of the array, and its cycles over all of them.
    lhs_fetches, rhs_fetches
        Times each operand comes from DRAM.
    lhs_streams, rhs_streams
        Times each operand is read from its buffer into the array.
    slices
        Of the reduction of each result, `Array.dot_depth` long or shorter at the end of a segment.
    sum_writes, sum_reads
        Times each result is written to and read from the output buffer as an unfinished sum.
    row_tiles, column_tiles
        Cuts of the result in the order of the machine: by the array, or along the moving operand by its chunks.
    block_rows, block_columns
        Tiles of the result that are made together from operands on chip.
    keeps
        Operand that stays for all blocks of its rows or columns: 1 is lhs, 2 is rhs, 0 neither.
    parts
        Pieces of the reduction that a block is made in, one after the other.
    lhs_group, rhs_group, lhs_depth, rhs_depth, out_depth, lhs_pieces, rhs_pieces
        As in `Tiling`.
    """

    folds: Number
    compute_cycles: Number
    lhs_fetches: Number
    rhs_fetches: Number
    lhs_streams: Number
    rhs_streams: Number
    slices: Number
    sum_writes: Number
    sum_reads: Number
    row_tiles: Number
    column_tiles: Number
    block_rows: Number
    block_columns: Number
    keeps: Number
    parts: Number
    lhs_group: Number
    rhs_group: Number
    lhs_depth: Number
    rhs_depth: Number
    out_depth: Number
    lhs_pieces: Number
    rhs_pieces: Number


@dataclass(frozen=True, slots=True)
class Timing:
    """Cycles and movements of one layer.

    Parameters
    ----------
    schedule
        Folds and fetches behind the numbers.
    compute_cycles
        The array alone, memory always ready.
    stall_cycles
        Everything else: ``total_cycles - compute_cycles``.
    bound
        What sets the pace: ``compute``, ``dram``, ``sram`` or ``vector``; ``scan`` if the barrier of a range
        scan takes longer than any of them. Of columns the place in `BOUNDS`.
    utilization
        MACs over what the array could do in `total_cycles`.
    dram
        Traffic of the DRAM.
    buffers
        Traffic of the buffers, by name as in `Memories`.
    repeats
        How often the actions of each `Per` happen.
    dram_cycles
        That the port is busy in all.
    port_cycles, exposed_cycles, busy_cycles
        After barrier and latency, those of the port, of its transfers that nothing hides, and of the busiest other
        resource: the layer takes ``max(port, exposed + busy)`` then.
    first_weight_cycles
        Transfer of the first fold's weights.
    """

    schedule: Schedule
    compute_cycles: Number
    total_cycles: Number
    stall_cycles: Number
    bound: Number
    utilization: Number
    dram: Traffic
    buffers: dict[str, Traffic]
    repeats: dict[steps.Per, Number]
    dram_cycles: Number
    port_cycles: Number
    exposed_cycles: Number
    busy_cycles: Number
    first_weight_cycles: Number


def closed_form(plan: Plan, accelerator: Accelerator) -> Timing:
    """Cycles of one layer on one accelerator; see `read_time`.

    Raises
    ------
    ValueError
        If a buffer can not hold the tile of one fold.
    """
    work = Work.of(plan)
    machine = Machine.of(accelerator).beside(work)
    require_tiles(work, machine)
    return read_time(work, machine)


def read_time(work: Work, machine: Machine) -> Timing:
    """Cycles of one design point, or of columns of them.

    .. math:: t = barrier + latency + max(t_{dram}, ends + max(t_{vector}, first + max(t_{array}, t_{sram}) + waits))

    All transfers share one DRAM port, so that no total is below ``traffic / bandwidth``. `ends` are the transfers of
    the first fold's operands and the last fold's results, which nothing hides; `first` is what prepares the first
    operands, and `waits` what the array waits for loads that its buffers had no place for earlier, and for room for
    results. What the barrier of a range scan has read and scanned is in no other term.

    Parameters
    ----------
    work, machine
        Whose buffers hold the tile of one fold, in every row.
    """
    folds = folds_of(work, machine)
    pace = Pace(work, machine, folds)
    tiling = best_tiling(work, machine, folds, pace)
    busy = pace.busy(tiling)
    port, exposed, rest = pace.waits(tiling)
    total = round_up(pace.barrier + machine.latency_cycles + maximum(port, exposed + rest))
    schedule = _schedule(folds, pace, tiling, busy.compute)
    return Timing(
        schedule=schedule,
        compute_cycles=busy.compute,
        total_cycles=total,
        stall_cycles=total - busy.compute,
        bound=_bound(busy, pace.barrier),
        utilization=work.macs / (machine.elements * total),
        dram=Traffic(pace.operand_bits(tiling) + work.bias_bits + pace.again_bits, pace.write_bits),
        buffers=_buffers(pace, schedule),
        repeats={
            steps.Per.CALL: 1,
            steps.Per.LHS_FETCH: schedule.lhs_fetches,
            steps.Per.RHS_FETCH: schedule.rhs_fetches,
            steps.Per.RHS_STREAM: schedule.rhs_streams,
        },
        dram_cycles=busy.dram,
        port_cycles=port,
        exposed_cycles=exposed,
        busy_cycles=rest,
        first_weight_cycles=pace.first_weight_cycles(tiling),
    )


def _schedule(folds: Folds, pace: Pace, tiling: Tiling, compute: Number) -> Schedule:
    """Order and counts of a tiling."""
    lhs_streams, rhs_streams = pace.streams(tiling)
    passes = pace.passes(tiling)
    rows, columns = pace.grid(tiling)
    return Schedule(
        folds=folds.count(tiling.repeats),
        compute_cycles=compute,
        lhs_fetches=tiling.lhs_fetches,
        rhs_fetches=tiling.rhs_fetches,
        lhs_streams=lhs_streams,
        rhs_streams=rhs_streams,
        slices=pace.work.slices(folds.machine.dot_depth),
        sum_writes=passes,
        sum_reads=passes - 1,
        row_tiles=rows,
        column_tiles=columns,
        block_rows=minimum(tiling.block_rows, rows),
        block_columns=minimum(tiling.block_columns, columns),
        keeps=tiling.keeps,
        parts=tiling.parts,
        lhs_group=minimum(tiling.lhs_group, rows),
        rhs_group=minimum(tiling.rhs_group, columns),
        lhs_depth=tiling.lhs_depth,
        rhs_depth=tiling.rhs_depth,
        out_depth=tiling.out_depth,
        lhs_pieces=tiling.lhs_pieces,
        rhs_pieces=tiling.rhs_pieces,
    )


def _bound(busy: Busy, barrier: Number) -> Number:
    """Resource that is busy longest, the first of equals."""
    most: Number = busy.compute
    place: Number = 0
    for index, cycles in enumerate((busy.dram, busy.sram, busy.vector, barrier), 1):
        longer = cycles > most
        most, place = where(longer, cycles, most), where(longer, index, place)
    return place if is_column(place) else BOUNDS[place]


def _buffers(pace: Pace, schedule: Schedule) -> dict[str, Traffic]:
    """Bits read from and written to each buffer."""
    unfinished = pace.sums_inside * schedule.sum_reads
    return {
        "activation": Traffic(
            pace.lhs_inside * schedule.lhs_streams
            + pace.lhs_copied * schedule.lhs_fetches
            + pace.rhs_copied * schedule.rhs_fetches
            + pace.work.side_reads,
            pace.lhs_filled * schedule.lhs_fetches + pace.results_kept,
        ),
        "weight": Traffic(pace.rhs_inside * schedule.rhs_streams, pace.rhs_inside * schedule.rhs_fetches),
        # unfinished sums, then the result written once and read once on its way to DRAM
        "output": Traffic(unfinished + pace.results_inside, unfinished + pace.results_inside),
    }
