"""Networks: runs against arithmetic on Python integers, replaced contractions, recording and every refusal."""

import re
from typing import Any

import numpy as np
import pytest

from workloads import Function, FunctionKind, Layer, Network
from workloads.network import Operands, unknown_name

X = np.array([[1.0, -2.0]], np.float32)
W = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
V = np.array([[1.0], [10.0], [100.0]], np.float32)
BIAS = np.array([7.0, 8.0, 11.0], np.float32)
UP = Layer("up", "mk,kn->mn", {"m": 1, "k": 2, "n": 3}, "x", "w", "h", bias="b")
RELU = Function("relu", FunctionKind.RELU, ("h",), "r", "mn", {"m": 1, "n": 3})
DOWN = Layer("down", "mk,kn->mn", {"m": 1, "k": 3, "n": 1}, "r", "v", "y", lhs_producer="function")


def make(**changes: Any) -> Network:
    fields: dict[str, Any] = {
        "name": "toy",
        "source": "written here",
        "nodes": (UP, RELU, DOWN),
        "tensors": {"w": W, "v": V, "b": BIAS},
        "calibration": {"x": X},
        "evaluation": {"x": X},
        "calibration_source": "written here",
        "evaluation_source": "written here",
    }
    return Network(**{**fields, **changes})


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def test_run_computes_every_tensor() -> None:
    out = make().run({"x": X})
    # x w + b = [1-8+7, 2-10+8, 3-12+11] = [0, 0, 2]
    assert {name: array.tolist() for name, array in out.items()} == {
        "x": [[1.0, -2.0]],
        "h": [[0.0, 0.0, 2.0]],
        "r": [[0.0, 0.0, 2.0]],
        "y": [[200.0]],
    }
    assert {array.dtype for array in out.values()} == {np.dtype(np.float32)}


