"""Profiles beside the LiteRT kernels they are named after. Runs only where ai-edge-litert is installed."""

from __future__ import annotations

import importlib
import importlib.util
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwsim.datapath import conv2d, matmul, output_multiplier, quantize, requantize

if importlib.util.find_spec("ai_edge_litert") is None:
    pytest.skip("ai-edge-litert is not installed", allow_module_level=True)
schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
interpreter: Any = importlib.import_module("ai_edge_litert.interpreter")
flatbuffers: Any = importlib.import_module("flatbuffers")
pytestmark = pytest.mark.filterwarnings("ignore")

Array = np.ndarray[Any, Any]
TYPES = {"float32": "FLOAT32", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64"}


def has_avx512() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and "avx512vl" in info.read_text()


def tensor(
    name: str, shape: tuple[int, ...], kind: str, buffer: int, scale: Any = None, zero: int = 0, axis: int = 0
) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.buffer = name.encode(), list(shape), buffer
    made.type = getattr(schema.TensorType, TYPES[kind])
    if scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = [float(s) for s in np.atleast_1d(scale)]
        made.quantization.zeroPoint = [zero] * len(made.quantization.scale)
        made.quantization.quantizedDimension = axis
    return made


def serialize(operator: str, options: Any, tensors: list[Any], constants: list[Array | None]) -> bytes:
    """Write a model of one operator: tensor 0 is the input, the last the output, constants lie between."""
    model, graph, op, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 5 if operator != "QUANTIZE" else 2
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = []
    for data in constants:
        buffer = schema.BufferT()
        if data is not None:
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        model.buffers.append(buffer)
    graph.tensors, graph.operators = tensors, [op]
    op.inputs, op.outputs = list(range(len(tensors) - 1)), [len(tensors) - 1]
    op.opcodeIndex = 0
    if options is not None:
        op.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        op.builtinOptions = options
    graph.inputs, graph.outputs = [0], [len(tensors) - 1]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(
    operator: str, options: Any, tensors: list[Any], constants: list[Array | None], x: Array, resolver: str
) -> Array:
    """Run a model of one operator."""
    runner = interpreter.Interpreter(
        model_content=serialize(operator, options, tensors, constants),
        experimental_op_resolver_type=getattr(interpreter.OpResolverType, resolver),
    )
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    result: Array = runner.get_tensor(runner.get_output_details()[0]["index"])
    return result


# Kernels of one wheel, and the profile each is said to equal.
KERNELS = {
    "BUILTIN_REF": "float64-away",
    "BUILTIN_WITHOUT_DEFAULT_DELEGATES": "ruy-avx512",
    "AUTO": "xnnpack-fp32",
}


@pytest.mark.parametrize("resolver", KERNELS)
@pytest.mark.parametrize("seed", range(12))
def test_fully_connected(resolver: str, seed: int) -> None:
    if resolver != "BUILTIN_REF" and not (platform.machine() == "x86_64" and has_avx512()):
        pytest.skip("the kernel is that of AVX-512")
    rng = np.random.default_rng(seed)
    m, k, n = 13, 40, 17
    ties = seed % 2 == 1
    sx, sw, sy = (0.5, 0.25, 32.0) if ties else (float(np.float32(v)) for v in rng.uniform(0.01, 1, 3) * (0.1, 0.1, 2))
    zx, zy = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    x, w = rng.integers(-128, 128, (m, k)).astype(np.int8), rng.integers(-127, 128, (n, k)).astype(np.int8)
    bias = rng.integers(-2000, 2000, n).astype(np.int32)
    tensors = [
        tensor("x", (m, k), "int8", 0, sx, zx),
        tensor("w", (n, k), "int8", 1, sw),
        tensor("b", (n,), "int32", 2, np.float32(sx) * np.float32(sw)),
        tensor("y", (m, n), "int8", 3, sy, zy),
    ]
    want = run("FULLY_CONNECTED", schema.FullyConnectedOptionsT(), tensors, [None, w, bias, None], x, resolver)
    profile = KERNELS[resolver]
    acc = matmul(x.astype(np.int32) - zx, w.T, initial=bias)
    got = requantize(acc, output_multiplier(sx, sw, sy, profile), profile=profile, zero_point=zy)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("seed", range(10))
def test_convolution_of_the_reference_kernels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sx, sy = (0.5, 32.0) if seed % 2 else (0.031, 0.9)
    sw = np.full(6, 0.25, np.float32) if seed % 2 else rng.uniform(0.01, 0.1, 6).astype(np.float32)
    zx, zy = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    x, w = rng.integers(-128, 128, (1, 9, 7, 3)).astype(np.int8), rng.integers(-127, 128, (6, 3, 2, 3)).astype(np.int8)
    bias = rng.integers(-2000, 2000, 6).astype(np.int32)
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 2, 1
    options.dilationHFactor = options.dilationWFactor = 1
    tensors = [
        tensor("x", x.shape, "int8", 0, sx, zx),
        tensor("w", w.shape, "int8", 1, sw),
        tensor("b", (6,), "int32", 2, np.float32(sx) * sw),
        tensor("y", (1, 4, 6, 6), "int8", 3, sy, zy),
    ]
    want = run("CONV_2D", options, tensors, [None, w, bias, None], x, "BUILTIN_REF")
    acc = conv2d(x.transpose(0, 3, 1, 2), w.transpose(0, 3, 1, 2), strides=(2, 1), x_zero=zx, initial=bias)
    multiplier = output_multiplier(sx, sw, sy, "gemmlowp-double").reshape(-1, 1, 1)
    got = requantize(acc, multiplier, profile="gemmlowp-double", zero_point=zy)
    np.testing.assert_array_equal(got.transpose(0, 2, 3, 1), want)


@pytest.mark.parametrize(("resolver", "profile"), [("BUILTIN_REF", "tflite-reference"), ("AUTO", "xnnpack")])
@pytest.mark.parametrize("zero", [0, 3, 17])
def test_quantize_of_floats(resolver: str, profile: str, zero: int) -> None:
    rng = np.random.default_rng(7)
    scale = 0.25 if zero == 3 else 0.037
    ties = (np.arange(-300, 300) + 0.5) * scale
    x = np.concatenate([rng.normal(0, 60 * scale, 5000), ties]).astype(np.float32)
    tensors = [tensor("x", x.shape, "float32", 0), tensor("y", x.shape, "int8", 1, scale, zero)]
    want = run("QUANTIZE", schema.QuantizeOptionsT(), tensors, [None, None], x, resolver)
    np.testing.assert_array_equal(quantize(x, scale, zero, profile=profile), want)


@pytest.mark.parametrize(("resolver", "profile"), [("BUILTIN_REF", "gemmlowp-double"), ("AUTO", "xnnpack-8.8")])
@pytest.mark.parametrize("seed", range(6))
def test_quantize_of_integers(resolver: str, profile: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sx, sy = (0.5, 2.0) if seed % 2 else (float(v) for v in rng.uniform(0.1, 1, 2))
    zx, zy = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    x = np.arange(-128, 128).astype(np.int8)
    tensors = [tensor("x", x.shape, "int8", 0, sx, zx), tensor("y", x.shape, "int8", 1, sy, zy)]
    want = run("QUANTIZE", schema.QuantizeOptionsT(), tensors, [None, None], x, resolver)
    scale = np.float32(sx) / np.float32(sy) if resolver == "AUTO" else float(np.float32(sx)) / float(np.float32(sy))
    got = requantize(x.astype(np.int32) - zx, scale, profile=profile, zero_point=zy)
    np.testing.assert_array_equal(got, want)
