"""The longest path of every component against the clock period, in ns and in fanout-of-4 inverter delays.

Two things are asked of a component. Its whole *delay* may be longer than a period: registers cut it into stages, and
the closed forms of time take it as pipelined. Its *loop*, from a register back to itself (an accumulator's adder), can
not be cut: where it is longer than a period, one operation a cycle is not possible at this clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwsim.cost.pricing import price

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.cost.areas import Area
    from hwsim.technology import Technology


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The longest paths of one component.

    Parameters
    ----------
    component, place
        What it is and where it stands.
    delay_ns, delay_fo4 : ns, fanout-of-4 delays
        From input to output, without wires; registers inside not counted as cuts.
    loop_ns : ns
        From a register back to itself; 0 without one.
    period_ns : ns
        Of the clock.
    """

    component: str
    place: str
    delay_ns: float
    delay_fo4: float
    loop_ns: float
    period_ns: float

    @property
    def stages(self) -> int:
        """Clock cycles from input to output."""
        # A path as long as the period, but for rounding, fits.
        return max(1, math.ceil(self.delay_ns / self.period_ns * (1 - 1e-12)))

    @property
    def too_long(self) -> bool:
        """Whether registers must cut it."""
        return self.stages > 1

    @property
    def too_slow(self) -> bool:
        """Whether it can not take an operation each cycle, however it is cut."""
        return self.loop_ns > self.period_ns

    def to_row(self) -> dict[str, Any]:
        """Flat row with units in the names."""
        return {
            "component": self.component,
            "place": self.place,
            "delay_ns": self.delay_ns,
            "delay_fo4": self.delay_fo4,
            "loop_ns": self.loop_ns,
            "period_ns": self.period_ns,
            "stages": self.stages,
            "fits": "too slow" if self.too_slow else "if pipelined" if self.too_long else "yes",
        }


def critical_paths(built: Area, accelerator: Accelerator, technology: Technology) -> list[CriticalPath]:
    """List the components of a machine with their longest paths, the longest first.

    Components whose delay no source gives are left out.

    Examples
    --------
    >>> import hwsim, workloads
    >>> result = hwsim.simulate(workloads.gemm(8, 8, 8), "w8a8-static", numerics=False)
    >>> slowest = critical_paths(result.built, result.accelerator, result.technology)[0]
    >>> slowest.component, slowest.stages, slowest.too_slow
    ('32x32-bit requantizer, rounding twice', 3, False)
    """
    period, fo4_ns = accelerator.cycle_ns, technology.fo4_ns
    found = []
    for line in built.built:
        if line.component is None:
            continue
        cost = price(technology, line.component)
        if cost.delay_ns is None:
            continue
        # A sum that passes on to the next element is cut there: only one that stays feeds back to itself.
        passes = line.place == "element" and accelerator.array.dataflow != "output_stationary"
        delay, loop = float(cost.delay_ns), 0.0 if passes else float(cost.loop_ns)
        found.append(CriticalPath(line.what, line.place, delay, delay / fo4_ns, loop, period))
    for name in ("activation", "weight", "output"):
        memory = getattr(accelerator.memories, name)
        access = technology.sram(memory.capacity_bytes, memory.bank_width_bits, memory.banks).delay_ns
        if access is not None:
            what = f"{name} buffer"
            found.append(CriticalPath(what, "chip", float(access), float(access) / fo4_ns, 0.0, period))
    return sorted(found, key=lambda path: -path.delay_ns)


def clock_warnings(paths: Sequence[CriticalPath], *, most: int = 3) -> list[tuple[str, str]]:
    """Say which components do not follow the clock: what is asked, and the answer; empty if all do.

    Parameters
    ----------
    paths
        Of one machine.
    most
        Components that are named before the rest is only counted.
    """
    found = []
    slow = [path for path in paths if path.too_slow]
    if slow:
        worst = max(slow, key=lambda path: path.loop_ns)
        named = _listed([f"{path.component} {path.loop_ns:.2g} ns" for path in slow], most)
        lead = f"Too slow for a sum each cycle at {1e3 / worst.period_ns:g} MHz, however pipelined"
        found.append((lead, f"{named}, over {worst.period_ns:.3g} ns; at most {1e3 / worst.loop_ns:.0f} MHz."))
    long = [path for path in paths if path.too_long and not path.too_slow]
    if long:
        named = _listed(
            [f"{p.component} {p.delay_ns:.2g} ns, {p.delay_fo4:.0f} FO4, {p.stages} stages" for p in long], most, "; "
        )
        found.append((f"Longer than the clock's {long[0].period_ns:.3g} ns and taken as pipelined", f"{named}."))
    return found


def _listed(items: Sequence[str], most: int, between: str = ", ") -> str:
    rest = len(items) - most
    return between.join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
