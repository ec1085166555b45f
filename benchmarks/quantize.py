"""Speed of the quantizers, observers and codebooks beside onnxruntime, PyTorch and scikit-learn.

    python -m benchmarks quantize

A 4096 x 4096 float32 matrix; one thread, time of the processor, best of interleaved runs. Peers that are not installed
are left out. The copy shows what the memory allows.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import quant
from benchmarks._side_by_side import Row, compare, single_thread

Array = np.ndarray[Any, Any]
SCALE = np.float32(0.05)


def peer(name: str) -> Any:
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def onnxruntime_quantizer(x: Array, axis: int, scale: Array, block: int = 0) -> Callable[[], Any] | None:
    onnx, runtime = peer("onnx"), peer("onnxruntime")
    if onnx is None or runtime is None:
        return None
    helper = onnx.helper
    blocks = {"block_size": block} if block else {}
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=axis, **blocks)
    inputs = {"x": x, "s": scale, "z": np.zeros(scale.shape, np.int8)}
    infos = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in inputs.items()
    ]
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return functools.partial(session.run, None, inputs)


def quantizers(x: Array) -> Iterator[Row]:
    rows, columns = x.shape
    out, many = np.empty_like(x), x.size
    yield Row("copy", lambda: np.copyto(out, x), many)
    given = {
        "per_tensor": (0, np.full((), SCALE), 0),
        "m:1": (0, np.full(rows, SCALE), 0),
        "k:1": (1, np.full(columns, SCALE), 0),
        "m:1,k:128": (1, np.full((rows, columns // 128), SCALE), 128),
    }
    torch = peer("torch")
    for layout, (axis, scale, block) in given.items():
        ours, peers = f"quantize {layout}, scale given", (f"onnxruntime {layout}", f"torch {layout}")
        run = onnxruntime_quantizer(x, axis, scale, block)
        if run is not None:
            yield Row(peers[0], run, many)
        if torch is not None and not block:
            tensor = torch.from_numpy(x)
            if scale.ndim == 0:
                call = functools.partial(torch.quantize_per_tensor, tensor, float(scale), 0, torch.qint8)
            else:
                zeros = torch.zeros(scale.size, dtype=torch.int64)
                scales = torch.from_numpy(scale.astype(np.float64))
                call = functools.partial(torch.quantize_per_channel, tensor, scales, zeros, axis, torch.qint8)
            yield Row(peers[1], call, many)
        yield Row(ours, functools.partial(quant.quantize, x, "int8", layout, axes="mk", scale=scale), many, peers)
        yield Row(
            f"quantize {layout}, range found",
            functools.partial(quant.quantize, x, "int8", layout, axes="mk"),
            many,
            ("copy", ours),
        )
    for layout in ("m:1,k:32", "m:1,k:32@pow2", "m:128,k:128", "m:1 * m:1,k:16@int"):
        yield Row(
            f"quantize {layout}", functools.partial(quant.quantize, x, "int8", layout, axes="mk"), many, ("copy",)
        )
    yield Row(
        "quantize m:1 asymmetric", lambda: quant.quantize(x, "int8", "m:1", axes="mk", symmetric=False), many, ("copy",)
    )
    codes = quant.quantize(x, "int8", "m:1", axes="mk")
    yield Row("dequantize m:1", codes.dequantize, many, ("copy",))


def observers(x: Array) -> Iterator[Row]:
    batches = [x[i * 512 : (i + 1) * 512] for i in range(8)]
    torch = peer("torch")
    classes = {"minmax": "MinMaxObserver", "moving_average": "MovingAverageMinMaxObserver", "mse": "HistogramObserver"}
    for method in ("minmax", "moving_average", "percentile", "mse", "entropy"):
        theirs = f"torch {classes.get(method)}"
        if torch is not None and method in classes:
            tensors, seen = [torch.from_numpy(b) for b in batches], importlib.import_module("torch.ao.quantization")

            def observe(name: str = classes[method], some: Any = tensors, seen: Any = seen) -> None:
                observer = getattr(seen, name)()
                for batch in some:
                    observer(batch)
                observer.calculate_qparams()

            yield Row(theirs, observe, x.size)
        yield Row(f"observe {method}", functools.partial(quant.observe, batches, method=method), x.size, (theirs,))
    yield from channel_histograms(x)


def channel_histograms(x: Array) -> Iterator[Row]:
    """Histograms of 1,024 channels, seen in batches of 2,048 rows; numpy counts the same bins, known beforehand."""
    batches = [x.reshape(-1, 1024)[i * 2048 : (i + 1) * 2048] for i in range(8)]

    def ours() -> None:
        observer = quant.HistogramObserver("k:1", "mk")
        for batch in batches:
            observer.update(batch)

    def numpys() -> None:
        for batch in batches:
            for channel in batch.T:
                np.histogram(channel, 4096, (-8, 8))

    yield Row("numpy histogram, each of 1,024 channels", numpys, x.size)
    yield Row("HistogramObserver of 1,024 channels", ours, x.size, ("numpy histogram, each of 1,024 channels",))


def clusters(x: Array) -> Iterator[Row]:
    values = x.reshape(-1)[:200_000]
    sklearn = peer("sklearn.cluster") if peer("sklearn") else None
    for entries in (4, 16, 64):
        theirs = f"scikit-learn KMeans, {entries}"
        if sklearn is not None:
            model = functools.partial(sklearn.KMeans, entries, n_init=1, random_state=0)
            yield Row(theirs, lambda model=model: model().fit(values[:, None]), values.size)  # type: ignore[misc]
        yield Row(f"kmeans, {entries}", functools.partial(quant.kmeans, values, entries), values.size, (theirs,))
    rows, subspaces, prototypes = np.ascontiguousarray(x[:2048, :384]), 48, 16
    pieces = np.split(rows, subspaces, axis=1)
    if sklearn is not None:
        fitted = [sklearn.KMeans(prototypes, n_init=1, random_state=0, max_iter=50, tol=0).fit(p) for p in pieces]
        yield Row(
            "scikit-learn, 48 x KMeans of 16",
            lambda: [sklearn.KMeans(prototypes, n_init=1, random_state=0, max_iter=50, tol=0).fit(p) for p in pieces],
            rows.size,
        )
        yield Row(
            "scikit-learn, 48 x predict",
            lambda: [f.predict(p) for f, p in zip(fitted, pieces, strict=True)],
            rows.size,
        )
    product = quant.ProductQuantizer.fit(rows, subspaces, prototypes)
    yield Row(
        "ProductQuantizer.fit, 48 x 16",
        lambda: quant.ProductQuantizer.fit(rows, subspaces, prototypes),
        rows.size,
        ("scikit-learn, 48 x KMeans of 16",),
    )
    yield Row("ProductQuantizer.encode", lambda: product.encode(rows), rows.size, ("scikit-learn, 48 x predict",))


def main() -> None:
    single_thread()
    x = np.random.default_rng(0).standard_normal((4096, 4096)).astype(np.float32)
    compare(quantizers(x), 5)
    compare(observers(x), 3)
    compare(clusters(x), 1)
    small = x[:64, :64]
    compare([Row("quantize m:1 of 64 x 64", lambda: quant.quantize(small, layout="m:1", axes="mk"), small.size)], 50)


if __name__ == "__main__":
    main()
