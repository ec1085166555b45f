"""Observers beside the calibrators of onnxruntime."""

from __future__ import annotations

import contextlib
import io
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


@pytest.mark.parametrize("seed", range(3))
def test_entropy_ranges_quantize_as_well(seed: int) -> None:
    # The two smooth and group their bins differently, so only what the ranges achieve can agree.
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
