"""Layers: sizes, shapes, values and the text of every error."""

import math
import pickle
import re
from typing import Any

import numpy as np
import pytest

from quant.contraction import Contraction, Gemm
from workloads import Layer
from workloads.layer import bind_sizes

SIZES = {"m": 2, "k": 3, "n": 5}


def make_layer(**changes: Any) -> Layer:
    fields = {
        "name": "up",
        "contraction": "mk,kn->mn",
        "sizes": SIZES,
        "lhs": "x",
        "rhs": "w",
        "output": "y",
    }
    return Layer(**{**fields, **changes})


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def test_layer_knows_macs_gemm_and_shapes() -> None:
    layer = make_layer()
    assert layer.macs == 2 * 3 * 5
    assert layer.gemm == Gemm(1, 2, 3, 5)
    assert (layer.lhs_shape, layer.rhs_shape, layer.output_shape) == ((2, 3), (3, 5), (2, 5))


def test_attention_layers_have_batch_heads_times_sequences() -> None:
    sizes = {"b": 2, "h": 3, "q": 5, "k": 7, "d": 11}
    activation = {"rhs_kind": "activation", "rhs_producer": "input"}
    scores = make_layer(contraction="bhqd,bhkd->bhqk", sizes=sizes, **activation)
    values = make_layer(contraction="bhqk,bhkd->bhqd", sizes=sizes, **activation)
    assert scores.gemm == Gemm(6, 5, 11, 7)
    assert values.gemm == Gemm(6, 5, 7, 11)
    assert scores.macs == values.macs == 2 * 3 * 5 * 7 * 11
    assert values.rhs_shape == (2, 3, 7, 11)


def test_convolution_layer_completes_the_sizes_of_its_output() -> None:
    sizes = {"b": 1, "c": 3, "h": 7, "w": 5, "o": 2, "r": 3, "s": 3}
    layer = make_layer(contraction="conv2d padding=1", sizes=sizes)
    assert layer.output_shape == (1, 2, 7, 5)
    assert layer.gemm == Gemm(1, 35, 27, 2)


def test_layers_hash_compare_and_pickle_and_own_their_sizes() -> None:
    sizes = dict(SIZES)
    layer = make_layer(sizes=sizes)
    sizes["m"] = 99
    assert layer.sizes == SIZES
    assert layer == make_layer()
    assert hash(layer) == hash(make_layer())
    assert layer != make_layer(sizes={**SIZES, "m": 7})
    assert pickle.loads(pickle.dumps(layer)) == layer  # noqa: S301 - made in this line


def test_contract_is_a_sum_of_products_with_the_bias_along_the_last_axis() -> None:
    rng = np.random.default_rng(7)
    lhs, rhs, bias = rng.standard_normal((2, 3)), rng.standard_normal((3, 5)), rng.standard_normal(5)
    got = make_layer().contract(lhs, rhs, bias)
    expected = [[math.fsum(lhs[m, k] * rhs[k, n] for k in range(3)) + bias[n] for n in range(5)] for m in range(2)]
    np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_contract_handles_batches_and_any_order_of_axes() -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = rng.standard_normal((2, 3, 5, 7)), rng.standard_normal((2, 3, 11, 7))
    sizes = {"b": 2, "h": 3, "q": 5, "k": 11, "d": 7}
    layer = make_layer(contraction="bhqd,bhkd->bqhk", sizes=sizes, rhs_kind="activation", rhs_producer="input")
    expected = np.einsum("bhqd,bhkd->bqhk", lhs, rhs, optimize=False)
    np.testing.assert_allclose(layer.contract(lhs, rhs), expected, rtol=1e-12)
    assert layer.output_shape_of(lhs, rhs) == (2, 5, 3, 11)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"contraction": "mk"},
            "layer up: contraction must look like 'mk,kn->mn' or 'conv2d stride=2 padding=1', not 'mk'",
        ),
        (
            {"sizes": {"m": 2, "k": 3}},
            "layer up: sizes must give every label of mk,kn->mn, not lack n",
        ),
        ({"sizes": {**SIZES, "m": 0}}, "layer up: size must be a positive integer, not m=0"),
        ({"sizes": {**SIZES, "q": 1}}, "layer up: size must belong to one of m, k, n, not 'q'"),
        ({"rhs_kind": "wieght"}, "rhs_kind of layer up must be one of weight, activation, not 'wieght'"),
        (
            {"lhs_producer": "softmax"},
            "lhs_producer of layer up must be one of function, contraction, input, constant, cache, not 'softmax'",
        ),
        (
            {"rhs_producer": "softmax"},
            "rhs_producer of layer up must be one of function, contraction, input, constant, cache, not 'softmax'",
        ),
        (
            {"rhs_kind": "activation"},
            "rhs_producer of layer up must be constant for a weight and only for a weight, not constant for activation",
        ),
        (
            {"bias": "b", "contraction": "mk,kn->nm"},
            "bias of layer up must follow a last output axis of rhs, not mk,kn->nm",
        ),
    ],
)
def test_layer_refuses(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=exactly(text)):
        make_layer(**changes)


