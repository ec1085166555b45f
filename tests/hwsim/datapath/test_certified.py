"""Fast paths against the step-by-step walk, on operands where bounds hold, fail, and hold by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwsim.datapath import Accumulator, AccumulatorOverflowError, certified, matmul, measure, tiles
from quant import Overflow
from tests import reference

SATURATE, TRAP, WRAP = Overflow.SATURATE, Overflow.TRAP, Overflow.WRAP


def normal(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray[Any, Any]:
    return np.clip(np.rint(rng.normal(0, sigma, shape)), -128, 127).astype(np.int8)


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Record for every block how many tiles stepped, of how many."""
    counts: list[tuple[int, int]] = []
    compiled = tiles.certified_block

    def counting(register: Any, *arguments: Any) -> int:
        taken = compiled(register, *arguments)
        counts.append((taken, register.shape[0] * -(-register.shape[1] // tiles.WIDTH)))
        return int(taken)

    monkeypatch.setattr(tiles, "certified_block", counting)
    return counts


@pytest.mark.parametrize("depth", [1, 3, 8])
@pytest.mark.parametrize("bits", [17, 18, 19])
@pytest.mark.parametrize("n", [63, 64, 65, 131])
def test_blocks_that_are_certified_and_blocks_that_step_agree(
    bits: int, depth: int, n: int, stepped: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certified, "_PANEL_ROWS", 7)
    monkeypatch.setattr(certified, "_PANEL_COLUMNS", 64)
    rng = np.random.default_rng(bits)
    lhs, rhs = normal(rng, (17, 701), 30), normal(rng, (701, n), 30)
    accumulator = Accumulator(bits, SATURATE, dot_depth=depth)
    initial = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (17, n))
    initial[1:] //= 64
    got = matmul(lhs, rhs, accumulator, initial=initial)
    np.testing.assert_array_equal(got, measure(lhs, rhs, accumulator, initial=initial).result)
    some, all_of_them = (sum(c[i] for c in stepped) for i in (0, 1))
    assert 0 < some < all_of_them
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
        np.testing.assert_array_equal(matmul(lhs, rhs, accumulator), measure(lhs, rhs, accumulator).result)


@pytest.mark.parametrize(
    "accumulator",
    [
        Accumulator(20, SATURATE, dropped_bits=4),
        Accumulator(20, WRAP, dropped_bits=7, dot_depth=4),
        Accumulator(16, SATURATE, spill_steps=13),
        Accumulator(16, WRAP, spill_steps=64, spill_bits=20, spill_overflow=SATURATE),
        Accumulator(16, SATURATE, dot_depth=2, tree_bits=15, spill_steps=5),
        Accumulator(24, WRAP, dot_depth=7, tree_bits=14, tree_overflow=WRAP),
        Accumulator(33, SATURATE, dot_depth=3, tree_bits=16),
    ],
    ids=str,
)
def test_everything_else_is_walked_tile_by_tile(accumulator: Accumulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certified, "_PANEL_ROWS", 5)
    rng = np.random.default_rng(7)
    for n in (1, 64, 130):
        lhs, rhs = normal(rng, (11, 257), 60), normal(rng, (257, n), 60)
        np.testing.assert_array_equal(matmul(lhs, rhs, accumulator), measure(lhs, rhs, accumulator).result)


@pytest.mark.parametrize("outer", [Accumulator(spill_bits=20, spill_overflow=o) for o in (SATURATE, WRAP)], ids=str)
@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("steps", [16, 40, 300])
def test_segments_between_spills_are_certified_or_step(
    steps: int, depth: int, outer: Accumulator, stepped: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certified, "_PANEL_ROWS", 7)
    rng = np.random.default_rng(7)
    lhs, rhs = normal(rng, (17, 701), 40), normal(rng, (701, 131), 40)
    lhs[::2] //= 8
    accumulator = Accumulator(
        16,
        SATURATE,
        dot_depth=depth,
        spill_steps=steps,
        spill_bits=outer.spill_bits,
        spill_overflow=outer.spill_overflow,
    )
    initial = rng.integers(-(2**19), 2**19, (17, 131))
    got = matmul(lhs, rhs, accumulator, initial=initial)
    np.testing.assert_array_equal(got, measure(lhs, rhs, accumulator, initial=initial).result)
    assert steps * depth > 701 or 0 < sum(c[0] for c in stepped) < sum(c[1] for c in stepped)


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
    for k in (1, 7, 1024, 5000):
        x = rng.integers(-128, 128, (1, 3, k)).astype(np.int8)
        exact = [sum(int(v) ** 2 for v in row) for row in x[0]]
        rows = certified._norms(x, 2)[0].astype(np.float32)
        columns = certified._norms(x.swapaxes(1, 2), 1)[0].astype(np.float32)
        for bound, square in zip([*rows, *columns], exact * 2, strict=True):
            assert float(bound) ** 2 >= square
            assert float(bound) ** 2 <= square * 1.01 + 1
