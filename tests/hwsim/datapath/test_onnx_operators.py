"""The operators beside onnxruntime, the reference evaluator and the backend node tests of the ONNX package."""

from __future__ import annotations

import importlib
import re
import warnings
from typing import Any

import numpy as np
import pytest

from hwsim import datapath
from quant import IntFormat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper
    from onnx.backend.test.case.node import collect_testcases
    from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, Any]
# Arguments come from lists and dictionaries of the models.
onnx_operators: Any = importlib.import_module("hwsim.datapath.onnx_operators")
TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int32": TensorProto.INT32}


def model(op: str, inputs: list[Array], output: str, opset: int = 21, **attributes: Any) -> Any:
    names = [f"x{i}" for i in range(len(inputs))]
    node = helper.make_node(op, names, ["y"], **attributes)
    values = [
        helper.make_tensor_value_info(n, TYPES[str(x.dtype)], x.shape) for n, x in zip(names, inputs, strict=True)
    ]
    graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", TYPES[output], None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def onnxruntime_result(op: str, inputs: list[Array], output: str, opset: int = 21, **attributes: Any) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model(op, inputs, output, opset, **attributes).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {f"x{i}": x for i, x in enumerate(inputs)})[0]  # type: ignore[no-any-return]


def reference_result(op: str, inputs: list[Array], output: str, **attributes: Any) -> Array:
    evaluator = ReferenceEvaluator(model(op, inputs, output, **attributes))
    return evaluator.run(None, {f"x{i}": x for i, x in enumerate(inputs)})[0]  # type: ignore[no-any-return]


