"""Compiled register toggles of a fold of an array: a column vector of elements at a time.

The registers of all elements lie in memory, as they would in the array, so that a fold finds what the one before
left. Written in the vectors of `hwsim.datapath.lanes`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from .lanes import INT64, TYPES, Arithmetic, compiled, loop

REGISTERS = 4
"""Registers of an element: lhs, rhs, product, accumulator or partial sum."""

TIMES, ROWS, LHS_BY_ROW, LHS_BY_TIME, RHS_BY_ROW, RHS_BY_TIME = range(6)
"""Places of the counts. The strides of the lhs are elements, those of the rhs vectors."""


@functools.cache
def toggle_kernel(lane: str, *, flowing: bool) -> Callable[..., None]:
    """Return the compiled kernel of a lane type, int32 or int64.

    In every step of time each row multiplies its operands and adds the product to its own register or, if `flowing`,
    to the partial sum of the row before. It takes addresses: lhs; rhs of vectors; registers [rows, 4, lanes],
    changed in place; masks of the bits that exist [4, lanes], 0 in idle lanes; toggles [4, lanes], added to; counts.
    """
    module = ir.Module("toggles")
    element = TYPES[lane]
    pointers = [element.as_pointer()] * 5 + [INT64.as_pointer()]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), pointers), "toggle")
    for argument in function.args:
        argument.add_attribute("noalias")
    lhs, rhs, registers, masks, toggles, counts = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    arithmetic = Arithmetic(b, lane)

    def at(array: Any, index: Any) -> Any:
        return b.gep(array, [index])

    def vector(array: Any, index: int) -> Any:
        return at(array, INT64(index * arithmetic.lanes))

    size = [b.load(at(counts, INT64(i))) for i in range(RHS_BY_TIME + 1)]
    mask = [arithmetic.load(vector(masks, i)) for i in range(REGISTERS)]
    counters = [b.alloca(arithmetic.vector) for _ in range(REGISTERS)]
    for i, counter in enumerate(counters):
        b.store(arithmetic.load(vector(toggles, i)), counter)
    flow = b.alloca(arithmetic.vector)
    with loop(b, size[TIMES]) as time:
        b.store(arithmetic.zero, flow)
        with loop(b, size[ROWS]) as row:
            place = b.add(b.mul(row, size[LHS_BY_ROW]), b.mul(time, size[LHS_BY_TIME]))
            factor = arithmetic.splat(b.load(at(lhs, place)))
            place = b.add(b.mul(row, size[RHS_BY_ROW]), b.mul(time, size[RHS_BY_TIME]))
            column = arithmetic.load(at(rhs, b.mul(place, INT64(arithmetic.lanes))))
            own = at(registers, b.mul(row, INT64(REGISTERS * arithmetic.lanes)))
            before = [arithmetic.load(vector(own, i)) for i in range(REGISTERS)]
            product = b.mul(factor, column)
            total = b.add(b.load(flow) if flowing else before[-1], product)
            b.store(total, flow)
            for i, value in enumerate((factor, column, product, total)):
                flips = b.and_(b.xor(before[i], value), mask[i])
                b.store(b.add(b.load(counters[i]), arithmetic.call("llvm.ctpop", flips)), counters[i])
                # Bits beyond the register and idle lanes stay as they were.
                arithmetic.store(b.xor(before[i], flips), vector(own, i))
    for i, counter in enumerate(counters):
        arithmetic.store(b.load(counter), vector(toggles, i))
    b.ret_void()
    return compiled(module, "toggle")
