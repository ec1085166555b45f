"""Time, energy and area of the rows of a design space that share a variant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.cost import area, energy
from hwsim.cost.energies import PARTS as ENERGY_PARTS
from hwsim.cost.pricing import BANDS
from hwsim.network import prefetched
from hwsim.timing import Machine, read_time
from hwsim.timing.cycles import BOUNDS
from hwsim.timing.tiling import small_buffer, tile_needs

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.cost import Area
    from hwsim.exploration.columns import Group
    from hwsim.exploration.prices import Prices
    from hwsim.technology import Technology
    from hwsim.timing import Timing

Column = npt.NDArray[Any]

COUNTS = ("macs", "compute_cycles", "stall_cycles", "total_cycles")
"""Whole numbers among the results."""


class Sums:
    """Totals over layers: what is added is a number, a column of points, or one with layers along the first axis."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def add(self, name: str, value: Any, layers: int) -> None:
        """Add what so many layers have."""
        if layers > 1:
            array = np.asarray(value, np.float64)
            whole = array.sum(axis=0) if array.ndim == 2 else array
            value = whole if array.ndim == 2 and array.shape[0] == layers else whole * layers
        self.values[name] = self.values[name] + value if name in self.values else value


@dataclass(frozen=True)
class Rows:
    """Design points of one variant at hand.

    Parameters
    ----------
    accelerator
        With columns.
    groups
        Of layers, each of which all points run; single ones in their order where the machine prefetches.
    technology
        With the prices of the rows' buffers; None where costs are not asked for.
    """

    accelerator: Accelerator
    groups: tuple[Group, ...]
    technology: Prices | None
    count: int

    def misfits(self) -> Iterator[tuple[Column, str]]:
        """Rows whose buffers do not hold a tile, and why."""
        machine = Machine.of(self.accelerator)
        for group in self.groups:
            for name, needs in tile_needs(group.work, machine.beside(group.work)).items():
                bits, room = (self._spread(value) for value in needs)
                small = bits > room
                if not small.any():
                    continue
                for layer in np.flatnonzero(small.any(axis=1)):
                    yield from self._named(name, group.plan.layer.name, bits[layer], room[layer])

    def _spread(self, value: Any) -> Column:
        array = np.asarray(value, np.float64)
        shape = (array.shape[0] if array.ndim == 2 else 1, self.count)
        return np.broadcast_to(array, shape)

    def _named(self, name: str, layer: str, bits: Column, room: Column) -> Iterator[tuple[Column, str]]:
        rows = np.flatnonzero(bits > room)
        pairs = np.stack([bits[rows], room[rows]], axis=1)
        distinct, place = np.unique(pairs, axis=0, return_inverse=True)
        for number, (needed, available) in enumerate(distinct.tolist()):
            yield rows[place.ravel() == number], small_buffer(name, layer, needed, available)

    def read(self) -> dict[str, Any]:
        """Totals by name, as `Result.totals` has them, and the bound."""
        accelerator = self.accelerator
        machine = Machine.of(accelerator)
        built = None
        if self.technology is not None:
            built = area([group.plan for group in self.groups], accelerator, _as_technology(self.technology))
        timings = [read_time(group.work, machine.beside(group.work)) for group in self.groups]
        if accelerator.memories.prefetches_weights and len(self.groups) > 1:
            timings = prefetched([group.plan for group in self.groups], timings, accelerator)
        sums = Sums()
        cycles_of_bound: list[Any] = [0] * len(BOUNDS)
        bound: Any = 0
        for group, timing in zip(self.groups, timings, strict=True):
            _add_time(sums, group, timing)
            bound = timing.bound
            if len(self.groups) > 1 or group.layers > 1:
                for place in range(len(BOUNDS)):
                    mine = Sums()
                    mine.add("", np.where(timing_bound(timing) == place, timing.total_cycles, 0), group.layers)
                    cycles_of_bound[place] = cycles_of_bound[place] + mine.values[""]
            if built is not None:
                self._add_energy(sums, group, timing, built)
        if len(self.groups) > 1 or self.groups[0].layers > 1:
            bound = np.argmax(np.stack(np.broadcast_arrays(*cycles_of_bound)), axis=0)
        return _totals(sums.values, accelerator, built) | {
            "bound": BOUNDS.index(bound) if isinstance(bound, str) else bound
        }

    def _add_energy(self, sums: Sums, group: Group, timing: Timing, built: Area) -> None:
        technology = _as_technology(self.technology)
        low, nominal, high = (energy(group.plan, timing, self.accelerator, technology, built, band) for band in BANDS)
        sums.add("energy_pj", nominal.total_pj, group.layers)
        sums.add("energy_low_pj", low.total_pj, group.layers)
        sums.add("energy_high_pj", high.total_pj, group.layers)
        for name, part in nominal.parts().items():
            sums.add(name, part, group.layers)


def timing_bound(timing: Timing) -> Any:
    """Place of the bound among `BOUNDS`."""
    return BOUNDS.index(timing.bound) if isinstance(timing.bound, str) else timing.bound


def _as_technology(prices: Any) -> Technology:
    technology: Technology = prices
    return technology


def _add_time(sums: Sums, group: Group, timing: Timing) -> None:
    layers = group.layers
    sums.add("macs", group.macs, layers)
    sums.add("used", group.work.macs, layers)
    sums.add("compute_cycles", timing.compute_cycles, layers)
    sums.add("total_cycles", timing.total_cycles, layers)
    sums.add("weight_bytes", group.plan.weight_bytes, layers)
    sums.add("dram_read_bits", timing.dram.read_bits, layers)
    sums.add("dram_write_bits", timing.dram.write_bits, layers)


def _totals(sums: Mapping[str, Any], accelerator: Accelerator, built: Area | None) -> dict[str, Any]:
    cycles, macs = sums["total_cycles"], sums["macs"]
    latency_us = cycles * accelerator.cycle_ns * 1e-3
    read, write = sums["dram_read_bits"] / 8, sums["dram_write_bits"] / 8
    found = {
        "macs": macs,
        "compute_cycles": sums["compute_cycles"],
        "stall_cycles": cycles - sums["compute_cycles"],
        "total_cycles": cycles,
        "utilization": sums["used"] / (accelerator.elements * cycles),
        "latency_us": latency_us,
        "weight_bytes": sums["weight_bytes"],
        "dram_read_bytes": read,
        "dram_write_bytes": write,
        "traffic_bytes": read + write,
    }
    if built is None:
        return found
    energy_pj = sums["energy_pj"]
    return found | {
        **{name: sums[name] for name in ("energy_pj", "energy_low_pj", "energy_high_pj", *ENERGY_PARTS)},
        "area_um2": built.total_um2,
        **built.parts(),
        "power_mw": energy_pj / (latency_us * 1e3),
        "tops_per_w": 2 * macs / energy_pj,
        "energy_delay_pj_s": energy_pj * latency_us * 1e-6,
    }
