"""Profiles beside the kernels of LiteRT Micro. Runs only where tflite-micro and ai-edge-litert are installed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest

from hwsim.datapath import output_multiplier, requantize

if importlib.util.find_spec("tflite_micro") is None or importlib.util.find_spec("ai_edge_litert") is None:
    pytest.skip("tflite-micro and ai-edge-litert are not installed", allow_module_level=True)
runtime: Any = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
litert: Any = importlib.import_module("tests.hwsim.datapath.test_litert")
schema: Any = litert.schema
pytestmark = pytest.mark.filterwarnings("ignore")

Array = np.ndarray[Any, Any]


def run(tensors: list[Any], constants: list[Array | None], x: Array) -> Array:
    model = litert.serialize("FULLY_CONNECTED", schema.FullyConnectedOptionsT(), tensors, constants)
    runner = runtime.Interpreter.from_bytes(model)
    runner.set_input(x, 0)
    runner.invoke()
    result: Array = runner.get_output(0)
    return result


def scales(seed: int) -> tuple[float, float, float]:
    """Powers of two, so that sums lie on ties, or any."""
    if seed % 2:
        return 0.5, 0.25, 8.0
    a, b, c = (float(np.float32(v)) for v in np.random.default_rng(seed).uniform(0.01, 1, 3))
    return a * 0.1, b * 0.1, 2 * c


@pytest.mark.parametrize("seed", range(10))
def test_fully_connected_with_int16_activations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (sx, sw, sy), (m, k, n) = scales(seed), (5, 40, 17)
    x = rng.integers(-(2**15), 2**15, (m, k)).astype(np.int16)
    w, bias = rng.integers(-127, 128, (n, k)).astype(np.int8), rng.integers(-(2**20), 2**20, n)
    tensors = [
        litert.tensor("x", (m, k), "int16", 0, sx),
        litert.tensor("w", (n, k), "int8", 1, sw),
        litert.tensor("b", (n,), "int64", 2, np.float32(sx) * np.float32(sw)),
        litert.tensor("y", (m, n), "int16", 3, sy),
    ]
    want = run(tensors, [None, w, bias, None], x)
    acc = x.astype(np.int64) @ w.T.astype(np.int64) + bias
    scale = output_multiplier(sx, sw, sy, "tflite-int16")
    np.testing.assert_array_equal(requantize(acc, scale, profile="tflite-int16", output="int16"), want)


@pytest.mark.parametrize("seed", range(10))
def test_fully_connected_with_int8_activations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (sx, sw, sy), (m, k, n) = scales(seed), (13, 40, 17)
    zx, zy = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    x, w = rng.integers(-128, 128, (m, k)).astype(np.int8), rng.integers(-127, 128, (n, k)).astype(np.int8)
    bias = rng.integers(-2000, 2000, n).astype(np.int32)
    tensors = [
        litert.tensor("x", (m, k), "int8", 0, sx, zx),
        litert.tensor("w", (n, k), "int8", 1, sw),
        litert.tensor("b", (n,), "int32", 2, np.float32(sx) * np.float32(sw)),
        litert.tensor("y", (m, n), "int8", 3, sy, zy),
    ]
    want = run(tensors, [None, w, bias, None], x)
    acc = (x.astype(np.int64) - zx) @ w.T.astype(np.int64) + bias
    got = requantize(acc, output_multiplier(sx, sw, sy), profile="gemmlowp-double", zero_point=zy)
    np.testing.assert_array_equal(got, want)
