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
from quant.codes import quantize_pow2
from quant.errors import error_frame, measure_errors, sqnr_db


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


def test_a_frame_has_a_row_for_each_channel_of_each_layer() -> None:
    rng = np.random.default_rng(7)
    tensors = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in {"a": (5, 3, 2), "b": (4, 3, 7)}.items()
    }
    results = {
        name: quantize(x, "int4", "b:1", axes="abc", scale=np.float32(0.2) * np.ones((1, 3, 1)))
        for name, x in tensors.items()
    }
    frame = error_frame({name: (tensors[name], results[name]) for name in tensors}, channels=1)
    assert frame["layer"].tolist() == ["a"] * 3 + ["b"] * 3
    assert frame["channel"].tolist() == [0, 1, 2] * 2
    for row in frame.to_dict("records"):
        name, channel = str(row["layer"]), int(row["channel"])
        x, real = tensors[name][:, channel], results[name].dequantize()[:, channel]
        assert row["sqnr_db"] == pytest.approx(sqnr_db(x, real))
        assert row["bias"] == pytest.approx(float((real.astype(np.float64) - x).mean()))
        assert row["saturated"] == sum(not -8.5 <= float(v) / float(np.float32(0.2)) <= 7.5 for v in x.ravel())
    whole = error_frame({name: (tensors[name], results[name]) for name in tensors})
    assert whole["saturated"].tolist() == [results["a"].saturated, results["b"].saturated]
    assert whole["saturated"].tolist() == frame.groupby("layer")["saturated"].sum().tolist()
    assert list(whole.columns[:2]) == ["layer", "sqnr_db"]


def test_saturation_counts_with_a_zero_point_and_knows_where_it_cannot() -> None:
    x = np.array([-3.0, 0.0, 1.0, 9.0], np.float32)
    q = quantize(x, "u4", scale=0.5, zero_point=3)
    frame = error_frame({"zero": (x, q), "plain": (x, x), "powers": (x, quantize_pow2(x))})
    assert frame["saturated"].tolist() == [q.saturated, -1, -1] == [2, -1, -1]


def test_frames_say_which_layer_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^layers must hold at least one pair of tensors, not none$"):
        error_frame({})
    with pytest.raises(ValueError, match=r"^reference and result must have one shape") as caught:
        error_frame({"good": ([1.0], [1.0]), "bad": ([1.0], [1.0, 2.0])})
    assert caught.value.__notes__ == ["in layer 'bad'"]
