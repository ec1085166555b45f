"""Cycles of a plan by events: folds move through DRAM port, operand buffers, array, vector unit and output buffer.

The machine of the closed form, with its queues. One DRAM port serves reads and writes, whoever is needed first, or a
second one weights; latency is pipelined. An operand is fetched as soon as its buffer has room, a buffer that is not
double-buffered only when the array is about to need it. The array takes a fold when its operands and room for its
results are there.
Results pass the vector unit as they leave and go to DRAM. Nothing starts before the range scan is over. Time is in
cycles; fractions of a cycle are carried over, so that none is lost.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import simpy

from hwsim import plan as steps
from hwsim.timing.cycles import closed_form, lane_elements
from hwsim.timing.tiles import Item, Tile, coarsen, share, tiles
from hwsim.timing.timeline import Interval

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan

Process = Generator[simpy.Event, Any, None]

MOST_TILES = 1024


@dataclass(frozen=True)
class EventRun:
    """What happened to one layer.

    Parameters
    ----------
    total_cycles
        Until the last result is in DRAM.
    compute_cycles
        Of the array with memory always ready.
    stall_cycles
        The rest.
    read_bits, write_bits : bits
        Through the DRAM port.
    tiles
        Folds, or groups of them, that moved as one.
    transfers
        Through the DRAM ports.
    longest_tile_cycles
        Of a tile whose transfers, latency, lanes and folds would come one after the other, at most.
    intervals
        Of each resource, in order of their end.
    """

    total_cycles: int
    compute_cycles: int
    read_bits: int
    write_bits: int
    tiles: int
    transfers: int
    longest_tile_cycles: int
    intervals: tuple[Interval, ...]

    @property
    def stall_cycles(self) -> int:
        """Cycles beyond the array's own."""
        return self.total_cycles - self.compute_cycles


@dataclass
class Rate:
    """A stage that takes `amount / per_cycle` cycles, in whole ones, the fraction carried to the next."""

    per_cycle: Fraction
    left: int = 0
    amount: int = 0

    def cycles(self, amount: int) -> int:
        """Whole cycles for one more amount."""
        self.amount += amount
        whole, self.left = divmod(amount * self.per_cycle.denominator + self.left, self.per_cycle.numerator)
        return whole

    @property
    def carried(self) -> float:
        """Fraction of a cycle not yet taken."""
        return self.left / self.per_cycle.numerator

    @property
    def busy(self) -> Fraction:
        """Cycles for everything so far."""
        return self.amount / self.per_cycle


def run_events(plan: Plan, accelerator: Accelerator, *, most_tiles: int = MOST_TILES) -> EventRun:
    """Run one layer, event by event.

    Parameters
    ----------
    most_tiles
        Folds are joined to about so many tiles.

    Raises
    ------
    ValueError
        If a buffer can not hold the tile of one fold.

    Examples
    --------
    >>> import hwsim, quant, workloads
    >>> machine = hwsim.Accelerator.load("edge-16x16")
    >>> plan = hwsim.lower(workloads.gemm(64, 64, 64).layers[0], quant.Scheme.load("w8a8-static"), machine)
    >>> run = run_events(plan, machine)
    >>> run.compute_cycles <= run.total_cycles, run.read_bits
    (True, 65568)
    """
    return _Machine(plan, accelerator, most_tiles).run()


