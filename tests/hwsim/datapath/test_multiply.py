from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import Accumulator, AccumulatorOverflowError, matmul, measure
from hwsim.datapath.walk import trace
from quant import IntFormat, Overflow
from tests import reference

WRAP, SATURATE, TRAP = Overflow.WRAP, Overflow.SATURATE, Overflow.TRAP


def random(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray[Any, Any]:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def expected(
    lhs: np.ndarray[Any, Any], rhs: np.ndarray[Any, Any], initial: int, accumulator: Accumulator
) -> list[list[reference.Sum]]:
    return [
        [
            reference.accumulate(
                row.tolist(),
                column.tolist(),
                accumulator.bits,
                accumulator.overflow.name,
                depth=accumulator.dot_depth,
                initial=initial,
                tree_bits=accumulator.tree_bits,
                tree_overflow=accumulator.tree_overflow.name,
                dropped=accumulator.dropped_bits,
                spill=accumulator.spill_steps,
                spill_bits=accumulator.spill_bits,
                spill_overflow=accumulator.spill_overflow.name,
            )
            for column in rhs.T
        ]
        for row in lhs
    ]


def test_every_pair_of_bytes_is_multiplied_exactly() -> None:
    values = np.arange(-128, 128)
    got = matmul(values[:, None].astype(np.int8), values[None].astype(np.int8))
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, values[:, None] * values[None])


@pytest.mark.parametrize("rhs_type", ["int8", "int16"])
@pytest.mark.parametrize("lhs_type", ["int8", "uint8", "int16", "uint16"])
def test_products_of_every_type_are_exact(lhs_type: str, rhs_type: str) -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = random(rng, lhs_type, 5, 1031), random(rng, rhs_type, 1031, 3)
    got = matmul(lhs, rhs, Accumulator(64))
    assert got.dtype == np.int64
    assert got.tolist() == reference.matmul(lhs.tolist(), rhs.tolist())


@pytest.mark.parametrize("lhs_value", [-128, 127])
@pytest.mark.parametrize("rhs_value", [-128, 127])
@pytest.mark.parametrize("k", [1023, 1024, 1025, 2048, 131_071, 131_072])
def test_extreme_bytes_stay_exact_beyond_float32_blocks(lhs_value: int, rhs_value: int, k: int) -> None:
    lhs, rhs = np.full((1, k), lhs_value, np.int8), np.full((k, 2), rhs_value, np.int8)
    want = reference.fit(k * lhs_value * rhs_value, 32, "WRAP")
    np.testing.assert_array_equal(matmul(lhs, rhs), [[want, want]])
    if lhs_value == rhs_value == -128 and k == 131_072:
        assert want == -(2**31)


def test_int32_wraps_at_exactly_its_limit() -> None:
    lhs, rhs = np.full((1, 131_072), -128, np.int8), np.full((131_072, 1), -128, np.int8)
    assert matmul(lhs[:, :-1], rhs[:-1], initial=16383)[0, 0] == 2**31 - 1
    assert matmul(lhs[:, :-1], rhs[:-1], initial=16384)[0, 0] == -(2**31)
    assert matmul(lhs, rhs, initial=-1)[0, 0] == 2**31 - 1


@pytest.mark.parametrize("overflow", [SATURATE, TRAP])
def test_int32_reaches_its_limit_without_overflow(overflow: Overflow) -> None:
    lhs, rhs = np.full((1, 131_072), -128, np.int8), np.full((131_072, 1), -128, np.int8)
    accumulator = Accumulator(32, overflow)
    assert matmul(lhs[:, 1:], rhs[1:], accumulator, initial=16383)[0, 0] == 2**31 - 1
    if overflow is SATURATE:
        assert matmul(lhs, rhs, accumulator)[0, 0] == 2**31 - 1
    else:
        with pytest.raises(AccumulatorOverflowError) as error:
            matmul(lhs, rhs, accumulator)
        assert (error.value.output, error.value.step, error.value.value) == ((0, 0), 131_071, 2**31)


