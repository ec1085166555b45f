"""The preset named after onnxruntime, against onnxruntime itself on the same graph of QuantizeLinear pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import hwsim
import workloads
from hwsim.execution import Prepared, Samples, prepare
from quant import Scheme


def graph(prepared: Prepared, bias: Any) -> bytes:
    """QuantizeLinear, DequantizeLinear of all operands, Gemm, QuantizeLinear: what `quantize_static` writes."""
    lhs, out, weight = prepared.static["lhs"], prepared.static["out"], prepared.weight
    assert weight is not None
    assert lhs.zero_point is not None
    assert out.zero_point is not None
    scales = {name: q.scales[0].reshape(()) for name, q in (("x", lhs), ("w", weight), ("y", out))}
    both = scales["x"] * scales["w"]
    constants = {
        "x_scale": scales["x"],
        "x_zero": lhs.zero_point.reshape(()).astype(np.uint8),
        "w": weight.codes,
        "w_scale": scales["w"],
        "w_zero": np.int8(0),
        "b": np.rint(bias / both.astype(np.float64)).astype(np.int32),
        "b_scale": both,
        "b_zero": np.int32(0),
        "y_scale": scales["y"],
        "y_zero": out.zero_point.reshape(()).astype(np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_codes"]),
        helper.make_node("DequantizeLinear", ["x_codes", "x_scale", "x_zero"], ["x_real"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_real"]),
        helper.make_node("DequantizeLinear", ["b", "b_scale", "b_zero"], ["b_real"]),
        helper.make_node("Gemm", ["x_real", "w_real", "b_real"], ["y_real"]),
        helper.make_node("QuantizeLinear", ["y_real", "y_scale", "y_zero"], ["y"]),
    ]
    made = helper.make_graph(
        nodes,
        "qdq",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, weight.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    serialized: bytes = onnx.ModelProto.SerializeToString(model)
    return serialized


def test_a_real_layer_gives_the_codes_of_onnxruntime() -> None:
    """393,216 codes of MiniLM's first feed-forward layer; onnxruntime sums floats, so a few may round otherwise."""
    network, accelerator = workloads.load("minilm-block"), hwsim.Accelerator.load("edge-16x16")
    seen: list[dict[str, tuple[Any, ...]]] = []
    for inputs in (network.calibration, network.evaluation):
        run: dict[str, tuple[Any, ...]] = {}
        seen.append(run)

        def contract(layer: Any, lhs: Any, rhs: Any, bias: Any, run: dict[str, tuple[Any, ...]] = run) -> Any:
            out = layer.contract(lhs, rhs, bias)
            run[layer.name] = lhs, rhs, bias, out
            return out

        network.run(inputs, contract)
    layer = next(layer for layer in network.layers if layer.name == "ffn_up")
    lhs, rhs, bias, out = seen[0]["ffn_up"]
    prepared = prepare(hwsim.lower(layer, Scheme.load("onnx-qdq-u8s8"), accelerator), Samples(lhs, rhs, out), bias)
    x = seen[1]["ffn_up"][0]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph(prepared, bias), options, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"x": x})[0]
    ours = hwsim.execute(prepared, x, None, accelerator).codes
    assert ours is not None
    difference = np.abs(ours.codes.astype(int) - theirs.astype(int))
    assert theirs.size == 256 * 1536
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 4
