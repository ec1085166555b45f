"""Observers beside the calibrators of onnxruntime."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import numpy as np
import pytest

import quant

pytest.importorskip("onnx")
calibrate: Any = pytest.importorskip("onnxruntime.quantization.calibrate")
pytestmark = pytest.mark.filterwarnings("ignore")

Array = np.ndarray[Any, Any]
BINS = 2048


def batches(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.laplace(0, 1, 20_000).astype(np.float32) for _ in range(4)]


def threshold(method: str, data: list[Array], percentile: float = 99.9) -> float:
    """Upper end of the symmetric range that a calibrator of onnxruntime finds."""
    collector = calibrate.HistogramCollector(method, True, BINS, 128, percentile, "same")
    with contextlib.redirect_stdout(io.StringIO()):
        collector.collect({"x": data})
        found = collector.compute_collection_result()["x"]
    return float(found[1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentiles_agree_to_a_bin(seed: int, percentile: float) -> None:
    data = batches(seed)
    # Theirs are of magnitudes, so that the two ends cut off half each.
    ours = quant.observe([np.abs(b) for b in data], method="percentile", percentile=100 - percentile)
    bin_width = max(float(np.abs(b).max()) for b in data) / (BINS // 2)
    assert abs(threshold("percentile", data, percentile) - ours.hi.item()) <= 2 * bin_width


def histograms() -> list[tuple[str, Array]]:
    rng = np.random.default_rng(7)
    return [
        ("laplace", rng.laplace(0, 1, 20_000)),
        ("normal", rng.normal(0, 3, 5_000)),
        ("relu", np.maximum(rng.normal(0, 1, 20_000), 0)),
        ("few", rng.normal(0, 1, 40)),
        ("outliers", np.r_[rng.normal(0, 1, 20_000), 60.0, -45.0]),
        ("shifted", rng.normal(2, 0.5, 20_000)),
        ("lattice", rng.integers(-9, 10, 5_000) / 4),
    ]


@pytest.mark.parametrize(("bins", "levels"), [(2048, 128), (257, 128), (512, 255), (301, 64), (128, 128)])
@pytest.mark.parametrize(("name", "values"), histograms(), ids=lambda x: x if isinstance(x, str) else "")
def test_entropy_ranges_of_one_histogram_are_the_same_bits(name: str, values: Array, bins: int, levels: int) -> None:
    data = values.astype(np.float32)
    top = np.abs(data).max()
    hist, edges = np.histogram(data, bins, range=(-top, top))
    collector = calibrate.HistogramCollector("entropy", True, bins, levels, 99.9, "same")
    theirs = collector.get_entropy_threshold((hist, edges, data.min(), data.max(), top), levels)
    ours = quant.onnxruntime_entropy_range(hist, edges, data.min(), data.max(), levels)
    assert [ours.lo.item(), ours.hi.item()] == [float(np.float32(x)) for x in theirs], name


def test_the_same_bits_through_the_whole_calibrator() -> None:
    data = batches(0)
    collector = calibrate.HistogramCollector("entropy", True, BINS, 128, 99.9, "same")
    with contextlib.redirect_stdout(io.StringIO()):
        collector.collect({"x": data})
        low, high, hist, edges = collector.compute_collection_result()["x"]
    whole = np.concatenate(data)
    ours = quant.onnxruntime_entropy_range(hist, edges, whole.min(), whole.max())
    assert [ours.lo.item(), ours.hi.item()] == [float(np.float32(low)), float(np.float32(high))]


def test_fewer_bins_than_levels_are_refused() -> None:
    text = r"counts must be at least 128 with one more edge, not (100,) with (101,)"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        quant.onnxruntime_entropy_range(np.ones(100), np.arange(101), 0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_entropy_ranges_quantize_as_well(seed: int) -> None:
    # Ours is Migacz's procedure on magnitudes; theirs is `onnxruntime_entropy_range`. What the ranges achieve agrees.
    data = batches(seed)
    whole = np.concatenate(data)
    ours = quant.observe(data, method="entropy").bound.item()
    theirs = threshold("entropy", data)
    errors = [
        quant.sqnr_db(whole, quant.fake_quantize(whole, range=quant.Range([-bound], [bound])))
        for bound in (ours, theirs)
    ]
    assert abs(errors[0] - errors[1]) < 3
    assert ours <= np.abs(whole).max()
