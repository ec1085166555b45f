from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import calibrate, extremes, thresholds
from quant.affine import quantize
from quant.calibrate import HistogramObserver, MinMaxObserver, MovingAverageObserver, Observer, observe
from quant.formats import IntFormat
from quant.scales import Range
from quant.thresholds import RangeMethod, error_curve, least_divergence_range, split_errors

Array = np.ndarray[Any, Any]


def stream(count: int, shape: tuple[int, ...] = (17, 5), seed: int = 7) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=shape) * np.exp2(rng.integers(-8, 8))).astype(np.float32) for _ in range(count)]


def same(a: Range, b: Range) -> bool:
    return np.array_equal(a.lo, b.lo) and np.array_equal(a.hi, b.hi)


def test_minmax_is_that_of_all_values() -> None:
    batches = stream(9)
    got = observe(batches, "k:1", "mk")
    whole = np.concatenate(batches)
    np.testing.assert_array_equal(got.lo[0], whole.min(axis=0))
    np.testing.assert_array_equal(got.hi[0], whole.max(axis=0))


def test_rows_may_differ_in_number_from_batch_to_batch() -> None:
    batches = [b[: 3 + i] for i, b in enumerate(stream(6))]
    whole = np.concatenate(batches)
    for method in ("minmax", "mse"):
        assert same(observe(batches, "k:1", "mk", method), observe([whole], "k:1", "mk", method))


@pytest.mark.parametrize("method", ["percentile", "mse", "entropy"])
def test_histograms_do_not_depend_on_order_cuts_or_merging(method: Any) -> None:
    batches = stream(7)

    def seen(some: list[Array]) -> HistogramObserver:
        observer = HistogramObserver("k:1", "mk", method=method, bins=512, percentile=1.0)
        for batch in some:
            observer.update(batch)
        return observer

    expected = seen([np.concatenate(batches)]).range()
    assert same(seen(batches).range(), expected)
    assert same(seen(batches[::-1]).range(), expected)
    for cut in range(8):
        left = seen(batches[:cut]).merge(seen(batches[cut:]))
        assert same(left.range(), expected)
        assert (left.batches, left.values) == (7, 7 * 85)


def test_histogram_counts_are_those_of_numpy() -> None:
    batches = stream(5)
    observer = HistogramObserver(bins=64)
    for batch in batches:
        observer.update(batch)
    whole = np.concatenate(batches).astype(np.float64).ravel()
    top = 2.0 ** np.frexp(np.abs(whole).max())[1]
    expected, _ = np.histogram(whole, np.linspace(-top, top, 65))
    np.testing.assert_array_equal(observer._counts.ravel(), expected)


@given(tiny=st.floats(2.0**-140, 2.0**-90, width=32), huge=st.floats(2.0**100, 2.0**127, width=32))
@settings(deadline=None, max_examples=20)
def test_histograms_hold_any_magnitude(tiny: float, huge: float) -> None:
    observer = HistogramObserver(method="percentile", percentile=0)
    got = observer.update([tiny]).update([huge]).update([0.0]).update([-tiny]).range()
    assert (got.lo[0], got.hi[0]) == (-np.float32(tiny), np.float32(huge))
    assert observer._counts.sum() == 4


def test_histogram_percentiles_are_within_a_bin_of_the_sorted_values() -> None:
    x = np.random.default_rng(7).normal(size=(3, 20_000)).astype(np.float32)
    observer = HistogramObserver("m:1", "mk", method="percentile", percentile=2.5)
    got = observer.update(x).range()
    lo, hi = np.percentile(x, [2.5, 97.5], axis=1)
    width = 2 * 8 / 4096
    np.testing.assert_allclose(got.lo[:, 0], lo, atol=width)
    np.testing.assert_allclose(got.hi[:, 0], hi, atol=width)


def moving_average(batches: list[Array], momentum: float) -> tuple[float, float]:
    lo, hi = float(batches[0].min()), float(batches[0].max())
    for batch in batches[1:]:
        lo += momentum * (float(batch.min()) - lo)
        hi += momentum * (float(batch.max()) - hi)
    return lo, hi


