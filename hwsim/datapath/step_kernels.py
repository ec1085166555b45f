"""Compiled steps of many accumulators at once: a few rows of the lhs against a tile of columns of the rhs.

All registers of the tile stay in vector registers, which compilers of plain loops do not manage; so the kernel is
composed here, for each `Recipe` one. Composing and compiling it takes about a tenth of a second, once a process.
`hwsim.datapath.tiles` chooses the recipe and lays the operands out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from llvmlite import ir

from .lanes import INT8, INT32, INT64, TYPES, Arithmetic, Range, compiled, lanes_of, loop, width

Rule = Literal["wrap", "saturate", "trap"]

ROW_BLOCKS, SEGMENTS, GROUPS, STEPS, DEPTH, DROPPED, LHS_STRIDE, BOUND_STRIDE = range(8)
"""Places of the counts. A segment ends with a spill and has groups; a group has steps; a step has products."""

REGISTER, TREE, OUTER, CUT, SAFE = 0, 4, 8, 12, 13
"""Places of the limits. A range takes four: lo, hi, size, 1 / size."""


class Recipe(NamedTuple):
    """What a kernel does in a step.

    Attributes
    ----------
    lane
        Type that holds products and adders of the tree: int16, float32 or float64.
    register
        Type that holds registers: that of the lanes, or int32 for lanes of int16.
    rule
        Overflow of the register.
    checked
        Whether registers are clamped only in those groups of steps that are not certified, equation (10).
    single
        Whether a step has one product.
    tree
        Products in a step whose adders are narrow, 0 if the adders are wide enough.
    tree_rule
        Overflow of narrow adders.
    dropped
        Whether low bits are dropped.
    spill
        Overflow of the outer register, None if there is none.
    recorded
        Whether `hwsim.datapath.record_kernels` notes what the registers go through.
    """

    lane: str
    register: str
    rule: Rule
    checked: bool
    single: bool
    tree: int = 0
    tree_rule: Rule = "saturate"
    dropped: bool = False
    spill: Rule | None = None
    recorded: bool = False

    @property
    def rows(self) -> int:
        """Rows of the lhs that go together."""
        if self.recorded:
            return 1
        crowded = self.dropped or self.tree or self.lane != self.register or self.lane == "float64"
        return 2 if crowded else 4

    @property
    def outer(self) -> str:
        """Type that holds outer registers."""
        return "float64" if self.register == "float64" else "int32"


@functools.cache
def kernel(recipe: Recipe) -> Callable[..., None]:
    """Return the compiled kernel of a recipe.

    It takes addresses of contiguous arrays; registers, outer registers and marks change in place:

    - lhs lane [rows, LHS_STRIDE], int16 as int32 with the value twice, side by side; rhs lane [k, width];
    - registers [rows, width]; outer registers [rows, width]; marks uint8 [rows, width], set where a trap went off;
    - bounds float32 of the groups, whose products bound the sums: rows [rows, BOUND_STRIDE], columns [groups, width];
    - counts int64; limits float64.
    """
    module = ir.Module("lanes")
    Composer(module, recipe).compose()
    return compiled(module, "walk")


class Composer:
    """Writes the function of a recipe."""

    counts_used = BOUND_STRIDE + 1

    def __init__(self, module: Any, recipe: Recipe) -> None:
        self.recipe = recipe
        factor = INT32 if recipe.lane == "int16" else TYPES[recipe.lane]
        single, double = TYPES["float32"], TYPES["float64"]
        elements = [factor, *(TYPES[t] for t in (recipe.lane, recipe.register, recipe.outer))]
        elements += [self.marks_type(), single, single, INT64, double]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [t.as_pointer() for t in elements]), "walk")
        for argument in function.args:
            argument.add_attribute("noalias")
        self.lhs, self.rhs, self.registers, self.outers, self.marks, *rest = function.args
        self.row_bounds, self.column_bounds, self.counts, self.limits = rest
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.lane, self.register, self.outer = (
            Arithmetic(self.b, t) for t in (recipe.lane, recipe.register, recipe.outer)
        )
        self.bound = Arithmetic(self.b, "float64" if recipe.register == "float64" else "float32", self.register.lanes)

    def marks_type(self) -> Any:
        """Return the element of what is noted beside the registers."""
        return INT8

    def compose(self) -> None:
        """Write the whole function."""
        b, recipe = self.b, self.recipe
        self.size = [b.load(self.at(self.counts, INT64(i))) for i in range(self.counts_used)]
        self.own, self.adder, self.beyond = (
            Range(arithmetic, [self.limit(place + i) for i in range(4)])
            for arithmetic, place in ((self.register, REGISTER), (self.lane, TREE), (self.outer, OUTER))
        )
        self.safe = self.bound.from_float64(self.limit(SAFE))
        if self.lane.is_float:
            self.cut = self.lane.from_float64(self.limit(CUT))
        else:
            self.cut = self.lane.splat(b.trunc(self.size[DROPPED], self.lane.element))
        self.per_group = b.mul(self.size[STEPS], self.size[DEPTH])
        # LLVM turns these into vector registers.
        self.parts = width() // self.register.lanes
        self.acc = [b.alloca(self.register.vector) for _ in range(recipe.rows * self.parts)]
        self.sums, self.addends = (
            [b.alloca(self.lane.vector) for _ in range(recipe.rows * (width() // self.lane.lanes))] for _ in range(2)
        )
        with loop(b, self.size[ROW_BLOCKS]) as block:
            self.row = b.mul(block, INT64(recipe.rows))
            self.block()
        b.ret_void()

    def at(self, array: Any, index: Any) -> Any:
        """Address an element."""
        return self.b.gep(array, [index])

    def limit(self, place: int) -> Any:
        """Load a limit."""
        return self.b.load(self.at(self.limits, INT64(place)))

    def cell(self, array: Any, place: int, lanes: int) -> Any:
        """Address the vector `place` of the rows that go together in an array [rows, width]."""
        b = self.b
        return self.at(array, b.add(b.mul(self.row, INT64(width())), INT64(place * lanes)))

    def block(self) -> None:
        """Take the rows through the whole reduction."""
        recipe, register = self.recipe, self.register
        cells = [self.cell(self.registers, place, register.lanes) for place in range(len(self.acc))]
        for acc, cell in zip(self.acc, cells, strict=True):
            self.b.store(register.zero if recipe.spill else register.load(cell), acc)
        with loop(self.b, self.size[SEGMENTS]) as segment:
            with loop(self.b, self.size[GROUPS]) as group:
                self.group(self.b.add(self.b.mul(segment, self.size[GROUPS]), group))
            if recipe.spill:
                self.spill(recipe.spill)
        if not recipe.spill:
            for acc, cell in zip(self.acc, cells, strict=True):
                register.store(self.b.load(acc), cell)

    def group(self, group: Any) -> None:
        """Take a group of steps, with clamps only where a register might need them."""
        start = self.b.mul(group, self.per_group)
        if self.recipe.rule == "wrap":
            self.unclamped(start)
            if self.register.is_float:
                for acc in self.acc:
                    self.b.store(self.register.wrapped(self.b.load(acc), self.own), acc)
        elif not self.recipe.checked:
            self.clamped(start)
        else:
            with self.b.if_else(self.unsafe(group), likely=False) as (then, otherwise):
                with then:
                    self.clamped(start)
                with otherwise:
                    self.unclamped(start)

    def unsafe(self, group: Any) -> Any:
        """Tell whether a register might leave its range within the group, equation (10)."""
        b, bound = self.b, self.bound
        narrow = Arithmetic(b, "float32", bound.lanes)
        offset = b.mul(group, INT64(width()))
        columns = [
            narrow.load(self.at(self.column_bounds, b.add(offset, INT64(c * narrow.lanes)))) for c in range(self.parts)
        ]
        masks = []
        for r in range(self.recipe.rows):
            where = b.add(b.mul(b.add(self.row, INT64(r)), self.size[BOUND_STRIDE]), group)
            norm = narrow.splat(b.load(self.at(self.row_bounds, where)))
            for c, column in enumerate(columns):
                value = b.load(self.acc[r * self.parts + c])
                if not self.register.is_float:
                    value = b.sitofp(value, bound.vector)
                factors = (norm, column) if bound.name == "float32" else (
                    b.fpext(norm, bound.vector), b.fpext(column, bound.vector)
                )  # fmt: skip
                reach = bound.multiply_add(*factors, bound.call("llvm.fabs", value))
                masks.append(b.fcmp_unordered(">", reach, self.safe))
        mask = b.bitcast(functools.reduce(b.or_, masks), ir.IntType(bound.lanes))
        return b.icmp_unsigned("!=", mask, ir.Constant(mask.type, 0))

    def unclamped(self, start: Any) -> None:
        """Add the group's addends up; the register holds every sum on the way."""
        b, lane = self.b, self.lane
        direct = self.recipe.lane == self.recipe.register
        sums = self.acc if direct else self.sums
        if not direct:
            for total in sums:
                b.store(lane.zero, total)
        if self.recipe.tree or self.recipe.dropped:
            with loop(b, self.size[STEPS]) as step:
                for total, addend in zip(sums, self.step(b.add(start, b.mul(step, self.size[DEPTH]))), strict=True):
                    b.store(lane.add(b.load(total), addend), total)
        else:
            with loop(b, self.per_group) as product:
                self.add_products(b.add(start, product), sums)
        if not direct:
            for acc, total in zip(self.acc, self.widened([b.load(total) for total in sums]), strict=True):
                b.store(self.register.add(b.load(acc), total), acc)

    def clamped(self, start: Any) -> None:
        """Take the group's steps one by one, each with a clamp of the register."""
        with loop(self.b, self.size[STEPS]) as step:
            addends = self.widened(self.step(self.b.add(start, self.b.mul(step, self.size[DEPTH]))))
            for place, (acc, addend) in enumerate(zip(self.acc, addends, strict=True)):
                before = self.b.load(acc)
                after = self.register.add_clamped(before, addend, self.own)
                self.b.store(after, acc)
                if self.recipe.rule == "trap":
                    self.mark(self.register, place, self.register.differs(self.register.add(before, addend), after))

    def step(self, k: Any) -> list[Any]:
        """Return the addends of a step, equation (2)."""
        b, lane, recipe = self.b, self.lane, self.recipe
        if recipe.tree:
            addends = [self.tree(k, place) for place in range(len(self.addends))]
        elif recipe.single:
            addends = [lane.multiply(factor, column) for factor, column in self.operands(k)]
        else:
            for addend in self.addends:
                b.store(lane.zero, addend)
            with loop(b, self.size[DEPTH]) as product:
                self.add_products(b.add(k, product), self.addends)
            addends = [b.load(addend) for addend in self.addends]
        if recipe.dropped:
            addends = [
                lane.call("llvm.floor", b.fmul(addend, self.cut)) if lane.is_float else b.ashr(addend, self.cut)
                for addend in addends
            ]
        return addends

    def operands(self, k: Any) -> list[tuple[Any, Any]]:
        """Load the factors and columns of one product for every row and vector of columns."""
        columns = [self.column(k, c) for c in range(width() // self.lane.lanes)]
        factors = [self.factor(k, r) for r in range(self.recipe.rows)]
        return [(factor, column) for factor in factors for column in columns]

    def column(self, k: Any, c: int) -> Any:
        """Load a vector of the columns."""
        offset = self.b.add(self.b.mul(k, INT64(width())), INT64(c * self.lane.lanes))
        return self.lane.load(self.at(self.rhs, offset))

    def factor(self, k: Any, r: int) -> Any:
        """Fill a vector with an element of a row."""
        b = self.b
        row = b.mul(b.add(self.row, INT64(r)), self.size[LHS_STRIDE])
        scalar = b.load(self.at(self.lhs, b.add(row, k)))
        if self.lane.name == "int16":
            return b.bitcast(Arithmetic(b, "int32").splat(scalar), self.lane.vector)
        return self.lane.splat(scalar)

    def add_products(self, k: Any, sums: list[Any]) -> None:
        """Add the products of one place of the reduction to `sums`."""
        for total, (factor, column) in zip(sums, self.operands(k), strict=True):
            self.b.store(self.lane.multiply_add(factor, column, self.b.load(total)), total)

    def tree(self, k: Any, place: int) -> Any:
        """Return the sum of a step through narrow adders: neighbours pairwise, an odd one out moves up."""
        b, lane = self.b, self.lane
        r, c = divmod(place, width() // lane.lanes)
        level = []
        for t in range(self.recipe.tree):
            at = b.add(k, INT64(t))
            level.append(lane.multiply(self.factor(at, r), self.column(at, c)))
        while len(level) > 1:
            pairs = [self.adder_sum(x, y, place) for x, y in zip(level[::2], level[1::2], strict=False)]
            level = pairs + level[2 * len(pairs) :]
        return level[0]

    def adder_sum(self, x: Any, y: Any, place: int) -> Any:
        """Return the sum of a narrow adder."""
        if self.recipe.tree_rule == "wrap":
            return self.lane.wrapped(self.lane.add(x, y), self.adder)
        total = self.lane.add_clamped(x, y, self.adder)
        if self.recipe.tree_rule == "trap":
            self.mark(self.lane, place, self.lane.differs(self.lane.add(x, y), total))
        return total

    def spill(self, rule: Rule) -> None:
        """Add the registers to the outer ones and clear them, equation (7)."""
        b, outer = self.b, self.outer
        inner = [b.load(acc) for acc in self.acc]
        if self.recipe.rule == "wrap":
            inner = [self.register.wrapped(value, self.own) for value in inner]
        if self.register.name == "float32":
            inner = [b.fptosi(value, outer.vector) for value in inner]
        elif self.register.name == "int16":
            inner = self.widened(inner, "int32")
        for place, value in enumerate(inner):
            cell = self.cell(self.outers, place, outer.lanes)
            before = outer.load(cell)
            plain = outer.add(before, value)
            if rule == "wrap":
                # int32 keeps the low bits, which is all that a narrower register needs.
                after = outer.wrapped(plain, self.beyond) if outer.is_float else plain
            else:
                after = outer.add_clamped(before, value, self.beyond)
            outer.store(after, cell)
            if rule == "trap":
                self.mark(outer, place, outer.differs(plain, after))
        for acc in self.acc:
            b.store(self.register.zero, acc)

    def widened(self, vectors: list[Any], to: str = "") -> list[Any]:
        """Turn vectors of int16 into twice as many of int32, where the registers are int32."""
        if (to or self.recipe.register) == self.recipe.lane:
            return vectors
        b, lanes = self.b, lanes_of("int16")
        half = ir.VectorType(INT32, lanes // 2)
        halves = [ir.Constant(half, list(range(i, i + lanes // 2))) for i in (0, lanes // 2)]
        return [b.sext(b.shuffle_vector(v, v, part), half) for v in vectors for part in halves]

    def mark(self, arithmetic: Arithmetic, place: int, mask: Any) -> None:
        """Set marks where a trap went off."""
        b = self.b
        kind = ir.VectorType(INT8, arithmetic.lanes)
        pointer = b.bitcast(self.cell(self.marks, place, arithmetic.lanes), kind.as_pointer())
        before = b.load(pointer)
        before.align = 1
        b.store(b.or_(before, b.zext(mask, kind)), pointer).align = 1
