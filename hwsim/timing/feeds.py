"""How operands come to the array, results leave it, and for how long the array waits for either.

A buffer takes an operand in *loads*. It has places for `depth` of them: a load is asked for when the one whose place
it takes has been used, so that the array waits, once for every `depth` loads, for what a load takes from its request
to its use less what the loads in between take. Where the next load is asked for only when the last has been used
(`depth` 1: a buffer that is not double-buffered) it waits for each of them. Results have places in the output buffer
in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.timing.numbers import Number, floor_div, maximum, minimum, where

if TYPE_CHECKING:
    from hwsim.timing.work import Machine

_TINY = 1e-30  # of a cycle, so that nothing is divided by zero


@dataclass(frozen=True, slots=True)
class Arrival:
    """Cycles of one operand on its way in.

    Parameters
    ----------
    port, lanes
        Each time all of it comes.
    port_before, lanes_before
        Of them what a range scan has done before; negative if more comes with the operand.
    """

    port: Number
    lanes: Number
    port_before: Number
    lanes_before: Number

    def feed(self, items: Number, loads: Number, fetches: Number, depth: Number, pace: Number, latency: Number) -> Feed:
        """Cut it into items and loads; the array takes an item of a load in each `pace` cycles."""
        first, prepared, share = self.port / items, self.lanes / items, where(self.port > 0, 1, 0)
        if not (type(self.port_before) is int and self.port_before == 0):
            # Items that a scan has brought are there at once.
            brought = maximum(self.port_before, 0) / (maximum(self.port, _TINY) * fetches)
            first, share = first - self.port_before / (items * fetches), share * maximum(1 - brought, 0)
        if not (type(self.lanes_before) is int and self.lanes_before == 0):
            prepared = prepared - self.lanes_before / (items * fetches)
        together = items / loads
        slower = maximum(first, prepared)
        behind = (together - 1) * maximum(0, slower - pace)
        return Feed(loads * fetches, depth, first, prepared, latency * share, behind, together)


@dataclass(frozen=True, slots=True)
class Feed:
    """Loads of an operand, or results, one after the other.

    Parameters
    ----------
    loads, depth
        In all, and that their buffer has places for.
    first, prepared, latency
        Cycles of the port, of the lanes and of the memory for an item.
    behind
        Cycles that the rest of a load comes late, if the array takes each item when it is there.
    together
        Items of a load.
    """

    loads: Number
    depth: Number
    first: Number
    prepared: Number
    latency: Number
    behind: Number
    together: Number = 1

    @property
    def wait(self) -> Number:
        """Cycles from the request of a load until the array takes it as if all of it were there."""
        return self.first + self.prepared + self.latency + self.behind

    @property
    def slower(self) -> Number:
        """Cycles of port or lanes for an item, whichever takes longer."""
        return maximum(self.first, self.prepared)

    @property
    def turns(self) -> Number:
        """Times that the places are taken anew."""
        return floor_div(self.loads - 1, self.depth)

    def late(self, array: Number) -> Number:
        """Cycles that a load comes late when its place has been used by the one before."""
        return maximum(0, self.wait - (self.depth - 1) * (array / self.loads))

    def stalls(self, array: Number) -> Number:
        """Cycles that the array waits, itself busy for so many."""
        return self.turns * self.late(array)

    def beside(self, single: Feed, array: Number) -> Number:
        """Cycles that the array waits for these loads and for those that it waits for each time.

        While it waits for one of those, all places here are filled.
        """
        each, step, late = maximum(self.loads / single.loads, 1), array / self.loads, self.late(array)
        between = floor_div(each - 1, self.depth)
        flow = maximum(each - self.depth, 0) * maximum(0, self.slower * self.together - step)
        crossing = minimum(maximum(self.turns - between * single.loads, 0), single.loads - 1)
        hidden = maximum(1, self.depth * single.loads / self.loads) * single.wait
        waits = single.wait * (single.loads - 1) + crossing * maximum(0, late - hidden)
        return waits + single.loads * maximum(between * late, flow)


def stalls(
    machine: Machine, lhs: Feed, rhs: Feed, both: Feed, out: Feed, keeps: Number, array: Number, apart: bool
) -> Number:
    """Cycles that the array waits for loads and for places for its results.

    Parameters
    ----------
    both
        Loads of both operands that come at once.
    keeps
        0 if no operand stays while the other changes.
    array
        Cycles that it is busy.
    apart
        Whether the operands have ports of their own.
    """
    lhs_waits, rhs_waits = not machine.activation.double_buffered, not machine.weight.double_buffered
    single = None
    if lhs_waits and rhs_waits:
        met, shared = both.loads - 1, minimum(lhs.latency, rhs.latency)
        if apart:
            shared = shared + minimum(lhs.first, rhs.first)
        waits = lhs.stalls(array) + rhs.stalls(array) - shared * met
        more = (lhs.loads - both.loads) * lhs.wait + (rhs.loads - both.loads) * rhs.wait
        waits = where(keeps <= 0, both.stalls(array) + more, waits)
        single = both
    elif lhs_waits:
        waits, single = rhs.beside(lhs, array), lhs
    elif rhs_waits:
        waits, single = lhs.beside(rhs, array), rhs
    else:
        waits = maximum(lhs.stalls(array), rhs.stalls(array))
        waits = where(keeps <= 0, maximum(waits, both.stalls(array)), waits)
    most = maximum(waits, out.stalls(array))
    if machine.output.double_buffered:
        return most
    if single is None:
        added = maximum(lhs.beside(out, array), rhs.beside(out, array))
    else:
        met = minimum(out.loads, single.loads) - 1
        added = waits + out.stalls(array) - minimum(single.latency, out.wait) * met
    return where(out.depth <= 1, added, most)
