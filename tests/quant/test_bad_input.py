"""What every quantizer, observer and codebook does with values that are no ordinary tensor."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import quant
from quant import FP16

Array = np.ndarray[Any, Any]

METHODS = ("minmax", "percentile", "mse", "entropy")
QUANTIZERS: dict[str, Callable[[Any], Array]] = {
    **{f"symmetric {m}": lambda x, m=m: quant.quantize(x, range=m).dequantize() for m in METHODS},  # type: ignore[misc]
    **{
        f"asymmetric {m}": lambda x, m=m: quant.quantize(x, "u8", symmetric=False, range=m).dequantize()  # type: ignore[misc]
        for m in METHODS
    },
    "fp16 scales": lambda x: quant.quantize(x, scale_format=FP16).dequantize(),
    "two levels": lambda x: quant.quantize(x, "int8", "1 * a:2@int").dequantize(),
    "MX": lambda x: quant.quantize(x, "int8_narrow", "a:2@pow2").dequantize(),
    "powers of two": lambda x: quant.quantize_pow2(x).dequantize(),
    "searched powers of two": lambda x: quant.quantize_pow2(x, search=True).dequantize(),
    "codebook": lambda x: quant.quantize_codebook(x, 2).dequantize(),
    "real codebook": lambda x: quant.quantize_codebook(x, 2, centroids="real").dequantize(),
}
OTHERS: dict[str, Callable[[Any], object]] = {
    **{f"observe {m}": lambda x, m=m: quant.observe([x], method=m) for m in (*METHODS, "moving_average")},  # type: ignore[misc]
    "error_curve": quant.error_curve,
    "product": lambda x: quant.ProductQuantizer.fit(np.reshape(x, (-1, 1)), 1, 2),
    "adaptive_round": lambda x: quant.adaptive_round(np.reshape(x, (-1, 1)), np.ones((1, max(1, np.size(x))))),
}


@pytest.mark.parametrize("name", [*QUANTIZERS, *OTHERS])
@pytest.mark.parametrize(
    ("x", "text"),
    [
        ([1.0, np.nan], r"x must be finite in float32, not NaN"),
        ([1.0, np.inf], r"x must be finite in float32, not infinite"),
        ([1.0, -np.inf], r"x must be finite in float32, not infinite"),
        ([1.0, 1e39], r"x must be finite in float32, not infinite"),
        ([], r"x must have at least one axis and one element, not shape \(0,( 1)?\)"),
    ],
)
def test_nan_infinity_and_emptiness_are_refused(name: str, x: list[float], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        (QUANTIZERS | OTHERS)[name](np.asarray(x))


@pytest.mark.parametrize("name", QUANTIZERS)
def test_zeros_are_legal_and_stay(name: str) -> None:
    np.testing.assert_array_equal(QUANTIZERS[name](np.zeros(5)), np.zeros(5, np.float32))


@pytest.mark.parametrize("name", [n for n in QUANTIZERS if n not in {"MX", "fp16 scales"}])
@pytest.mark.parametrize("value", [3.0, -3.0, 1e-30, 2.5e38, -0.1])
def test_constants_keep_their_value(name: str, value: float) -> None:
    got = QUANTIZERS[name](np.full(5, value))
    np.testing.assert_allclose(got, np.full(5, value), rtol=1e-6)


def test_scales_of_zeros_are_1() -> None:
    for layout in ("per_tensor", "a:2", "1 * a:2@int", "a:2@pow2"):
        assert all(np.all(s == 1) for s in quant.quantize(np.zeros(5), "int8", layout).scales)
    q = quant.quantize(np.zeros(5), "u8", symmetric=False)
    assert q.zero_point is not None
    assert (q.scales[0].item(), q.zero_point.item()) == (1, 0)
    chosen = quant.observe([np.zeros(5)])
    assert quant.scale_from_range(chosen)[0].item() == 1


def test_the_error_curve_of_zeros_is_0() -> None:
    curve = quant.error_curve(np.zeros(5))
    assert np.all(curve.total == 0)


@pytest.mark.parametrize("percentile", [-1, 50, 99.9, np.nan])
def test_percentiles_outside_0_to_50_are_refused(percentile: float) -> None:
    text = f"^percentile must be in \\[0, 50\\), not {percentile}$"
    with pytest.raises(ValueError, match=text):
        quant.quantize([1.0, 2.0], range="percentile", percentile=percentile)
    with pytest.raises(ValueError, match=text):
        quant.observe([[1.0, 2.0]], method="percentile", percentile=percentile)


def test_the_10th_and_90th_percentile_are_legal_and_ruinous() -> None:
    x = np.random.default_rng(7).normal(size=20_000).astype(np.float32)
    ruined = quant.sqnr_db(x, quant.fake_quantize(x, range="percentile", percentile=10))
    assert ruined < quant.sqnr_db(x, quant.fake_quantize(x)) - 25


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: quant.quantize_codebook([1.0, 2.0, 3.0], 4), "entries must be in 2..3 for 3 values, not 4"),
    (lambda: quant.quantize_codebook(np.arange(9.0), 1), "entries must be in 2..9 for 9 values, not 1"),
    (lambda: quant.kmeans([1.0, np.nan], 2), "x must be finite values, at least one, not NaN or infinite"),
    (lambda: quant.kmeans([], 2), "x must be finite values, at least one, not none"),
    (lambda: quant.kmeans([1.0], 0), "entries must be 1 or more, not 0"),
    (lambda: quant.ProductQuantizer.fit(np.ones((3, 4)), 2, 5), "prototypes must be in 2..3 for 3 samples, not 5"),
    (
        lambda: quant.ProductQuantizer.fit(np.ones((8, 4)), 3, 2),
        "subspaces must divide the columns of [samples, k], not 3 with (8, 4)",
    ),
    (lambda: quant.quantize_pow2([1.0], 1), "bits must be in 2..6, not 1"),
    (lambda: quant.quantize_pow2([1.0], 7), "bits must be in 2..6, not 7"),
    (lambda: quant.quantize([1.0], "int0"), "integer format must look like int8, u8 or int8_narrow, not 'int0'"),
    (lambda: quant.quantize([1.0], "int65"), "bits must be in 1..64, not 65"),
    (lambda: quant.quantize([1.0], "int40"), "format must have at most 32 bits, not 40"),
    (lambda: quant.LfsrStochastic(2), "width must be in 3..24, not 2"),
    (lambda: quant.LfsrStochastic(25), "width must be in 3..24, not 25"),
    (lambda: quant.LfsrStochastic(8, 0), "state must be in 1..255, not 0"),
    (lambda: quant.round_pow2([np.nan]), "x must be finite, not NaN or infinite"),
    (
        lambda: quant.observe([np.ones((4, 8)), np.ones((4, 16))], "k:4", "mk"),
        "batches must all have the scale shape (1, 2), not (1, 4)",
    ),
]


@pytest.mark.parametrize(("call", "text"), REFUSED, ids=[text[:50] for _, text in REFUSED])
def test_what_cannot_be_is_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call()


@pytest.mark.parametrize("length", [1, 31, 32, 33, 63, 65])
def test_groups_that_do_not_divide_the_axis_end_short(length: int) -> None:
    x = np.random.default_rng(7).normal(size=(3, length)).astype(np.float32)
    q = quant.quantize(x, "int8", "m:1,k:32", axes="mk")
    assert q.scales[0].shape == (3, -(-length // 32))
    for start in range(0, length, 32):
        alone = quant.quantize(x[:, start : start + 32], "int8", "m:1", axes="mk")
        np.testing.assert_array_equal(q.codes[:, start : start + 32], alone.codes)


@pytest.mark.parametrize("rounder", [quant.Stochastic(1), quant.LfsrStochastic(8)], ids=["stochastic", "lfsr"])
def test_random_rounding_leaves_infinities(rounder: Any) -> None:
    got = quant.round_values(np.array([np.inf, -np.inf, 2.0, np.nan]), rounder)
    np.testing.assert_array_equal(got, [np.inf, -np.inf, 2.0, np.nan])
