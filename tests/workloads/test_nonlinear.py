"""erf, gelu, softmax and layer_norm against the standard library and textbook formulas in Python floats."""

import cmath
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.nonlinear import erf, gelu, layer_norm, rotary, softmax

POINTS = np.concatenate([np.linspace(-6.5, 6.5, 20011), [0.0, -0.0, 1e-300, 1e-12, 1 / 2048, 5.9999, 6.0, 30.0, 1e300]])


def test_erf_in_float64_is_within_1e_13_of_math_erf() -> None:
    expected = np.array([math.erf(x) for x in POINTS.tolist()])
    assert np.abs(erf(POINTS) - expected).max() < 1e-13


def test_erf_in_float64_is_relatively_exact_near_zero() -> None:
    x = np.array([1e-300, 1e-20, 1e-8, 1e-4, 3e-4])
    np.testing.assert_allclose(erf(x), [math.erf(v) for v in x.tolist()], rtol=1e-13, atol=0)


@given(st.floats(width=32, allow_nan=False))
def test_erf_in_float32_is_within_one_ulp_of_math_erf(value: float) -> None:
    got = erf(np.array([value], np.float32))
    assert got.dtype == np.float32
    expected = np.float32(math.erf(value))
    assert abs(got[0] - expected) <= np.spacing(abs(expected))


def test_erf_keeps_signs_of_zero_infinities_nan_and_shape() -> None:
    got = erf(np.array([[0.0, -0.0], [np.inf, -np.inf], [np.nan, 1.0]]))
    assert got.shape == (3, 2)
    assert np.signbit(got[0]).tolist() == [False, True]
    assert got[1].tolist() == [1.0, -1.0]
    assert np.isnan(got[2, 0])


def test_erf_does_not_depend_on_where_a_chunk_ends() -> None:
    x = np.random.default_rng(7).standard_normal(8192 + 5)
    np.testing.assert_array_equal(erf(x)[8190:], erf(x[8190:]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_is_x_times_the_normal_distribution_function(dtype: npt.DTypeLike) -> None:
    x = np.linspace(-6, 6, 1001).astype(dtype)
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    tolerance = 1e-12 if dtype == np.float64 else 5e-7
    got = gelu(x)
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def test_softmax_scales_then_normalizes_the_last_axis() -> None:
    x = np.random.default_rng(7).standard_normal((2, 3, 5)) * 4
    for row, got in zip(x.reshape(-1, 5).tolist(), softmax(x, 0.3).reshape(-1, 5), strict=True):
        total = math.fsum(math.exp(0.3 * v) for v in row)
        np.testing.assert_allclose(got, [math.exp(0.3 * v) / total for v in row], rtol=1e-13)


def test_softmax_survives_scores_that_overflow_exp() -> None:
    np.testing.assert_array_equal(softmax(np.array([[2000.0, 0.0]], np.float32)), [[1.0, 0.0]])


def test_layer_norm_uses_the_biased_variance_of_the_last_axis() -> None:
    rng = np.random.default_rng(7)
    x, gamma, beta = rng.standard_normal((3, 7)), rng.standard_normal(7), rng.standard_normal(7)
    got: npt.NDArray[Any] = layer_norm(x, gamma, beta, 0.25)
    for row, values in zip(x.tolist(), got, strict=True):
        mean = math.fsum(row) / 7
        variance = math.fsum((v - mean) ** 2 for v in row) / 7
        scaled = [(v - mean) / math.sqrt(variance + 0.25) for v in row]
        np.testing.assert_allclose(values, [g * v + b for g, v, b in zip(gamma, scaled, beta, strict=True)])


def test_rotary_is_a_product_of_complex_numbers() -> None:
    """Pairs as complex numbers turned by exp(i position theta), with one angle at a time from cmath."""
    x = np.random.default_rng(7).standard_normal((2, 3, 8))
    turned = rotary(x, 10000.0, 5)
    for head, position, pair in np.ndindex(2, 3, 4):
        angle = (5 + position) * 10000.0 ** (-2 * pair / 8)
        expected = complex(x[head, position, pair], x[head, position, pair + 4]) * cmath.exp(1j * angle)
        assert turned[head, position, pair] == pytest.approx(expected.real)
        assert turned[head, position, pair + 4] == pytest.approx(expected.imag)


def test_scores_of_rotated_queries_and_keys_depend_on_their_distance() -> None:
    q, k = np.random.default_rng(7).standard_normal((2, 1, 16))
    scores = [float((rotary(q, 10000.0, at) @ rotary(k, 10000.0, at + 3).T)[0, 0]) for at in (0, 11, 500)]
    np.testing.assert_allclose(scores, scores[0])


def test_an_odd_number_of_channels_is_not_rotated() -> None:
    with pytest.raises(ValueError, match=r"^channels must be even to be rotated in pairs, not 3$"):
        rotary(np.zeros((1, 3)), 10000.0, 0)