def test_run_in_float64_keeps_what_float32_rounds_away() -> None:
    x = np.array([[1.0, 2.0**-30]])
    exact = 1.0 + 4 * 2.0**-30 + 7
    assert make().run({"x": x}, dtype=np.float64)["h"][0, 0] == exact
    assert make().run({"x": x})["h"][0, 0] == np.float32(8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contractions_get_all_operands_in_the_dtype_of_the_run(dtype: Any) -> None:
    seen: list[Any] = []

    def contract(layer: Layer, lhs: Any, rhs: Any, bias: Any) -> Any:
        seen.extend(x.dtype for x in (lhs, rhs, bias) if x is not None)
        return layer.contract(lhs, rhs, bias)

    make().run({"x": X}, contract, dtype=dtype)
    assert seen == [np.dtype(dtype)] * 5


def test_run_takes_any_number_of_rows() -> None:
    assert make().run({"x": np.repeat(X, 5, axis=0)})["y"].tolist() == [[200.0]] * 5


def test_a_replaced_contraction_feeds_what_follows() -> None:
    seen: list[str] = []

    def contract(layer: Layer, lhs: Any, rhs: Any, bias: Any) -> Any:
        seen.append(layer.name)
        return layer.contract(lhs, rhs, bias) + 1

    out = make().run({"x": X}, contract)
    assert seen == ["up", "down"]
    assert out["h"].tolist() == [[1.0, 1.0, 3.0]]
    assert out["y"].tolist() == [[1.0 + 10.0 + 300.0 + 1.0]]


def test_a_replaced_contraction_may_return_float64_but_the_run_stays_float32() -> None:
    out = make().run({"x": X}, lambda layer, a, b, c: layer.contract(a, b, c).astype(np.float64))
    assert out["y"].dtype == np.float32


def test_record_returns_the_operands_of_each_layer() -> None:
    recorded: dict[str, Operands] = make().record({"x": X})
    assert list(recorded) == ["up", "down"]
    lhs, rhs, bias = recorded["up"]
    np.testing.assert_array_equal(lhs, X)
    np.testing.assert_array_equal(rhs, W)
    assert bias is not None
    np.testing.assert_array_equal(bias, BIAS)
    assert recorded["down"][0].tolist() == [[0.0, 0.0, 2.0]]
    assert recorded["down"][2] is None


def test_network_lists_layers_functions_macs_and_output() -> None:
    network = make()
    assert network.layers == (UP, DOWN)
    assert network.functions == (RELU,)
    assert network.macs == 6 + 3
    assert network.output == "y"
    assert network.layer("down") is DOWN


def test_an_unknown_layer_is_refused_with_the_nearest() -> None:
    text = "layer of toy must be one of up, down, not 'donw'; did you mean down?"
    with pytest.raises(ValueError, match=exactly(text)):
        make().layer("donw")


def test_no_name_is_suggested_where_none_is_near() -> None:
    assert unknown_name("workload", "zzz", ["minilm-block"]) == ("workload must be one of minilm-block, not 'zzz'")


def layer_like(base: Layer, **changes: Any) -> Layer:
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    return Layer(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nodes": ()}, "nodes of network toy must be at least one, not none"),
        ({"calibration": {}}, "calibration of network toy must have the inputs x, not none"),
        ({"calibration": {"z": X}}, "calibration of network toy must have the inputs x, not z"),
        (
            {"tensors": {"w": W, "v": V, "b": BIAS, "x": X}},
            "tensor x of network toy must be an input or a constant, not both",
        ),
        ({"nodes": (UP, UP)}, "node names of network toy must differ, not repeat up"),
        (
            {"nodes": (DOWN, UP)},
            "tensor r of down must be an input, a constant or made by an earlier node",
        ),
        (
            {"nodes": (UP, layer_like(UP, name="again"))},
            "output of again must be a new tensor, not h",
        ),
        (
            {"nodes": (layer_like(UP, lhs_producer="function"),)},
            "lhs_producer of layer up must be input, not function",
        ),
        (
            {"nodes": (UP, layer_like(DOWN, lhs="h"))},
            "lhs_producer of layer down must be contraction, not function",
        ),
        (
            {"nodes": (layer_like(UP, rhs="x"),)},
            "rhs_producer of layer up must be input, not constant",
        ),
        ({"nodes": (layer_like(UP, bias="x"),)}, "bias of layer up must be a constant, not input x"),
    ],
)
def test_network_refuses(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=exactly(text)):
        make(**changes)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "inputs of network toy must be x, not none"),
        ({"x": X, "z": X}, "inputs of network toy must be x, not x, z"),
        ({"x": [[1.0, np.nan]]}, "input x of network toy must be finite, not NaN or infinite"),
        ({"x": [[1.0, np.inf]]}, "input x of network toy must be finite, not NaN or infinite"),
        ({"x": [[1.0]]}, "lhs of layer up [m, k] and rhs of layer up [k, n] must share k, not 1 and 2"),
    ],
)
def test_run_refuses_inputs(inputs: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=exactly(text)):
        make().run(inputs)


def test_run_refuses_other_dtypes() -> None:
    with pytest.raises(ValueError, match=exactly("dtype must be float32 or float64, not float16")):
        make().run({"x": X}, dtype=np.float16)


def test_run_refuses_a_contraction_of_a_wrong_shape() -> None:
    text = "contract must return shape [1, 3] for layer up, not [3, 1]"
    with pytest.raises(ValueError, match=exactly(text)):
        make().run({"x": X}, lambda layer, a, b, c: layer.contract(a, b, c).T)


@pytest.mark.parametrize("count", [0, -1, True, 1.5])
def test_batches_are_positive_integers(count: Any) -> None:
    with pytest.raises(ValueError, match=exactly(f"batch must be a positive integer, not {count!r}")):
        make().batched(count)


def test_a_batch_repeats_rows_and_leaves_inputs_and_tokens_in_step() -> None:
    network = make(tokens=3).batched(5)
    assert [layer.gemm.m for layer in network.layers] == [5, 5]
    assert (network.functions[0].elements(), network.tokens) == (15, 15)
    assert network.run({"x": X})["y"].tolist() == [[200.0]]
    assert (make(tokens=3).batched(1).tokens, make().batched(2).tokens) == (3, None)


def test_an_operand_made_at_run_time_must_belong_to_its_call() -> None:
    shared = Layer("s", "mk,nk->mn", {"m": 1, "k": 2, "n": 1}, "x", "x", "y", "activation", rhs_producer="input")
    text = "batch must be 1 for layer s, whose operands do not share their first axis, not 2"
    with pytest.raises(ValueError, match=exactly(text)):
        make(nodes=(shared,)).batched(2)
