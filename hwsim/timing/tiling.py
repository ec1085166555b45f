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

times ``batch``; `folds` has the conventions that change this. Off-chip traffic follows from what stays on chip while
the rest streams past:

- a chunk of lhs rows with their whole reduction, and rhs is fetched once for each chunk; or the sides swapped;
- a block of unfinished sums in the output buffer, and each operand is fetched once for each block of the other's
  side; an output-stationary array then cuts the reduction to what its operand buffers hold and pays a fold for
  every cut;
- nothing, and both are fetched for every fold.

An array that holds one operand loads each of its tiles anew for every chunk of the other; where a sum takes several
passes, the unfinished sums of a chunk wait in the output buffer, which bounds it.

The tiling that takes the fewest cycles is taken, among equals the one with the fewest bits. No tiling gets slower in a
larger buffer: blocks have sizes that do not depend on the buffers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from hwsim.timing.numbers import Number, ceil_div, floor_div, maximum, minimum, where
from hwsim.timing.symbols import Symbol

if TYPE_CHECKING:
    from hwsim.timing.folds import Folds
    from hwsim.timing.pace import Pace
    from hwsim.timing.work import Machine, Work

# Blocks of 1 x 2, 4 x 8, 16 x 32 and 64 x 128 tiles, beside one tile and the whole result.
_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class Tiling:
    """One way to keep data on chip.

    Parameters
    ----------
    lhs_fetches, rhs_fetches
        Times each operand comes from DRAM.
    repeats
        Pieces of each segment on an output-stationary array; loads of each tile of a stationary operand on others.
    fits
        Whether the buffers hold it.
    block_rows, block_columns
        Tiles of the result that are made together from operands on chip.
    keeps
        Operand that stays for all blocks of its rows or columns: 1 is lhs, 2 is rhs, 0 neither.
    parts
        Pieces of the reduction that a block is made in, one after the other.
    lhs_part_bits, rhs_part_bits
        Room that the operand of each fold takes for as long as the fold lasts; 0 where it stays longer.
    """

    lhs_fetches: Number
    rhs_fetches: Number
    repeats: Number
    fits: Number
    block_rows: Number = 1
    block_columns: Number = 1
    keeps: Number = 0
    parts: Number = 1
    lhs_part_bits: Number = 0
    rhs_part_bits: Number = 0


def require_tiles(work: Work, machine: Machine) -> None:
    """Check that every buffer holds the tile of one fold; of one design point.

    Raises
    ------
    ValueError
        If one does not, naming it and the bytes it needs.
    """
    for name, (bits, available) in tile_needs(work, machine).items():
        if bits > available:
            raise ValueError(small_buffer(name, work.name, bits, available))


def small_buffer(name: str, layer: str, bits: Number, available: Number) -> str:
    """Say which buffer is too small for a layer, and how much it needs."""
    return (
        f"memories.{name}.capacity_bytes must hold one tile of {layer}, "
        f"{int(ceil_div(bits, 8))} bytes, not {int(available // 8)}"
    )


def tile_needs(work: Work, machine: Machine) -> dict[str, tuple[Number, Number]]:
    """Bits that the tile of one fold takes in each buffer, and bits that the buffer has for a tile."""
    sum_bits = max(work.sum_bits, work.out.sram_bits)
    return {
        "activation": (machine.rows * machine.dot_depth * work.lhs.sram_bits, machine.activation.tile_bits),
        "weight": (machine.columns * machine.dot_depth * work.rhs.sram_bits, machine.weight.tile_bits),
        "output": (machine.rows * machine.columns * sum_bits, machine.output.tile_bits),
    }


def best_tiling(work: Work, machine: Machine, folds: Folds, pace: Pace) -> Tiling:
    """Take the tiling with the fewest cycles, among equals the one with the fewest bits."""
    if machine.dataflow == "output_stationary":
        tilings = list(_summing(work, machine, folds, pace))
    else:
        tilings = list(_streaming(work, machine, folds))
    if work.lhs_in_place:
        # Once it is there, it is read where it is.
        tilings = [replace(tiling, lhs_fetches=1) for tiling in tilings]
    costs = []
    for tiling in tilings:
        cycles, bits = pace.cycles(tiling), pace.operand_bits(tiling) + pace.copied_bits(tiling)
        # Far below one cycle, bits only decide between equal times.
        costs.append(where(tiling.fits, cycles + bits * 1e-15, np.inf))
    return _cheapest(costs, tilings)


