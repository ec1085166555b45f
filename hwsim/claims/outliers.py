"""Outlier channels of transformer activations, and what repairs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from quant import (
    DuplicateChannels,
    HadamardRotation,
    OutlierSplit,
    OutlierTransform,
    Smoothing,
    channel_bounds,
    fake_quantize,
    sqnr_db,
)

from . import samples
from .claim import Case, claims_of
from .samples import Float32

claim = claims_of("outliers")

Repair = Callable[[Float32, Float32], OutlierTransform]


def _split(bounds: Float32, _: Float32) -> OutlierTransform:
    # The published threshold of 6 is for larger models; 8 channels stand out here.
    return OutlierSplit(bounds.size, np.argsort(bounds)[-8:])


REPAIRS: Mapping[str, Repair] = {
    "smoothing, alpha 0.5": lambda bounds, w: Smoothing.fit(bounds, w, 0.5),
    "8 channels split off in float": _split,
    "Hadamard rotation": lambda bounds, _: HadamardRotation(bounds.size, bounds.size & -bounds.size, seed=samples.SEED),
    "16 channels duplicated": lambda bounds, _: DuplicateChannels.fit(bounds, 16),
}
"""Repairs from channel bounds of calibration inputs and the weight."""


def _error_db(lhs: Float32, rhs: Float32, transform: OutlierTransform | None, layout: str) -> float:
    """SQNR of the product of int8 operands, after a transform that keeps the real product."""
    exact = lhs.astype(np.float64) @ rhs.astype(np.float64)
    real: npt.NDArray[np.floating] | float = 0.0
    if transform is not None:
        moved = transform.apply(lhs, rhs)
        lhs, rhs = moved.lhs, moved.rhs
        if moved.real_lhs is not None and moved.real_rhs is not None:
            real = moved.real_lhs @ moved.real_rhs
    product = fake_quantize(lhs, "int8", layout, axes="mk") @ fake_quantize(rhs, "int8", "n:1", axes="kn")
    return sqnr_db(exact, product + real)


@claim(
    "N51",
    text='"Outliers in LLM quantization" (heading only), read as: a few channels ruin a scale per tensor',
    data="int8 x int8 per channel, SQNR of the product: per-token over per-tensor scales of the activation; ruined: "
    "more than 3 dB",
)
def outliers_ruin(operands: Mapping[str, tuple[Float32, Float32]] | None = None) -> list[Case]:
    """Loss of a scale per tensor against one per token."""
    given = operands or {name: samples.operands(name) for name in ("ffn_down", "ffn_up", "q")}
    cases = []
    for name, (lhs, rhs) in given.items():
        tensor, token = (_error_db(lhs, rhs, None, layout) for layout in ("1", "m:1"))
        bounds = channel_bounds(lhs)
        factor = float(bounds.max() / np.median(bounds))
        cases.append(
            Case(f"{name}, largest channel {factor:.0f}x the median", token - tensor, "dB lost", token - tensor > 3)
        )
    return cases


@claim(
    "N51",
    text="Transforms that keep the real product repair outliers",
    data="ffn_down, int8 per tensor x per channel, channel bounds from calibration inputs; dB gained",
)
def repairs_help(
    lhs: Float32 | None = None,
    rhs: Float32 | None = None,
    bounds: Float32 | None = None,
    repairs: Mapping[str, Repair] = REPAIRS,
) -> list[Case]:
    """Gain of each repair with one activation scale for the tensor."""
    a, w = samples.operands("ffn_down")
    a, w = a if lhs is None else lhs, w if rhs is None else rhs
    seen = channel_bounds(samples.operands("ffn_down", calibration=True)[0]) if bounds is None else bounds
    before = _error_db(a, w, None, "1")
    cases = []
    for name, repair in repairs.items():
        gain = _error_db(a, w, repair(seen, w), "1") - before
        cases.append(Case(name, gain, f"dB gained, from {before:.1f}", gain > 0.5))
    return cases


PAIRS: Mapping[str, tuple[str, str]] = {
    "smoothing, 8 bits": ("w8a8-smoothquant", "w8a8-dynamic"),
    "outliers in half precision, 8 bits": ("llm-int8", "w8a8-dynamic"),
    "rotation, 4 bits": ("w4a4-quarot", "w4a4-dynamic"),
}
"""A repaired scheme and the one it repairs."""


@claim(
    "N51",
    text="The same repairs help a whole network, whose scales are per token",
    data="MiniLM block on edge-16x16: SQNR of the contractions gained, and energy paid; at least 0.5 dB",
)
def repairs_help_networks(
    pairs: Mapping[str, tuple[str, str]] = PAIRS, totals: Mapping[str, Mapping[str, float]] | None = None
) -> list[Case]:
    """Gain and price of each repair over the scheme without it."""
    cases = []
    for name, both in pairs.items():
        here, there = ((samples.block_totals(one) if totals is None else totals[one]) for one in both)
        gain = here["sqnr_db"] - there["sqnr_db"]
        energy = 100 * (here["energy_pj"] / there["energy_pj"] - 1)
        cases.append(
            Case(name, gain, f"dB gained, from {there['sqnr_db']:.1f}, for {energy:+.0f} % energy", gain >= 0.5)
        )
    return cases
