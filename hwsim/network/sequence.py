r"""Layers one after the other, with the weights of the next fetched meanwhile; or in stages of a pipeline.

*Sequence*: the time of a network is the sum of its layers'.

*Prefetch*: half of a double-buffered weight buffer takes weights of the next layer while the DRAM port has nothing
else to do. With :math:`w` the cycles of those weights, a layer of :math:`t` cycles whose port is busy for :math:`d` of
them hides :math:`p = \min(w, s (t - d))` of the next one's, :math:`s` being the share of its time after its own last
weights have been fetched. The next layer then takes

.. math:: t' = t - \max(a, e + b) + \max(a - p, e - \min(p, f) + b)

where :math:`a` are the cycles of its port, :math:`b` those of its busiest other resource, :math:`e` the transfers that
it can not hide and :math:`f` the first tile's weights among them. Nothing is fetched that the layer would not fetch
anyway, so that traffic stays.

*Pipeline*: with a machine for each stage of consecutive layers, a result leaves once in the time of the slowest stage,
but not faster than all stages' traffic passes one shared port; the latency of one input is the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwsim.timing import Machine, Work, closed_forms
from hwsim.timing.numbers import Number, maximum, minimum, round_up

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from hwsim.timing import Timing


class Clock:
    """Cycles of plans on one accelerator; those that are alike but for their names are read once."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._machine = Machine.of(accelerator)
        self._known: dict[Work, Timing] = {}

    def times(self, plans: Iterable[Plan]) -> list[Timing]:
        """Cycles of layers, each alone.

        Raises
        ------
        ValueError
            If a buffer can not hold a tile.
        """
        works = [Work.of(plan) for plan in plans]
        new = [work for work in dict.fromkeys(works) if work not in self._known]
        self._known |= zip(new, closed_forms(new, self._machine), strict=True)
        return [self._known[work] for work in works]


def network_timings(plans: Sequence[Plan], accelerator: Accelerator) -> tuple[Timing, ...]:
    """Cycles of every layer of a network, as they follow one another.

    Where `Memories.prefetches_weights` is true, what the layer before hides is
    not in a layer's cycles.

    Raises
    ------
    ValueError
        If a buffer can not hold a tile.
    """
    clock = Clock(accelerator)
    timings = clock.times(plans)
    if not accelerator.memories.prefetches_weights:
        return tuple(timings)
    return tuple(prefetched(plans, timings, accelerator))


def prefetched(plans: Sequence[Plan], timings: Sequence[Timing], accelerator: Accelerator) -> list[Timing]:
    """Take from each layer what the one before has fetched for it; of one design point, or of columns of them."""
    memory = accelerator.memories.weight
    half = 8 * (memory.capacity_bytes - memory.tile_bytes)
    made = [timings[0]]
    ahead: Number = 0.0
    for before, plan, timing in zip(plans, plans[1:], timings[1:], strict=False):
        own = before.rhs.elements * before.rhs.sram_bits * made[-1].schedule.rhs_fetches
        # What was fetched ahead for the layer before no longer takes its port.
        idle = made[-1].total_cycles - (made[-1].dram_cycles - ahead)
        weights = minimum(plan.rhs.total_dram_bits, half) if plan.layer.rhs_kind == "weight" else 0
        ahead = maximum(0.0, minimum(accelerator.dram_cycles(0, weights), idle * minimum(1, half / own)))
        made.append(_sooner(timing, ahead))
    return made


def _sooner(timing: Timing, ahead: Number) -> Timing:
    """Cycles of a layer whose weights were fetched `ahead` cycles of the port before."""
    port, rest = timing.port_cycles, timing.busy_cycles
    spared = maximum(port, timing.exposed_cycles + rest) - maximum(
        port - ahead, timing.exposed_cycles - minimum(ahead, timing.first_weight_cycles) + rest
    )
    total = timing.total_cycles + round_up(-spared)
    share = timing.total_cycles / total
    return replace(
        timing,
        total_cycles=total,
        stall_cycles=total - timing.compute_cycles,
        utilization=timing.utilization * share,
    )


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A network in stages, each on a machine of its own.

    Parameters
    ----------
    stages
        Position after the last layer of each.
    interval_cycles
        From one result to the next.
    latency_cycles
        Of one input through all stages.
    """

    stages: tuple[int, ...]
    interval_cycles: int
    latency_cycles: int


def pipeline(timings: Sequence[Timing], stages: int, accelerator: Accelerator) -> Pipeline:
    """Cut a network into stages of consecutive layers so that the slowest is as fast as possible.

    Parameters
    ----------
    timings
        Of the layers, in order.
    stages
        At most so many machines, which share one DRAM port.

    Raises
    ------
    ValueError
        If `stages` is not positive.

    Examples
    --------
    >>> import hwsim, workloads
    >>> machine = hwsim.Accelerator.load("edge-16x16")
    >>> layers = hwsim.simulate(workloads.load("gpt2-prefill-128"), "w8a8-static", machine).layers
    >>> timings = [layer.timing for layer in layers]
    >>> one, two = (pipeline(timings, stages, machine) for stages in (1, 2))
    >>> 1.7 < one.interval_cycles / two.interval_cycles <= 2, one.latency_cycles == two.latency_cycles
    (True, True)
    """
    if stages < 1:
        msg = f"stages must be positive, not {stages}"
        raise ValueError(msg)
    cycles = [int(timing.total_cycles) for timing in timings]
    low, high = max(cycles), sum(cycles)
    while low < high:
        middle = (low + high) // 2
        if len(_cuts(cycles, middle)) <= stages:
            high = middle
        else:
            low = middle + 1
    shared = sum(timing.dram.total_bits for timing in timings) / accelerator.dram_bits_per_cycle
    return Pipeline(tuple(_cuts(cycles, low)), max(low, -int(-shared // 1)), sum(cycles))


def _cuts(cycles: Sequence[int], most: int) -> list[int]:
    """Fill stages of at most so many cycles, one after the other."""
    cuts, taken = [], 0
    for at, one in enumerate(cycles):
        if taken + one > most:
            cuts.append(at)
            taken = 0
        taken += one
    return [*cuts, len(cycles)]
