"""How a contraction is cut into folds of the array and tiles of the buffers.

A *fold* is one pass of the array: it fills, streams and drains. Folds do not overlap. ``[batch, m, k, n]`` on an
array of ``R`` rows, ``C`` columns and dot depth ``d``, the reduction cut into segments of lengths ``k_s``:

================= =================================== ================================
dataflow          folds of one segment                cycles of each
================= =================================== ================================
output stationary ``ceil(m/R) ceil(n/C)``             ``ceil(k_s/d) + R + C - 2``
weight stationary ``ceil(k_s/(R d)) ceil(n/C)``       ``R + m + R + C - 2`` (load first)
input stationary  ``ceil(k_s/(R d)) ceil(m/C)``       ``R + n + R + C - 2``
================= =================================== ================================

times ``batch``. With one segment and ``d = 1`` these are the counts of SCALE-Sim (arXiv 1811.02883), which
reports one cycle less because it counts from 0; partial tiles pay the full array. Sums that leave through their
neighbours (`Array.drain`) take ``R`` cycles more a fold; a second register for the stationary operand
(`Array.double_buffered`) leaves of all loads only the first ``R``. Where folds overlap (`Array.overlap_folds`)
the skew ``R + C - 2`` is paid once and a fold takes its stream, ``ceil(k_s/d)`` or ``max(m, R)``; where a partial
tile takes its own part (`Array.partial_tiles`) its rows and columns stand for ``R`` and ``C``. Several arrays share
output tiles and batches, or the rows that stream, whichever is sooner done.

Off-chip traffic follows from what stays on chip while the rest streams past:

- a chunk of lhs rows with their whole reduction, and rhs is fetched once for each chunk; or the sides swapped;
- a block of unfinished sums in the output buffer, and each operand is fetched once for each block of the other's
  side; an output-stationary array then cuts the reduction to what its operand buffers hold and pays a fold for
  every cut;
- nothing, and both are fetched for every fold.

An array that holds one operand loads each of its tiles anew for every chunk of the other; where a sum takes several
passes, the unfinished sums of a chunk wait in the output buffer, which bounds it.

The tiling that needs the least time of array and memory together is taken, among equals the one with the fewest bits.
Everything is arithmetic that broadcasts over columns of design points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator, Array
    from hwsim.plan import Plan

Number = Any  # an int or float, or an array of them: one design point or a column of many
Numbers = npt.NDArray[Any]


def ceil_div(numerator: Number, denominator: Number) -> Number:
    """Quotient rounded up, exactly.

    Examples
    --------
    >>> ceil_div(7, 2), ceil_div(np.array([6, 7]), 2)
    (4, array([3, 4]))
    """
    return -(-numerator // denominator)


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
    sum_writes, sum_reads
        Times each result is written to and read from the output buffer as an unfinished sum.
    first_lhs_bits, first_rhs_bits, last_tile_bits : bits
        DRAM transfers that nothing can hide: operands of the first fold, results of the last.
    row_tiles, column_tiles
        Cuts of the result in the order of the machine: by the array, or along the moving operand by its chunks.
    block_rows, block_columns
        Tiles of the result that are made together from operands on chip.
    keeps
        Operand that stays for all blocks of its rows or columns: 1 is lhs, 2 is rhs, 0 neither.
    parts
        Pieces of the reduction that a block is made in, one after the other.
    """

    folds: Number
    compute_cycles: Number
    lhs_fetches: Number
    rhs_fetches: Number
    lhs_streams: Number
    rhs_streams: Number
    sum_writes: Number
    sum_reads: Number
    first_lhs_bits: Number
    first_rhs_bits: Number
    last_tile_bits: Number
    row_tiles: Number
    column_tiles: Number
    block_rows: Number
    block_columns: Number
    keeps: Number
    parts: Number


@dataclass(frozen=True, slots=True)
class _Tiling:
    """One way to keep data on chip: DRAM fetches of both operands, parts of the reduction, and whether it fits.

    `loads` is how often each tile of a stationary operand enters the array. The block and what it keeps say in which
    order; they change no count.
    """

    lhs_fetches: Number
    rhs_fetches: Number
    parts: Number
    fits: Number
    loads: Number = 1
    block_rows: Number = 1
    block_columns: Number = 1
    keeps: Number = 0


