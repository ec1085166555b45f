"""Compiled steps that record what every register went through: overflows, the first of them, and its range.

The kernel is that of `hwsim.datapath.step_kernels` with every step taken one by one and noted, in lanes of floats
that hold every sum of a register wide enough.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from .lanes import INT64, TYPES, Arithmetic, Range, compiled, loop
from .step_kernels import GROUPS, ROW_BLOCKS, SEGMENTS, Composer, Recipe, Rule

TOTAL, PLANE = ROW_BLOCKS + 8, ROW_BLOCKS + 9
"""Places of two more counts: all steps, and the elements of a plane of records."""

EVENTS, FIRST, LOW, HIGH = range(4)
"""Planes of the records."""


@functools.cache
def recording_kernel(recipe: Recipe) -> Callable[..., None]:
    """Return the compiled kernel of a recipe whose registers have the type of its lanes.

    It takes what `step_kernels.kernel` takes, with two more counts, and in place of the marks records of the
    registers' type [4, rows, width], which it writes. A group has one step.
    """
    module = ir.Module("records")
    _Recorder(module, recipe).compose()
    return compiled(module, "walk")


class _Recorder(Composer):
    """Writes the function of a recipe."""

    counts_used = PLANE + 1

    def marks_type(self) -> Any:
        """Return the element of what is noted beside the registers."""
        return TYPES[self.recipe.register]

    def block(self) -> None:
        """Take the rows through the whole reduction."""
        b, register = self.b, self.register
        places = range(len(self.acc))
        self.exact, self.last, *planes = ([b.alloca(register.vector) for _ in places] for _ in range(6))
        self.planes = planes
        self.clock = b.alloca(register.element)
        b.store(self.number(0), self.clock)
        for place in places:
            start = register.zero
            if not self.recipe.spill:
                start = register.load(self.cell(self.registers, place, register.lanes))
            for target in (self.acc, self.exact, planes[LOW], planes[HIGH]):
                b.store(start, target[place])
            b.store(register.splat(self.number(-1)), planes[FIRST][place])
            b.store(register.zero, planes[EVENTS][place])
            b.store(register.zero, self.last[place])
        self.total = b.sitofp(self.size[TOTAL], register.element)
        with loop(b, self.size[SEGMENTS]) as segment:
            with loop(b, self.size[GROUPS]) as group:
                self.recorded_step(b.mul(b.add(b.mul(segment, self.size[GROUPS]), group), self.per_group))
            if self.recipe.spill:
                self.spill(self.recipe.spill)
        for place in places:
            if not self.recipe.spill:
                register.store(b.load(self.acc[place]), self.cell(self.registers, place, register.lanes))
            for plane, values in enumerate(planes):
                array = self.at(self.marks, b.mul(self.size[PLANE], INT64(plane)))
                register.store(b.load(values[place]), self.cell(array, place, register.lanes))

    def number(self, value: int) -> Any:
        """Return a constant of the registers' type."""
        return ir.Constant(self.register.element, value)

    def recorded_step(self, k: Any) -> None:
        """Take one step and note what left its range."""
        b, register = self.b, self.register
        self.left: list[Any] = [None] * len(self.acc)
        addends = self.step(k)
        now = b.load(self.clock)
        # Steps that only fill the last segment do not count.
        real = b.fcmp_ordered("<", now, self.total)
        for place, addend in enumerate(addends):
            before = b.load(self.acc[place])
            after, left = self.fitted(register, before, addend, self.own, self.recipe.rule)
            b.store(after, self.acc[place])
            exact = register.add(b.load(self.exact[place]), addend)
            b.store(exact, self.exact[place])
            low, high = (b.load(self.planes[plane][place]) for plane in (LOW, HIGH))
            b.store(b.select(b.fcmp_ordered("<", exact, low), exact, low), self.planes[LOW][place])
            b.store(b.select(b.fcmp_ordered(">", exact, high), exact, high), self.planes[HIGH][place])
            if self.left[place] is not None:
                left = b.or_(left, self.left[place])
            left = b.select(real, left, ir.Constant(left.type, [0] * register.lanes))
            self.note(place, left, now)
            flags = b.select(left, register.splat(self.number(1)), register.zero)
            b.store(b.select(real, flags, b.load(self.last[place])), self.last[place])
        b.store(b.fadd(now, self.number(1)), self.clock)

    def note(self, place: int, left: Any, when: Any) -> None:
        """Count an overflow, and keep the first."""
        b, register = self.b, self.register
        events, first = self.planes[EVENTS][place], self.planes[FIRST][place]
        b.store(register.add(b.load(events), b.select(left, register.splat(self.number(1)), register.zero)), events)
        earliest = b.load(first)
        new = b.and_(left, b.fcmp_ordered("<", earliest, register.zero))
        b.store(b.select(new, register.splat(when), earliest), first)

    def fitted(self, arithmetic: Arithmetic, x: Any, y: Any, bounds: Range, rule: Rule) -> tuple[Any, Any]:
        """Return ``x + y`` as a register has it, and where the sum left its range; a trap lets it pass."""
        plain = arithmetic.add(x, y)
        after = arithmetic.wrapped(plain, bounds) if rule == "wrap" else arithmetic.add_clamped(x, y, bounds)
        return (plain if rule == "trap" else after), arithmetic.differs(plain, after)

    def adder_sum(self, x: Any, y: Any, place: int) -> Any:
        """Return the sum of a narrow adder, and note whether it left its range."""
        after, left = self.fitted(self.lane, x, y, self.adder, self.recipe.tree_rule)
        self.left[place] = left if self.left[place] is None else self.b.or_(self.left[place], left)
        return after

    def spill(self, rule: Rule) -> None:
        """Add the registers to the outer ones and clear them, equation (7), as part of the last step."""
        b, register = self.b, self.register
        now = b.load(self.clock)
        last_step = b.fsub(b.select(b.fcmp_ordered("<", now, self.total), now, self.total), self.number(1))
        for place, acc in enumerate(self.acc):
            cell = self.cell(self.outers, place, self.outer.lanes)
            after, left = self.fitted(self.outer, self.outer.load(cell), b.load(acc), self.beyond, rule)
            self.outer.store(after, cell)
            self.note(place, b.and_(left, b.fcmp_ordered("==", b.load(self.last[place]), register.zero)), last_step)
            b.store(register.zero, acc)
            b.store(register.zero, self.exact[place])
