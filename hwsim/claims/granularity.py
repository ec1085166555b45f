"""Scale granularity: error of one scale against many, what many cost, who supports them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quant import FP16, FP32, FloatFormat, decide, parse_layout, quantize, sqnr_db

from . import samples
from .claim import Case, claims_of
from .samples import Float32

claim = claims_of("granularity")

GAIN_DB = 3.0
"""Gain from which the coarser choice counts as poor: half of the square error, half a bit."""


def _weights() -> dict[str, Float32]:
    trained = {f"trained weights ({name})": samples.operands(name)[1] for name in ("q", "attention_out", "ffn_up")}
    return {
        **trained,
        "columns spread by e": samples.weight(spread=1.0),
        "columns of equal size": samples.weight(),
    }


@claim(
    "N09",
    "N34",
    "N35",
    text='Per-tensor "Poor (as channels can have different ranges)", per-channel "Good"',
    data="int8 weights: MiniLM block, and normal ones [512, 256] (seed 7); poor: per-channel gains more than 3 dB",
)
def per_tensor_is_poor(weights: Mapping[str, Float32] | None = None, fmt: str = "int8") -> list[Case]:
    """Gain of a scale for each output channel over one for the tensor."""
    cases = []
    for name, w in (weights or _weights()).items():
        coarse, fine = (sqnr_db(w, quantize(w, fmt, layout, axes="kn").dequantize()) for layout in ("1", "n:1"))
        cases.append(Case(name, fine - coarse, f"dB gained, from {coarse:.1f}", fine - coarse > GAIN_DB))
    return cases


@claim(
    "N34",
    "C11",
    text="Finer is better: a smaller group always has less error for its bits",
    data="ffn_down's weight, int4, fp16 scales: SQNR gained over the next coarser layout, less 6.02 dB for each bit "
    "that its scales add",
)
def finer_pays(weight: Float32 | None = None, layouts: tuple[str, ...] | None = None) -> list[Case]:
    """Compare each layout with the next coarser one at equal storage, a bit being worth 6.02 dB."""
    w = samples.operands("ffn_down")[1] if weight is None else weight
    chain = layouts or ("1", "n:1", "n:1,k:128", "n:1,k:64", "n:1,k:32", "n:1,k:8")
    cases: list[Case] = []
    before: tuple[float, float] | None = None
    for layout in chain:
        q = quantize(w, "int4", layout, axes="kn", scale_format=FP16)
        now = (sqnr_db(w, q.dequantize()), q.storage.total_bits / w.size)
        if before is not None:
            gain = now[0] - before[0] - 6.02 * (now[1] - before[1])
            cases.append(Case(f"{layout}: {now[0]:.1f} dB at {now[1]:.2f} bits", gain, "dB gained net", gain > 0))
        before = now
    return cases


@claim(
    "C06",
    "C11",
    text='Storing scales is "fairly negligible" per-tensor, "an important consideration" when finer',
    data="int8 weight [4096, 4096]: bits of scales over bits of weights; negligible: below 1 %",
)
def scales_are_negligible(
    layouts: Mapping[str, tuple[str, FloatFormat]] | None = None, limit: float = 1.0, size: int = 4096
) -> list[Case]:
    """Share of the scales in the storage, as the layouts' own scale shapes say."""
    given = layouts or {
        "per tensor, fp32": ("1", FP32),
        "per output channel, fp32": ("n:1", FP32),
        "groups of 128, fp16": ("n:1,k:128", FP16),
        "groups of 32, fp16": ("n:1,k:32", FP16),
        "groups of 8, fp32": ("n:1,k:8", FP32),
    }
    cases = []
    for name, (layout, scale_format) in given.items():
        parsed = parse_layout(layout, "kn")
        entries = sum(int(np.prod(level.scale_shape(parsed.axes, (size, size)))) for level in parsed.levels)
        share = 100 * entries * scale_format.bits / (8 * size * size)
        cases.append(Case(name, share, "% more storage", share < limit))
    return cases


@claim(
    "N36",
    text='Support in hardware: per-tensor "Good", per-channel "Decent?"',
    data="verdicts for mk,kn->mn, 256 x 512 x 256, at native depth 64: partial sums that hardware must keep",
)
def supported_by_arrays(pairs: Mapping[str, tuple[str, str]] | None = None, native_depth: int = 64) -> list[Case]:
    """Ask the verifier whether one sum leaves the array whole."""
    given = pairs or {
        "per tensor on both": ("per_tensor", "per_tensor"),
        "weights per output channel": ("per_tensor", "per_channel"),
        "activations per token": ("per_token", "per_channel"),
        "weights in groups of 32": ("per_token", "n:1,k:32"),
        "weights per input channel": ("per_tensor", "per_channel_in"),
        "activations per input channel": ("per_channel_in", "per_channel"),
    }
    cases = []
    for name, (lhs, rhs) in given.items():
        found = decide("mk,kn->mn", lhs=lhs, rhs=rhs, sizes={"m": 256, "k": 512, "n": 256}, native_depth=native_depth)
        cases.append(Case(name, found.partial_sums, f"partial sums: {found.verdict}", found.verdict == "once"))
    return cases