def schedule(plan: Plan, accelerator: Accelerator) -> Schedule:
    """Tile a plan's contraction onto an accelerator.

    Raises
    ------
    ValueError
        If a buffer can not hold the tile of one fold.
    """
    _require_tiles(plan, accelerator)
    mac, array = plan.mac, accelerator.array
    m, n = mac.m + plan.extra_rows, mac.n + plan.extra_columns
    row_tiles, column_tiles = ceil_div(m, array.rows), ceil_div(n, array.columns)
    if array.dataflow == "input_stationary":
        row_tiles, column_tiles = ceil_div(m, array.columns), ceil_div(n, array.rows)
    if array.dataflow == "output_stationary":
        tilings = list(_tilings(plan, accelerator, row_tiles, column_tiles))
    else:
        tilings = list(_stationary_tilings(plan, accelerator))
    costs = []
    for tiling in tilings:
        _, _, compute = _folds(plan, accelerator, tiling.parts, tiling.loads)
        lhs_bits, rhs_bits = (
            plan.lhs.total_dram_bits * tiling.lhs_fetches,
            plan.rhs.total_dram_bits * tiling.rhs_fetches,
        )
        bits = lhs_bits + rhs_bits
        time = np.maximum(compute, accelerator.dram_cycles(*port_bits(plan, lhs_bits, rhs_bits)))
        # Far below one cycle, bits only decide between equal times.
        costs.append(np.where(tiling.fits, time + bits * 1e-15, np.inf))
    best = np.argmin(np.stack(np.broadcast_arrays(*costs)), axis=0)
    lhs_fetches = _chosen(best, [tiling.lhs_fetches for tiling in tilings])
    rhs_fetches = _chosen(best, [tiling.rhs_fetches for tiling in tilings])
    parts, loads, high, wide, keeps = (
        _chosen(best, [getattr(tiling, name) for tiling in tilings])
        for name in ("parts", "loads", "block_rows", "block_columns", "keeps")
    )
    passes, folds, compute = _folds(plan, accelerator, parts, loads)
    streams = {
        "output_stationary": (column_tiles, row_tiles),
        "weight_stationary": (column_tiles, loads),
        "input_stationary": (loads, row_tiles),
    }[array.dataflow]
    grid = {
        "output_stationary": (row_tiles, column_tiles),
        "weight_stationary": (loads, column_tiles),
        "input_stationary": (row_tiles, loads),
    }[array.dataflow]
    rows, columns = np.minimum(m, array.rows), np.minimum(n, array.columns)
    return Schedule(
        folds=folds,
        compute_cycles=compute,
        lhs_fetches=lhs_fetches,
        rhs_fetches=rhs_fetches,
        lhs_streams=streams[0],
        rhs_streams=streams[1],
        sum_writes=passes,
        sum_reads=passes - 1,
        first_lhs_bits=ceil_div(mac.k, passes) * rows * plan.lhs.dram_bits,
        first_rhs_bits=ceil_div(mac.k, passes) * columns * plan.rhs.dram_bits,
        last_tile_bits=rows * columns * plan.out.dram_bits,
        row_tiles=grid[0],
        column_tiles=grid[1],
        block_rows=np.minimum(high, grid[0]),
        block_columns=np.minimum(wide, grid[1]),
        keeps=keeps,
        parts=parts,
    )


def port_bits(plan: Plan, other: Number, rhs: Number) -> tuple[Number, Number]:
    """Bits through the port that everything takes, and through that of weights."""
    return (other, rhs) if plan.layer.rhs_kind == "weight" else (other + rhs, 0)


def _folds(plan: Plan, accelerator: Accelerator, parts: Number, loads: Number) -> tuple[Number, Number, Number]:
    """Count passes over each output tile, folds of all arrays, and cycles of the busiest.

    Each segment is cut into `parts`, or each stationary tile loaded `loads` times.
    """
    mac, array = plan.mac, accelerator.array
    m, n = mac.m + plan.extra_rows, mac.n + plan.extra_columns
    lengths = np.diff((*mac.boundaries, mac.k))
    if array.dataflow == "output_stationary":
        passes, tiles = mac.segments * parts, mac.batch * ceil_div(m, array.rows) * ceil_div(n, array.columns)
        steps = int(ceil_div(lengths, array.dot_depth).sum())
        return passes, passes * tiles, _summing_cycles(accelerator, mac.batch, (m, n), steps, passes)
    moving, width = (m, n) if array.dataflow == "weight_stationary" else (n, m)
    lines = ceil_div(lengths, array.dot_depth)
    passes = int(ceil_div(lines, array.rows).sum())
    tiles = mac.batch * passes * ceil_div(width, array.columns)
    if array.partial_tiles == "part":
        cycles = mac.batch * _partial_cycles(array, (moving, width), lines, passes, loads)
    else:
        across = mac.batch * ceil_div(width, array.columns)
        cycles = _least(
            _streaming_cycles(array, ceil_div(across, accelerator.arrays) * passes, moving, loads),
            _streaming_cycles(array, across * passes, ceil_div(moving, accelerator.arrays), loads),
        )
    return passes, tiles * loads, cycles


