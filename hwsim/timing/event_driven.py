"""Cycles of a plan by events: folds move through DRAM port, operand buffers, array, vector unit and output buffer.

The machine of the closed form, with its queues. A port serves reads and writes in bursts, at every moment the one that
is needed first; weights may have a port of their own; latency is pipelined. A buffer takes and gives up an operand in
loads: a double-buffered one takes a load as soon as it has given up the one whose place it takes, one that is not
double-buffered only when the array has done with the load before. The array takes a fold when its operands and a
place for its results are there. Results pass the vector unit as they leave and go to DRAM. Nothing starts before the
range scan is over. Time is in cycles; fractions of a cycle are carried over, so that none is lost.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import simpy

from hwsim import plan as steps
from hwsim.timing.cycles import closed_form, lane_elements
from hwsim.timing.tiles import Item, Tile, coarsen, drain_cycles, share, tiles
from hwsim.timing.timeline import Interval

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan

Process = Generator[simpy.Event, Any, None]

MOST_TILES = 1024
_LAST = 1 << 62  # what nothing waits for
TICKS = 1024  # of a cycle, so that what is carried over never decides who waits


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
    """A stage that takes `amount / per_tick` ticks, in whole ones, the fraction carried to the next."""

    per_tick: Fraction
    left: int = 0
    amount: int = 0

    def ticks(self, amount: int) -> int:
        """Whole ticks for one more amount."""
        self.amount += amount
        whole, self.left = divmod(amount * self.per_tick.denominator + self.left, self.per_tick.numerator)
        return whole

    @property
    def carried(self) -> float:
        """Fraction of a tick not yet taken."""
        return self.left / self.per_tick.numerator

    @property
    def busy(self) -> Fraction:
        """Ticks for everything so far."""
        return self.amount / self.per_tick


class Server:
    """A resource that works on what is needed first, and leaves it for what is needed sooner.

    Parameters
    ----------
    note
        Is told what was worked on, and since when.
    """

    def __init__(self, env: simpy.Environment, per_cycle: Fraction, note: Callable[[str, int], None]) -> None:
        self.env, self.rate, self.note = env, Rate(per_cycle / TICKS), note
        self._waiting: list[list[Any]] = []
        self._job: list[Any] | None = None
        self._timer: simpy.Event | None = None
        self._since = self._until = 0
        self._count = itertools.count()

    def serve(self, amount: int, need: int, work: str, then: Callable[[], object]) -> None:
        """Take an amount in turn, the smallest `need` first, and call `then`."""
        ticks = self.rate.ticks(amount)
        if not ticks:
            then()
            return
        job = [need, next(self._count), ticks, work, then]
        if self._job is None:
            self._start(job)
            return
        now = int(self.env.now)
        if need < self._job[0] and self._until > now:
            self._job[2] = self._until - now
            self.note(self._job[3], self._since)
            heappush(self._waiting, self._job)
            self._start(job)
        else:
            heappush(self._waiting, job)

    @property
    def _idle(self) -> bool:
        return self._job is None

    def _start(self, job: list[Any]) -> None:
        self._job, self._since = job, int(self.env.now)
        self._until = self._since + job[2]
        self._timer = simpy.Timeout(self.env, job[2])
        self._timer.callbacks.append(self._finish)

    def _finish(self, timer: simpy.Event) -> None:
        if timer is not self._timer or self._job is None:
            return  # left for another meanwhile
        job, self._job = self._job, None
        self.note(job[3], self._since)
        job[4]()
        if self._waiting and self._idle:
            self._start(heappop(self._waiting))


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


class _Machine:
    """One layer on its way through the machine."""

    def __init__(self, plan: Plan, accelerator: Accelerator, most_tiles: int) -> None:
        self.plan, self.timing = plan, closed_form(plan, accelerator)
        if plan.kept_bytes:
            left = accelerator.memories.activation.capacity_bytes - plan.kept_bytes
            # Nothing of an operand that the array reads where it is goes through what is left.
            accelerator = accelerator.replace(memories__activation__capacity_bytes=max(left, 2))
        self.accelerator, self.env = accelerator, simpy.Environment()
        self.intervals: list[Interval] = []
        self.read_bits = self.write_bits = self.transfers = 0
        memories, env = accelerator.memories, self.env
        # Weights have a port of their own, or share that of everything else.
        shared = Server(env, Fraction(accelerator.dram_bits_per_cycle), self._noting("dram"))
        self.ports = dict.fromkeys(("lhs", "rhs", "out", "scan"), shared)
        own = memories.dram.weight_bandwidth_gb_per_s
        if own is not None and plan.layer.rhs_kind == "weight":
            self.ports["rhs"] = Server(env, Fraction(8 * own * accelerator.cycle_ns), self._noting("weights"))
        self.lanes = Server(env, Fraction(accelerator.vector.lanes), self._noting("vector"))
        self.latency = math.ceil(TICKS * memories.dram.latency_ns / accelerator.cycle_ns)
        draining = TICKS * drain_cycles(plan, self.timing.schedule, accelerator)
        fine = tiles(plan, self.timing.schedule, self._array_ticks(), draining, _slots(plan))
        self._add_scans(fine)
        self.tiles = coarsen(fine, self.timing.schedule, accelerator, most_tiles)
        self.loads = self._loads()
        self.places = self.timing.schedule.out_depth
        self.needs = self._needs()
        self.ready = {item: env.event() for tile in self.tiles for item in tile.fetches}
        self.freed, self.scanned, self.finished = env.event(), env.event(), env.event()

    def _array_ticks(self) -> int:
        """Time of the array, fed by its buffers at an even rate."""
        memories, timing = self.accelerator.memories, self.timing
        sram = max(
            math.ceil(TICKS * traffic.total_bits / getattr(memories, name).bits_per_cycle)
            for name, traffic in timing.buffers.items()
        )
        return int(max(TICKS * timing.compute_cycles, sram))

    def _loads(self) -> dict[int, list[Item]]:
        """Items by the tile after which the buffer has room for their load, -1 if from the start."""
        loads: dict[int, list[Item]] = {}
        depths = {"lhs": self.timing.schedule.lhs_depth, "rhs": self.timing.schedule.rhs_depth}
        for operand, depth in depths.items():
            groups: dict[int, list[Item]] = {}
            for item in (item for tile in self.tiles for item in tile.fetches if item.operand == operand):
                groups.setdefault(item.load, []).append(item)
            order = list(groups.values())
            for index, group in enumerate(order):
                after = -1 if index < depth else max(item.last for item in order[index - depth])
                # Joined tiles may hold a load and the one that takes its place.
                for item in group:
                    loads.setdefault(min(after, item.first - 1), []).append(item)
        return loads

    def _needs(self) -> list[int]:
        """Find for each tile whose results wait for a place which one waits for that of its own."""
        takers = [index for index, tile in enumerate(self.tiles) for _ in range(tile.room)]
        needs, left = [], self.places
        for tile in self.tiles:
            needs.append(2 * takers[left] + 1 if tile.freed and left < len(takers) else _LAST)
            left += tile.freed
        return needs

    def run(self) -> EventRun:
        """Start what runs by itself and wait for the last result."""
        timing = self.timing
        self.env.process(self.scan())
        self.env.process(self.array())
        self.env.run(self.finished)
        carried = max(port.rate.carried for port in self.ports.values())
        return EventRun(
            total_cycles=math.ceil(max(self.env.now + carried, float(self.lanes.rate.busy)) / TICKS),
            compute_cycles=timing.compute_cycles,
            read_bits=self.read_bits,
            write_bits=self.write_bits,
            tiles=len(self.tiles),
            transfers=self.transfers,
            longest_tile_cycles=self._longest_tile(),
            intervals=tuple(self.intervals),
        )

    def _longest_tile(self) -> int:
        """Add up what each tile would take with nothing beside it."""
        longest = Fraction(0)
        for tile in self.tiles:
            alone = Fraction(tile.ticks + self.latency * len(tile.uses))
            alone += tile.result_bits / self.ports["out"].rate.per_tick
            alone += sum(item.bits / self.ports[item.operand].rate.per_tick for item in tile.uses)
            alone += (tile.slots + sum(item.slots for item in tile.uses)) / self.lanes.rate.per_tick
            longest = max(longest, alone)
        return math.ceil(longest / TICKS)

    def _add_scans(self, fine: list[Tile]) -> None:
        """Move what the range scan has fetched out of the items, and what it can not keep into them."""
        bias = self.plan.bias
        beside = 0 if bias is None else bias.total_dram_bits
        # What functions read of results comes with the bias, beside the operands of their folds.
        beside += sum(one.stored.total_dram_bits for one in self.plan.side if not one.written)
        weights = [item for tile in fine for item in tile.fetches if item.operand == "rhs"]
        for index, item in enumerate(weights):
            item.bits += share(beside, index, len(weights))
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

    def _noting(self, resource: str) -> Callable[[str, int], None]:
        """Write down what a resource has done until now."""

        def note(work: str, start: int) -> None:
            first, last = start // TICKS, int(self.env.now) // TICKS
            if last > first:
                self.intervals.append(Interval(resource, work, self.plan.layer.name, first, last))

        return note

    def scan(self) -> Process:
        """Find the ranges, one operand after the other, then let the first loads come."""
        for bits, elements in self.barriers:
            self.read_bits += bits
            self.transfers += 1
            ends = self.env.event(), self.env.event()
            self.ports["scan"].serve(bits, -1, "scan", ends[0].succeed)
            self.lanes.serve(elements, -1, "scan", ends[1].succeed)
            yield ends[0] & ends[1]
        self.fetch(-1)
        if self.barriers:
            yield self.env.timeout(self.latency)
        self.scanned.succeed()

    def fetch(self, tile: int) -> None:
        """Ask for all that has room when a tile has ended."""
        for item in self.loads.get(tile, ()):
            self.read_bits += item.bits
            if item.bits:
                self.transfers += 1
                self.ports[item.operand].serve(item.bits, 2 * item.first, item.operand, partial(self.arrive, item))
            elif self.scanned.processed:
                self.prepare(item)
            else:
                self.scanned.callbacks.append(partial(self.prepare, item))

    def arrive(self, item: Item) -> None:
        """Wait until data that left the port are there."""
        if self.latency:
            simpy.Timeout(self.env, self.latency).callbacks.append(partial(self.prepare, item))
        else:
            self.prepare(item)

    def prepare(self, item: Item, _: object = None) -> None:
        """Pass an item through the vector unit."""
        self.lanes.serve(item.slots, 2 * item.first, item.operand, self.ready[item].succeed)

    def array(self) -> Process:
        """Take the tiles in order."""
        env, note = self.env, self._noting("array")
        yield self.scanned
        for index, tile in enumerate(self.tiles):
            for item in tile.fetches:
                if not self.ready[item].processed:
                    yield self.ready[item]
            while self.places < min(tile.room, self.timing.schedule.out_depth):
                self.freed = env.event()
                yield self.freed
            self.places -= tile.room
            start = int(env.now)
            if tile.beside:
                self.lanes.serve(tile.beside, 2 * _LAST, "producer", lambda: None)
            leaving = min(tile.draining, tile.ticks) if tile.freed else 0
            if leaving < tile.ticks:
                yield env.timeout(tile.ticks - leaving)
            passed = env.event()
            if tile.freed:
                self.lanes.serve(tile.slots, self.needs[index], "out", passed.succeed)
                yield env.timeout(leaving)
                env.process(self.deliver(index, passed))
            note("fold", start)
            self.fetch(index)

    def deliver(self, index: int, passed: simpy.Event) -> Process:
        """Write results when they are finished."""
        tile = self.tiles[index]
        if not passed.processed:
            yield passed
        self.write_bits += tile.result_bits
        if tile.result_bits:
            self.transfers += 1
            written = self.env.event()
            self.ports["out"].serve(tile.result_bits, self.needs[index], "out", written.succeed)
            yield written
        self.places += tile.freed
        if not self.freed.triggered:
            self.freed.succeed()
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
