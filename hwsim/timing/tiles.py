"""The folds of a schedule in the order in which the machine makes them, with what each must fetch and deliver.

Shares of bits and cycles are cut cumulatively, so that they add up to the schedule's totals exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hwsim.timing.numbers import ceil_div

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from hwsim.timing.cycles import Schedule


KEEPS = {"lhs": 1, "rhs": 2}


@dataclass(slots=True, eq=False)
class Item:
    """A part of an operand that is fetched at once.

    Parameters
    ----------
    operand
        ``lhs`` or ``rhs``.
    bits
        That come from DRAM.
    room : bits
        In the operand's buffer.
    slots
        Elements that pass the vector unit before the array can take them.
    load
        What the buffer takes and gives up together, numbered for each operand.
    first, last
        Tiles that use it, by their index.
    """

    operand: str
    bits: int
    room: int
    slots: int
    load: int
    first: int
    last: int


@dataclass(slots=True, eq=False)
class Tile:
    """Folds that run one after the other once their operands are there.

    Parameters
    ----------
    ticks
        Time of the array.
    draining
        That at its end in which results leave.
    fetches
        Items that nobody has fetched before.
    uses
        All items that must be there.
    result_bits
        Delivered to DRAM.
    slots
        Elements that pass the vector unit before.
    beside
        Elements that pass it meanwhile and that nothing here waits for.
    room
        Results or unfinished sums of a fold that take their place in the output buffer when the tile starts.
    freed
        Those that leave it when the tile's results have been written.
    """

    ticks: int
    draining: int
    fetches: list[Item] = field(default_factory=list)
    uses: list[Item] = field(default_factory=list)
    result_bits: int = 0
    slots: int = 0
    beside: int = 0
    room: int = 0
    freed: int = 0


def share(total: int, index: int, parts: int) -> int:
    """Part `index` of an integer cut into `parts` that differ by one at most and add up to it.

    Examples
    --------
    >>> [share(7, i, 3) for i in range(3)]
    [2, 2, 3]
    """
    return total * (index + 1) // parts - total * index // parts


def _cut(total: int, cuts: Iterable[tuple[int, int]]) -> int:
    """Share of a share of an integer."""
    for index, parts in cuts:
        total = share(total, index, parts)
    return total


def order(schedule: Schedule) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Row tile, column tile, part of the reduction and place of the block, in the order of the machine.

    Blocks of the operand that stays follow each other; all parts of a block are made before the next one.
    """
    # The operand that passes a kept one comes in full groups first: they give each panel of that most to do.
    cut_rows = _full if schedule.keeps == KEEPS["rhs"] else _even
    cut_columns = _full if schedule.keeps == KEEPS["lhs"] else _even
    heights = cut_rows(schedule.row_tiles, schedule.block_rows)
    widths = cut_columns(schedule.column_tiles, schedule.block_columns)
    blocks = [(high, wide) for high in range(len(heights)) for wide in range(len(widths))]
    if schedule.keeps == KEEPS["rhs"]:
        blocks.sort(key=lambda block: block[1])
    for block in blocks:
        for part in range(schedule.parts):
            for row in heights[block[0]]:
                for column in widths[block[1]]:
                    yield row, column, part, block