def test_moving_average_follows_its_formula_and_the_order() -> None:
    batches = stream(6)
    for order in (batches, batches[::-1]):
        got = observe(order, method="moving_average", momentum=0.25)
        assert (got.lo[0, 0], got.hi[0, 0]) == pytest.approx(moving_average(order, 0.25), rel=1e-6)
    assert not same(observe(batches, method="moving_average"), observe(batches[::-1], method="moving_average"))
    assert MovingAverageObserver.order_dependent is True
    assert not any(c.order_dependent for c in (MinMaxObserver, HistogramObserver))


def test_merged_moving_averages_go_on_as_one() -> None:
    batches = stream(6)
    for cut in range(7):
        left, right = MovingAverageObserver(momentum=0.25), MovingAverageObserver(momentum=0.25)
        for batch in batches[:cut]:
            left.update(batch)
        for batch in batches[cut:]:
            right.update(batch)
        got = left.merge(right).range()
        assert (got.lo[0, 0], got.hi[0, 0]) == pytest.approx(moving_average(batches, 0.25), rel=1e-6)
        if cut > 0:
            again = left.update(batches[0]).range()
            assert again.lo[0, 0] == pytest.approx(moving_average([*batches, batches[0]], 0.25)[0], rel=1e-6)


def test_memory_does_not_grow_with_the_stream() -> None:
    observer = HistogramObserver("k:1", "mk")
    sizes = set()
    for batch in stream(20):
        observer.update(batch)
        sizes.add(observer._counts.nbytes)
    assert list(sizes) == [5 * 4096 * 4]


@pytest.mark.parametrize("method", ["minmax", "percentile", "moving_average", "mse", "entropy"])
def test_every_method_stays_inside_minmax_and_serves_static_quantization(method: Any) -> None:
    batches = stream(5)
    full = observe(batches, "k:1", "mk")
    got = observe(batches, "k:1", "mk", method, percentile=5)
    assert np.all(got.lo >= full.lo)
    assert np.all(got.hi <= full.hi)
    q = quantize(batches[0], "int8", "k:1", axes="mk", range=got)
    np.testing.assert_array_equal(q.scales[0], got.bound / np.float32(127))