ACCUMULATORS = st.builds(
    Accumulator,
    bits=st.sampled_from([8, 9, 15, 16, 17, 20, 24, 31, 32, 33, 64]),
    overflow=st.sampled_from([WRAP, SATURATE]),
    dot_depth=st.sampled_from([1, 2, 3, 4, 5, 8, 16, 40]),
    tree_bits=st.sampled_from([None, 8, 15, 16, 17, 64]),
    tree_overflow=st.sampled_from([WRAP, SATURATE]),
    dropped_bits=st.sampled_from([0, 0, 0, 1, 3, 8, 31]),
    spill_steps=st.sampled_from([None, None, 1, 2, 3, 7, 100]),
    spill_bits=st.sampled_from([8, 16, 18, 32, 64]),
    spill_overflow=st.sampled_from([WRAP, SATURATE]),
)
SIMPLE = st.builds(
    Accumulator,
    bits=st.integers(8, 26),
    overflow=st.sampled_from([WRAP, SATURATE]),
    dot_depth=st.sampled_from([1, 2, 3, 4, 8, 32]),
    spill_steps=st.sampled_from([None, None, 1, 2, 7, 100]),
    spill_bits=st.sampled_from([16, 20, 32]),
    spill_overflow=st.sampled_from([WRAP, SATURATE]),
)


