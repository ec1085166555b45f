"""Fast paths against the step-by-step walk, on operands where bounds hold, fail, and hold by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.datapath import Accumulator, AccumulatorOverflowError, certified, matmul, tiles
from hwsim.datapath.walk import trace, walk
from quant import Overflow
from tests import reference

SATURATE, TRAP, WRAP = Overflow.SATURATE, Overflow.TRAP, Overflow.WRAP


def normal(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray[Any, Any]:
    return np.clip(np.rint(rng.normal(0, sigma, shape)), -128, 127).astype(np.int8)


def walked(
    lhs: np.ndarray[Any, Any], rhs: np.ndarray[Any, Any], accumulator: Accumulator, initial: Any = 0
) -> np.ndarray[Any, Any]:
    """Walk every output by itself."""
    start = np.broadcast_to(np.asarray(initial, np.int64), (1, len(lhs), rhs.shape[1]))
    register: np.ndarray[Any, Any] = walk(lhs[np.newaxis], rhs[np.newaxis], start, accumulator).register[0]
    return register


@pytest.mark.parametrize("depth", [1, 3, 8, 100])
@pytest.mark.parametrize("bits", [15, 17, 18, 19, 27])
@pytest.mark.parametrize("n", [63, 64, 65, 131])
def test_groups_that_are_certified_and_groups_that_are_clamped_agree_with_the_walk(
    bits: int, depth: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_CHUNK_BYTES", 1 << 12)
    rng = np.random.default_rng(bits)
    lhs, rhs = normal(rng, (17, 701), 30), normal(rng, (701, n), 30)
    accumulator = Accumulator(bits, SATURATE, dot_depth=depth)
    initial = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (17, n))
    initial[1:] //= 64
    got = matmul(lhs, rhs, accumulator, initial=initial)
    np.testing.assert_array_equal(got, walked(lhs, rhs, accumulator, initial))
    for m, j in ((0, 0), (16, n - 1), (5, 7)):
        want = reference.accumulate(
            lhs[m].tolist(), rhs[:, j].tolist(), bits, "SATURATE", depth=depth, initial=int(initial[m, j])
        )
        assert got[m, j] == want.register


@pytest.mark.parametrize("over", [-1, 0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("bits", [18, 23, 24, 25])
def test_a_prefix_that_touches_the_rail_is_told_from_one_that_passes_it(bits: int, sign: int, over: int) -> None:
    # Up to the rail plus `over`, then back: the exact sum shows nothing of it.
    k = 96
    rail = 2 ** (bits - 1) - 1 if sign > 0 else 2 ** (bits - 1)
    lhs = np.zeros((2, 2 * k), np.int8)
    lhs[:, :k], lhs[:, k:] = sign, -sign
    lhs[1] = 0
    rhs = np.ones((2 * k, 3), np.int8)
    initial = np.array([[sign * (rail - k + over)], [0]])
    want = reference.accumulate(lhs[0].tolist(), [1] * 2 * k, bits, "SATURATE", initial=int(initial[0, 0])).register
    assert want == sign * (rail - k + min(over, 0))
    accumulator = Accumulator(bits, SATURATE)
    assert matmul(lhs, rhs, accumulator, initial=initial)[0].tolist() == [want] * 3
    trapping = Accumulator(bits, TRAP)
    if over > 0:
        with pytest.raises(AccumulatorOverflowError) as error:
            matmul(lhs, rhs, trapping, initial=initial)
        assert (error.value.output, error.value.step) == ((0, 0), k - over)
        assert error.value.value == sign * (rail + 1)
    else:
        assert matmul(lhs, rhs, trapping, initial=initial)[0].tolist() == [want] * 3


@pytest.mark.parametrize("bits", [16, 20, 24, 30, 40])
@pytest.mark.parametrize("types", [(np.int8, np.int8), (np.uint8, np.int8), (np.int16, np.int16), (np.int16, np.int8)])
def test_wide_operands_and_every_float_type_agree_with_the_walk(types: tuple[Any, Any], bits: int) -> None:
    rng = np.random.default_rng(7)
    for share in (1, 8):
        lhs, rhs = (
            rng.integers(np.iinfo(t).min // share, np.iinfo(t).max // share, shape).astype(t)
            for t, shape in zip(types, ((5, 301), (301, 67)), strict=True)
        )
        accumulator = Accumulator(bits, SATURATE)
        np.testing.assert_array_equal(matmul(lhs, rhs, accumulator), walked(lhs, rhs, accumulator))


@pytest.mark.parametrize(
    "accumulator",
    [
        Accumulator(20, SATURATE, dropped_bits=4),
        Accumulator(12, SATURATE, dropped_bits=4),
        Accumulator(14, SATURATE, dropped_bits=5, dot_depth=3),
        Accumulator(20, WRAP, dropped_bits=7, dot_depth=4),
        Accumulator(8, WRAP, dropped_bits=4),
        Accumulator(16, SATURATE, spill_steps=13),
        Accumulator(16, WRAP, spill_steps=64, spill_bits=20, spill_overflow=SATURATE),
        Accumulator(12, WRAP, spill_steps=3, spill_bits=40, spill_overflow=WRAP),
        Accumulator(16, SATURATE, dot_depth=2, tree_bits=15, spill_steps=5),
        Accumulator(16, SATURATE, dot_depth=2, tree_bits=16, spill_steps=40),
        Accumulator(24, WRAP, dot_depth=7, tree_bits=14, tree_overflow=WRAP),
        Accumulator(22, SATURATE, dot_depth=2, tree_bits=12, tree_overflow=WRAP),
        Accumulator(22, SATURATE, dot_depth=5, tree_bits=12),
        Accumulator(33, SATURATE, dot_depth=3, tree_bits=16),
        Accumulator(22, SATURATE, dot_depth=65, tree_bits=16),
    ],
    ids=str,
)
def test_every_kind_of_step_agrees_with_the_walk(accumulator: Accumulator) -> None:
    rng = np.random.default_rng(7)
    for n in (1, 64, 130):
        lhs, rhs = normal(rng, (11, 257), 60), normal(rng, (257, n), 60)
        np.testing.assert_array_equal(matmul(lhs, rhs, accumulator), walked(lhs, rhs, accumulator))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", [(2, 3, 40, 70), (1, 37, 64, 7), (3, 129, 65, 129)])
def test_threads_share_the_work_without_a_seam(
    shape: tuple[int, int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "usable_processors", lambda: threads)
    monkeypatch.setattr(tiles, "_WORTH_THREADS", 0)
    rng = np.random.default_rng(7)
    batch, m, k, n = shape
    lhs, rhs = normal(rng, (batch, m, k), 90), normal(rng, (batch, k, n), 90)
    accumulator = Accumulator(17, SATURATE)
    got = matmul(lhs, rhs, accumulator)
    for i in range(batch):
        np.testing.assert_array_equal(got[i], walked(lhs[i], rhs[i], accumulator))


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("room", [0, 1, 8, 15, 16])
def test_rounding_down_walks_into_the_rail_though_products_are_small(room: int, depth: int) -> None:
    # Addends of -1 / 16, rounded down: fifteen of them make -15 where the norms say 1. Then one of 1 leaves the rail.
    lhs = np.zeros((1, 48 * depth), np.int8)
    lhs[0, : 15 * depth : depth] = -1
    lhs[0, 15 * depth] = 16
    rhs = np.ones((48 * depth, 3), np.int8)
    accumulator = Accumulator(18, SATURATE, dropped_bits=4, dot_depth=depth)
    lo = accumulator.range[0]
    got = matmul(lhs, rhs, accumulator, initial=lo + room)
    assert got.tolist() == [[max(lo, lo + room - 15) + 1] * 3]


BYTES = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7)}


@settings(max_examples=150, deadline=None)
@given(
    accumulator=st.builds(
        Accumulator,
        bits=st.sampled_from([8, 15, 16, 17, 20, 24, 25, 31, 32]),
        overflow=st.sampled_from([SATURATE, TRAP]),
        dot_depth=st.sampled_from([1, 2, 4]),
        tree_bits=st.sampled_from([None, 15, 16]),
        dropped_bits=st.sampled_from([0, 0, 4]),
        spill_steps=st.sampled_from([None, None, 16]),
    ),
    types=st.tuples(st.sampled_from(sorted(BYTES)), st.sampled_from(sorted(BYTES))),
    rails=st.booleans(),
    seed=st.integers(0, 2**32),
    k=st.integers(1, 100),
    start=st.sampled_from([-1, 0, 1]),
)
def test_rails_of_every_width_agree_with_python_integers(
    accumulator: Accumulator, types: tuple[str, str], rails: bool, seed: int, k: int, start: int
) -> None:
    rng = np.random.default_rng(seed)
    (a_lo, a_hi), (b_lo, b_hi) = (BYTES[t] for t in types)
    if rails:
        # Runs of one sign walk the register to a rail, along it and back.
        signs = np.repeat(rng.integers(0, 2, k), rng.integers(1, 30, k))[:k]
        lhs, rhs = np.where(signs, a_hi, a_lo)[np.newaxis], np.full((k, 1), b_hi)
    else:
        lhs, rhs = rng.integers(a_lo, a_hi + 1, (1, k)), rng.integers(b_lo, b_hi + 1, (k, 1))
    initial = start * 2**20
    if accumulator.spill_steps is None:
        initial = reference.fit(initial, accumulator.bits, "SATURATE")
    try:
        want: object = trace(lhs[0].tolist(), rhs[:, 0].tolist(), initial, accumulator)
    except AccumulatorOverflowError as error:
        want = (error.step, error.value)
    one, two = (x.astype(np.uint8 if t == "uint8" else np.int8) for x, t in zip((lhs, rhs), types, strict=True))
    try:
        got: object = int(matmul(one, two, accumulator, initial=initial)[0, 0])
    except AccumulatorOverflowError as error:
        got = (error.step, error.value)
    assert got == want


@pytest.mark.parametrize("outer", [Accumulator(spill_bits=20, spill_overflow=o) for o in (SATURATE, WRAP)], ids=str)
@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("steps", [1, 3, 16, 40, 300, 1000])
@pytest.mark.parametrize("bits", [16, 18])
def test_segments_between_spills_agree_with_the_walk(
    bits: int, steps: int, depth: int, outer: Accumulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_CHUNK_BYTES", 1 << 13)
    rng = np.random.default_rng(7)
    lhs, rhs = normal(rng, (17, 701), 40), normal(rng, (701, 131), 40)
    lhs[::2] //= 8
    accumulator = Accumulator(
        bits,
        SATURATE,
        dot_depth=depth,
        spill_steps=steps,
        spill_bits=outer.spill_bits,
        spill_overflow=outer.spill_overflow,
    )
    initial = rng.integers(-(2**19), 2**19, (17, 131))
    got = matmul(lhs, rhs, accumulator, initial=initial)
    np.testing.assert_array_equal(got, walked(lhs, rhs, accumulator, initial))


@pytest.mark.parametrize("rule", ["overflow", "tree_overflow", "spill_overflow"])
def test_whatever_traps_is_named(rule: str) -> None:
    settings: dict[str, Any] = {
        "bits": 16,
        "overflow": SATURATE,
        "dot_depth": 2,
        "tree_bits": 15,
        "spill_steps": 4,
        "spill_bits": 18,
        rule: TRAP,
    }
    lhs, rhs = np.full((3, 64), 127, np.int8), np.full((64, 66), 127, np.int8)
    lhs[0] = 1
    lhs[1, :30] = 0
    with pytest.raises(AccumulatorOverflowError) as error:
        matmul(lhs, rhs, Accumulator(**settings))
    assert error.value.output == (1, 0)
    step = {"overflow": 16, "tree_overflow": 15, "spill_overflow": 20}[rule]
    if rule == "tree_overflow":
        assert (error.value.step, error.value.value) == (step, 2 * 127 * 127)
    else:
        assert error.value.step >= step - 1


def test_norms_are_upper_bounds_even_of_long_vectors() -> None:
    rng = np.random.default_rng(7)
    for k, length in ((1, 1), (7, 3), (1024, 1024), (5000, 5000), (5000, 1)):
        x = rng.integers(-128, 128, (1, k, 3)).astype(np.int8)
        bounds = certified._squares(x, length)[0]
        for block, bound in enumerate(bounds):
            for i in range(3):
                square = sum(int(v) ** 2 for v in x[0, block * length : (block + 1) * length, i])
                assert square <= float(bound[i]) <= square * 1.01 + 1


@pytest.mark.parametrize(
    ("accumulator", "holds"),
    [
        (Accumulator(16, SATURATE), True),
        (Accumulator(15, SATURATE), False),
        (Accumulator(13, SATURATE, spill_steps=2), True),
        (Accumulator(12, SATURATE, spill_steps=2), False),
        (Accumulator(14, SATURATE, spill_steps=2, spill_bits=16, spill_overflow=SATURATE), True),
        (Accumulator(14, SATURATE, spill_steps=2, spill_bits=15, spill_overflow=SATURATE), False),
        (Accumulator(14, SATURATE, dot_depth=2, spill_steps=1), True),
        (Accumulator(20, SATURATE, dot_depth=2, tree_bits=13), True),
        (Accumulator(20, SATURATE, dot_depth=2, tree_bits=12), False),
        (Accumulator(20, SATURATE, dropped_bits=1), False),
        (Accumulator(8, WRAP), True),
    ],
    ids=str,
)
def test_bounds_rule_overflow_out_where_it_cannot_happen_and_nowhere_else(
    accumulator: Accumulator, holds: bool
) -> None:
    # Sums grow by 2000 a step, up to 20000.
    lhs, rhs = np.full((1, 3, 10), 50, np.int8), np.full((1, 10, 5), 40, np.int8)
    assert certified.never_overflows(lhs, rhs, np.zeros((1, 3, 5), np.int64), accumulator) is holds