def _cheapest(costs: list[Number], tilings: list[Tiling]) -> Tiling:
    """Choose point by point."""
    if any(type(cost) is Symbol for cost in costs):
        least, best = costs[0], tilings[0]
        for cost, tiling in zip(costs[1:], tilings[1:], strict=True):
            better = cost < least
            least = where(better, cost, least)
            pairs = [(getattr(tiling, f.name), getattr(best, f.name)) for f in fields(Tiling)]
            best = Tiling(*(one if one is other else where(better, one, other) for one, other in pairs))
        return best
    if not any(type(cost) is np.ndarray for cost in costs):
        return tilings[min(range(len(costs)), key=costs.__getitem__)]
    lowest = np.array(costs[0])
    place = np.zeros(lowest.shape, dtype=np.int8)
    for index, cost in enumerate(costs[1:], 1):
        better = cost < lowest
        np.copyto(lowest, cost, where=better)
        np.copyto(place, np.int8(index), where=better)
    counts = np.bincount(place.ravel(), minlength=len(costs))
    used = np.flatnonzero(counts).tolist()
    used.sort(key=lambda index: -int(counts[index]))
    masks = [place == index for index in used[1:]]
    chosen = [tilings[index] for index in used]
    return Tiling(*(_picked(place.shape, masks, [getattr(one, f.name) for one in chosen]) for f in fields(Tiling)))


def _picked(shape: tuple[int, ...], masks: list[np.ndarray], options: list[Number]) -> Number:
    """Take the first option, and the others where their masks say."""
    first = options[0]
    if all(option is first or (type(option) is type(first) is int and option == first) for option in options):
        return first
    picked = np.empty(shape)
    picked[...] = first
    for mask, option in zip(masks, options[1:], strict=True):
        np.copyto(picked, option, where=mask)
    return picked


def _summing(work: Work, machine: Machine, folds: Folds, pace: Pace) -> Iterator[Tiling]:
    """List the ways of an array that holds sums; panels are a tile's rows or columns with their whole reduction."""
    lhs_bits, rhs_bits = machine.activation.tile_bits, machine.weight.tile_bits
    high, wide = folds.row_tiles, folds.column_tiles
    rows, columns = ceil_div(work.m, high), ceil_div(work.n, wide)
    lhs_panels = floor_div(work.lhs_rows(lhs_bits), rows)
    rhs_panels = floor_div(rhs_bits, work.k * work.rhs.sram_bits * columns)
    # A panel that is not kept must at least last through one chunk of the other side; a longer one comes in parts.
    # A few panels of the other side give each new panel of a chunk work until the next one is there.
    lhs_part, rhs_part = (
        minimum(work.lhs_room(rows), lhs_bits),
        minimum(work.k * work.rhs.sram_bits * columns, rhs_bits),
    )
    for_lhs, for_rhs = pace.meetings()
    chunks = ceil_div(high, maximum(where(rhs_panels >= 1, lhs_panels, 1), 1))
    together = maximum(minimum(rhs_panels, for_lhs), 1)
    yield Tiling(1, chunks, 1, lhs_panels >= 1, ceil_div(high, chunks), together, 1, rhs_part_bits=rhs_part)
    chunks = ceil_div(wide, maximum(where(lhs_panels >= 1, rhs_panels, 1), 1))
    together = maximum(minimum(lhs_panels, for_rhs), 1)
    yield Tiling(chunks, 1, 1, rhs_panels >= 1, together, ceil_div(wide, chunks), 2, lhs_part_bits=lhs_part)
    yield Tiling(wide, high, 1, True, lhs_part_bits=lhs_part, rhs_part_bits=rhs_part)
    # Blocks of sums, nearly square, and the whole result.
    sums = floor_div(machine.output.tile_bits, work.sum_bits * rows * columns)
    lhs_slices = floor_div(lhs_bits, rows * work.lhs.sram_bits)
    rhs_slices = floor_div(rhs_bits, columns * work.rhs.sram_bits)
    longest, depth = work.longest, machine.dot_depth
    # The operand with more bits for each tile of the other is the one to fetch less often.
    tall = work.rhs.total_dram_bits * high >= work.lhs.total_dram_bits * wide
    blocks = [(high, wide), (1, 1)]
    for exponent in range(0, 2 * _BLOCKS, 2):
        size = 1 << exponent
        blocks.append((where(tall, 2 * size, size), where(tall, size, 2 * size)))
    for block_rows, block_columns in blocks:
        rows_held, columns_held = minimum(block_rows, high), minimum(block_columns, wide)
        slices = minimum(floor_div(lhs_slices, rows_held), floor_div(rhs_slices, columns_held))
        parts = ceil_div(longest, maximum(slices, 1))
        fits = (sums >= rows_held * columns_held) & (slices >= depth)
        yield Tiling(
            ceil_div(wide, columns_held), ceil_div(high, rows_held), parts, fits, rows_held, columns_held, parts=parts
        )