@settings(max_examples=300, deadline=None)
@given(
    accumulator=ACCUMULATORS | SIMPLE,
    seed=st.integers(0, 2**32),
    k=st.sampled_from([0, 1, 2, 3, 7, 31, 64, 65, 130]),
    types=st.sampled_from([("int8", "int8"), ("uint8", "int8"), ("int16", "int16"), ("uint16", "int8")]),
    extreme=st.booleans(),
    start=st.integers(-1, 1),
)
def test_every_accumulator_equals_the_walk_in_python_integers(
    accumulator: Accumulator, seed: int, k: int, types: tuple[str, str], extreme: bool, start: int
) -> None:
    rng = np.random.default_rng(seed)
    lhs, rhs = random(rng, types[0], 3, k), random(rng, types[1], k, 5)
    if extreme:
        for x in (lhs, rhs):
            info = np.iinfo(x.dtype)
            x[...] = np.where(x > (info.max + info.min) // 2, info.max, info.min)
    bits = accumulator.bits if accumulator.spill_steps is None else accumulator.spill_bits
    initial = 0 if start == 0 else reference.fit(start * 2**80 + start, bits, "SATURATE")
    want = expected(lhs, rhs, initial, accumulator)
    got = matmul(lhs, rhs, accumulator, initial=initial)
    assert got.dtype == accumulator.dtype
    assert got.tolist() == [[s.register for s in row] for row in want]
    for m in range(3):
        traced = trace(lhs[m].tolist(), rhs[:, m].tolist(), initial, accumulator)
        assert traced == want[m][m].register
    if accumulator.bits == 64 or accumulator.spill_bits == 64:
        return
    stats = measure(lhs, rhs, accumulator, initial=initial)
    assert stats.result.tolist() == got.tolist()
    assert stats.overflows.tolist() == [[s.overflows for s in row] for row in want]
    assert stats.first_overflow.tolist() == [[s.first for s in row] for row in want]
    assert stats.low.tolist() == [[s.low for s in row] for row in want]
    assert stats.high.tolist() == [[s.high for s in row] for row in want]
    assert stats.overflowed.tolist() == [[s.overflows > 0 for s in row] for row in want]
    assert stats.peak.tolist() == [[max(-s.low, s.high) for s in row] for row in want]
    assert stats.sufficient_bits.tolist() == [[reference.sufficient_bits(s.low, s.high) for s in row] for row in want]


def test_a_register_walked_along_the_rail_and_back() -> None:
    lhs = np.array([[127] * 40 + [-128] * 40 + [1] * 3], np.int8)
    rhs = np.full((83, 1), 127, np.int8)
    accumulator = Accumulator(16, SATURATE)
    assert matmul(lhs, rhs, accumulator)[0, 0] == -(2**15) + 3 * 127
    assert matmul(lhs[:, :79], rhs[:79], accumulator)[0, 0] == -(2**15)
    assert matmul(lhs, rhs, Accumulator(16, WRAP))[0, 0] == reference.fit((-40 + 3) * 127, 16, "WRAP")


def test_order_of_accumulation_matters_when_it_saturates() -> None:
    lhs, rhs = np.array([[100, 100, -100]], np.int8), np.full((3, 1), 100, np.int8)
    accumulator = Accumulator(14, SATURATE)
    assert matmul(lhs, rhs, accumulator)[0, 0] == 2**13 - 1 - 10_000 + 0
    assert matmul(lhs, rhs, accumulator, order=[2, 0, 1])[0, 0] == -(2**13) + 20_000 - (20_000 - 2**13 - 2**13 + 1)
    assert matmul(lhs, rhs, accumulator, order=[0, 2, 1])[0, 0] == 2**13 - 1 - 10_000 + 10_000


def test_trap_names_the_first_output_step_and_value() -> None:
    lhs = np.zeros((2, 2, 5), np.int8)
    lhs[1, 0] = [100, 100, 100, 100, 100]
    rhs = np.array([[1, 1, 50], [1, 1, 50], [1, 1, 50], [1, 2, 50], [1, 100, 50]], np.int8)
    with pytest.raises(AccumulatorOverflowError) as error:
        matmul(lhs, rhs, Accumulator(14, TRAP))
    assert (error.value.output, error.value.step, error.value.value) == ((1, 0, 1), 4, 10_500)
    assert str(error.value) == "accumulator must stay within int14, not reach 10500 at step 4 of output (1, 0, 1)"
    with pytest.raises(AccumulatorOverflowError) as error:
        matmul(lhs, rhs, Accumulator(14, TRAP, dot_depth=2))
    assert (error.value.output, error.value.step, error.value.value) == ((1, 0, 1), 2, 10_500)


def test_pairs_saturate_as_vpmaddubsw_does() -> None:
    accumulator = Accumulator(32, WRAP, dot_depth=2, tree_bits=16)
    lhs, rhs = np.full((1, 6), 255, np.uint8), np.full((6, 1), 127, np.int8)
    assert matmul(lhs, rhs, accumulator)[0, 0] == 3 * 32767


def test_sixteen_bit_accumulation_is_that_of_fbgemm() -> None:
    """Hold to ``matmul_u8i8acc16_ref`` of FBGEMM (``src/RefImplementations.cc``), written out again."""
    rng = np.random.default_rng(7)
    m, k, n, block = 3, 50, 5, 8
    lhs, rhs = rng.integers(0, 256, (m, k)).astype(np.uint8), rng.integers(-128, 128, (k, n)).astype(np.int8)

    def sixteen(value: int) -> int:
        return min(max(value, -32768), 32767)

    want = np.zeros((m, n), int)
    for i in range(m):
        for j in range(n):
            total = 0
            for first in range(0, k, block):
                inner = 0
                for p in range(first, min(first + block, k), 2):
                    pair = sum(int(lhs[i, q]) * int(rhs[q, j]) for q in (p, p + 1))
                    inner = sixteen(inner + sixteen(pair))
                total += inner
            want[i, j] = total
    accumulator = Accumulator(16, SATURATE, dot_depth=2, tree_bits=16, spill_steps=block // 2)
    np.testing.assert_array_equal(matmul(lhs, rhs, accumulator), want)
    assert not np.array_equal(want, matmul(lhs, rhs))


def test_partial_sums_of_gemmini_never_leave_their_twenty_bits() -> None:
    # Its default array has 16 rows, int20 between them and int32 below (``Configs.scala``).
    lhs, rhs = np.full((2, 100), -128, np.int8), np.full((100, 3), -128, np.int8)
    accumulator = Accumulator(20, TRAP, spill_steps=16)
    np.testing.assert_array_equal(matmul(lhs, rhs, accumulator), matmul(lhs, rhs))
    with pytest.raises(AccumulatorOverflowError):
        matmul(lhs, rhs, Accumulator(20, TRAP, spill_steps=32))


def test_the_final_saturation_rounds_once() -> None:
    lhs = np.full((1, 40_000), 127, np.int8)
    rhs = np.full((40_000, 1), 127, np.int8)
    exact = 40_000 * 127 * 127
    final = Accumulator(34, WRAP, final_bits=16, final_shift=15)
    assert matmul(lhs, rhs, final)[0, 0] == reference.rounding_shift(exact, 15, "HALF_AWAY")
    assert matmul(lhs, rhs, Accumulator(34, WRAP, final_bits=16))[0, 0] == 32767
    assert matmul(-lhs, rhs, Accumulator(34, WRAP, final_bits=16))[0, 0] == -32768


def test_batch_axes_broadcast() -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = random(rng, "int8", 2, 1, 3, 5), random(rng, "int8", 7, 5, 11)
    got = matmul(lhs, rhs)
    assert got.shape == (2, 7, 3, 11)
    for i in range(2):
        for j in range(7):
            assert got[i, j].tolist() == reference.matmul(lhs[i, 0].tolist(), rhs[j].tolist())
    flat = matmul(lhs[:, 0], rhs[0], Accumulator(16, SATURATE), initial=np.arange(11))
    assert flat.shape == (2, 3, 11)
    want = [expected(lhs[1, 0], rhs[0], n, Accumulator(16, SATURATE))[2][n].register for n in range(11)]
    assert flat[1, 2].tolist() == want


def test_slices_of_the_reduction_sum_to_the_whole() -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = random(rng, "int8", 3, 130), random(rng, "int8", 130, 5)
    parts = sum(matmul(lhs[:, i : i + 32], rhs[i : i + 32]).astype(np.int64) for i in range(0, 130, 32))
    np.testing.assert_array_equal(parts, matmul(lhs, rhs))


ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"lhs": np.zeros((2, 3), np.int8)},
        ValueError,
        "reductions of lhs and rhs must have one length, not (2, 3) and (5, 7)",
    ),
    ({"lhs": np.zeros(5, np.int8)}, ValueError, "lhs must have at least 2 axes, not shape (5,)"),
    ({"lhs": np.zeros((2, 5))}, TypeError, "lhs must hold integers, not float64"),
    ({"lhs_format": IntFormat(4)}, ValueError, "lhs must lie in int4 (-8..7), not 9"),
    ({"rhs": np.full((5, 7), 2**17)}, ValueError, "rhs must lie in int18 (-131072..131071), not 131072"),
    (
        {"lhs": np.zeros((2, 3, 5), np.int8), "rhs": np.zeros((7, 5, 7), np.int8)},
        ValueError,
        "batch axes of lhs and rhs must broadcast, not (2, 3, 5) and (7, 5, 7)",
    ),
    (
        {"accumulator": Accumulator(15)},
        ValueError,
        "accumulator must hold one product or state its overflow, not int15 for 16384",
    ),
    ({"initial": 2**31}, ValueError, "initial must lie in int32 (-2147483648..2147483647), not 2147483648"),
    ({"initial": 0.5}, TypeError, "initial must hold integers, not float64"),
    ({"initial": np.zeros(3, int)}, ValueError, "initial must broadcast to the outputs (2, 7), not have shape (3,)"),
    ({"order": [0, 1, 2, 3, 3]}, ValueError, "order must be a permutation of 0..4, not [0, 1, 2, 3, 3]"),
]


