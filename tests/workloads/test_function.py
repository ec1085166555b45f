"""Functions: element counts, values and the text of every error."""

import math
import re
from typing import Any

import numpy as np
import pytest

from workloads import Function, FunctionKind


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


def test_functions_hash_and_compare_by_value() -> None:
    assert hash(make_function()) == hash(make_function())
    assert make_function() == make_function()
    assert make_function() != make_function(sizes={"m": 2, "n": 5})


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
        # x / (1 + e^-x) at x = ln 3 is ln 3 * 3/4
        (
            "silu",
            1,
            {},
            [[[0.0, math.log(3)], [-math.log(3), -200.0]]],
            [[0.0, math.log(3) * 3 / 4], [-math.log(3) / 4, 0.0]],
        ),
        ("rms_norm", 2, {"epsilon": 0.0}, [[[1.0, 7.0]], [1.0, 2.0]], [[0.2, 2.8]]),
        ("multiply", 2, {}, [[[1.0, 2.0]], [[10.0, 20.0]]], [[10.0, 40.0]]),
        ("mean", 1, {}, [[[[1.0, 2.0], [3.0, 6.0]], [[5.0, 7.0], [9.0, 11.0]]]], [[1.5, 4.5], [6.0, 10.0]]),
        ("pick_last", 1, {"sequence": 2}, [[[1.0], [2.0], [3.0], [4.0]]], [[2.0], [4.0]]),
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


def test_only_splitting_merging_and_picking_moves_data_without_computing() -> None:
    assert [kind.value for kind in FunctionKind if kind.moves_only] == ["split_heads", "merge_heads", "pick_last"]


def test_heads_split_into_groups_and_merge_back() -> None:
    sizes = {"b": 2, "g": 2, "r": 3, "q": 5, "d": 7}
    split = make_function(kind="split_heads", axes="bgrqd", sizes=sizes)
    merge = make_function(kind="merge_heads", axes="mn", sizes={"m": 10, "n": 42})
    x = np.arange(10 * 42, dtype=np.float32).reshape(10, 42)
    heads = split.apply(x)
    for b, g, r, q, d in np.ndindex(2, 2, 3, 5, 7):
        assert heads[b, g, r, q, d] == x[b * 5 + q, (g * 3 + r) * 7 + d]
    np.testing.assert_array_equal(merge.apply(heads), x)


@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (1, 1, 0), (3, 1, 1)])
def test_max_pool_takes_the_largest_of_each_window(window: int, stride: int, padding: int) -> None:
    node = make_function(
        kind="max_pool",
        axes="bcpq",
        sizes={"b": 1, "c": 2, "p": 1, "q": 1},
        parameters={"window": window, "stride": stride, "padding": padding},
    )
    x = -np.random.default_rng(3).random((1, 2, 7, 5)).astype(np.float32)  # padding must not win over negatives
    got = node.apply(x)
    for c, p, q in np.ndindex(*got.shape[1:]):
        rows = range(max(p * stride - padding, 0), min(p * stride - padding + window, 7))
        columns = range(max(q * stride - padding, 0), min(q * stride - padding + window, 5))
        assert got[0, c, p, q] == max(x[0, c, h, w] for h in rows for w in columns)
    assert got.shape[2:] == ((7 + 2 * padding - window) // stride + 1, (5 + 2 * padding - window) // stride + 1)


def test_a_window_larger_than_the_image_is_refused() -> None:
    node = make_function(
        kind="max_pool",
        axes="bcpq",
        sizes=dict.fromkeys("bcpq", 1),
        parameters={"window": 5, "stride": 1, "padding": 0},
    )
    with pytest.raises(ValueError, match=exactly("window of max_pool must fit the padded input [3, 4], not 5")):
        node.apply(np.zeros((1, 1, 3, 4), np.float32))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"kind": "swish"},
            "kind of function act must be one of softmax, layer_norm, rms_norm, gelu, silu, relu, relu6, add, "
            "multiply, scale, rotary, max_pool, mean, split_heads, merge_heads, pick_last, not 'swish'",
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
            "axes of split_heads act must be batch, heads (or groups, heads), sequence and d, not 'mn'",
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
