"""Speed of the integer datapath beside its peers, in one run and one table.

    python benchmarks/datapath.py [--repeat 5] [--large] [--real] [--cpu]

Every row is the best of interleaved repeats; ratios are to the first row of the same operands (the float32 product, if
there is one) and to the row named in the last column, within the same run. `matmul int32` takes the fastest kernel that
this processor proves exact.
Slow peers get a part of the rows, as their name says. Operands are rounded normal values, unless a row says otherwise;
real operands are those of a transformer block of MiniLM, rounded as w8a8 with a scale for each token and channel.
`--cpu` counts processor seconds instead of wall time; with OPENBLAS_NUM_THREADS=1 and `--threads 1` that compares one
processor with one, also on a machine that is busy.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

import workloads
from hwsim.datapath import Accumulator, amx, conv2d, gemm, matmul, measure, measure_activity, onnx_gemm, tiles
from quant import Contraction, Overflow, parse_layout, quantize

SATURATE, TRAP = Overflow.SATURATE, Overflow.TRAP
Pair = tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]


class Task(NamedTuple):
    """A row: what runs, what its ratio is to, and its work in giga-MAC; `run` is None where a peer is missing."""

    name: str
    run: Callable[[], Any] | None
    base: str
    work: float


def random_pair(m: int, k: int, n: int) -> Pair:
    rng = np.random.default_rng(7)
    a, b = (np.clip(np.rint(rng.normal(0, 32, shape)), -128, 127).astype(np.int8) for shape in ((m, k), (k, n)))
    return a, b


def adversarial_pair(m: int, k: int, n: int) -> Pair:
    rng = np.random.default_rng(7)
    a, b = (rng.choice(np.array([-128, 127], np.int8), shape) for shape in ((m, k), (k, n)))
    return a, b


def real_pairs() -> list[Pair]:
    """Return the integers of every product with weights in a transformer block."""
    network = workloads.load("minilm-block")
    contraction = Contraction.parse("mk,kn->mn")
    token = parse_layout("per_token", ("m", "k"), contraction=contraction, operand="lhs")
    channel = parse_layout("per_channel", ("k", "n"), contraction=contraction, operand="rhs")
    pairs: list[Pair] = []

    def contract(layer: Any, lhs: Any, rhs: Any, bias: Any) -> Any:
        out = np.einsum(layer.contraction, lhs, rhs, optimize=True)
        if layer.contraction == "mk,kn->mn":
            a = quantize(lhs, "int8", token, axes=("m", "k")).codes
            b = quantize(rhs, "int8", channel, axes=("k", "n")).codes
            pairs.append((np.ascontiguousarray(a, np.int8), np.ascontiguousarray(b, np.int8)))
        return out if bias is None else out + bias

    network.run(network.evaluation, contract)
    return pairs


def each(function: Callable[..., Any], pairs: Iterable[Pair]) -> Callable[[], Any]:
    """Call a function on every pair."""
    fixed = list(pairs)
    return lambda: [function(a, b) for a, b in fixed]


def some_rows(pairs: list[Pair], share: int) -> list[Pair]:
    return [(a[: max(1, len(a) // share)], b) for a, b in pairs]


def macs(pairs: list[Pair]) -> float:
    return float(sum(a.shape[0] * b.size for a, b in pairs)) / 1e9


def plain_loop() -> Callable[..., Any]:
    """Compile what one would write first: three loops and a clamp."""
    from numba import njit  # noqa: PLC0415 only this peer needs it

    @njit  # type: ignore[untyped-decorator]
    def loop(lhs: Any, rhs: Any) -> Any:
        out = np.zeros((lhs.shape[0], rhs.shape[1]), np.int32)
        for m in range(lhs.shape[0]):
            for n in range(rhs.shape[1]):
                acc = 0
                for k in range(lhs.shape[1]):
                    acc = min(max(acc + int(lhs[m, k]) * int(rhs[k, n]), -32768), 32767)
                out[m, n] = acc
        return out

    return loop  # type: ignore[no-any-return]


def apytypes_product(a: Any, b: Any) -> Any:
    ap = importlib.import_module("apytypes")
    x, y = (ap.APyFixedArray.from_array(v.astype(float), int_bits=8, frac_bits=0) for v in (a, b))
    with ap.APyFixedAccumulatorContext(int_bits=16, frac_bits=0, overflow=ap.OverflowMode.SAT):
        return x @ y


def fxpmath_product(a: Any, b: Any) -> Any:
    fxp = importlib.import_module("fxpmath").Fxp
    return np.dot(fxp(a, signed=True, n_word=8, n_frac=0), fxp(b, signed=True, n_word=8, n_frac=0))


def torch_product() -> Callable[..., Any]:
    torch = importlib.import_module("torch")
    return lambda a, b: torch._int_mm(torch.from_numpy(a), torch.from_numpy(b))


def onnxruntime_product() -> Callable[..., Any]:
    """Multiply unsigned by signed bytes with nothing around it."""
    session = onnx_gemm._session()
    zeros = {"a_zero": np.zeros((), np.uint8), "b_zero": np.zeros((), np.int8)}
    return lambda a, b: session.run(None, {"a": a.view(np.uint8), "b": b, **zeros})


def peer(module: str, name: str, make: Callable[[], Callable[..., Any]], pairs: list[Pair], base: str) -> Task:
    if importlib.util.find_spec(module) is None:
        return Task(f"{name}: not installed", None, base, 0.0)
    return Task(name, each(make(), pairs), base, macs(pairs))


def exact_tasks(size: str, pairs: list[Pair]) -> list[Task]:
    floats = [(a.astype(np.float32), b.astype(np.float32)) for a, b in pairs]
    sgemm, work = f"{size}: numpy sgemm", macs(pairs)
    return [
        Task(sgemm, lambda: [a @ b for a, b in floats], sgemm, work),
        Task(
            f"{size}: matmul int32 on BLAS",
            each(lambda a, b: gemm.blas_product(a[None], b[None], np.dtype(np.int32)), pairs),
            sgemm,
            work,
        ),
        Task(f"{size}: matmul int32", each(matmul, pairs), sgemm, work),
        peer("onnxruntime", f"{size}: onnxruntime u8s8", onnxruntime_product, pairs, sgemm),
        peer("torch", f"{size}: torch._int_mm", torch_product, pairs, sgemm),
    ]


def accumulator_tasks(size: str, pairs: list[Pair]) -> list[Task]:
    work = macs(pairs)

    def ours(name: str, accumulator: Accumulator, base: str) -> Task:
        function = functools.partial(matmul, accumulator=accumulator)
        return Task(f"{size}: {name}", each(function, pairs), f"{size}: {base}", work)

    tasks = [ours(f"saturate {b}", Accumulator(b, SATURATE), "matmul int32") for b in (24, 22, 20, 18, 17, 16)]
    tasks += [
        ours("trap 24", Accumulator(24, TRAP), "saturate 24"),
        ours("saturate 18, depth 4", Accumulator(18, SATURATE, dot_depth=4), "saturate 18"),
        ours("saturate 18, spill every 64", Accumulator(18, SATURATE, spill_steps=64), "saturate 18"),
        ours("saturate 18, drop 4 bits", Accumulator(18, SATURATE, dropped_bits=4), "saturate 18"),
        ours("saturate 18, pair tree 15", Accumulator(18, SATURATE, dot_depth=2, tree_bits=15), "saturate 18"),
    ]
    part = some_rows(pairs, 8)
    recorded = functools.partial(measure, accumulator=Accumulator(18, SATURATE))
    toggles = functools.partial(measure_activity, rows=32, columns=32)
    tasks += [
        Task(f"{size}: measure 18, 1/8", each(recorded, part), f"{size}: saturate 18", macs(part)),
        Task(f"{size}: measure_activity 32x32, 1/8", each(toggles, part), f"{size}: saturate 18", macs(part)),
    ]
    return tasks


class Layer(NamedTuple):
    """A convolution of ResNet-50 or MobileNetV2: channels, pixels a side, kernels, taps a side, groups."""

    name: str
    channels: int
    side: int
    kernels: int
    taps: int
    groups: int = 1


LAYERS = (
    Layer("3x3, 64 channels", 64, 56, 64, 3),
    Layer("1x1, 64 to 256 channels", 64, 56, 256, 1),
    Layer("3x3, 512 channels", 512, 7, 512, 3),
    Layer("depthwise 3x3, 144 channels", 144, 56, 144, 3, 144),
)


def convolution_tasks(layer: Layer) -> list[Task]:
    """Convolve codes with a zero point, exactly and saturating, beside onnxruntime."""
    x = random_pair(layer.channels * layer.side, layer.side, 1)[0].view(np.uint8)
    x = x.reshape(1, layer.channels, layer.side, layer.side)
    shape = layer.kernels, layer.channels // layer.groups, layer.taps, layer.taps
    weight = random_pair(layer.kernels, int(np.prod(shape[1:])), 1)[0].reshape(shape)
    pads = (layer.taps // 2,) * 4
    work = layer.side**2 * weight.size / 1e9
    base = f"conv {layer.name}: conv2d int32"

    def ours(accumulator: Accumulator, zero: int) -> Callable[[], Any]:
        return lambda: conv2d(x, weight, accumulator, pads=pads, groups=layer.groups, x_zero=zero)

    tasks = [
        Task(base, ours(Accumulator(), 128), base, work),
        Task(f"conv {layer.name}: saturate 22", ours(Accumulator(22, SATURATE), 0), base, work),
    ]
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        return [*tasks, Task(f"conv {layer.name}: {' and '.join(missing)} not installed", None, base, 0.0)]
    session = convolution_session(pads, layer.groups)
    feeds = {"x": x, "w": weight, "zero": np.array(128, np.uint8)}
    return [*tasks, Task(f"conv {layer.name}: onnxruntime", lambda: session.run(None, feeds), base, work)]


def convolution_session(pads: tuple[int, ...], groups: int) -> Any:
    onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    helper, types = onnx.helper, onnx.TensorProto
    node = helper.make_node("ConvInteger", ["x", "w", "zero"], ["y"], pads=list(pads), group=groups)
    inputs = [("x", types.UINT8, [None] * 4), ("w", types.INT8, [None] * 4), ("zero", types.UINT8, [])]
    values = [helper.make_tensor_value_info(*value) for value in inputs]
    graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", types.INT32, [None] * 4)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = amx.threads_for(1 << 40)
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def slow_tasks(size: str, pairs: list[Pair]) -> list[Task]:
    """Adversarial operands, where nothing can be certified, and what others offer for them."""
    loop, work = f"{size}: plain numba loop, 1/16", macs(some_rows(pairs, 16))
    function = functools.partial(matmul, accumulator=Accumulator(16, SATURATE))
    few = some_rows(pairs, 512)
    return [
        Task(loop, each(plain_loop(), some_rows(pairs, 16)), loop, work),
        Task(f"{size}: saturate 16", each(function, pairs), loop, macs(pairs)),
        peer("apytypes", f"{size}: apytypes, saturating 16 stated, 1/512", lambda: apytypes_product, few, loop),
        peer("fxpmath", f"{size}: fxpmath, 1/512", lambda: fxpmath_product, few, loop),
    ]


def best_times(tasks: list[Task], repeat: int, clock: Callable[[], float]) -> dict[str, float]:
    best = {task.name: float("inf") for task in tasks}
    for turn in range(repeat + 1):
        for task in tasks:
            if task.run is None:
                continue
            start = clock()
            task.run()
            if turn:
                best[task.name] = min(best[task.name], clock() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="interleaved repeats of every row")
    parser.add_argument("--large", action="store_true", help="also 512x4096x4096")
    parser.add_argument("--real", action="store_true", help="also the operands of a transformer block")
    parser.add_argument("--cpu", action="store_true", help="processor seconds instead of wall time")
    parser.add_argument("--threads", type=int, help="threads of ours and of onnxruntime")
    # Other commands of this package run it without arguments of its own.
    options, _ = parser.parse_known_args()
    if options.threads:
        for module in (amx, gemm, onnx_gemm, tiles):
            module.usable_processors = lambda: options.threads  # type: ignore[attr-defined]
    cube = [random_pair(1024, 1024, 1024)]
    groups = [exact_tasks("1024^3", cube) + accumulator_tasks("1024^3", cube)]
    if options.large:
        large = [random_pair(512, 4096, 4096)]
        groups.append(exact_tasks("512x4096x4096", large) + accumulator_tasks("512x4096x4096", large))
    if options.real:
        real = real_pairs()
        groups.append(exact_tasks("real", real) + accumulator_tasks("real", real))
    groups += [convolution_tasks(layer) for layer in LAYERS]
    groups.append(slow_tasks("adversarial 1024^3", [adversarial_pair(1024, 1024, 1024)]))
    # A process that has asked for so much starts the fastest kernels.
    gemm._asked[0] = gemm._WORTH_A_START
    table = Table("what", "ms", "GMAC/s", "to first", "to", "row")
    for tasks in groups:
        best = best_times(tasks, options.repeat, time.process_time if options.cpu else time.perf_counter)
        rates = {task.name: task.work / best[task.name] for task in tasks}
        for task in tasks:
            if task.run is None:
                table.add_row(task.name, "", "", "", "", "")
                continue
            ratios = [rates[task.name] / rates[base] for base in (tasks[0].name, task.base)]
            numbers = [best[task.name] * 1e3, rates[task.name], *ratios]
            table.add_row(task.name, *(f"{number:.2f}" for number in numbers), task.base)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
