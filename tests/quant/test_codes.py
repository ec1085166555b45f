from __future__ import annotations

import itertools
import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.affine import quantize
from quant.codes import entropy_bits, kmeans, nearest_entry, quantize_codebook, quantize_pow2
from quant.formats import FP16
from tests.quant import exact


def heavy(shape: tuple[int, ...], seed: int = 7) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_t(3, size=shape).astype(np.float32)


def nearest_power(value: Fraction, top: int, geometric: bool) -> int:
    """Nearest of 0, 1, 2, ... 2**top by comparing with every candidate."""
    magnitude = abs(value)
    if geometric:
        powers = [j for j in range(-200, top + 1) if magnitude and 2 * magnitude**2 > Fraction(4) ** j]
        j = max(powers, default=-1)
        power: int = 2 ** max(j, 0)
        return 0 if j < 0 else (power if value > 0 else -power)
    candidates = [0, *(2**j for j in range(top + 1))]
    best: int = min(candidates, key=lambda c: (abs(magnitude - c), -c))
    return best if value > 0 else -best


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("geometric", [False, True])
def test_pow2_matches_exact_arithmetic(bits: int, geometric: bool) -> None:
    x = heavy((5, 11))
    x[2, :6] = 0
    top = 2 ** (bits - 1) - 2
    q = quantize_pow2(x, bits, "m:1,k:6", axes="mk", geometric=geometric)
    scales = exact.symmetric_scales(x, (1, 6), 2**top)
    assert {p: exact.fraction(v) for p, v in np.ndenumerate(q.scales[0])} == scales
    for p in exact.points(x.shape):
        quotient = exact.float32(exact.fraction(x[p]) / scales[exact.block_of(p, (1, 6))])
        value = nearest_power(quotient, top, geometric)
        assert q.integers[p] == value
        field = 0 if value == 0 else abs(value).bit_length()
        assert q.codes[p] == field + (2 ** (bits - 1) if value < 0 else 0)
        assert q.dequantize()[p] == float(exact.float32(value * scales[exact.block_of(p, (1, 6))]))
    assert q.operand_format.contains(q.integers)
    assert q.storage.code_bits == 55 * bits
    assert str(q.layout) == "pow2 m:1,k:6"


def test_pow2_ties_go_up() -> None:
    q = quantize_pow2([64.0, 0.5, 1.5, -3.0, 48.0, 0.49999997], bits=4)
    np.testing.assert_array_equal(q.integers, [64, 1, 2, -4, 64, 0])


def test_pow2_of_pow2_is_itself() -> None:
    q = quantize_pow2(heavy((7, 13)), 4, "m:1", axes="mk")
    again = quantize_pow2(q.dequantize(), 4, "m:1", axes="mk")
    np.testing.assert_array_equal(again.integers, q.integers)


def test_pow2_in_mx_blocks_has_power_of_two_scales() -> None:
    x = heavy((3, 40))
    q = quantize_pow2(x, 4, "m:1,k:32@pow2", axes="mk", power="rceil")
    mantissa, _ = np.frexp(q.scales[0])
    np.testing.assert_array_equal(mantissa, 0.5)
    assert q.saturated == 0
    assert np.abs(q.integers).max() == 64


def test_pow2_search_never_loses_in_any_block() -> None:
    x = heavy((6, 50))
    plain, searched = (quantize_pow2(x, 4, "m:1", axes="mk", search=s) for s in (False, True))
    errors = [np.square(np.float64(q.dequantize()) - x).sum(axis=1) for q in (plain, searched)]
    assert np.all(errors[1] <= errors[0])
    assert np.any(errors[1] < 0.9 * errors[0])


def optimal_error(values: list[int], entries: int) -> Fraction:
    """Least square error over every way to cut the sorted values into runs."""
    ordered = sorted(values)

    def cost(run: list[int]) -> Fraction:
        mean = Fraction(sum(run), len(run))
        return sum(((v - mean) ** 2 for v in run), Fraction(0))

    return min(
        sum((cost(ordered[a:b]) for a, b in itertools.pairwise([0, *cuts, len(ordered)])), Fraction(0))
        for cuts in itertools.combinations(range(1, len(ordered)), entries - 1)
    )


@given(values=st.lists(st.integers(-50, 50), min_size=3, max_size=9), entries=st.integers(2, 3))
@settings(deadline=None)
def test_kmeans_is_optimal_on_small_data(values: list[int], entries: int) -> None:
    centroids = kmeans(values, entries)
    assert centroids.shape == (entries,)
    assert np.all(np.diff(centroids) >= 0)
    error = sum(np.min((centroids - v) ** 2) for v in values)
    assert error == pytest.approx(float(optimal_error(values, entries)), abs=1e-9)


@pytest.mark.parametrize("entries", [4, 16, 100])
def test_kmeans_is_at_least_as_good_as_that_of_scikit_learn(entries: int) -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    for x in (heavy((20_000,)), np.random.default_rng(1).normal(size=20_000)):
        found = kmeans(x, entries)
        ours = np.min((x[:, None] - found) ** 2, axis=1).sum()
        peer = cluster.KMeans(entries, n_init=2, random_state=0).fit(x[:, None].astype(np.float64))
        assert ours <= 1.001 * peer.inertia_


