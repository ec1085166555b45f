"""Static against dynamic: error, time and memory of ranges found beforehand or at each call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hwsim.plan import ScanRange
from quant import Range, Scheme, measure_errors, quantize

from . import samples
from .claim import Case, claims_of
from .samples import Float32
from .textbook import block_result, gemm_result, result_bytes, textbook

claim = claims_of("static and dynamic")

BATCHES = 40


def _error(x: Float32, fmt: str, bound: float) -> float:
    codes = quantize(x, fmt, range=Range([-bound], [bound]))
    return float(measure_errors(x, codes.dequantize()).mean_square)


def compare_batches(
    calibration: Float32, batches: Sequence[Float32], fmt: str, percentile: float
) -> tuple[float, float]:
    """Percent of batches on which a static range has less error than the batch's own min-max, and the mean ratio.

    The static bound is the largest magnitude of the calibration values, or leaves `percentile` percent of them
    outside on each side.
    """
    static = float(np.percentile(np.abs(calibration), 100 - 2 * percentile))
    ratios = [_error(x, fmt, static) / _error(x, fmt, float(np.abs(x).max())) for x in batches]
    return 100 * float(np.mean(np.array(ratios) < 1)), float(np.mean(ratios))


@claim(
    "C24",
    text='"static quantization will never be as accurate as dynamic quantization"',
    data="40 normal tensors (seed 7), range from 4,194,304 other values: share of tensors on which static has less "
    "error than dynamic min-max",
)
def never_as_accurate(settings: Mapping[str, tuple[str, int, float]] | None = None, shift: float = 1.0) -> list[Case]:
    """Quantize tensors with a static range and with their own min-max.

    Parameters
    ----------
    settings
        Format, size of a tensor, percentile of the static range, by name.
    shift
        Factor between the values calibrated on and those met later.
    """
    given = settings or {
        "both use min-max, 8 bits, 65,536 values": ("int8", 1 << 16, 0.0),
        "both use min-max, 8 bits, 512 values": ("int8", 512, 0.0),
        "static cuts 0.1 %, 8 bits, 65,536 values": ("int8", 1 << 16, 0.1),
        "static cuts 0.1 %, 4 bits, 512 values": ("int4", 512, 0.1),
        "static cuts 0.1 %, 4 bits, 65,536 values": ("int4", 1 << 16, 0.1),
    }
    rng = np.random.default_rng(samples.SEED)
    calibration = rng.standard_normal(1 << 22, np.float32)
    cases = []
    for name, (fmt, size, percentile) in given.items():
        batches = [np.float32(shift) * rng.standard_normal(size, np.float32) for _ in range(BATCHES)]
        share, ratio = compare_batches(calibration, batches, fmt, percentile)
        cases.append(Case(name, share, f"% of tensors better static, {ratio:.2f}x the error", share == 0))
    return cases


@claim(
    "C12",
    "C18",
    text='Static: not quantizing activations at inference "saves us even more time"',
    data="M x 512 x 512 on edge-16x16, chapter's schemes: cycles of dynamic over static; saved: more than 1 %",
)
def static_saves_time(ratios: Mapping[str, float] | None = None, rows: Sequence[int] = (1, 16, 256)) -> list[Case]:
    """Price the scan barrier, with one scale for the tensor and one for each token."""
    if ratios is None:
        ratios = {}
        token = textbook("dynamic").replace(activation__layout="per_token", activation__symmetric=True)
        for m in rows:
            static = gemm_result(m, 512, 512, textbook("static")).total_cycles
            for scheme, scale in ((textbook("dynamic"), "a scale per tensor"), (token, "a scale per token")):
                ratios[f"M = {m}, {scale}"] = gemm_result(m, 512, 512, scheme).total_cycles / static
    return [Case(name, ratio, "x the cycles of static", ratio > 1.01) for name, ratio in ratios.items()]


@claim(
    "C12",
    "C18",
    text="The range scan is a barrier: nothing of a tensor can be multiplied before all of it is seen",
    data="256 x 512 x 512 on edge-16x16: cycles before the first product, in percent of the whole call; a barrier: "
    "more than 1 %",
)
def scan_is_a_barrier(shares: Mapping[str, float] | None = None) -> list[Case]:
    """Share of a call that a scan of one scale for the tensor, or for each token, keeps the array waiting."""
    if shares is None:
        shares = {}
        token = textbook("dynamic").replace(activation__layout="per_token", activation__symmetric=True)
        for scheme, name in ((textbook("dynamic"), "a scale per tensor"), (token, "a scale per token")):
            result = gemm_result(256, 512, 512, scheme)
            machine = result.accelerator
            barrier = sum(
                step.barrier_elements * max(1 / machine.vector.lanes, step.source.bits / machine.dram_bits_per_cycle)
                for layer in result.layers
                for step in layer.plan.steps
                if isinstance(step, ScanRange)
            )
            shares[name] = 100 * barrier / result.total_cycles
    return [Case(name, share, "% of the call", share > 1) for name, share in shares.items()]


@claim(
    "C16",
    "C23",
    text='Static: "we completely avoid storing the float32 activations in memory"',
    data="bytes between the layers of two linear layers and of the MiniLM block: dynamic (chapter's, float32) over "
    "static; and over static where dynamic carries float16",
)
def activations_shrink(ratios: Mapping[str, float] | None = None) -> list[Case]:
    """Compare the bytes that layers hand on."""
    if ratios is None:
        half = Scheme.model_validate({**textbook("dynamic").model_dump(), "carrier": "fp16"})

        def handed_on(scheme: Scheme) -> float:
            return result_bytes(gemm_result(256, 512, 512, scheme))

        static = handed_on(textbook("static"))
        block = {name: result_bytes(block_result(name, numerics=False)) for name in ("dynamic", "static")}
        ratios = {
            "a linear layer, against float32": handed_on(textbook("dynamic")) / static,
            "a linear layer, against float16": handed_on(half) / static,
            "the MiniLM block, against float32": block["dynamic"] / block["static"],
        }
    return [Case(name, ratio, "x fewer bytes", ratio >= 4 * 0.99) for name, ratio in ratios.items()]
