"""Networks whose layers leave tensors on chip for others: design points that decide alike share their plans.

What stays is decided for one group of points at a time. Where a decision parts them, those that agree with most go on
together, and the others begin anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.variants import of_columns
from hwsim.network import keep, share
from hwsim.timing import Machine, Work, read_time
from hwsim.timing.tiling import tile_needs

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from workloads import Network

Column = npt.NDArray[Any]

_CAPACITY = "memories.activation.capacity_bytes"


class MisfitError(ValueError):
    """Points at which the tile of some layer does not fit."""


class Together:
    """Points that have decided alike so far.

    Parameters
    ----------
    rows
        Which they are.
    """

    def __init__(self, rows: Column) -> None:
        self.rows = rows

    def decide(self, answers: Any, count: int) -> bool:
        """Answer as most points do, and leave the others behind."""
        mine = np.broadcast_to(answers, count)[self.rows]
        answer = bool(2 * np.count_nonzero(mine) >= len(mine))
        self.rows = self.rows[mine == answer]
        return answer


class Asked:
    """A number of all points that decisions are made on."""

    def __init__(self, together: Together, values: Any, count: int) -> None:
        self.together, self.values, self.count = together, values, count

    def __add__(self, other: Any) -> Asked:
        return Asked(self.together, self.values + _values(other), self.count)

    __radd__ = __add__

    def __lt__(self, other: Any) -> bool:
        return self.together.decide(self.values < _values(other), self.count)

    def __le__(self, other: Any) -> bool:
        return self.together.decide(self.values <= _values(other), self.count)

    def __gt__(self, other: Any) -> bool:
        return self.together.decide(self.values > _values(other), self.count)

    def __ge__(self, other: Any) -> bool:
        return self.together.decide(self.values >= _values(other), self.count)


def _values(x: Any) -> Any:
    return x.values if isinstance(x, Asked) else x


@dataclass(frozen=True)
class Traffic:
    """Bits through DRAM."""

    total_bits: Asked


@dataclass(frozen=True)
class Cycles:
    """What decides on a tensor, of a layer's timing."""

    total_cycles: Asked
    dram: Traffic


class Watch:
    """Cycles of plans at all points; those that are alike are read once.

    Parameters
    ----------
    machine
        With columns.
    count
        Of points.
    """

    def __init__(self, machine: Machine, count: int) -> None:
        self.machine, self.count = machine, count
        self.together = Together(np.arange(count))
        self._known: dict[Work, tuple[Any, Any, Any]] = {}

    def times(self, plans: Iterable[Plan]) -> list[Any]:
        """Cycles of layers, of points that agree whether their tiles fit.

        Raises
        ------
        MisfitError
            If they do not.
        """
        return [self._time(Work.of(plan)) for plan in plans]

    def _time(self, work: Work) -> Cycles:
        if work not in self._known:
            machine = self.machine.beside(work)
            small: Any = False
            for bits, room in tile_needs(work, machine).values():
                small = small | (np.asarray(bits) > room)
            timing = read_time(work, machine)
            self._known[work] = small, timing.total_cycles, timing.dram.total_bits
        small, cycles, bits = self._known[work]
        if self.together.decide(small, self.count):
            msg = f"buffers must hold one tile of {work.name}"
            raise MisfitError(msg)
        return Cycles(Asked(self.together, cycles, self.count), Traffic(Asked(self.together, bits, self.count)))


def chains(
    network: Network, lowered: Sequence[Plan], accelerator: Accelerator, count: int
) -> Iterator[tuple[tuple[Plan, ...] | None, Column]]:
    """Plan a network at points that differ in columns of an accelerator.

    Parameters
    ----------
    lowered
        Plans of its layers, each alone.
    count
        Of points.

    Yields
    ------
    plans
        As `plan_network` writes them; None where some layer does not fit.
    rows
        Points that these are the plans of.
    """
    watch = Watch(Machine.of(accelerator), count)
    left = np.arange(count)
    capacity = accelerator.memories.activation.capacity_bytes
    while left.size:
        together = watch.together = Together(left)
        machine = of_columns(accelerator, {_CAPACITY: Asked(together, capacity, count)})
        plans: tuple[Plan, ...] | None
        try:
            plans = share(network, keep(network, lowered, machine, watch))
        except MisfitError:
            plans = None
        yield plans, together.rows
        left = np.setdiff1d(left, together.rows, assume_unique=True)
