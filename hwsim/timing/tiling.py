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
    from hwsim.timing.work import Buffer, Machine, Work

_SHORT = 1 << 9
"""Rows of a column below which the calls take longer than the numbers."""
# Blocks of 1 x 2, 4 x 8, 16 x 32 and 64 x 128 tiles, beside one tile and the whole result.
_BLOCKS = 4
_EVERY = 1 << 40  # more loads than there are


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
    lhs_group, rhs_group
        Tiles' parts of the operand that come and go together: a load.
    lhs_depth, rhs_depth, out_depth
        Loads, and results, that a buffer has places for; 1 if the next is asked for when the array has done with it.
    lhs_pieces, rhs_pieces
        That the reduction of one fold is cut into because an operand outgrows its buffer; 1 or as many as the other's.
    """

    lhs_fetches: Number
    rhs_fetches: Number
    repeats: Number
    fits: Number
    block_rows: Number = 1
    block_columns: Number = 1
    keeps: Number = 0
    parts: Number = 1
    lhs_group: Number = 1
    rhs_group: Number = 1
    lhs_depth: Number = 2
    rhs_depth: Number = 2
    out_depth: Number = 2
    lhs_pieces: Number = 1
    rhs_pieces: Number = 1


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
        # Once it is there, it is read where it is, and takes no place in turn.
        tilings = [replace(tiling, lhs_fetches=1, lhs_depth=_EVERY, lhs_pieces=1) for tiling in tilings]
    shape = _short(tilings)
    if shape is None:
        return _cheapest([_cost(tiling, pace) for tiling in tilings], tilings)
    together = {f.name: _stacked([getattr(one, f.name) for one in tilings], shape) for f in fields(Tiling)}
    cost = np.broadcast_to(_cost(Tiling(**together), pace), (len(tilings), *shape))
    place = cost.argmin(axis=0)[np.newaxis]
    return Tiling(
        **{
            name: np.take_along_axis(option, place, axis=0)[0] if type(option) is np.ndarray else option
            for name, option in together.items()
        }
    )


def _cost(tiling: Tiling, pace: Pace) -> Number:
    cycles, bits = pace.cycles(tiling), pace.operand_bits(tiling) + pace.copied_bits(tiling)
    # Far below one cycle, bits only decide between equal times.
    return where(tiling.fits, cycles + bits * 1e-15, np.inf)


def _short(tilings: list[Tiling]) -> tuple[int, ...] | None:
    """Return the shape of columns so short that all tilings are better read in one go; None of others."""
    options = [getattr(one, f.name) for one in tilings for f in fields(Tiling)]
    if any(type(option) is Symbol for option in options):
        return None
    shape = np.broadcast_shapes(*(option.shape for option in options if type(option) is np.ndarray))
    return shape if len(shape) == 1 and shape[0] <= _SHORT else None


def _stacked(options: list[Number], shape: tuple[int, ...]) -> Number:
    """Return what all have in common, or a row for each."""
    first = options[0]
    if all(type(option) is int and option == first for option in options):
        return first
    rows = np.empty((len(options), *shape), np.result_type(*options))
    for row, option in zip(rows, options, strict=True):
        row[...] = option
    return rows


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


def _halves(buffer: Buffer) -> int:
    """Count the places of a buffer for what it holds at once."""
    return 2 if buffer.double_buffered else 1


def _depth(buffer: Buffer, fit: Number) -> Number:
    """Count the loads that a buffer has places for, of which one half holds so many."""
    return 2 * maximum(fit, 1) if buffer.double_buffered else 1


def _summing(work: Work, machine: Machine, folds: Folds, pace: Pace) -> Iterator[Tiling]:
    """List the ways of an array that holds sums; panels are a tile's rows or columns with their whole reduction."""
    lhs_bits, rhs_bits = machine.activation.tile_bits, machine.weight.tile_bits
    lhs_halves, rhs_halves = _halves(machine.activation), _halves(machine.weight)
    high, wide = folds.row_tiles, folds.column_tiles
    rows, columns = ceil_div(work.m, high), ceil_div(work.n, wide)
    rhs_panel = work.k * work.rhs.sram_bits * columns
    lhs_panels, rhs_panels = floor_div(work.lhs_rows(lhs_bits), rows), floor_div(rhs_bits, rhs_panel)
    sums = floor_div(machine.output.tile_bits, maximum(work.sum_bits, work.out.sram_bits) * rows * columns)
    places = maximum(sums, 1) * _halves(machine.output)
    # A panel that is not kept must at least last through one chunk of the other side; a longer one comes in pieces.
    lhs_pieces = maximum(ceil_div(work.lhs_room(rows), lhs_bits), 1)
    rhs_pieces = maximum(ceil_div(rhs_panel, rhs_bits), 1)
    # A few panels of the other side give each new panel of a chunk work until the next one is there.
    for_lhs, for_rhs = pace.meetings()
    chunks = ceil_div(high, maximum(where(rhs_panels >= 1, lhs_panels, 1), 1))
    most = minimum(rhs_panels, for_lhs) if rhs_halves == 2 else rhs_panels
    group, kept = minimum(maximum(most, 1), wide), ceil_div(high, chunks)
    depth = _depth(machine.weight, floor_div(rhs_panels, group))
    yield Tiling(
        1, chunks, 1, lhs_panels >= 1, kept, group, 1, 1, kept, group, lhs_halves, depth, places, 1, rhs_pieces
    )
    chunks = ceil_div(wide, maximum(where(lhs_panels >= 1, rhs_panels, 1), 1))
    most = minimum(lhs_panels, for_rhs) if lhs_halves == 2 else lhs_panels
    group, kept = minimum(maximum(most, 1), high), ceil_div(wide, chunks)
    depth = _depth(machine.activation, floor_div(lhs_panels, group))
    yield Tiling(
        chunks, 1, 1, rhs_panels >= 1, group, kept, 2, 1, group, kept, depth, rhs_halves, places, lhs_pieces, 1
    )
    panels = minimum(lhs_panels, rhs_panels)
    pieces = maximum(lhs_pieces, rhs_pieces)
    yield Tiling(
        wide, high, 1, True, 1, 1, 0, 1, 1, 1,
        _depth(machine.activation, panels), _depth(machine.weight, panels), places,
        where(lhs_pieces > 1, pieces, 1), where(rhs_pieces > 1, pieces, 1),
    )  # fmt: skip
    # Blocks of sums, nearly square, and the whole result.
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
            ceil_div(wide, columns_held), ceil_div(high, rows_held), parts, fits, rows_held, columns_held, 0, parts,
            rows_held, columns_held, lhs_halves, rhs_halves, places,
        )  # fmt: skip


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
    halves = _halves(room), _halves(held_room)

    def tiling(
        moving_fetches: Number,
        held_fetches: Number | None,
        chunk: Number,
        fits: Number,
        together: Number = 1,
        keeps: int = 0,
        parts: Number = 1,
        depths: tuple[Number, Number] = halves,
        pieces: tuple[Number, Number] = (1, 1),
        group: Number | None = None,
    ) -> Tiling:
        loads = ceil_div(length, maximum(chunk, 1))
        again = loads if held_fetches is None else held_fetches
        places = maximum(floor_div(sums, maximum(chunk, 1)), 1) * _halves(machine.output)
        group = together if group is None else group
        if swapped:
            return Tiling(
                again, moving_fetches, loads, fits, together, 1, (0, 2, 1)[keeps], parts, group, 1, depths[1],
                depths[0], places, pieces[1], pieces[0],
            )  # fmt: skip
        return Tiling(moving_fetches, again, loads, fits, 1, together, keeps, parts, 1, group, *depths, places, *pieces)

    # Sums that one pass finishes leave at once, others wait.
    waiting = where(work.k > depth, minimum(length, sums), length)
    panel = minimum(machine.columns, width)
    if swapped:
        fitting, held_fitting = floor_div(room.tile_bits, work.k * moving.sram_bits), work.lhs_rows(held_room.tile_bits)
        moving_bits, held_bits = work.k * moving.sram_bits * waiting, work.lhs_room(panel)
    else:
        fitting, held_fitting = work.lhs_rows(room.tile_bits), floor_div(held_room.tile_bits, work.k * held.sram_bits)
        moving_bits, held_bits = work.lhs_room(waiting), work.k * held.sram_bits * panel
    chunk, panels = minimum(waiting, fitting), floor_div(held_fitting, panel)
    together = minimum(maximum(panels, 1), tiles)
    held_depth = _depth(held_room, panels)
    moving_pieces = maximum(ceil_div(moving_bits, room.tile_bits), 1)
    held_pieces = maximum(ceil_div(held_bits, held_room.tile_bits), 1)
    yield tiling(1, None, chunk, chunk >= 1, keeps=1, depths=(halves[0], held_depth), pieces=(1, held_pieces))
    yield tiling(ceil_div(tiles, together), 1, chunk, (chunk >= 1) & (panels >= 1), together, 2)
    yield tiling(tiles, 1, waiting, panels >= 1, keeps=2, depths=(halves[0], held_depth), pieces=(moving_pieces, 1))
    pieces = maximum(moving_pieces, held_pieces)
    both = where(moving_pieces > 1, pieces, 1), where(held_pieces > 1, pieces, 1)
    yield tiling(tiles, None, waiting, True, pieces=both)
    # Blocks of sums: a chunk of the moving operand by as many tiles as the output buffer then holds.
    slice_bits = minimum(depth, work.k) * moving.sram_bits
    held_pieces = maximum(ceil_div(minimum(depth, work.k) * held.sram_bits * panel, held_room.tile_bits), 1)
    for exponent in range(0, 2 * _BLOCKS, 2):
        high = minimum(machine.rows * (1 << exponent), length)
        most = floor_div(sums, high)
        wide = minimum(maximum(most, 1), tiles)
        fits = (most >= 1) & (high * slice_bits <= room.tile_bits)
        yield tiling(
            ceil_div(tiles, wide), None, high, fits, wide, parts=folds.passes, pieces=(1, held_pieces),
            group=1,
        )  # fmt: skip
