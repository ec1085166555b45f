"""The longest path of every component against the clock period, in ns and in fanout-of-4 inverter delays.

Two things are asked of a component. Its whole *delay* may be longer than a period: registers cut it into stages. Its
*loop*, from a register back to itself (an accumulator's adder), may be longer too: several sums then take turns in it.
`hwsim.cost.pipelines` says how, and area and energy have the registers. A sum that saturates can not take turns: where
its loop is longer than a period, one operation a cycle is not possible at this clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwsim.cost.pipelines import Pipeline, saturates
from hwsim.cost.pricing import price
from hwsim.technology.pipelining import stages_of

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
    stages
        Clock cycles from input to output.
    turns
        Sums that take turns in the loop.
    in_order
        Whether its sum must be taken in order: one that saturates, and stays.
    """

    component: str
    place: str
    delay_ns: float
    delay_fo4: float
    loop_ns: float
    period_ns: float
    stages: int
    turns: int = 1
    in_order: bool = False

    @property
    def too_long(self) -> bool:
        """Whether registers cut it."""
        return self.stages > 1

    @property
    def too_slow(self) -> bool:
        """Whether it can not take an operation each cycle, however it is cut."""
        return self.in_order and self.turns > 1

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
            "turns": self.turns,
            "fits": "too slow" if self.too_slow else "pipelined" if self.too_long else "yes",
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
        if line.component is None or line.cuts is not None:
            continue
        cost = price(technology, line.component)
        if cost.delay_ns is None:
            continue
        # A sum that passes on to the next element is cut there: only one that stays feeds back to itself.
        passes = line.place == "element" and accelerator.array.dataflow != "output_stationary"
        delay, loop = float(cost.delay_ns), 0.0 if passes else float(cost.loop_ns)
        cut = Pipeline.of(cost, period, technology, passes=passes)
        in_order = saturates(line.component) and not passes
        found.append(
            CriticalPath(line.what, line.place, delay, delay / fo4_ns, loop, period, cut.stages, cut.turns, in_order)
        )
    for name in ("activation", "weight", "output"):
        memory = getattr(accelerator.memories, name)
        access = technology.sram(memory.capacity_bytes, memory.bank_width_bits, memory.banks).delay_ns
        if access is not None:
            # A macro has its registers, in access time and area.
            delay, stages = float(access), stages_of(float(access), period, 0.0)
            found.append(CriticalPath(f"{name} buffer", "chip", delay, delay / fo4_ns, 0.0, period, stages))
    return sorted(found, key=lambda path: -path.delay_ns)


def clock_statements(paths: Sequence[CriticalPath], *, most: int = 3) -> list[tuple[str, str]]:
    """Say which components do not follow the clock as they are: what is asked, and the answer; empty if all do.

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
        named = _listed((f"{path.component} {path.loop_ns:.2g} ns" for path in slow), most)
        lead = f"Too slow for a sum that saturates each cycle at {1e3 / worst.period_ns:g} MHz"
        found.append((lead, f"{named}, over {worst.period_ns:.3g} ns; at most {1e3 / worst.loop_ns:.0f} MHz."))
    long = [path for path in paths if path.too_long and path.place != "chip"]
    if long:
        named = _listed((f"{p.component} {p.delay_ns:.2g} ns, {p.stages} stages" for p in long), most, "; ")
        lead = f"Longer than the clock's {long[0].period_ns:.3g} ns and pipelined, registers counted"
        found.append((lead, f"{named}."))
    turning = [path for path in paths if path.turns > 1 and not path.too_slow]
    if turning:
        named = _listed((f"{p.turns} in each {p.component}" for p in turning), most)
        found.append(("Partial sums in turn in an adder of several stages, added up at the end", f"{named}."))
    reading = [path for path in paths if path.too_long and path.place == "chip"]
    if reading:
        named = _listed((f"{p.component} {p.delay_ns:.2g} ns, {p.stages} cycles" for p in reading), most, "; ")
        found.append(("Buffers that deliver a word each cycle, and each word later", f"{named}."))
    return found


def _listed(texts: Iterable[str], most: int, between: str = ", ") -> str:
    # The same unit may stand in several places.
    items = list(dict.fromkeys(texts))
    rest = len(items) - most
    others = f"{between.rstrip(', ')} and {rest} other{'s' if rest > 1 else ''}" if rest > 0 else ""
    return between.join(items[:most]) + others