def _summing_cycles(
    accelerator: Accelerator, batch: Number, sizes: tuple[Number, Number], steps: Number, passes: Number
) -> Number:
    """Cycles of an array that holds sums: `steps` of the reduction for each tile, in so many passes."""
    array, (m, n) = accelerator.array, sizes
    rows, columns = array.rows, array.columns
    high, wide = ceil_div(m, rows), ceil_div(n, columns)
    mine = ceil_div(batch * high * wide, accelerator.arrays)
    skew, shifted = rows + columns - 2, array.drain == "shift"
    if array.overlap_folds:
        return mine * steps + skew
    if array.partial_tiles == "part":
        # Summed over tiles of r rows and c columns: r + c - 2, and r more if results leave through their neighbours.
        skews = wide * m + high * n - 2 * high * wide + (wide * m if shifted else 0)
        return batch * (high * wide * steps + passes * skews)
    return mine * (steps + passes * (skew + (rows if shifted else 0)))


def _streaming_cycles(array: Array, tiles: Number, length: Number, loads: Number) -> Number:
    """Cycles of an array that holds `tiles` one after the other, each `loads` times, while `length` values pass."""
    skew = array.rows + array.columns - 2
    if array.overlap_folds:
        # The next tile is loaded, and the sums that it continues have left, after as many cycles as there are rows.
        return array.rows + tiles * np.maximum(length, loads * array.rows) + skew
    return _loads(array, tiles * loads) * array.rows + tiles * (length + loads * skew)


def _partial_cycles(
    array: Array, sizes: tuple[Number, Number], lines: Numbers, passes: Number, loads: Number
) -> Number:
    """Sum 2 r + c - 2 and the stream over tiles of r rows and c columns of an array that holds an operand."""
    moving, width = sizes
    tiles, rows = ceil_div(width, array.columns), int(lines.sum())
    return passes * tiles * moving + loads * (2 * tiles * rows + passes * width - 2 * passes * tiles)


def _least(one: Number, other: Number) -> Number:
    least = np.minimum(one, other)
    return int(least) if np.ndim(least) == 0 else least


def _loads(array: Array, folds: Number) -> Number:
    """Count the loads of the stationary operand that the array waits for: with a second register only the first."""
    return 1 if array.double_buffered else folds


def _chosen(best: Numbers, options: list[Number]) -> Number:
    picked = np.choose(best, np.broadcast_arrays(*options))
    return int(picked) if np.ndim(best) == 0 else picked


