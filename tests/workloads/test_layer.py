"""Layers and functions: sizes, shapes, values and the text of every error."""

import math
import pickle
import re
from typing import Any

import numpy as np
import pytest

from quant.contraction import Contraction, Gemm
from workloads import Function, FunctionKind, Layer
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


def make_function(**changes: Any) -> Function:
    fields: dict[str, Any] = {
        "name": "act",
        "kind": "gelu",
        "inputs": ("x",),
        "output": "y",
        "axes": "mn",
        "sizes": {"m": 2, "n": 3},
    }
    return Function(**{**fields, **changes})


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
    assert hash(make_function()) == hash(make_function())


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
            "lhs_producer of layer up must be one of function, contraction, input, constant, not 'softmax'",
        ),
        (
            {"rhs_producer": "softmax"},
            "rhs_producer of layer up must be one of function, contraction, input, constant, not 'softmax'",
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


def test_function_counts_elements_of_its_output() -> None:
    node = make_function(axes="bhqk", sizes={"b": 2, "h": 3, "q": 5, "k": 7})
    assert node.elements() == 210
    assert node.elements({"b": 11, "unrelated": 13}) == 1155


@pytest.mark.parametrize(
    ("kind", "inputs", "parameters", "arrays", "expected"),
    [
        ("relu", 1, {}, [[[-1.0, 2.0]]], [[0.0, 2.0]]),
        ("add", 2, {}, [[[1.0, 2.0]], [[10.0, 20.0]]], [[11.0, 22.0]]),
        ("scale", 1, {"factor": 0.5}, [[[1.0, 2.0]]], [[0.5, 1.0]]),
        ("softmax", 1, {"scale": 2.0}, [[[0.0, math.log(3) / 2]]], [[0.25, 0.75]]),
        ("layer_norm", 3, {"epsilon": 0.0}, [[[1.0, 3.0]], [1.0, 2.0], [0.0, 5.0]], [[-1.0, 7.0]]),
        ("gelu", 1, {}, [[[0.0, 40.0]]], [[0.0, 40.0]]),
    ],
)
def test_function_applies(
    kind: str, inputs: int, parameters: dict[str, float], arrays: list[Any], expected: list[Any]
) -> None:
    names = tuple("xyz"[:inputs])
    node = make_function(kind=kind, inputs=names, parameters=parameters, output="out")
    got = node.apply(*(np.array(array, np.float32) for array in arrays))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_heads_split_into_their_own_axis_and_merge_back() -> None:
    split = make_function(kind="split_heads", axes="bhqd", sizes={"b": 2, "h": 3, "q": 5, "d": 7})
    merge = make_function(kind="merge_heads", axes="mn", sizes={"m": 10, "n": 21})
    x = np.arange(10 * 21, dtype=np.float32).reshape(10, 21)
    heads = split.apply(x)
    assert heads.shape == (2, 3, 5, 7)
    for b, h, q, d in np.ndindex(2, 3, 5, 7):
        assert heads[b, h, q, d] == x[b * 5 + q, h * 7 + d]
    np.testing.assert_array_equal(merge.apply(heads), x)
    assert split.apply(x[:5]).shape == (1, 3, 5, 7)


def test_only_splitting_and_merging_heads_moves_data_without_computing() -> None:
    assert [kind.value for kind in FunctionKind if kind.moves_only] == ["split_heads", "merge_heads"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"kind": "swish"},
            "kind of function act must be one of softmax, layer_norm, gelu, relu, add, scale, split_heads, "
            "merge_heads, not 'swish'",
        ),
        ({"sizes": {"m": 2}}, "sizes of function act must be given for m, n, not for m"),
        ({"sizes": {}}, "sizes of function act must be given for m, n, not for nothing"),
        ({"sizes": {"m": 2, "n": -1}}, "size n of function act must be a positive integer, not -1"),
        ({"sizes": {"m": 2, "n": 1.5}}, "size n of function act must be a positive integer, not 1.5"),
        ({"inputs": ("x", "y")}, "gelu act must have 1 input(s), not 2"),
        ({"kind": "softmax"}, "parameters of softmax act must be scale, not none"),
        ({"parameters": {"scale": 1.0}}, "parameters of gelu act must be none, not scale"),
        (
            {"kind": "split_heads"},
            "axes of split_heads act must be batch, heads, sequence and d, not 'mn'",
        ),
        (
            {"kind": "merge_heads", "axes": "m", "sizes": {"m": 2}},
            "axes of merge_heads act must be tokens and channels, not 'm'",
        ),
    ],
)
def test_function_refuses(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=exactly(text)):
        make_function(**changes)


def test_function_refuses_arrays_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=exactly("gelu act must be applied to 1 input(s), not 2")):
        make_function().apply(np.ones(2), np.ones(2))
    split = make_function(kind="split_heads", axes="bhqd", sizes={"b": 2, "h": 3, "q": 5, "d": 7})
    text = "input of act must be [tokens, channels] in multiples of [5, 3], not [7, 21]"
    with pytest.raises(ValueError, match=exactly(text)):
        split.apply(np.ones((7, 21)))