@pytest.mark.parametrize("name", ["int3", "int4", "int8"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_least_square_error_never_loses_to_minmax_in_any_block(name: str, symmetric: bool) -> None:
    x = np.random.default_rng(7).standard_t(3, size=(8, 300)).astype(np.float32)
    errors = {}
    methods: tuple[RangeMethod, ...] = ("minmax", "mse")
    for method in methods:
        q = quantize(x, name, "m:1", axes="mk", symmetric=symmetric, range=method)
        errors[method] = np.square(np.float64(q.dequantize()) - x).sum(axis=1)
    assert np.all(errors["mse"] <= errors["minmax"] * (1 + 1e-6))
    if name != "int8":
        assert errors["mse"].sum() < 0.9 * errors["minmax"].sum()


def test_least_square_error_is_near_the_best_of_a_fine_grid() -> None:
    x = np.random.default_rng(7).normal(size=(1, 4000)).astype(np.float32)
    q = quantize(x, "int4", range="mse")
    best = min(
        np.square(np.float64(quantize(x, "int4", scale=np.float32(t / 7)).dequantize()) - x).mean()
        for t in np.linspace(0.5, np.abs(x).max(), 800)
    )
    assert np.square(np.float64(q.dequantize()) - x).mean() <= 1.01 * best


def test_binned_search_agrees_with_the_values_themselves() -> None:
    x = np.random.default_rng(7).normal(size=(1, 150_000)).astype(np.float32)
    curve = error_curve(x, "int4", np.linspace(1.5, 4, 126))
    chosen = quantize(x, "int4", range="mse")
    error = np.square(np.float64(chosen.dequantize()) - x).mean()
    assert error <= 1.002 * curve.total.min()
    watched = observe([x[:, ::2], x[:, 1::2]], method="mse", format="int4")
    error = np.square(np.float64(quantize(x, "int4", range=watched).dequantize()) - x).mean()
    assert error <= 1.002 * curve.total.min()


@pytest.mark.parametrize(("name", "sigma"), [("int4_narrow", 2.55), ("int8_narrow", 3.92)])
def test_best_clipping_of_normal_data_is_the_published_one(name: str, sigma: float) -> None:
    """2.55 and 3.92 sigma for 2**M levels (ACIQ, Banner et al., NeurIPS 2019: the authors' table for normal data).

    The narrow formats have 2**M - 1 levels at a slightly wider step, which moves the optimum by less than one in 15.
    """
    points = np.linspace(-6, 6, 40_001)
    weights = np.exp(-points * points / 2)
    fmt = IntFormat.parse(name)
    tried = np.linspace(1.5, 5, 176)
    totals = []
    for t in tried:
        clipping, rounding = split_errors(points.astype(np.float32)[None], weights[None], Range([-t], [t]), fmt, True)
        totals.append(clipping[0] + rounding[0])
    assert tried[np.argmin(totals)] == pytest.approx(sigma, rel=1 / 15)


def test_clipping_falls_and_rounding_rises_with_the_threshold() -> None:
    x = np.random.default_rng(7).normal(size=50_000).astype(np.float32)
    for name in ("int4", "int8"):
        curve = error_curve(x, name)
        assert np.all(np.diff(curve.clipping) <= 0)
        assert np.all(np.diff(curve.rounding[10:]) >= -0.01 * curve.rounding.max())
        assert curve.clipping[-1] == 0
        assert 0 < np.argmin(curve.total) < 99
        np.testing.assert_array_equal(curve.total, curve.clipping + curve.rounding)
        for t, total in zip(curve.thresholds[::30], curve.total[::30], strict=True):
            real = quantize(x, name, range=Range(-t, t)).dequantize()
            assert np.square(np.float64(real) - x).mean() == pytest.approx(total, rel=1e-5)
    flat = error_curve(np.linspace(-1, 1, 4001), "int8", np.linspace(0.5, 1, 51))
    assert flat.best == 1


def test_curves_of_asymmetric_and_unsigned_codes() -> None:
    x = np.abs(np.random.default_rng(7).normal(size=5000)).astype(np.float32)
    symmetric, shifted = error_curve(x, "u4"), error_curve(x, "u4", symmetric=False)
    np.testing.assert_allclose(symmetric.total, shifted.total, rtol=1e-5)
    negative = error_curve(-x, "int4", symmetric=False)
    np.testing.assert_allclose(negative.total, shifted.total, rtol=0.02)


def naive_divergence(counts: list[int], kept: int, levels: int) -> float:
    """The published procedure, bin by bin."""
    p = [float(c) for c in counts[:kept]]
    p[-1] += sum(counts[kept:])
    q = [0.0] * kept
    for i in range(levels):
        start, stop = i * kept // levels, (i + 1) * kept // levels
        filled = [j for j in range(start, stop) if counts[j]]
        for j in filled:
            q[j] = sum(counts[start:stop]) / len(filled)
    total_p, total_q = sum(p), sum(q)
    divergence = 0.0
    for a, b in zip(p, q, strict=True):
        if a:
            if not b:
                return float("inf")
            divergence += a / total_p * np.log((a / total_p) / (b / total_q))
    return float(divergence)


def test_entropy_matches_the_published_procedure_bin_by_bin() -> None:
    rng = np.random.default_rng(7)
    counts = rng.poisson(2000 * np.exp(-np.arange(96) / 12.0))
    levels = 8
    tried = {kept: naive_divergence(counts.tolist(), kept, levels) for kept in range(levels, 97)}
    best = min(sorted(tried, reverse=True), key=lambda k: tried[k])
    got = least_divergence_range(counts[None].astype(np.float64), Range([-1.0], [1.0]), IntFormat(4), True)
    assert got.hi[0] == np.float32(best / 96)
    assert 8 < best < 96


@pytest.mark.parametrize("count", [1, 100])
def test_constant_and_zero_streams_have_ranges(count: int) -> None:
    for method in ("percentile", "mse", "entropy"):
        for value in (0.0, 2.5):
            got = observe([np.full((2, 3), value)] * count, method=method)
            assert got.hi[0, 0] == pytest.approx(value, rel=1e-2)


def test_a_percentile_of_ten_is_ruinous_at_eight_bits() -> None:
    x = np.random.default_rng(7).normal(size=200_000).astype(np.float32)

    def error(**kwargs: Any) -> float:
        return float(np.square(quantize(x, "int8", symmetric=False, **kwargs).dequantize() - x).mean())

    assert error(range="percentile", percentile=10) > 100 * error()


# fmt: off
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: observe([]), "observer must see a batch before it has a range, not none"),
        (lambda: observe([[1.0]], method="median"),  # type: ignore[arg-type]
         "method must be one of minmax, percentile, mse, entropy, moving_average, not 'median'"),
        (lambda: HistogramObserver(method="minmax"), "method must be one of percentile, mse, entropy, not 'minmax'"),  # type: ignore[arg-type]
        (lambda: HistogramObserver(bins=100), "bins must be a power of two from 4, not 100"),
        (lambda: HistogramObserver(percentile=-1), "percentile must be in [0, 50), not -1"),
        (lambda: MovingAverageObserver(momentum=0), "momentum must be in (0, 1], not 0"),
        (lambda: observe([[1.0, np.nan]]), "x must be finite in float32, not NaN"),
        (lambda: observe([[[1.0, 2.0]], [[1.0]]], "b:1"), "batches must all have the scale shape (1, 2), not (1, 1)"),
        (lambda: HistogramObserver(bins=64).update([1.0]).merge(HistogramObserver(bins=128).update([1.0])),
         "observers must have one number of bins to merge, not 64 and 128"),
        (lambda: MovingAverageObserver().update([1.0]).merge(
            MovingAverageObserver(momentum=0.5).update([1.0])),
         "observers must have one momentum to merge, not 0.01 and 0.5"),
        (lambda: error_curve([1.0], thresholds=[0.0]), "thresholds must be a row of positive finite numbers, not [0.]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call()


def test_observers_of_different_classes_do_not_merge() -> None:
    one: Observer = MinMaxObserver()
    text = "observers must be of one class to merge, not MinMaxObserver and HistogramObserver"
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        one.merge(HistogramObserver())


@pytest.mark.parametrize("seed", range(6))
def test_the_divergence_is_that_of_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = (rng.exponential(40, (3, 96)) * (rng.random((3, 96)) < 0.8)).astype(int) * (seed < 5)
    counts[:, 0] += 1
    prefixes = thresholds._Prefixes.of(counts.astype(np.float64))
    for kept in (96, 95, 64, 33, 16):
        got = thresholds._divergence(prefixes, kept, 16)
        want = [naive_divergence(row.tolist(), kept, 16) for row in counts]
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_a_stream_loads_the_compiler_once_it_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extremes, "LARGE", 1 << 40)
    monkeypatch.setattr(extremes, "SOME", 1 << 40)
    batches = [np.random.default_rng(i).normal(size=(40, 6)).astype(np.float32) for i in range(3)]
    plain = HistogramObserver("n:1", "mn", method="mse")
    for batch in batches:
        plain.update(batch)
    monkeypatch.setattr(extremes, "SOME", 300)  # from the second batch on
    mixed = HistogramObserver("n:1", "mn", method="mse")
    for batch in batches:
        mixed.update(batch)
    np.testing.assert_array_equal(mixed._counts, plain._counts)


def test_counts_are_widened_before_they_could_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = stream(4)
    narrow = HistogramObserver("k:1", "mk")
    for batch in batches:
        narrow.update(batch)
    monkeypatch.setattr(calibrate, "MANY", 2 * 85 + 1)
    observers = [HistogramObserver("k:1", "mk") for _ in range(2)]
    types = [observers[0].update(batch)._counts.dtype for batch in batches[:3]]
    assert types == [np.int32, np.int32, np.int64]
    observers[1].update(batches[3])
    observers[1].merge(observers[0])
    assert observers[1]._counts.dtype == np.int64
    np.testing.assert_array_equal(observers[1]._counts, narrow._counts)