@pytest.mark.parametrize(("change", "kind", "text"), ERRORS, ids=[e[2][:30] for e in ERRORS])
@pytest.mark.parametrize("function", [matmul, measure])
def test_bad_input_gets_one_clear_error(
    function: Any, change: dict[str, Any], kind: type[Exception], text: str
) -> None:
    call: dict[str, Any] = {"lhs": np.full((2, 5), 9, np.int8), "rhs": np.zeros((5, 7), np.int8)} | change
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        function(**call)


def test_a_stated_narrow_accumulator_is_taken() -> None:
    lhs, rhs = np.full((1, 2), -128, np.int8), np.full((2, 1), -128, np.int8)
    assert matmul(lhs, rhs, Accumulator(15, WRAP))[0, 0] == 0
    assert matmul(lhs, rhs, Accumulator(15, SATURATE))[0, 0] == 2**14 - 1
    # Without its dropped bits one product fits.
    assert matmul(lhs, rhs, Accumulator(12, dropped_bits=4)).tolist() == [[2048 - 4096]]
    assert matmul(lhs[:, :0], rhs[:0], Accumulator(16)).tolist() == [[0]]


def test_sums_beyond_int64_are_not_measured() -> None:
    with pytest.raises(
        ValueError, match=r"^sums must stay below 2\*\*63 to be measured, not reach 9223372036854775808$"
    ):
        measure([[1]], [[1]], Accumulator(64), initial=2**63 - 1)
