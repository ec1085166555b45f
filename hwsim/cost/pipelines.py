"""Pipeline registers of units whose path is longer than a clock period.

A unit takes one operation each cycle whatever its delay: registers cut its path into stages of a period. Between two
stages stand as many flip-flops as wires cross there, on average over the path (`Cost.cut_bits`); where a sum begins
with a stage, as many as its addend has bits.

A sum that stays in its unit feeds back to its own adder. Where that loop is longer than a period, its adder is cut too
and several sums take turns in it, each of every second (third, ...) product; they are added up at the end, for which
all but one wait in a register. A sum that saturates can not be split so: what it clips depends on the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim.technology.pipelining import stages_of
from hwsim.timing.numbers import where

if TYPE_CHECKING:
    from hwsim.cost.pricing import Number
    from hwsim.plan import Component
    from hwsim.technology import Cost, Technology

_SATURATES = {"integer_mac": 3, "shift_mac": 3, "dot_product": 4, "shift_dot_product": 4}
"""Kinds whose argument at this place says whether their sum saturates."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How a clock cuts a unit.

    Parameters
    ----------
    stages
        Cycles from input to output.
    turns
        Sums that take turns in the loop of the unit; 1 where it is as short as a period, or there is none.
    bits
        Flip-flops between the stages.
    waiting_bits
        Those in which sums wait to be added up, clocked once a result.
    """

    stages: Number
    turns: Number
    bits: Number
    waiting_bits: Number

    @classmethod
    def of(cls, unit: Cost, period_ns: Number, technology: Technology, *, passes: bool = False) -> Pipeline:
        """Cut a unit for a clock; one whose delay no source gives stays whole.

        Parameters
        ----------
        passes
            Whether sums go on to another unit, so that none take turns here.

        Examples
        --------
        >>> from hwsim.technology import Technology
        >>> node = Technology.load("45nm-horowitz")
        >>> Pipeline.of(node.float_mul("fp32"), 4.0, node)
        Pipeline(stages=2, turns=1, bits=106, waiting_bits=0)
        """
        if unit.delay_ns is None:
            return cls(1, 1, 0, 0)
        register_ns = technology.register(1).delay_ns or 0.0
        # A loop, and the path that ends in one, has its register already.
        own = register_ns if np.max(unit.loop_ns) > 0 else 0.0
        stages = stages_of(unit.delay_ns - own, period_ns, register_ns)
        turns = stages_of(unit.loop_ns - own, period_ns, register_ns)
        before, inside = _whole(unit.cut_bits), _whole(unit.loop_cut_bits)
        bits: Number = (stages - 1) * before
        if inside:
            # Where the loop has its stages to itself, the last cut before it is at its entrance.
            ahead = stages_of(unit.delay_ns - unit.loop_ns, period_ns, register_ns) + turns <= stages
            saved = where(ahead, before - _whole(unit.join_bits), 0)
            bits = (stages - turns) * before - saved + (turns - 1) * inside
        return cls(stages, 1 if passes else turns, bits, 0 if passes else (turns - 1) * _whole(unit.loop_bits))


def saturates(component: Component) -> bool:
    """Tell whether a unit adds up a sum that is clipped on its way."""
    place = _SATURATES.get(component.kind)
    return place is not None and bool(component.arguments[place])


def _whole(bits: Number) -> int:
    return int(np.ceil(np.max(bits)))