@dataclass
class _Machine:
    plan: Plan
    accelerator: Accelerator
    most_tiles: int
    env: simpy.Environment = field(default_factory=simpy.Environment)
    intervals: list[Interval] = field(default_factory=list)
    read_bits: int = 0
    write_bits: int = 0
    transfers: int = 0

    def __post_init__(self) -> None:
        self.timing = closed_form(self.plan, self.accelerator)
        if self.plan.kept_bytes:
            left = self.accelerator.memories.activation.capacity_bytes - self.plan.kept_bytes
            # Nothing of an operand that the array reads where it is goes through what is left.
            self.accelerator = self.accelerator.replace(memories__activation__capacity_bytes=max(left, 2))
        memories, env = self.accelerator.memories, self.env
        self.memories = {"lhs": memories.activation, "rhs": memories.weight}
        # Weights have a port of their own, or share that of everything else.
        shared = simpy.PriorityResource(env), Rate(Fraction(self.accelerator.dram_bits_per_cycle))
        self.ports = dict.fromkeys(("lhs", "rhs", "out", "scan"), shared)
        own = memories.dram.weight_bandwidth_gb_per_s
        if own is not None and self.plan.layer.rhs_kind == "weight":
            self.ports["rhs"] = simpy.PriorityResource(env), Rate(Fraction(8 * own * self.accelerator.cycle_ns))
        self.lanes = simpy.Resource(env)
        sizes = {name: 8 * memory.capacity_bytes for name, memory in self.memories.items()}
        self.rooms = {name: simpy.Container(env, size, size) for name, size in sizes.items()}
        size = 8 * memories.output.capacity_bytes
        self.output = simpy.Container(env, size, size)
        self.lane_rate = Rate(Fraction(self.accelerator.vector.lanes))
        self.latency = math.ceil(memories.dram.latency_ns / self.accelerator.cycle_ns)
        self.scanned, self.finished = env.event(), env.event()

    def run(self) -> EventRun:
        """Start every process and wait for the last."""
        timing = self.timing
        sram = max(
            math.ceil(traffic.total_bits / getattr(self.accelerator.memories, name).bits_per_cycle)
            for name, traffic in timing.buffers.items()
        )
        array_cycles = max(timing.compute_cycles, sram)
        fine = tiles(self.plan, timing.schedule, self.accelerator, array_cycles, _slots(self.plan))
        self.add_scans(fine)
        self.tiles = coarsen(fine, self.accelerator, self.most_tiles)
        self.ready = {item: self.env.event() for tile in self.tiles for item in tile.fetches}
        self.done = [self.env.event() for _ in self.tiles]
        self.env.process(self.scan())
        for operand in ("lhs", "rhs"):
            self.env.process(self.fetch([i for tile in self.tiles for i in tile.fetches if i.operand == operand]))
        self.env.process(self.array())
        self.env.run(self.finished)
        carried = max(rate.carried for _, rate in self.ports.values())
        return EventRun(
            total_cycles=math.ceil(max(self.env.now + carried, float(self.lane_rate.busy))),
            compute_cycles=timing.compute_cycles,
            read_bits=self.read_bits,
            write_bits=self.write_bits,
            tiles=len(self.tiles),
            transfers=self.transfers,
            longest_tile_cycles=self.longest_tile(),
            intervals=tuple(self.intervals),
        )

    def longest_tile(self) -> int:
        """Add up what each tile would take with nothing beside it."""
        longest = Fraction(0)
        for tile in self.tiles:
            alone = Fraction(tile.cycles + self.latency * len(tile.uses))
            alone += tile.result_bits / self.ports["out"][1].per_cycle
            alone += sum(item.bits / self.ports[item.operand][1].per_cycle for item in tile.uses)
            alone += (tile.slots + sum(item.slots for item in tile.uses)) / self.lane_rate.per_cycle
            longest = max(longest, alone)
        return math.ceil(longest)

    def add_scans(self, fine: list[Tile]) -> None:
        """Move what the range scan has fetched out of the items, and what it can not keep into them."""
        bias = self.plan.bias
        if bias is not None:
            fine[0].fetches[0].bits += bias.total_dram_bits
        read = sum(one.stored.total_dram_bits for one in self.plan.side if not one.written)
        if read:
            # What functions read of results comes with the operands of their folds.
            moving = [item for tile in fine for item in tile.fetches if item.operand == "lhs"]
            for index, item in enumerate(moving):
                item.bits += share(read, index, len(moving))
        self.barriers: list[tuple[int, int]] = []
        for step in self.plan.steps:
            if not isinstance(step, steps.ScanRange):
                continue
            stored = self.plan.lhs if step.operand == "lhs" else self.plan.rhs
            bits = step.barrier_elements * stored.dram_bits
            self.barriers.append((bits, step.barrier_elements))
            kept = bits <= 8 * self.accelerator.memories.activation.capacity_bytes
            fetched = -bits if kept else stored.total_dram_bits - bits
            scanned = step.barrier_elements
            for item in (item for tile in fine for item in tile.fetches if item.operand == step.operand):
                taken = max(fetched, -item.bits)
                item.bits, fetched = item.bits + taken, fetched - taken
                slots = min(item.slots, scanned)
                item.slots, scanned = item.slots - slots, scanned - slots

    def note(self, resource: str, work: str, start: int) -> None:
        if self.env.now > start:
            self.intervals.append(Interval(resource, work, self.plan.layer.name, start, int(self.env.now)))

    def transfer(self, bits: int, work: str, priority: int) -> Process:
        """Move bits through a port."""
        port, rate = self.ports[work]
        with port.request(priority) as turn:
            yield turn
            start = int(self.env.now)
            yield self.env.timeout(rate.cycles(bits))
            self.transfers += 1
            self.note("dram" if rate is self.ports["lhs"][1] else "weights", work, start)

    def lane(self, slots: int, work: str) -> Process:
        """Pass elements through the vector unit."""
        if not slots:
            return
        with self.lanes.request() as turn:
            yield turn
            start = int(self.env.now)
            yield self.env.timeout(self.lane_rate.cycles(slots))
            self.note("vector", work, start)

    def scan(self) -> Process:
        """Find the ranges, one operand after the other."""
        for bits, elements in self.barriers:
            self.read_bits += bits
            both = [
                self.env.process(self.transfer(bits, "scan", -1)),
                self.env.process(self.lane(elements, "scan")),
            ]
            yield self.env.all_of(both)
        if self.barriers:
            yield self.env.timeout(self.latency)
        self.scanned.succeed()

    def fetch(self, items: list[Item]) -> Process:
        """Bring the parts of one operand, in the order in which they are needed."""
        for item in items:
            if not self.memories[item.operand].double_buffered and item.first > 0:
                yield self.done[item.first - 1]
            if item.room:
                yield self.rooms[item.operand].get(item.room)
            self.read_bits += item.bits
            if item.bits:
                yield self.env.process(self.transfer(item.bits, item.operand, item.first))
            self.env.process(self.arrive(item))

    def arrive(self, item: Item) -> Process:
        """Wait for the data and for what prepares them."""
        if item.bits:
            yield self.env.timeout(self.latency)
        if not self.scanned.processed:
            yield self.scanned
        yield from self.lane(item.slots, item.operand)
        self.ready[item].succeed()

    def array(self) -> Process:
        """Take the tiles in order."""
        yield self.scanned
        for index, tile in enumerate(self.tiles):
            for item in tile.uses:
                if not self.ready[item].processed:
                    yield self.ready[item]
            if tile.room:
                yield self.output.get(tile.room)
            start = int(self.env.now)
            if tile.beside:
                self.env.process(self.lane(tile.beside, "producer"))
            ended = self.env.event()
            leaving = min(tile.draining, tile.cycles)
            yield self.env.timeout(tile.cycles - leaving)
            if tile.freed:
                self.env.process(self.deliver(tile, index, ended))
            yield self.env.timeout(leaving)
            self.note("array", "fold", start)
            ended.succeed()
            self.done[index].succeed()
            for item in tile.uses:
                if item.last == index and item.room:
                    yield self.rooms[item.operand].put(item.room)

    def deliver(self, tile: Tile, index: int, ended: simpy.Event) -> Process:
        """Finish results while they leave, then write them."""
        yield from self.lane(tile.slots, "out")
        if not ended.processed:
            yield ended
        self.write_bits += tile.result_bits
        if tile.result_bits:
            yield self.env.process(self.transfer(tile.result_bits, "out", index + 2))
        yield self.output.put(tile.freed)
        if index == len(self.tiles) - 1:
            self.finished.succeed()


def _slots(plan: Plan) -> dict[str, int]:
    """Count what passes the vector unit: for each fetch of an operand, for its producer, and for the results."""
    once: dict[steps.Per, Any] = dict.fromkeys(steps.Per, 1)
    slots = dict.fromkeys(("lhs", "rhs", "producer", "out"), 0)
    for step in plan.steps:
        match step:
            case steps.DequantizeWeights():
                name = "rhs"
            case steps.Rotate(at="producer"):
                name = "producer"
            case steps.Migrate() | steps.RepeatChannels() | steps.Rotate() | steps.EncodePrototypes():
                name = "lhs"
            case steps.Quantize(at="load") | steps.ScanRange():
                name = step.operand
            case steps.Quantize(operand="lhs" | "rhs"):
                name = "producer"
            case _:
                name = "out"
        slots[name] += lane_elements(step, once)
    return slots


def network_intervals(runs: Iterable[EventRun]) -> list[Interval]:
    """Put the layers of a network one after the other, as the total counts them."""
    placed, start = [], 0
    for run in runs:
        placed += [i._replace(start_cycle=i.start_cycle + start, end_cycle=i.end_cycle + start) for i in run.intervals]
        start += run.total_cycles
    return placed
