"""Products on matrix units: exact in every sign and shape, and saturation proven or stepped, never guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import Accumulator, amx, gemm, matmul
from hwsim.datapath.walk import walk
from quant import Overflow
from tests import reference

SATURATE, TRAP = Overflow.SATURATE, Overflow.TRAP
TYPES = ["int8", "uint8"]
Array = npt.NDArray[Any]

pytestmark = pytest.mark.skipif(not amx.is_exact(), reason="this processor has no matrix units (AMX)")


def uniform(seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, dtype, endpoint=True)


def normal(seed: int, shape: tuple[int, ...], deviation: float) -> Array:
    values = np.random.default_rng(seed).normal(0, deviation, shape)
    return np.clip(np.rint(values), -128, 127).astype(np.int8)


def registers(lhs: Array, rhs: Array, accumulator: Accumulator, start: Array | None = None) -> Array | None:
    from hwsim.datapath import amx_saturation

    held = np.zeros((len(lhs), lhs.shape[1], rhs.shape[2]), np.int64) if start is None else start
    found: Array | None = amx_saturation.registers(lhs, rhs, held, accumulator)
    return found


@pytest.mark.parametrize("rhs_type", TYPES)
@pytest.mark.parametrize("lhs_type", TYPES)
def test_every_pair_of_bytes(lhs_type: str, rhs_type: str) -> None:
    a, b = (np.arange(256, dtype=np.uint8).view(dtype) for dtype in (lhs_type, rhs_type))
    got = amx.product(a[:, np.newaxis], b[np.newaxis])
    assert got.tolist() == reference.matmul([[int(x)] for x in a], [[int(x) for x in b]])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 100), st.integers(1, 200), st.integers(1, 140)),
    st.sampled_from(TYPES),
    st.sampled_from(TYPES),
    st.integers(0, 99),
)
def test_products_of_any_shape(shape: tuple[int, int, int], lhs_type: str, rhs_type: str, seed: int) -> None:
    m, k, n = shape
    lhs, rhs = uniform(seed, (m, k), lhs_type), uniform(seed + 1, (k, n), rhs_type)
    np.testing.assert_array_equal(amx.product(lhs, rhs), lhs.astype(np.int64) @ rhs.astype(np.int64))


@pytest.mark.parametrize("n", [1024, 1056, 1000])
def test_large_products_go_around_the_caches_and_are_shared(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "_WORTH_THREADS", 1)
    lhs, rhs = uniform(1, (1030, 300), "int8"), uniform(2, (300, n), "int8")
    np.testing.assert_array_equal(amx.product(lhs, rhs), lhs.astype(np.int64) @ rhs.astype(np.int64))


def test_rows_beyond_the_cache_are_taken_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "_WORTH_THREADS", 1)
    lhs, rhs = uniform(1, (300, 20_000), "int8"), uniform(2, (20_000, 70), "uint8")
    np.testing.assert_array_equal(amx.product(lhs, rhs), lhs.astype(np.int64) @ rhs.astype(np.int64))


def test_operands_that_are_views() -> None:
    base = uniform(3, (140, 260), "int8")
    for lhs in (base[1:100:3, 5:200], base.T[3:200, :90], base[:, ::2], base[::-1]):
        rhs = uniform(4, (lhs.shape[1] + 7, 150), "int8")[7:, 10:140]
        np.testing.assert_array_equal(amx.product(lhs, rhs), lhs.astype(np.int64) @ rhs.astype(np.int64))


def test_sums_wrap_as_int32_does() -> None:
    lhs, rhs = np.full((1, 131_072), -128, np.int8), np.full((131_072, 1), -128, np.int8)
    assert amx.product(lhs, rhs)[0, 0] == -(2**31)
    assert amx.product(lhs[:, 1:], rhs[1:])[0, 0] == 131_071 * 2**14


def test_matmul_uses_the_units_once_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    real: Callable[[Array, Array], Array] = amx.product

    def counted(lhs: Array, rhs: Array) -> Array:
        calls.append(lhs.shape)
        found: Array = real(lhs, rhs)
        return found

    monkeypatch.setattr(amx, "product", counted)
    gemm._fastest.cache_clear()
    lhs, rhs = uniform(5, (256, 256), "int8"), uniform(6, (256, 256), "int8")
    monkeypatch.setattr(gemm, "_asked", [gemm._WORTH_A_START - 3 * 256**3 // 2])
    first, second = matmul(lhs, rhs), matmul(lhs, rhs)
    gemm._fastest.cache_clear()
    assert calls == [(256, 256)]
    np.testing.assert_array_equal(first, second)


def test_a_probe_that_fails_leaves_it_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Array, Array], Array] = amx.product

    def off_by_one(lhs: Array, rhs: Array) -> Array:
        found: Array = real(lhs, rhs) + (lhs.shape[0] == 130)
        return found

    amx.is_exact.cache_clear()
    monkeypatch.setattr(amx, "product", off_by_one)
    assert not amx.is_exact()
    amx.is_exact.cache_clear()


@pytest.mark.parametrize("ones", [4, 5, 7, 8])
@pytest.mark.parametrize("sign", [-1, 1])
def test_block_sums_prove_what_holds_and_nothing_else(sign: int, ones: int) -> None:
    # In the first block up to 2009 + ones; in the second up by 32 and back, of which sums show nothing but norms do.
    steps = np.zeros((3, 64), np.int8)
    steps[0, :41], steps[0, 41 : 41 + ones] = 7, 1
    rhs = np.repeat(steps.reshape(1, 192, 1), 3, axis=2)
    rhs[0, 64:128] = 1
    steps[1, :32], steps[1, 32:] = 1, -1
    lhs = np.zeros((1, 41, 192), np.int8)
    lhs[0, 5] = sign * steps.reshape(-1)
    holds = 2009 + ones + 32 <= 2047
    exact = lhs[0].astype(np.int64) @ rhs[0].astype(np.int64)
    for accumulator in (Accumulator(12, SATURATE), Accumulator(12, TRAP)):
        got = registers(lhs, rhs, accumulator)
        if accumulator.overflow is TRAP:
            assert (got is not None) == holds
        else:
            assert got is not None
            true = walk(lhs, rhs, np.zeros((1, 41, 3), np.int64), accumulator).register
            np.testing.assert_array_equal(got, true)
            # One more than the range of negative numbers is needed to leave it.
            assert np.array_equal(got[0], exact) == (holds or (sign < 0 and ones == 7))


@pytest.mark.parametrize("depth", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("bits", [18, 19, 20, 22, 24])
def test_saturation_equals_the_walk(bits: int, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "_WORTH_THREADS", 1)
    lhs, rhs = normal(7, (1, 67, 1001), 32), normal(8, (1, 1001, 85), 32)
    start = np.random.default_rng(9).integers(-(1 << 13), 1 << 13, (1, 67, 85))
    accumulator = Accumulator(bits, SATURATE, dot_depth=depth)
    for held in (np.zeros_like(start), start):
        got = registers(lhs, rhs, accumulator, held)
        assert got is not None
        np.testing.assert_array_equal(got, walk(lhs, rhs, held, accumulator).register)


@pytest.mark.parametrize("lhs_type", TYPES)
@pytest.mark.parametrize("rhs_type", TYPES)
def test_outputs_that_saturate_among_others_that_do_not(
    lhs_type: str, rhs_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amx, "_WORTH_THREADS", 1)
    lhs, rhs = uniform(1, (1, 64, 640), lhs_type), uniform(2, (1, 640, 96), rhs_type)
    lhs[0, :, :] //= 8
    rhs[0, :, :] //= 8
    # Three outputs run into the rail and go on, each elsewhere.
    for row, first in ((3, 0), (17, 100), (50, 500)):
        lhs[0, row, first : first + 60] = np.iinfo(lhs_type).max
        rhs[0, first : first + 60, row] = np.iinfo(rhs_type).max
    # A bit too few for the sum of those sixty products.
    bits = (60 * np.iinfo(lhs_type).max * np.iinfo(rhs_type).max).bit_length()
    accumulator = Accumulator(bits, SATURATE)
    walked = walk(lhs, rhs, np.zeros((1, 64, 96), np.int64), accumulator)
    assert np.argwhere(walked.first[0] >= 0).tolist() == [[3, 3], [17, 17], [50, 50]]
    got = registers(lhs, rhs, accumulator)
    assert got is not None
    np.testing.assert_array_equal(got, walked.register)


def test_what_is_left_to_other_kernels() -> None:
    lhs, rhs = normal(7, (1, 67, 1001), 32), normal(8, (1, 1001, 85), 32)
    # Nothing can be proven of 16 bits; three products in a step have no kernel; wide registers beside int32 sums.
    assert registers(lhs, rhs, Accumulator(16, SATURATE)) is None
    assert registers(lhs, rhs, Accumulator(18, SATURATE, dot_depth=3)) is None
    assert registers(lhs, rhs, Accumulator(30, SATURATE)) is None
    long = np.full((1, 1, 70_000), -128, np.int8)
    assert registers(long, long.swapaxes(1, 2), Accumulator(28, SATURATE)) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(14, 22), st.integers(1, 90), st.integers(1, 700), st.integers(1, 90), st.integers(0, 99))
def test_matmul_on_units_equals_the_walk(bits: int, m: int, k: int, n: int, seed: int) -> None:
    lhs, rhs = normal(seed, (1, m, k), 30), normal(seed + 1, (1, k, n), 30)
    accumulator = Accumulator(bits, SATURATE)
    got = registers(lhs, rhs, accumulator)
    if got is not None:
        true = walk(lhs, rhs, np.zeros((1, m, n), np.int64), accumulator).register
        np.testing.assert_array_equal(got, true)


def test_a_trap_tells_the_first_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "_asked", [gemm._WORTH_A_START])
    lhs, rhs = normal(7, (128, 256), 20), normal(8, (256, 128), 20)
    wide = matmul(lhs, rhs, Accumulator(20, TRAP))
    np.testing.assert_array_equal(wide, lhs.astype(np.int64) @ rhs.astype(np.int64))
    lhs[5] = 127
    rhs[:, 9] = 127
    with pytest.raises(ArithmeticError, match=r"at step 32 of output \(5, 9\)"):
        matmul(lhs, rhs, Accumulator(20, TRAP))


def test_a_start_takes_room() -> None:
    lhs, rhs = np.zeros((1, 8, 64), np.int8), np.ones((1, 64, 2), np.int8)
    lhs[0, 3] = 1
    start = np.zeros((1, 8, 2), np.int64)
    start[0, 3] = 1990, 1980
    got = registers(lhs, rhs, Accumulator(12, SATURATE), start)
    assert got is not None
    assert got[0, 3].tolist() == [2047, 2044]
    assert not got[0, :3].any()