def _even(tiles: int, most: int) -> list[range]:
    """Cut tiles into as few blocks of at most so many as will do, none more than one tile larger than another."""
    count = -(-tiles // most)
    return [range(tiles * at // count, tiles * (at + 1) // count) for at in range(count)]


def _full(tiles: int, most: int) -> list[range]:
    """Cut tiles into blocks of so many, the last of what is left."""
    return [range(first, min(first + most, tiles)) for first in range(0, tiles, most)]


def tiles(
    plan: Plan,
    schedule: Schedule,
    array_ticks: int,
    draining: int,
    slots: dict[str, int],
) -> list[Tile]:
    """List the folds of a layer.

    Parameters
    ----------
    array_ticks
        Time of all of them together; each takes an equal share.
    draining
        Time at the end of each in which results leave.
    slots
        Elements that pass the vector unit: for each fetch of ``lhs`` and ``rhs``, for all results (``out``), and in
        the epilogue of who produced the operands (``producer``), which no fold waits for.
    """
    batch, parts, grid = plan.mac.batch, schedule.parts, schedule.row_tiles * schedule.column_tiles
    stored = {"lhs": plan.lhs, "rhs": plan.rhs}
    held = {"lhs": 0 if plan.lhs_in_place else plan.held.elements, "rhs": 0 if plan.rhs.in_place else plan.rhs.elements}
    along = {"lhs": schedule.row_tiles, "rhs": schedule.column_tiles}
    groups = {"lhs": schedule.lhs_group, "rhs": schedule.rhs_group}
    pieces = {"lhs": schedule.lhs_pieces, "rhs": schedule.rhs_pieces}
    written_bits = plan.out.total_dram_bits + (plan.shared.total_dram_bits if plan.shared else 0)
    written_bits += sum(one.stored.total_dram_bits for one in plan.side if one.written)
    on_chip: dict[tuple[object, ...], Item] = {}
    loads: dict[tuple[object, ...], int] = {}
    made: list[Tile] = []
    fold, folds = 0, batch * grid * parts
    for call in range(batch):
        for row, column, part, block in order(schedule):
            tile = Tile(share(array_ticks, fold, folds), draining, beside=share(slots["producer"], fold, folds))
            for operand, index, cut in (("lhs", row, block[0]), ("rhs", column, block[1])):
                key: tuple[object, ...] = (operand, call)
                if operand == "lhs" and plan.lhs_in_place:
                    key = (*key, part)
                elif schedule.keeps != KEEPS[operand]:
                    key = (*key, block, part)
                load, key = (*key, cut if groups[operand] > 1 else index), (*key, index)
                if key not in on_chip:
                    whole = stored[operand]
                    inside = held[operand] * whole.sram_bits
                    cuts = ((call, batch), (index, along[operand]), (part, parts))
                    totals = (whole.total_dram_bits, inside, slots[operand])
                    bits, room, passing = (_cut(total, cuts) for total in totals)
                    number = loads.setdefault(load, len(loads))
                    on_chip[key] = Item(operand, bits, room, passing, number, len(made), len(made))
                    tile.fetches.append(on_chip[key])
                tile.uses.append(on_chip[key])
            result, results = call * grid + row * schedule.column_tiles + column, batch * grid
            tile.room = int(part == 0)
            if part == parts - 1:
                tile.freed = 1
                tile.result_bits = share(written_bits, result, results)
                tile.slots = share(slots["out"], result, results)
            made += _pieces(tile, len(made), pieces)
            for item in tile.uses:
                item.last = max(item.last, len(made) - 1)
            fold += 1
    return made


def drain_cycles(plan: Plan, schedule: Schedule, accelerator: Accelerator) -> int:
    """Cycles at the end of a fold in which results leave, counted from the one that completes the first."""
    array = accelerator.array
    match array.dataflow:
        case "output_stationary":
            return array.rows + array.columns - 1 + (array.rows if array.drain == "shift" else 0)
        case "weight_stationary":
            moving = int(ceil_div(plan.mac.m + plan.extra_rows, schedule.row_tiles))
        case "input_stationary":
            moving = int(ceil_div(plan.mac.n + plan.extra_columns, schedule.column_tiles))
    return moving + array.columns - 1


def _pieces(tile: Tile, index: int, pieces: dict[str, int]) -> list[Tile]:
    """Cut a fold along the reduction if an operand outgrows its buffer; the array waits in between."""
    count = max(pieces.values())
    if count <= 1:
        return [tile]
    made = [Tile(share(tile.ticks, piece, count), tile.draining) for piece in range(count)]
    made[0].room, made[-1].freed = tile.room, tile.freed
    made[-1].result_bits, made[-1].slots, made[0].beside = tile.result_bits, tile.slots, tile.beside
    for item in tile.uses:
        if pieces[item.operand] <= 1:
            for piece in made:
                piece.uses.append(item)
            if item in tile.fetches:
                made[0].fetches.append(item)
            continue
        for at, piece in enumerate(made):
            bits, room, slots = (share(total, at, count) for total in (item.bits, item.room, item.slots))
            part = Item(item.operand, bits, room, slots, index + at, index + at, index + at)
            piece.fetches.append(part)
            piece.uses.append(part)
    return made


def coarsen(fine: list[Tile], schedule: Schedule, accelerator: Accelerator, most: int) -> list[Tile]:
    """Join neighbours until there are about `most` tiles, as long as a tile fits where one fold must.

    The first and the last tile stay as they are, since nothing hides their transfers.
    """
    if len(fine) <= most:
        return fine
    memories = accelerator.memories
    limits = {
        "lhs": 8 * memories.activation.tile_bytes,
        "rhs": 8 * memories.weight.tile_bytes,
        "out": -(-schedule.out_depth // 2),
    }
    size = math.ceil(len(fine) / most)
    made: list[Tile] = []
    group: list[Tile] = []
    held: set[Item] = set()
    room = dict.fromkeys(limits, 0)
    for index, tile in enumerate(fine):
        taken = {**dict.fromkeys(limits, 0), "out": tile.room}
        for item in tile.uses:
            taken[item.operand] += 0 if item in held else item.room
        full = any(room[name] + taken[name] > limits[name] for name in limits)
        if group and (len(group) >= size or full or not made or index == len(fine) - 1):
            made.append(_joined(group, len(made)))
            group, held, room = [], set(), dict.fromkeys(limits, 0)
            taken = {**taken, **{item.operand: 0 for item in tile.uses}}
            for item in tile.uses:
                taken[item.operand] += item.room
        group.append(tile)
        held.update(tile.uses)
        room = {name: room[name] + taken[name] for name in limits}
    made.append(_joined(group, len(made)))
    return made


def _joined(group: list[Tile], index: int) -> Tile:
    uses = list(dict.fromkeys(item for tile in group for item in tile.uses))
    fetches = [item for tile in group for item in tile.fetches]
    for item in fetches:
        item.first = index
    for item in uses:
        item.last = index
    ticks = [tile.ticks for tile in group]
    first = next((at for at, tile in enumerate(group) if tile.freed), len(group) - 1)
    draining = sum(ticks[first:]) - max(0, ticks[first] - group[first].draining)
    joined = Tile(sum(ticks), draining, fetches, uses)
    for name in ("result_bits", "slots", "beside", "room", "freed"):
        setattr(joined, name, sum(getattr(tile, name) for tile in group))
    return joined
