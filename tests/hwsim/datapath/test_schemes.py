from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from hwsim.datapath import (
    Accumulator,
    AccumulatorOverflowError,
    lookup_and_add,
    matmul,
    matmul_codebook,
    matmul_grouped,
    matmul_shift_add,
)
from quant import Overflow
from tests import reference

NARROW = Accumulator(16, Overflow.SATURATE)


@pytest.mark.parametrize("accumulator", [Accumulator(), NARROW], ids=["int32", "int16"])
def test_shift_add_is_multiplication_by_powers_of_two(accumulator: Accumulator) -> None:
    rng = np.random.default_rng(7)
    lhs, signs = rng.integers(-128, 128, (3, 11)).astype(np.int8), rng.integers(-1, 2, (11, 5))
    exponents = rng.integers(0, 9, (11, 5))
    got = matmul_shift_add(lhs, signs, exponents, accumulator)
    for m, n in np.ndindex(3, 5):
        weights = [int(s) * 2 ** int(e) for s, e in zip(signs[:, n], exponents[:, n], strict=True)]
        want = reference.accumulate(lhs[m].tolist(), weights, accumulator.bits, accumulator.overflow.name)
        assert got[m, n] == want.register


def test_a_codebook_is_decoded_before_the_product() -> None:
    rng = np.random.default_rng(7)
    lhs, codes = rng.integers(-128, 128, (3, 11)).astype(np.int8), rng.integers(0, 16, (11, 5)).astype(np.uint8)
    table = rng.integers(-128, 128, 16).astype(np.int8)
    want = reference.matmul(lhs.tolist(), [[int(table[c]) for c in row] for row in codes])
    assert matmul_codebook(lhs, codes, table).tolist() == want


@pytest.mark.parametrize("accumulator", [Accumulator(), Accumulator(9, Overflow.SATURATE)], ids=["int32", "int9"])
def test_tables_are_looked_up_and_added_in_order(accumulator: Accumulator, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    codes, tables = rng.integers(0, 16, (7, 11)), rng.integers(-128, 128, (11, 16, 5)).astype(np.int8)
    got = lookup_and_add(codes, tables, accumulator, initial=3)
    for m, n in np.ndindex(7, 5):
        entries = [int(tables[c, codes[m, c], n]) for c in range(11)]
        want = reference.accumulate(entries, [1] * 11, accumulator.bits, accumulator.overflow.name, initial=3)
        assert got[m, n] == want.register
    monkeypatch.setattr("hwsim.datapath.schemes._TABLE_ELEMENTS", 2 * 11 * 5)
    np.testing.assert_array_equal(lookup_and_add(codes, tables, accumulator, initial=3), got)


@pytest.mark.parametrize("rescale", ["integer", "shift"])
@pytest.mark.parametrize("outer", [Accumulator(64), Accumulator(20, Overflow.SATURATE), Accumulator(20, Overflow.WRAP)])
def test_groups_are_rescaled_and_added(rescale: Any, outer: Accumulator) -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = rng.integers(-128, 128, (3, 13)).astype(np.int8), rng.integers(-128, 128, (13, 5)).astype(np.int8)
    factors = rng.integers(0, 6, (4, 5)) if rescale == "shift" else rng.integers(1, 30, (4, 5))
    got = matmul_grouped(lhs, rhs, factors, 4, NARROW, rescale=rescale, outer=outer)
    for m, n in np.ndindex(3, 5):
        partial = [
            reference.accumulate(lhs[m, g : g + 4].tolist(), rhs[g : g + 4, n].tolist(), 16, "SATURATE").register
            for g in range(0, 13, 4)
        ]
        scale = [2 ** int(f) if rescale == "shift" else int(f) for f in factors[:, n]]
        want = reference.accumulate(partial, scale, outer.bits, outer.overflow.name)
        assert got[m, n] == want.register


def test_one_group_of_factor_one_is_a_plain_product() -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = rng.integers(-128, 128, (3, 13)).astype(np.int8), rng.integers(-128, 128, (13, 5)).astype(np.int8)
    np.testing.assert_array_equal(matmul_grouped(lhs, rhs, np.ones((1, 5), int), 13), matmul(lhs, rhs))


def test_a_trapping_outer_register_names_group_and_value() -> None:
    with pytest.raises(AccumulatorOverflowError) as error:
        matmul_grouped([[100, 100]], [[1], [1]], [[1], [1]], 1, outer=Accumulator(8, Overflow.TRAP))
    assert (error.value.output, error.value.step, error.value.value) == ((0, 0), 1, 200)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: matmul_shift_add([[1]], [[2]], [[1]]), "signs must lie in -1..1, not 2"),
        (lambda: matmul_shift_add([[1]], [[1]], [[17]]), "exponents must lie in 0..16, not 17"),
        (
            lambda: matmul_shift_add([[1]], [[1]], [[1, 1]]),
            "signs and exponents must have one shape, not (1, 1) and (1, 2)",
        ),
        (lambda: matmul_codebook([[1]], [[2]], [1, 2]), "codes must lie in 0..1, not 2"),
        (lambda: matmul_codebook([[1]], [[0]], [[1, 2]]), "table must have 1 axis, not shape (1, 2)"),
        (
            lambda: lookup_and_add([[0]], [[[1]], [[1]]]),
            "codes [m, c] and tables [c, prototypes, n] must fit, not (1, 1) and (2, 1, 1)",
        ),
        (lambda: matmul_grouped([[1]], [[1]], [[1, 1]], 1), "factors must have shape (1, 1), not (1, 2)"),
        (lambda: matmul_grouped([[1]], [[1]], [[1]], 0), "group must be at least 1, not 0"),
        (lambda: matmul_grouped([[1]], [[1]], [[32]], 1, rescale="shift"), "factors must lie in 0..31, not 32"),
    ],
)
def test_bad_input_gets_one_clear_error(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call()
