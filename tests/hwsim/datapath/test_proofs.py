"""z3 proves the step functions against their arithmetic definitions, for all inputs of the stated width.

The functions are the ones of `hwsim.datapath.steps`, run on bit-vectors wide enough that nothing wraps.
"""

from __future__ import annotations

from typing import Any

import pytest

from hwsim.datapath import steps
from quant import Overflow, Rounding

z3 = pytest.importorskip("z3")


def select(condition: Any, a: Any, b: Any) -> Any:
    """Choose; two plain numbers take the width of the condition's own operand."""
    width = condition.arg(0).size()
    return z3.If(condition, *(z3.BitVecVal(v, width) if isinstance(v, int) else v for v in (a, b)))


def prove(claim: Any, *given: Any) -> None:
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*given, z3.Not(claim))
    assert solver.check() == z3.unsat, solver.model() if solver.check() == z3.sat else "unknown"


def in_bits(x: Any, bits: int) -> Any:
    return z3.And(x >= -(1 << (bits - 1)), x < 1 << (bits - 1))


@pytest.mark.parametrize("shift", [0, 1, 2, 7, 15, 31])
@pytest.mark.parametrize("rounding", Rounding, ids=lambda r: r.name)
def test_rounding_shift_is_the_nearest_integer_by_its_rule(rounding: Rounding, shift: int) -> None:
    x = z3.BitVec("x", 72)
    y = steps.rounding_shift(x, shift, rounding, select)
    # The distance of the result, in units of 2**-shift.
    error = (y << shift) - x
    one = 1 << shift
    match rounding:
        case Rounding.DOWN:
            claim = z3.And(error <= 0, error > -one)
        case Rounding.UP:
            claim = z3.And(error >= 0, error < one)
        case Rounding.TOWARD_ZERO:
            claim = z3.If(x < 0, z3.And(error >= 0, error < one), z3.And(error <= 0, error > -one))
        case Rounding.HALF_UP:
            claim = z3.And(error + error <= one, error + error > -one)
        case Rounding.HALF_AWAY:
            claim = z3.If(
                x < 0,
                z3.And(error + error < one, error + error >= -one),
                z3.And(error + error <= one, error + error > -one),
            )
        case Rounding.HALF_EVEN:
            tie = z3.Or(error + error == one, error + error == -one)
            claim = z3.And(error + error <= one, error + error >= -one, z3.Implies(tie, (y & 1) == 0))
    prove(claim, in_bits(x, 64))


@pytest.mark.parametrize("bits", [8, 16, 24, 32, 48])
def test_accumulate_wraps_modulo_its_size_and_saturates_at_its_rails(bits: int) -> None:
    register, addend = z3.BitVecs("register addend", 64)
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    given = (in_bits(register, bits), in_bits(addend, 40))
    wrapped = steps.accumulate(register, addend, lo, hi, Overflow.WRAP, select)
    same_low_bits = z3.Extract(bits - 1, 0, wrapped) == z3.Extract(bits - 1, 0, register + addend)
    prove(z3.And(in_bits(wrapped, bits), same_low_bits), *given)
    clamped = steps.accumulate(register, addend, lo, hi, Overflow.SATURATE, select)
    total = register + addend
    prove(z3.And(in_bits(clamped, bits), z3.Implies(in_bits(total, bits), clamped == total)), *given)
    prove(z3.Implies(total > hi, clamped == hi), *given)
    prove(z3.Implies(total < lo, clamped == lo), *given)
    prove(steps.accumulate(register, addend, lo, hi, Overflow.TRAP, select) == total, *given)


def gemmlowp_high_multiply(product: Any) -> Any:
    """SaturatingRoundingDoublingHighMul from its product on: nudge, then division that truncates."""
    nudged = product + z3.If(product >= 0, z3.BitVecVal(1 << 30, 64), z3.BitVecVal(1 - (1 << 30), 64))
    # Division by 2**31 toward zero.
    return z3.If(nudged < 0, -((-nudged) >> 31), nudged >> 31)


def test_high_multiply_is_the_text_of_gemmlowp() -> None:
    # Both sides take the product, so it is formed once, at its own width.
    product = z3.BitVec("product", 64)
    prove(
        steps.rounding_shift(product, 31, Rounding.HALF_UP, select) == gemmlowp_high_multiply(product),
        in_bits(product, 63),
    )


@pytest.mark.parametrize("shift", [0, 1, 7, 31])
def test_rounding_divide_by_power_is_the_text_of_gemmlowp(shift: int) -> None:
    x = z3.BitVec("x", 64)
    mask = (1 << shift) - 1
    remainder, threshold = x & mask, (mask >> 1) + z3.If(x < 0, z3.BitVecVal(1, 64), z3.BitVecVal(0, 64))
    text = (x >> shift) + z3.If(remainder > threshold, z3.BitVecVal(1, 64), z3.BitVecVal(0, 64))
    prove(steps.rounding_shift(x, shift, Rounding.HALF_AWAY, select) == text, in_bits(x, 32))


@pytest.mark.parametrize("shift", [1, 7, 20])
def test_a_truncating_multiply_before_a_rounding_shift_is_one_rounding(shift: int) -> None:
    # The vector form of XNNPACK's rndnu: vqdmulh truncates, vrshl rounds; together they round once.
    product = z3.BitVec("product", 72)
    twice = steps.rounding_shift(product >> 31, shift, Rounding.HALF_UP, select)
    once = steps.rounding_shift(product, 31 + shift, Rounding.HALF_UP, select)
    prove(twice == once, in_bits(product, 64))


@pytest.mark.parametrize("rounding", [Rounding.HALF_AWAY, Rounding.HALF_UP], ids=["gemmlowp", "ruy"])
def test_requantization_rounds_the_full_product_twice(rounding: Rounding) -> None:
    # The product is formed once, at its own width: a multiplier of one leaves any product there is.
    product = z3.BitVec("product", 64)
    got = steps.double_rounding(product, 1, 5, rounding, select)
    want = steps.rounding_shift(gemmlowp_high_multiply(product), 5, rounding, select)
    prove(got == want, in_bits(product, 63))


def test_a_wrong_rule_has_a_counterexample() -> None:
    x = z3.BitVec("x", 64)
    solver = z3.Solver()
    up, away = (steps.rounding_shift(x, 3, r, select) for r in (Rounding.HALF_UP, Rounding.HALF_AWAY))
    solver.add(up != away)
    assert solver.check() == z3.sat