@pytest.mark.parametrize(
    ("lhs", "rhs", "text"),
    [
        ((2, 5), (7, 3), "lhs [m, k] and rhs [k, n] must share k, not 5 and 7"),
        ((2, 3, 5), (5, 7), "lhs must have the 2 axes [m, k], not shape [2, 3, 5]"),
        ((2, 3), (3,), "rhs must have the 2 axes [k, n], not shape [3]"),
        ((0, 3), (3, 5), "lhs must have elements, not shape [0, 3]"),
    ],
)
def test_shapes_that_do_not_contract_are_refused(lhs: tuple[int, ...], rhs: tuple[int, ...], text: str) -> None:
    with pytest.raises(ValueError, match=exactly(text)):
        bind_sizes(Contraction.parse("mk,kn->mn"), lhs, rhs)


def test_contract_names_the_layer_in_errors() -> None:
    text = "lhs of layer up [m, k] and rhs of layer up [k, n] must share k, not 3 and 2"
    with pytest.raises(ValueError, match=exactly(text)):
        make_layer().contract(np.ones((2, 3)), np.ones((2, 5)))
    with pytest.raises(ValueError, match=exactly("bias of layer up must have shape [5], not [2]")):
        make_layer().contract(np.ones((2, 3)), np.ones((3, 5)), np.ones(2))


def test_a_layer_is_as_large_as_counts_are_exact() -> None:
    assert make_layer(sizes={"m": 2**20, "k": 2**20, "n": 2**13}).macs == 2**53
    text = f"^sizes of layer up must give at most 2\\*\\*53 multiply-accumulates, not {2**53 + 2**40}$"
    with pytest.raises(ValueError, match=text):
        make_layer(sizes={"m": 2**20, "k": 2**20, "n": 2**13 + 1})


@pytest.mark.parametrize("bias", [None, np.full(5, 1, np.float32)])
def test_a_product_that_overflows_names_its_layer_and_operands(bias: Any) -> None:
    lhs, rhs = np.full((2, 3), 2e37, np.float32), np.full((3, 5), -1e3, np.float32)
    text = "product of layer up must fit float32, not overflow: it has lhs up to 2e+37 and rhs up to 1e+03"
    with pytest.raises(ValueError, match=exactly(text)):
        make_layer().contract(lhs, rhs, bias)
    np.testing.assert_array_equal(make_layer().contract(lhs, rhs / 1000), np.full((2, 5), -6e37, np.float32))


def test_operands_that_are_not_finite_are_passed_on() -> None:
    lhs = np.full((2, 3), -np.inf, np.float32)
    assert (make_layer().contract(lhs, np.ones((3, 5), np.float32)) == -np.inf).all()
