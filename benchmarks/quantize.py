"""Speed of the quantizers on a 4096 x 4096 float32 matrix, with onnxruntime's in the same run.

Run ``python benchmarks/quantize.py``. Each figure is the best of several runs; the copy shows what the memory allows.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import quant

try:
    import onnx
    import onnxruntime
except ImportError:
    onnx = onnxruntime = None


def best_ms(work: Callable[[], object], runs: int = 5) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def report(name: str, milliseconds: float, values: int) -> None:
    print(f"{name:<44} {milliseconds:9.1f} ms {values / milliseconds / 1e3:9.0f} M values/s")


def onnxruntime_quantizers(x: np.ndarray[Any, Any]) -> None:
    if onnx is None or onnxruntime is None:
        print("onnxruntime and onnx are not installed: no comparison")
        return
    helper = onnx.helper
    for name, axis, scale in (
        ("per tensor", 0, np.array(0.03, np.float32)),
        ("per channel", 0, np.full(x.shape[0], 0.03, np.float32)),
    ):
        node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=axis)
        inputs = {"x": x, "s": scale, "z": np.zeros(scale.shape, np.int8)}
        infos = [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in inputs.items()
        ]
        graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name="y")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        report(f"onnxruntime QuantizeLinear {name}", best_ms(functools.partial(session.run, None, inputs)), x.size)


def main() -> None:
    x = np.random.default_rng(0).standard_normal((4096, 4096)).astype(np.float32)
    out = np.empty_like(x)
    first = time.perf_counter()
    quant.quantize(x)
    print(f"first call, with compilation or its cache: {time.perf_counter() - first:.2f} s")
    report("copy", best_ms(lambda: np.copyto(out, x)), x.size)
    for layout in ("per_tensor", "m:1", "k:1", "k:128", "m:1,k:128", "m:1,k:32", "m:128,k:128", "m:1 * m:1,k:16@int"):
        report(f"quantize {layout}", best_ms(functools.partial(quant.quantize, x, "int8", layout, axes="mk")), x.size)
    scale = np.full((4096, 1), 0.03, np.float32)
    report(
        "quantize m:1, scale given", best_ms(lambda: quant.quantize(x, layout="m:1", axes="mk", scale=scale)), x.size
    )
    report(
        "quantize m:1 asymmetric", best_ms(lambda: quant.quantize(x, layout="m:1", axes="mk", symmetric=False)), x.size
    )
    codes = quant.quantize(x, "int8", "m:1", axes="mk")
    report("dequantize m:1", best_ms(codes.dequantize), x.size)
    onnxruntime_quantizers(x)
    some = x[:512]
    for method in ("minmax", "moving_average", "percentile", "mse", "entropy"):
        report(
            f"observe 8 batches, {method}",
            best_ms(functools.partial(quant.observe, [some] * 8, method=method)),
            8 * some.size,
        )
    values = x.reshape(-1)[:600_000]
    for entries in (4, 16, 256):
        report(f"k-means, {entries} entries", best_ms(functools.partial(quant.kmeans, values, entries)), values.size)
    small = x[:64, :64]
    report("quantize m:1 of 64 x 64", best_ms(lambda: quant.quantize(small, layout="m:1", axes="mk"), 50), small.size)


if __name__ == "__main__":
    main()