def test_kmeans_of_much_data_is_at_a_local_optimum() -> None:
    """Every centroid is the mean of the values nearest to it: nothing that Lloyd's step could still improve."""
    x = heavy((20_000,)).astype(np.float64)
    for entries in (4, 16):
        centroids = kmeans(x, entries)
        nearest = np.abs(x[:, None] - centroids).argmin(axis=1)
        means = [x[nearest == i].mean() for i in range(entries)]
        np.testing.assert_allclose(centroids, means, rtol=1e-9)


def test_midway_between_two_entries_the_lower_is_taken() -> None:
    table = np.array([-4, 0, 2, 9], np.int8)
    np.testing.assert_array_equal(
        nearest_entry(np.array([-2, 1, 5.5, 5.5001, -99], np.float32), table), [0, 1, 2, 3, 0]
    )


def test_kmeans_of_few_values_repeats_the_last() -> None:
    np.testing.assert_array_equal(kmeans([5, 1, 5, 2], 5), [1, 2, 5, 5, 5])


@pytest.mark.parametrize("centroids", ["int8", "real"])
@pytest.mark.parametrize("entries", [2, 5, 16])
def test_codebook_takes_the_nearest_entry(centroids: Any, entries: int) -> None:
    x = heavy((9, 40))
    q = quantize_codebook(x, entries, "m:1", axes="mk", centroids=centroids)
    top = 127 if centroids == "int8" else 1
    np.testing.assert_array_equal(q.scales[0], np.abs(x).max(axis=1, keepdims=True) / np.float32(top))
    assert q.table is not None
    assert q.table.shape == (entries,)
    scaled = (x / q.scales[0]).astype(np.float64)
    distance = np.abs(scaled[..., None] - q.table.astype(np.float64))
    np.testing.assert_array_equal(q.codes, distance.argmin(axis=-1))
    np.testing.assert_array_equal(q.dequantize(), q.table[q.codes].astype(np.float32) * q.scales[0])
    assert str(q.layout) == f"codebook({centroids}) m:1"
    assert q.storage.code_bits == 360 * math.ceil(math.log2(entries))
    assert q.storage.table_bits == entries * (8 if centroids == "int8" else 32)


def test_only_integer_tables_feed_the_array() -> None:
    x = heavy((3, 30))
    q = quantize_codebook(x, 16)
    assert q.integers.dtype == np.int8
    assert q.table is not None
    np.testing.assert_array_equal(q.integers, q.table[q.codes])
    assert q.operand_format.contains(q.integers)
    with pytest.raises(TypeError, match=r"^table must hold integers to feed an integer MAC, not real centroids$"):
        quantize_codebook(x, 16, centroids="real").integers  # noqa: B018


def test_codebook_loses_less_than_uniform_codes_on_heavy_tails_and_less_with_more_entries() -> None:
    x = heavy((200, 50))

    def error(q: Any) -> float:
        return float(np.square(q.dequantize() - x).mean())

    errors = [error(quantize_codebook(x, 2**bits)) for bits in (2, 3, 4, 5)]
    assert errors == sorted(errors, reverse=True)
    for bits, codebook in zip((2, 3, 4, 5), errors, strict=True):
        assert codebook < error(quantize(x, f"int{bits}"))


def test_codebook_storage_against_float32() -> None:
    """16, 10.7, 8 and 6.4 times smaller at 4, 8, 16 and 32 entries, tables aside."""
    x = heavy((100, 96))
    for entries, ratio in ((4, 16), (8, Fraction(32, 3)), (16, 8), (32, Fraction(32, 5))):
        assert Fraction(x.size * 32, quantize_codebook(x, entries).storage.code_bits) == ratio


def test_entropy_is_that_of_the_code_frequencies() -> None:
    assert entropy_bits([3, 3, 3]) == 0
    assert entropy_bits(np.repeat([0, 1, 2, 3], [4, 2, 1, 1])) == 1.75
    q = quantize_codebook(heavy((100, 100)), 16)
    assert 0 < entropy_bits(q.codes) < 4


def test_scales_of_codes_take_the_scale_format() -> None:
    x = heavy((4, 30))
    for q in (
        quantize_pow2(x, 4, "m:1", axes="mk", scale_format=FP16),
        quantize_codebook(x, 4, "m:1", axes="mk", scale_format=FP16),
    ):
        np.testing.assert_array_equal(q.scales[0], q.scales[0].astype(np.float16))
        assert q.storage.scale_bits == 4 * 16


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: quantize_pow2([1.0], 7), "bits must be in 2..6, not 7"),
        (lambda: quantize_pow2([1.0], 1), "bits must be in 2..6, not 1"),
        (
            lambda: quantize_pow2([[1.0]], 4, "1 * a:1@int", search=True),
            "search must have a layout of one real level, not 1 * a:1@int",
        ),
        (lambda: quantize_pow2([np.nan]), "x must be finite in float32, not NaN"),
        (lambda: quantize_codebook([1.0, 2.0], 3), "entries must be in 2..2 for 2 values, not 3"),
        (lambda: quantize_codebook([1.0, 2.0], 1), "entries must be in 2..2 for 2 values, not 1"),
        (lambda: quantize_codebook([1.0, 2.0], 2, centroids="fp8"), "centroids must be int8 or real, not 'fp8'"),  # type: ignore[arg-type]
        (lambda: quantize_codebook([1.0, np.inf], 2), "x must be finite in float32, not infinite"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call()