def _streaming(work: Work, machine: Machine, folds: Folds) -> Iterator[Tiling]:
    """List the ways of an array that holds weights or, the sides swapped, inputs, while the other operand moves."""
    depth = machine.rows * machine.dot_depth
    swapped = machine.dataflow == "input_stationary"
    moving, room, held, held_room = work.lhs, machine.activation, work.rhs, machine.weight
    length, width = work.m + work.extra_rows, work.n + work.extra_columns
    if swapped:
        moving, room, held, held_room, length, width = held, held_room, moving, room, width, length
    tiles = folds.row_tiles if swapped else folds.column_tiles
    sums = floor_div(machine.output.tile_bits, work.sum_bits * machine.columns)

    def tiling(
        moving_fetches: Number,
        held_fetches: Number | None,
        chunk: Number,
        fits: Number,
        together: Number = 1,
        keeps: int = 0,
        parts: Number = 1,
    ) -> Tiling:
        loads = ceil_div(length, maximum(chunk, 1))
        again = loads if held_fetches is None else held_fetches
        if swapped:
            return Tiling(again, moving_fetches, loads, fits, together, 1, (0, 2, 1)[keeps], parts)
        return Tiling(moving_fetches, again, loads, fits, 1, together, keeps, parts)

    # Sums that one pass finishes leave at once, others wait.
    waiting = where(work.k > depth, minimum(length, sums), length)
    if swapped:
        fitting, held_fitting = floor_div(room.tile_bits, work.k * moving.sram_bits), work.lhs_rows(held_room.tile_bits)
    else:
        fitting, held_fitting = work.lhs_rows(room.tile_bits), floor_div(held_room.tile_bits, work.k * held.sram_bits)
    chunk, panels = minimum(waiting, fitting), floor_div(held_fitting, minimum(machine.columns, width))
    yield tiling(1, None, chunk, chunk >= 1, keeps=1)
    yield tiling(ceil_div(tiles, maximum(panels, 1)), 1, chunk, (chunk >= 1) & (panels >= 1), panels, 2)
    yield tiling(tiles, 1, waiting, panels >= 1, keeps=2)
    yield tiling(tiles, None, waiting, True)
    # Blocks of sums: a chunk of the moving operand by as many tiles as the output buffer then holds.
    slice_bits = minimum(depth, work.k) * moving.sram_bits
    for exponent in range(0, 2 * _BLOCKS, 2):
        high = minimum(machine.rows * (1 << exponent), length)
        wide = floor_div(sums, high)
        fits = (wide >= 1) & (high * slice_bits <= room.tile_bits)
        yield tiling(ceil_div(tiles, maximum(wide, 1)), None, high, fits, wide, parts=folds.passes)
