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
reports one cycle less because it counts from 0; partial tiles pay the full array.

Off-chip traffic follows from which operand stays on chip. Either a chunk of lhs rows with its whole reduction
fits the activation buffer, and rhs is fetched once for each chunk; or the same with the sides swapped; whichever
moves fewer bits. If neither fits, both are fetched for every fold. Everything is arithmetic that broadcasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
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
    first_tile_bits, last_tile_bits : bits
        DRAM transfers that nothing can hide: operands of the first fold, results of the last.
    """

    folds: Number
    compute_cycles: Number
    lhs_fetches: Number
    rhs_fetches: Number
    lhs_streams: Number
    rhs_streams: Number
    sum_writes: Number
    sum_reads: Number
    first_tile_bits: Number
    last_tile_bits: Number


def schedule(plan: Plan, accelerator: Accelerator) -> Schedule:
    """Tile a plan's contraction onto an accelerator.

    Raises
    ------
    ValueError
        If a buffer can not hold the tile of one fold.
    """
    mac, array = plan.mac, accelerator.array
    rows, columns, depth = array.rows, array.columns, array.dot_depth
    m, n = mac.m + plan.extra_rows, mac.n + plan.extra_columns
    lengths = np.diff((*mac.boundaries, mac.k))
    row_tiles, column_tiles = ceil_div(m, rows), ceil_div(n, columns)
    skew = rows + columns - 2
    match array.dataflow:
        case "output_stationary":
            passes = mac.segments
            folds = mac.batch * passes * row_tiles * column_tiles
            stream = int(ceil_div(lengths, depth).sum())
            compute = mac.batch * row_tiles * column_tiles * (stream + passes * skew)
            lhs_streams, rhs_streams = column_tiles, row_tiles
        case "weight_stationary":
            passes = int(ceil_div(lengths, rows * depth).sum())
            folds = mac.batch * passes * column_tiles
            compute = folds * (rows + m + skew)
            lhs_streams, rhs_streams = column_tiles, 1
        case "input_stationary":
            passes = int(ceil_div(lengths, rows * depth).sum())
            row_tiles = ceil_div(m, columns)
            folds = mac.batch * passes * row_tiles
            compute = folds * (rows + n + skew)
            lhs_streams, rhs_streams = 1, row_tiles
    lhs_fetches, rhs_fetches = _fetches(plan, accelerator, row_tiles, column_tiles)
    _require_tiles(plan, accelerator)
    return Schedule(
        folds=folds,
        compute_cycles=compute,
        lhs_fetches=lhs_fetches,
        rhs_fetches=rhs_fetches,
        lhs_streams=lhs_streams,
        rhs_streams=rhs_streams,
        sum_writes=passes,
        sum_reads=passes - 1,
        first_tile_bits=mac.k
        * (np.minimum(m, rows) * plan.lhs.dram_bits + np.minimum(n, columns) * plan.rhs.dram_bits),
        last_tile_bits=np.minimum(m, rows) * np.minimum(n, columns) * plan.out.dram_bits,
    )


def _fetches(plan: Plan, accelerator: Accelerator, row_tiles: Number, column_tiles: Number) -> tuple[Number, Number]:
    """Count how often lhs and rhs come from DRAM: keep chunks of one or of the other, whichever is cheaper."""
    mac, array, memories = plan.mac, accelerator.array, accelerator.memories
    lhs_panels = 8 * memories.activation.tile_bytes // (mac.k * plan.lhs.sram_bits * array.rows)
    rhs_panels = 8 * memories.weight.tile_bytes // (mac.k * plan.rhs.sram_bits * array.columns)
    # A panel that is not kept must at least last through one chunk of the other side.
    keep_lhs = (1, np.where(rhs_panels >= 1, ceil_div(row_tiles, np.maximum(lhs_panels, 1)), row_tiles))
    keep_rhs = (np.where(lhs_panels >= 1, ceil_div(column_tiles, np.maximum(rhs_panels, 1)), column_tiles), 1)
    refetch = (column_tiles, row_tiles)
    lhs_bits, rhs_bits = plan.lhs.total_dram_bits, plan.rhs.total_dram_bits

    def bits(fetches: tuple[Number, Number], *, possible: Number) -> Number:
        return np.where(possible, fetches[0] * lhs_bits + fetches[1] * rhs_bits, np.inf)

    options = (keep_lhs, keep_rhs, refetch)
    costs = (
        bits(keep_lhs, possible=lhs_panels >= 1),
        bits(keep_rhs, possible=rhs_panels >= 1),
        bits(refetch, possible=True),
    )
    best = np.argmin(np.stack(np.broadcast_arrays(*costs)), axis=0)
    lhs, rhs = (np.choose(best, [option[side] for option in options]) for side in (0, 1))
    return (int(lhs), int(rhs)) if np.ndim(best) == 0 else (lhs, rhs)


def _require_tiles(plan: Plan, accelerator: Accelerator) -> None:
    array, memories = accelerator.array, accelerator.memories
    sum_bits = max(plan.mac.accumulator_bits, plan.out.sram_bits)
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