def random(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def scalar(value: float, dtype: str) -> Array:
    return np.array(value, dtype)


@pytest.mark.parametrize("types", [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")])
def test_matmul_integer_equals_onnxruntime(types: tuple[str, str]) -> None:
    rng = np.random.default_rng(7)
    for m, k, n in ((3, 5, 7), (11, 64, 13), (2, 700, 3)):
        a, b = random(rng, types[0], m, k) // 2, random(rng, types[1], k, n) // 2
        za, zb = random(rng, types[0]) // 2, random(rng, types[1]) // 2
        inputs = [a, b, np.asarray(za), np.asarray(zb)]
        want = onnxruntime_result("MatMulInteger", inputs, "int32")
        np.testing.assert_array_equal(onnx_operators.matmul_integer(*inputs), want)
        np.testing.assert_array_equal(reference_result("MatMulInteger", inputs, "int32"), want)


@pytest.mark.parametrize("types", [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")])
@pytest.mark.parametrize("seed", range(6))
def test_qlinear_matmul_equals_onnxruntime_and_reference(types: tuple[str, str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, k, n = 11, 13, 17
    a, b = random(rng, types[0], m, k), random(rng, types[1], k, n) // 2
    # Scales that are powers of two put many sums on ties.
    scales = [scalar(s, "float32") for s in ((0.5, 0.25, 128.0) if seed % 2 else rng.uniform(0.01, 3, 3))]
    zeros = [np.asarray(random(rng, t)) for t in (*types, types[0])]
    inputs = [a, scales[0], zeros[0], b, scales[1], zeros[1], scales[2], zeros[2]]
    want = onnxruntime_result("QLinearMatMul", inputs, types[0])
    np.testing.assert_array_equal(onnx_operators.qlinear_matmul(*inputs), want)
    other = reference_result("QLinearMatMul", inputs, types[0])
    np.testing.assert_array_equal(_like_the_reference(inputs, types[0]), other)


def _like_the_reference(inputs: list[Array], output: str) -> Array:
    a, sa, za, b, sb, zb, sy, zy = inputs
    acc = onnx_operators.matmul_integer(a, b, za, zb)
    # The reference multiplies int32 by a float32 scalar array, which numpy does in float64.
    return datapath.requantize(
        acc,
        np.float64(sa * sb / sy),
        profile="onnx-reference",
        zero_point=zy,
        output="u8" if output == "uint8" else "int8",
    )


@pytest.mark.parametrize("seed", range(8))
def test_qlinear_conv_equals_onnxruntime(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = (1, 3, 1, 3)[seed % 4]
    x = random(rng, "uint8", 2, 3, 11, 7)
    w = random(rng, "int8", 6, 3 // group, 3, 2) // 2
    per_channel = seed % 2 == 1
    w_scale = rng.uniform(0.001, 0.1, 6).astype(np.float32) if per_channel else scalar(0.03125, "float32")
    w_zero = np.zeros(6, np.int8) if per_channel else np.asarray(random(rng, "int8"))
    bias = rng.integers(-3000, 3000, 6).astype(np.int32)
    inputs = [
        x, scalar(0.5, "float32"), np.asarray(random(rng, "uint8")), w, w_scale, w_zero,
        scalar(1.0 + seed, "float32"), np.asarray(random(rng, "uint8")), bias,
    ]  # fmt: skip
    geometry: dict[str, Any] = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (2, 1), "group": group}
    attributes: dict[str, Any] = {k: list(v) if isinstance(v, tuple) else v for k, v in geometry.items()}
    want = onnxruntime_result("QLinearConv", inputs, "uint8", **attributes)
    got = onnx_operators.qlinear_conv(*inputs, **geometry)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("output", ["uint8", "int8"])
def test_quantize_linear_equals_onnxruntime(output: str) -> None:
    rng = np.random.default_rng(7)
    x = np.concatenate(
        [rng.normal(0, 20, 4000), (np.arange(-500, 500) + 0.5) * 0.25, [np.inf, -np.inf, np.nan, 3e9, -3e9]]
    )
    x = x.astype(np.float32)
    for scale in (0.25, 0.1, 0.0313):
        zero = np.asarray(random(rng, output))
        inputs = [x, scalar(scale, "float32"), zero]
        want = onnxruntime_result("QuantizeLinear", inputs, output)
        form = "u8" if output == "uint8" else "int8"
        got = onnx_operators.quantize_linear(*inputs, output=form, profile="onnxruntime")
        np.testing.assert_array_equal(got, want)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = reference_result("QuantizeLinear", inputs, output)
        finite = np.isfinite(x) & (np.abs(x) < 1e9)
        got = onnx_operators.quantize_linear(*inputs, output=form, profile="onnx-reference")
        np.testing.assert_array_equal(got[finite], other[finite])


@pytest.mark.parametrize("block", [0, 2, 3])
def test_blocked_and_per_axis_quantization_equal_onnxruntime(block: int) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(0, 20, (3, 7, 5)).astype(np.float32)
    shape = (3, -(-7 // block), 5) if block else (7,)
    scale, zero = rng.uniform(0.1, 1, shape).astype(np.float32), random(rng, "int8", *shape)
    attributes: dict[str, Any] = {"axis": 1, "block_size": block} if block else {"axis": 1}
    want = onnxruntime_result("QuantizeLinear", [x, scale, zero], "int8", **attributes)
    got = onnx_operators.quantize_linear(x, scale, zero, output="int8", **attributes)
    np.testing.assert_array_equal(got, want)
    back = onnxruntime_result("DequantizeLinear", [want, scale, zero], "float32", **attributes)
    np.testing.assert_array_equal(onnx_operators.dequantize_linear(want, scale, zero, **attributes), back)


def test_dynamic_quantization_equals_onnxruntime() -> None:
    rng = np.random.default_rng(7)
    for x in (rng.normal(0, 3, 999), rng.uniform(0.5, 9, 99), -rng.uniform(0.5, 9, 99), np.zeros(5), np.array([7.0])):
        x = x.astype(np.float32)  # noqa: PLW2901 the case in the operator's type
        node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
        outputs = [helper.make_tensor_value_info(n, t, None) for n, t in (("y", 2), ("s", 1), ("z", 2))]
        graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", 1, x.shape)], outputs)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        for got, want in zip(datapath.dynamic_quantize_linear(x), session.run(None, {"x": x}), strict=True):
            np.testing.assert_array_equal(got, want)


def _node_cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = re.compile(
            r"test_(matmulinteger|qlinearmatmul|basic_convinteger|convinteger|qlinearconv|quantizelinear|dequantizelinear|dynamicquantizelinear)"
        )
        cases = [c for c in collect_testcases(None) if wanted.match(c.name) and "expanded" not in c.name]
    narrow = re.compile(r"e4m3|e5m2|float4|float6|int4|int2|uint4|uint2|e2m1|e2m3|e3m2|int16|uint16")
    return [c for c in cases if not narrow.search(c.name)]


@pytest.mark.parametrize("case", _node_cases(), ids=lambda c: c.name)
def test_backend_node_tests_of_onnx(case: Any) -> None:
    node = case.model.graph.node[0]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    for inputs, outputs in case.data_sets:
        arrays = [onnx.numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x) for x in outputs]
        got = _run_node(node.op_type, list(inputs), attributes, arrays)
        for g, want in zip(got, arrays, strict=True):
            np.testing.assert_array_equal(g, want)


def _run_node(op: str, inputs: list[Array], attributes: dict[str, Any], outputs: list[Array]) -> tuple[Any, ...]:
    known = {k: attributes[k] for k in ("axis", "block_size") if k in attributes}
    geometry = {k: tuple(attributes[k]) for k in ("strides", "pads", "dilations") if k in attributes}
    form = IntFormat(8 * outputs[0].dtype.itemsize, outputs[0].dtype.kind == "i") if op == "QuantizeLinear" else None
    match op:
        case "MatMulInteger":
            return (onnx_operators.matmul_integer(*inputs),)
        case "QLinearMatMul":
            return (onnx_operators.qlinear_matmul(*inputs),)
        case "ConvInteger":
            return (onnx_operators.conv_integer(*inputs, **geometry),)
        case "QLinearConv":
            return (onnx_operators.qlinear_conv(*inputs, **geometry),)
        case "QuantizeLinear":
            return (onnx_operators.quantize_linear(*inputs, output=form, **known),)
        case "DequantizeLinear":
            return (onnx_operators.dequantize_linear(*inputs, **known),)
        case "DynamicQuantizeLinear":
            return tuple(onnx_operators.dynamic_quantize_linear(*inputs))
    raise KeyError(op)


def test_the_node_tests_cover_every_operator() -> None:
    assert {c.model.graph.node[0].op_type for c in _node_cases()} == {
        "MatMulInteger",
        "QLinearMatMul",
        "ConvInteger",
        "QLinearConv",
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
    }


def test_fully_connected_is_a_product_and_a_requantization() -> None:
    rng = np.random.default_rng(7)
    x, w, bias = random(rng, "int8", 2, 3, 5), random(rng, "int8", 7, 5), rng.integers(-99, 99, 7)
    got = datapath.fully_connected(x, w, bias, multiplier=np.full(7, 0.01), x_zero_point=3, y_zero_point=-2)
    acc = (x.astype(np.int64) - 3) @ w.T.astype(np.int64) + bias
    np.testing.assert_array_equal(got, datapath.requantize(acc, 0.01, zero_point=-2))
    assert datapath.fully_connected(x[0, 0], w, multiplier=0.01).shape == (7,)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"y_scale": [1.0, 1.0]}, "y_scale must have shape (3,) for axis 1, not (2,)"),
        (
            {"y_scale": [1.0, 1.0], "block_size": 2},
            "y_scale must have shape (2, 2) for blocks of 2 along axis 1, not (2,)",
        ),
        ({"y_scale": [1.0, 1.0], "axis": 2}, "axis must be in -2..1, not 2"),
    ],
)
def test_bad_scales_get_one_clear_error(change: dict[str, Any], text: str) -> None:
    call: dict[str, Any] = {"x": np.zeros((2, 3)), "y_scale": 1.0} | change
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        onnx_operators.quantize_linear(**call)


def test_dynamic_quantization_refuses_what_has_no_range() -> None:
    with pytest.raises(ValueError, match=r"^x must be finite, not nan$"):
        datapath.dynamic_quantize_linear([np.nan])
    with pytest.raises(ValueError, match=r"^range of x must fit float32, not "):
        datapath.dynamic_quantize_linear([3e38, -3e38])