def _tilings(plan: Plan, accelerator: Accelerator, row_tiles: Number, column_tiles: Number) -> Iterator[_Tiling]:
    """List the ways of the module's text; panels are a tile's rows or columns with their whole reduction."""
    mac, array, memories = plan.mac, accelerator.array, accelerator.memories
    lhs_bits, rhs_bits = 8 * memories.activation.tile_bytes, 8 * memories.weight.tile_bytes
    rows, columns = ceil_div(mac.m, row_tiles), ceil_div(mac.n, column_tiles)
    lhs_panels = lhs_bits // (mac.k * plan.lhs.sram_bits * rows)
    rhs_panels = rhs_bits // (mac.k * plan.rhs.sram_bits * columns)
    # A panel that is not kept must at least last through one chunk of the other side.
    chunk = np.where(rhs_panels >= 1, np.maximum(lhs_panels, 1), 1)
    yield _Tiling(1, ceil_div(row_tiles, chunk), 1, lhs_panels >= 1, 1, chunk, 1, 1)
    chunk = np.where(lhs_panels >= 1, np.maximum(rhs_panels, 1), 1)
    yield _Tiling(ceil_div(column_tiles, chunk), 1, 1, rhs_panels >= 1, 1, 1, chunk, 2)
    yield _Tiling(column_tiles, row_tiles, 1, np.True_)
    # Blocks of sums: powers of two of row tiles by as many column tiles as the output buffer then holds.
    sums = 8 * memories.output.tile_bytes // (_sum_bits(plan) * rows * columns)
    for exponent in range(8):
        high = 1 << exponent
        wide = np.maximum(sums // high, 1)
        shortest = np.minimum(
            lhs_bits // (np.minimum(high, row_tiles) * rows * plan.lhs.sram_bits),
            rhs_bits // (np.minimum(wide, column_tiles) * columns * plan.rhs.sram_bits),
        )
        longest = int(np.diff((*mac.boundaries, mac.k)).max())
        parts = ceil_div(longest, np.maximum(shortest, 1))
        fits = (sums >= high) & (shortest >= array.dot_depth)
        yield _Tiling(ceil_div(column_tiles, wide), ceil_div(row_tiles, high), parts, fits, 1, high, wide)


def _stationary_tilings(plan: Plan, accelerator: Accelerator) -> Iterator[_Tiling]:
    """List the ways of an array that holds weights or, the sides swapped, inputs, while the other operand moves."""
    mac, array, memories = plan.mac, accelerator.array, accelerator.memories
    depth = array.rows * array.dot_depth
    moving, room, length = plan.lhs, memories.activation, mac.m + plan.extra_rows
    held, held_room, width = plan.rhs, memories.weight, mac.n + plan.extra_columns
    swapped = array.dataflow == "input_stationary"
    if swapped:
        moving, room, length, held, held_room, width = held, held_room, width, moving, room, length
    tiles = ceil_div(width, array.columns)
    passes = int(ceil_div(np.diff((*mac.boundaries, mac.k)), depth).sum())
    sums = 8 * memories.output.tile_bytes // (_sum_bits(plan) * array.columns)

    def tiling(
        moving_fetches: Number,
        held_fetches: Number | None,
        chunk: Number,
        fits: Number,
        together: Number = 1,
        keeps: str = "",
        parts: Number = 1,
    ) -> _Tiling:
        loads = ceil_div(length, np.maximum(chunk, 1))
        again = loads if held_fetches is None else held_fetches
        pair = (again, moving_fetches) if swapped else (moving_fetches, again)
        block = (together, 1) if swapped else (1, together)
        kept = {"": 0, "moving": 2 if swapped else 1, "held": 1 if swapped else 2}[keeps]
        return _Tiling(pair[0], pair[1], parts, fits, loads, block[0], block[1], kept)

    # Sums that one pass finishes leave at once, others wait.
    waiting = np.minimum(length, np.where(mac.k > depth, sums, length))
    chunk = np.minimum(waiting, 8 * room.tile_bytes // (mac.k * moving.sram_bits))
    panels = 8 * held_room.tile_bytes // (mac.k * held.sram_bits * np.minimum(array.columns, width))
    yield tiling(1, None, chunk, chunk >= 1, keeps="moving")
    yield tiling(ceil_div(tiles, np.maximum(panels, 1)), 1, chunk, (chunk >= 1) & (panels >= 1), panels, "held")
    yield tiling(tiles, 1, waiting, panels >= 1, keeps="held")
    yield tiling(tiles, None, waiting, np.True_)
    # Blocks of sums: a chunk of the moving operand by as many tiles as the output buffer then holds.
    for exponent in range(8):
        high = np.minimum(array.rows << exponent, length)
        wide = sums // high
        slice_bits = high * np.minimum(depth, mac.k) * moving.sram_bits
        fits = (wide >= 1) & (slice_bits <= 8 * room.tile_bytes)
        yield tiling(ceil_div(tiles, np.maximum(wide, 1)), None, high, fits, wide, parts=passes)


def _sum_bits(plan: Plan) -> int:
    """Width of an unfinished sum in the output buffer; a float one is fp32."""
    return plan.mac.accumulator_bits or 32


def _require_tiles(plan: Plan, accelerator: Accelerator) -> None:
    array, memories = accelerator.array, accelerator.memories
    sum_bits = max(_sum_bits(plan), plan.out.sram_bits)
    needs = {
        "activation": array.rows * array.dot_depth * plan.lhs.sram_bits,
        "weight": array.columns * array.dot_depth * plan.rhs.sram_bits,
        "output": array.rows * array.columns * sum_bits,
    }
    for name, bits in needs.items():
        available = 8 * getattr(memories, name).tile_bytes
        if bits > available:
            msg = (
                f"memories.{name}.capacity_bytes must hold one tile of {plan.layer.name}, "
                f"{ceil_div(bits, 8)} bytes, not {available // 8}"
            )
            raise ValueError(msg)
