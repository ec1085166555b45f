from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import FloatAccumulator, matmul_float, matmul_float_grouped, matmul_weight_only
from quant.formats import BF16, E8M0, FP16, FP32, FloatFormat
from tests import reference

FORMATS = {"fp32": (24, -149), "fp16": (11, -24), "bf16": (8, -133)}


def exact(x: Fraction, form: FloatFormat) -> Fraction:
    return reference.to_float(x, *FORMATS[form.name])


PAIRS = [(FP32, FP32), (FP16, FP16), (BF16, BF16), (BF16, FP32), (FP16, FP32)]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("operands", "sums"), PAIRS, ids=lambda f: f.name)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), k=st.integers(0, 9), spread=st.integers(0, 12))
def test_every_step_is_rounded_as_stated(
    operands: FloatFormat, sums: FloatFormat, fused: bool, seed: int, k: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    # Exponents far apart make sticky bits and ties decide.
    lhs = operands.round(np.ldexp(rng.integers(-255, 256, (2, k)), rng.integers(-spread, 1, (2, k))) / 64)
    rhs = operands.round(np.ldexp(rng.integers(-255, 256, (k, 3)), rng.integers(-spread, 1, (k, 3))) / 64)
    got = matmul_float(lhs, rhs, FloatAccumulator(operands, sums, fused), initial=0.5)
    for m, n in np.ndindex(2, 3):
        register = Fraction(1, 2)
        for i in range(k):
            product = Fraction(float(lhs[m, i])) * Fraction(float(rhs[i, n]))
            register = exact(register + (product if fused else exact(product, sums)), sums)
        assert Fraction(float(got[m, n])) == register


def test_a_fused_tie_is_decided_by_the_last_bit_far_below() -> None:
    # 1.0000001b * 1.0000001b is a tie in bf16 but for the register, 2**-80 below.
    lhs, rhs = [[1 + 2.0**-7]], [[1.5]]
    product = Fraction(1 + 2.0**-7) * Fraction(3, 2)
    assert exact(product, BF16) != product
    for start in (2.0**-80, -(2.0**-80)):
        want = exact(product + Fraction(start), BF16)
        got = matmul_float(lhs, rhs, FloatAccumulator(BF16, BF16, fused=True), initial=start)
        assert Fraction(float(got[0, 0])) == want


def test_weights_are_dequantized_and_then_multiplied_in_order() -> None:
    rng = np.random.default_rng(7)
    lhs, codes = rng.normal(size=(2, 5)).astype(np.float32), rng.integers(-8, 8, (5, 3)).astype(np.int8)
    scale = rng.uniform(0.1, 1, (1, 3)).astype(np.float32)
    got = matmul_weight_only(lhs, codes, scale, 2)
    for m, n in np.ndindex(2, 3):
        register = Fraction(0)
        for i in range(5):
            weight = reference.to_float((int(codes[i, n]) - 2) * Fraction(float(scale[0, n])))
            register = reference.to_float(register + reference.to_float(Fraction(float(lhs[m, i])) * weight))
        assert Fraction(float(got[m, n])) == register


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("per_row", [False, True])
def test_groups_are_rescaled_in_float32_in_order(fused: bool, per_row: bool) -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = rng.integers(-128, 128, (2, 13)).astype(np.int8), rng.integers(-128, 128, (13, 3)).astype(np.int8)
    scale = rng.uniform(0.001, 1, (4, 2, 3) if per_row else (4, 3)).astype(np.float32)
    got = matmul_float_grouped(lhs, rhs, scale, 4, fused=fused)
    for m, n in np.ndindex(2, 3):
        register = Fraction(0)
        for g in range(4):
            partial = sum(
                int(a) * int(b) for a, b in zip(lhs[m, 4 * g : 4 * g + 4], rhs[4 * g : 4 * g + 4, n], strict=True)
            )
            factor = Fraction(float(scale[g, m, n] if per_row else scale[g, n]))
            product = reference.to_float(Fraction(partial)) * factor
            register = reference.to_float(register + (product if fused else reference.to_float(product)))
        assert Fraction(float(got[m, n])) == register


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: FloatAccumulator(E8M0), "format must be fp32, fp16 or bf16, not e8m0"),
        (lambda: FloatAccumulator(FP32, BF16), "sums of fp32 operands must be fp32, not bf16"),
        (
            lambda: matmul_float(np.zeros((2, 3)), np.zeros((2, 3))),
            "reductions of lhs and rhs must have one length, not (2, 3) and (2, 3)",
        ),
        (
            lambda: matmul_float_grouped([[1]], [[1]], [1.0], 1),
            "scale must have shape (1, 1) or (1, 1, 1), not (1,)",
        ),
        (lambda: matmul_float_grouped([[1]], [[1]], [[1.0]], 0), "group must be at least 1, not 0"),
    ],
)
def test_bad_input_gets_one_clear_error(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call()
