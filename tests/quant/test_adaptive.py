from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.adaptive import adaptive_round, output_square_error
from quant.affine import quantize
from quant.qtensor import QTensor

Array = np.ndarray[Any, Any]


def layer(k: int, n: int, rows: int = 40, seed: int = 7) -> tuple[Array, Array]:
    """Correlated activations, where rounding each weight alone is far from best."""
    rng = np.random.default_rng(seed)
    lhs = rng.normal(size=(rows, 4)) @ rng.normal(size=(4, k)) + 0.2 * rng.normal(size=(rows, k))
    return rng.normal(size=(k, n)).astype(np.float32), lhs.astype(np.float32)


def error(w: Array, lhs: Array, q: QTensor) -> float:
    return output_square_error(lhs, w, q.dequantize())


def exhaustive(w: Array, lhs: Array, q: QTensor) -> float:
    """Least error over every choice of neighbours, one column."""
    scale = float(q.scales[0].ravel()[0])
    low = np.floor(w[:, 0].astype(np.float64) / scale)
    choices = [sorted({max(v, q.format.lo), min(v + 1, q.format.hi)}) for v in low]
    best = np.inf
    for codes in itertools.product(*choices):
        best = min(best, output_square_error(lhs, w, (np.array(codes) * scale)[:, None]))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_exhaustive_is_at_most_descent_is_at_most_nearest(seed: int) -> None:
    w, lhs = layer(10, 1, seed=seed)
    nearest, adaptive = quantize(w, "int3", "n:1", axes="kn"), adaptive_round(w, lhs, "int3")
    best = exhaustive(w, lhs, nearest)
    assert best <= error(w, lhs, adaptive) * (1 + 1e-6)
    assert error(w, lhs, adaptive) <= error(w, lhs, nearest) * (1 + 1e-6)


def test_descent_gains_on_correlated_activations_though_weights_lose() -> None:
    w, lhs = layer(64, 16)
    nearest, adaptive = quantize(w, "int4", "n:1", axes="kn"), adaptive_round(w, lhs, "int4")
    assert error(w, lhs, adaptive) < 0.3 * error(w, lhs, nearest)
    assert np.square(adaptive.dequantize() - w).sum() > np.square(nearest.dequantize() - w).sum()


@given(seed=st.integers(0, 1000), name=st.sampled_from(["int2", "int4", "int4_narrow", "u4"]), symmetric=st.booleans())
@settings(deadline=None, max_examples=40)
def test_codes_are_neighbours_and_no_single_move_helps(seed: int, name: str, symmetric: bool) -> None:
    w, lhs = layer(9, 3, seed=seed)
    if name == "u4":
        symmetric = False
    nearest = quantize(w, name, "k:4,n:1", axes="kn", symmetric=symmetric)
    got = adaptive_round(w, lhs, name, "k:4,n:1", symmetric=symmetric)
    assert got.format.contains(got.codes)
    np.testing.assert_array_equal(got.scales[0], nearest.scales[0])
    step = got.element_scale().astype(np.float64)
    inside = (nearest.codes > got.format.lo) & (nearest.codes < got.format.hi)
    assert np.all((np.abs(got.dequantize() - w) <= step * (1 + 1e-5))[inside])
    least = error(w, lhs, got)
    assert least <= error(w, lhs, nearest) * (1 + 1e-6)
    real = got.dequantize().astype(np.float64)
    for index in np.ndindex(w.shape):
        for move in (-1, 1):
            code = int(got.codes[index]) + move
            moved = real.copy()
            moved[index] += move * step[index]
            if got.format.lo <= code <= got.format.hi and abs(moved[index] - w[index]) < step[index] * (1 - 1e-4):
                assert output_square_error(lhs, w, moved) >= least * (1 - 1e-4)


def test_exact_weights_stay() -> None:
    w = np.array([[1.0, -3.0], [7.0, 7.0], [-2.0, 0.0]], np.float32)
    _, lhs = layer(3, 1)
    np.testing.assert_array_equal(adaptive_round(w, lhs, "int4").codes, w)


def test_sweeps_bound_the_work() -> None:
    w, lhs = layer(64, 4)
    errors = [error(w, lhs, adaptive_round(w, lhs, "int3", sweeps=s)) for s in (0, 1, 50)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == error(w, lhs, quantize(w, "int3", "n:1", axes="kn"))


def test_operands_that_do_not_fit_are_refused() -> None:
    text = "weight and lhs must be [k, n] and [..., k], not (3, 2) and (5, 4)"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        adaptive_round(np.ones((3, 2)), np.ones((5, 4)))
