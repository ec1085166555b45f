from __future__ import annotations

import math
import re
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from quant.affine import quantize
from quant.errors import measure_errors, sqnr_db


def exact_figures(y: list[int], got: list[int]) -> dict[str, float]:
    error = [b - a for a, b in zip(y, got, strict=True)]
    signal, noise = sum(v * v for v in y), sum(v * v for v in error)
    dot = sum(a * b for a, b in zip(y, got, strict=True))
    return {
        "sqnr_db": 10 * math.log10(Fraction(signal, noise)),
        "relative_error": math.sqrt(Fraction(noise, signal)),
        "mean_square": float(Fraction(noise, len(y))),
        "max_error": max(abs(v) for v in error),
        "bias": float(Fraction(sum(error), len(y))),
        "cosine": dot / math.sqrt(signal) / math.sqrt(sum(v * v for v in got)),
    }


def test_figures_match_integer_arithmetic() -> None:
    rng = np.random.default_rng(7)
    y = rng.integers(-1000, 1000, 100)
    got = y + rng.integers(-5, 7, 100)
    errors = measure_errors(y, got)
    for name, expected in exact_figures(y.tolist(), got.tolist()).items():
        assert getattr(errors, name).shape == ()
        assert float(getattr(errors, name)) == pytest.approx(expected, rel=1e-12)
    assert sqnr_db(y, got) == float(errors.sqnr_db)


@pytest.mark.parametrize(("channels", "shape"), [(0, (2,)), (1, (3,)), (-1, (5,)), ((0, 2), (2, 5))])
def test_channels_are_compared_separately(channels: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    y = rng.integers(-1000, 1000, (2, 3, 5))
    got = y + rng.integers(1, 7, (2, 3, 5))
    errors = measure_errors(y, got, channels)
    axes = [c % 3 for c in np.atleast_1d(channels)]
    for index in np.ndindex(shape):
        where: list[Any] = [slice(None)] * 3
        for axis, i in zip(axes, index, strict=True):
            where[axis] = i
        expected = exact_figures(y[tuple(where)].ravel().tolist(), got[tuple(where)].ravel().tolist())
        for name, value in expected.items():
            assert getattr(errors, name)[index] == pytest.approx(value, rel=1e-12)
    assert len(errors.to_frame()) == math.prod(shape)


def test_frame_has_one_column_a_figure() -> None:
    frame = measure_errors([3.0, 4.0], [3.0, 4.5]).to_frame()
    assert list(frame.columns) == ["sqnr_db", "relative_error", "mean_square", "max_error", "bias", "cosine"]
    assert frame.sqnr_db[0] == pytest.approx(20)


def test_no_error_no_signal() -> None:
    same = measure_errors([1.0, 2.0], [1.0, 2.0])
    assert (float(same.sqnr_db), float(same.relative_error)) == (math.inf, 0)
    assert float(same.cosine) == pytest.approx(1)
    zeros = measure_errors([0.0], [0.0])
    assert (float(zeros.sqnr_db), float(zeros.relative_error), float(zeros.cosine)) == (math.inf, 0, 1)
    noise = measure_errors([0.0], [1.0])
    assert (float(noise.sqnr_db), float(noise.relative_error), float(noise.cosine)) == (-math.inf, math.inf, 0)


def test_six_db_a_bit_on_uniform_data() -> None:
    """Noise is step**2 / 12 and the step 1 / hi: 20 log10 of the ratio of two hi, which tends to 6.02 dB."""
    x = np.random.default_rng(7).uniform(-1, 1, 100_000).astype(np.float32)
    figures = [sqnr_db(x, quantize(x, f"int{bits}").dequantize()) for bits in range(4, 12)]
    tops = np.array([2 ** (bits - 1) - 1 for bits in range(4, 12)])
    np.testing.assert_allclose(figures, 10 * np.log10(4 * tops**2), atol=0.05)
    assert np.mean(np.diff(figures[4:])) == pytest.approx(20 * math.log10(2), abs=0.05)


@pytest.mark.parametrize(
    ("y", "got", "text"),
    [
        ([1.0], [1.0, 2.0], "reference and result must have one shape and an element, not (1,) and (2,)"),
        ([], [], "reference and result must have one shape and an element, not (0,) and (0,)"),
        ([np.nan], [1.0], "reference must be finite, not NaN or infinite"),
        ([1.0], [np.inf], "result must be finite, not NaN or infinite"),
    ],
)
def test_what_cannot_be_compared_is_refused(y: Any, got: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        measure_errors(y, got)


def test_importing_and_using_quant_needs_neither_pandas_nor_numba() -> None:
    code = (
        "import sys, quant; q = quant.quantize([[1.0, 2.0]]); quant.quantize_codebook([1.0, 2.0, 3.0], 2); "
        "quant.measure_errors([1.0], [2.0]); quant.observe([[1.0]]); "
        "sys.exit(any(m in sys.modules for m in ('pandas', 'numba')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
