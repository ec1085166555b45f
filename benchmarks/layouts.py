"""Time of verdicts: ``python -m benchmarks.layouts`` prints a table.

Every figure is a fresh decision: caches are emptied before it. A row that names a witness builds and checks it too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

from quant.verify import layout_table
from quant.verify.catalogue import layouts_for
from quant.verify.decision import decide, decide_problem
from quant.verify.runs import block_axis, link_axes

REPEATS = 20

# Convolutions of ResNet-50 (He et al., CVPR 2016, table 1; stride in the 3x3 convolution of a block).
STAGES = ((56, 64, 256, 3), (28, 128, 512, 4), (14, 256, 1024, 6), (7, 512, 2048, 3))


def resnet50() -> list[tuple[str, dict[str, int]]]:
    """List every convolution: text and sizes."""
    layers = [("conv2d stride=2 padding=3", {"b": 1, "c": 3, "h": 224, "w": 224, "o": 64, "r": 7, "s": 7})]
    inputs, size = 64, 56
    for out_size, width, outputs, blocks in STAGES:
        for block in range(blocks):
            stride = 2 if block == 0 and out_size < 56 else 1
            layers.append(("conv2d", _sizes(inputs, size, width, 1)))
            layers.append((f"conv2d stride={stride} padding=1", _sizes(width, size, width, 3)))
            layers.append(("conv2d", _sizes(width, out_size, outputs, 1)))
            if block == 0:
                layers.append((f"conv2d stride={stride}", _sizes(inputs, size, outputs, 1)))
            inputs, size = outputs, out_size
    return layers


def _sizes(channels: int, size: int, outputs: int, taps: int) -> dict[str, int]:
    return {"b": 1, "c": channels, "h": size, "w": size, "o": outputs, "r": taps, "s": taps}


def fresh() -> None:
    """Forget earlier verdicts."""
    decide_problem.cache_clear()
    link_axes.cache_clear()
    block_axis.cache_clear()


def milliseconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU time of a piece of work, which is the wall time on a quiet machine."""
    times = []
    for _ in range(repeats):
        fresh()
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times) * 1e3


def gemm(size: int, lhs: str, rhs: str, *, witness: bool = False) -> object:
    """Decide one GEMM, and prove it if asked."""
    found = decide("mk,kn->mn", lhs, rhs, sizes={"m": size, "k": size, "n": size})
    return found.witness.check() if witness and found.witness is not None else found


def convolution(text: str, sizes: dict[str, int], lhs: str) -> object:
    """Decide one convolution."""
    return decide(text, lhs, "per_channel", sizes=sizes)


def table(size: int) -> object:
    """Decide every pair of a cube."""
    return layout_table(sizes={"m": size, "k": size, "n": size})


def main() -> None:
    """Measure and print."""
    rows = [
        (f"GEMM {size}^3, mx:32 x group:128", milliseconds(partial(gemm, size, "mx:32", "group:128")))
        for size in (64, 512, 4096, 65536)
    ]
    rows.append(("GEMM 4096^3, k:32 x k:48", milliseconds(partial(gemm, 4096, "k:32", "k:48"))))
    prove = milliseconds(partial(gemm, 4096, "per_channel_in", "per_channel", witness=True))
    rows.append(("GEMM 4096^3, per_channel_in x per_channel, with checked witness", prove))
    layers = resnet50()
    for lhs in ("per_tensor", "per_channel_in", "per_token", "h:8,w:8"):
        times = [milliseconds(partial(convolution, *layer, lhs), 3) for layer in layers]
        rows.append((f"ResNet-50, {len(layers)} convolutions, {lhs} x per_channel, slowest", max(times)))
        rows.append((f"ResNet-50, {len(layers)} convolutions, {lhs} x per_channel, median", statistics.median(times)))
    pairs = len(layouts_for("mk,kn->mn", "lhs")) * len(layouts_for("mk,kn->mn", "rhs"))
    rows += [
        (f"table of {pairs} pairs with repairs, GEMM {size}^3", milliseconds(partial(table, size), 3))
        for size in (512, 4096)
    ]
    width = max(len(name) for name, _ in rows)
    print(f"{'verdict':<{width}}  {'CPU ms':>9}")
    for name, value in rows:
        print(f"{name:<{width}}  {value:9.3f}")


if __name__ == "__main__":
    main()
