"""ReLU and ReLU6 in the requantizer: the integers of doing them apart, in onnxruntime's words too, and no quantizer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import hwsim
import workloads
from hwsim.execution import Prepared, execute, prepare
from hwsim.network import plan_network
from hwsim.numerics import Recording
from hwsim.plan import ApplyFunction, Quantize, Requantize
from quant import Scheme
from tests.hwsim.network.graphs import machine
from workloads import Function, FunctionKind, Layer, Network

STATIC = ["w8a8-static", "w8a8-asym-act", "onnx-qdq-u8s8", "tflite-int8"]
CLAMPS = {FunctionKind.RELU: (0.0, np.inf), FunctionKind.RELU6: (0.0, 6.0)}


def network(kind: FunctionKind = FunctionKind.RELU, *, shortcut: bool = False) -> Network:
    """Two convolutions with a function between; with a shortcut the first result is read twice."""
    rng = np.random.default_rng(7)
    weights = {
        "one.weight": rng.standard_normal((5, 3, 3, 3)).astype(np.float32),
        "two.weight": rng.standard_normal((5, 5, 1, 1)).astype(np.float32),
    }
    image = {"b": 2, "c": 3, "h": 7, "w": 7, "o": 5, "r": 3, "s": 3}
    nodes: list[Layer | Function] = [
        Layer("one", "conv2d padding=1", image, "x", "one.weight", "a"),
        Function("clamp", kind, ("a",), "r", "bopq", {"b": 2, "o": 5, "p": 7, "q": 7}),
        Layer(
            "two", "conv2d", {"b": 2, "c": 5, "h": 7, "w": 7, "o": 5, "r": 1, "s": 1}, "r", "two.weight", "y",
            lhs_producer="function",
        ),
    ]  # fmt: skip
    if shortcut:
        nodes.append(Function("add", FunctionKind.ADD, ("y", "a"), "z", "bopq", {"b": 2, "o": 5, "p": 7, "q": 7}))
    inputs = [{"x": 2 * rng.standard_normal((2, 3, 7, 7)).astype(np.float32)} for _ in range(2)]
    return Network("small", "written here", tuple(nodes), weights, inputs[0], inputs[1], "drawn", "drawn")


def prepared(graph: Network, scheme: str) -> list[Prepared]:
    recording = Recording(graph)
    plans = plan_network(graph, Scheme.load(scheme), machine())
    return [prepare(plan, recording.samples(plan.layer, calibration=True)) for plan in plans]


def quantizer(one: Prepared) -> Quantize:
    return next(step for step in one.plan.steps if isinstance(step, Quantize) and step.operand == "lhs")


@pytest.mark.parametrize("kind", CLAMPS)
@pytest.mark.parametrize("scheme", STATIC)
def test_clamping_integers_is_clamping_reals_in_the_same_scale(scheme: str, kind: FunctionKind) -> None:
    graph = network(kind)
    first, second = prepared(graph, scheme)
    assert first.plan.clamp == kind.value
    assert (quantizer(second).at, quantizer(second).actions) == ("requantizer", ())
    x = graph.evaluation["x"]
    clamped = execute(first, x, None, machine())
    apart = replace(first, plan=replace(first.plan, steps=tuple(
        replace(step, clamp=None) if isinstance(step, Requantize) else step for step in first.plan.steps
    )))  # fmt: skip
    free = execute(apart, x, None, machine())
    assert clamped.codes is not None
    assert free.codes is not None
    # With a zero point the calibrated range starts at 0 by itself.
    assert (free.out.min() < 0) == (scheme == "w8a8-static")
    scale = float(clamped.codes.scales[0].reshape(()))
    zero = 0 if clamped.codes.zero_point is None else int(clamped.codes.zero_point.reshape(()))
    low, high = CLAMPS[kind]
    form = clamped.codes.format
    # real values of the codes, clamped, and quantized again with the same scale, in float64
    reals = np.clip((free.codes.codes.astype(np.int64) - zero) * scale, low, high)
    again = np.clip(np.rint(reals / scale) + zero, form.lo, form.hi)
    np.testing.assert_array_equal(clamped.codes.codes, again)
    # and the next layer multiplies these very integers
    given = np.clip(clamped.out, np.float32(low), np.float32(high))
    run = execute(second, given, None, machine())
    weights = np.asarray(second.weight.integers if second.weight else None, np.int64)[:, :, 0, 0]
    shifted = clamped.codes.codes.astype(np.int64) - zero
    sums = np.einsum("oc,bchw->bhwo", weights, shifted).reshape(1, -1, 5)
    if zero == 0:
        np.testing.assert_array_equal(run.sums[0], sums)
    else:
        expected = np.einsum("oc,bchw->bhwo", weights, clamped.codes.codes.astype(np.int64)).reshape(1, -1, 5)
        preload = -zero * weights.sum(axis=1)
        np.testing.assert_array_equal(run.sums[0], expected + preload)


def onnx_codes(first: Prepared, x_codes: Any, kind: FunctionKind) -> Any:
    """QLinearConv, then the function on dequantized values, then QuantizeLinear with the same scale."""
    lhs, out, weight = first.static["lhs"], first.static["out"], first.weight
    assert weight is not None
    assert lhs.zero_point is not None
    assert out.zero_point is not None
    constants = {
        "xs": lhs.scales[0].reshape(()), "xz": lhs.zero_point.reshape(()).astype(np.uint8),
        "w": weight.codes, "ws": weight.scales[0].reshape(()), "wz": np.int8(0),
        "ys": out.scales[0].reshape(()), "yz": out.zero_point.reshape(()).astype(np.uint8),
        "low": np.float32(0), "high": np.float32(6),
    }  # fmt: skip
    clip = ("Relu", ["real"]) if kind is FunctionKind.RELU else ("Clip", ["real", "low", "high"])
    nodes = [
        helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("DequantizeLinear", ["c", "ys", "yz"], ["real"]),
        helper.make_node(clip[0], clip[1], ["clipped"]),
        helper.make_node("QuantizeLinear", ["clipped", "ys", "yz"], ["y"]),
    ]
    made = helper.make_graph(
        nodes,
        "fused",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, list(x_codes.shape))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        onnx.ModelProto.SerializeToString(model), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x_codes})[0]


@pytest.mark.parametrize("kind", CLAMPS)
def test_codes_are_those_of_onnxruntime(kind: FunctionKind) -> None:
    graph = network(kind)
    first, _ = prepared(graph, "onnx-qdq-u8s8")
    x = graph.evaluation["x"]
    lhs = first.static["lhs"]
    assert lhs.zero_point is not None
    codes = np.clip(np.rint(x / lhs.scales[0].reshape(())) + int(lhs.zero_point.reshape(())), 0, 255).astype(np.uint8)
    ours = execute(first, x, None, machine()).codes
    assert ours is not None
    theirs = onnx_codes(first, codes, kind)
    np.testing.assert_array_equal(ours.codes, theirs)
    # Both ends are reached, so that the clamp did something.
    assert np.count_nonzero(theirs == theirs.min()) > 50
    assert kind is FunctionKind.RELU or np.count_nonzero(theirs == theirs.max()) > 5


@pytest.mark.parametrize("lanes", [False, True])
def test_the_cost_has_neither_function_nor_quantizer(lanes: bool) -> None:
    accelerator = machine(vector__runs_functions=lanes)
    _, second = plan_network(network(), Scheme.load("w8a8-static"), accelerator)
    first = plan_network(network(), Scheme.load("w8a8-static"), accelerator)[0]
    kinds = [action.component.kind for step in (*first.steps[1:], *second.steps) for action in step.actions]
    assert "quantizer" not in kinds
    assert not any(isinstance(step, ApplyFunction) for step in (*first.steps, *second.steps))


def test_what_others_read_before_the_function_is_not_clamped() -> None:
    first, second = plan_network(network(shortcut=True), Scheme.load("w8a8-static"), machine())
    assert first.clamp is None
    assert next(step for step in second.steps if isinstance(step, Quantize)).at == "producer"


@pytest.mark.parametrize("scheme", ["w8a8-dynamic", "fp16", "w8a8-smoothquant"])
def test_schemes_without_integer_results_are_left_alone(scheme: str) -> None:
    text = Scheme.load(scheme)
    if text.activation is not None:
        text = text.replace(activation__layout="per_tensor")
    graph = network()
    assert all(plan.clamp is None for plan in plan_network(graph, text, machine()))


def test_a_smoothed_reader_keeps_its_quantizer() -> None:
    scheme = Scheme.load("w8a8-static").replace(smooth={"alpha": 0.5})
    first, second = plan_network(network(), scheme, machine())
    assert first.clamp == "relu"
    assert next(step for step in second.steps if isinstance(step, Quantize)).at == "producer"


def test_resnet_quantizes_what_additions_and_pooling_make_and_nothing_else() -> None:
    plans = plan_network(workloads.load("resnet50"), Scheme.load("w8a8-static"), machine())
    quantizing = {
        p.layer.name.rpartition(".")[2] for p in plans for s in p.steps if isinstance(s, Quantize) and s.actions
    }
    assert quantizing == {"stem", "reduce", "classifier"}
    assert sum(plan.clamp == "relu" for plan in plans) == 33  # the stem, and two of each of 16 blocks


def test_errors_of_a_clamped_layer_are_those_of_its_function() -> None:
    result = hwsim.simulate(network(), "w8a8-static", machine())
    assert all(layer.sqnr_db is not None and layer.sqnr_db > 25 for layer in result.layers)
    assert result.output_sqnr_db is not None
    assert result.output_sqnr_db > 25
