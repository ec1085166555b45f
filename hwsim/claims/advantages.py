"""The four advantages that the lecture notes begin with: memory, power, latency and chip area."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.technology import Technology
from quant import Scheme

from .claim import Case, claims_of
from .rounding_modes import NODE
from .textbook import gemm_result

claim = claims_of("advantages")

ADVANTAGE = 0.99
"""Ratio below which a scheme has an advantage: anything closer to 1 is within a model's rounding."""


@dataclass(frozen=True)
class Ratios:
    """Figures of a scheme over those of its baseline: below 1 is an advantage.

    Parameters
    ----------
    memory
        Bytes of the stored weight.
    power
        Average power of the chip and its memory while it computes.
    energy
        Of one call.
    latency
        Of one call, on the same array.
    area
        Of the chip.
    """

    memory: float
    power: float
    energy: float
    latency: float
    area: float


def _small_groups() -> Scheme:
    return Scheme.load("w8a8-dynamic").replace(
        name="w8a8 in groups of 2", weight__layout="group:2", weight__scale_format="fp32"
    )


@functools.cache
def points() -> dict[str, Ratios]:
    """Schemes against their baselines, among them those where int8 loses."""
    wanted: dict[str, tuple[tuple[int, int, int], str | Scheme, str]] = {
        "256 x 512 x 512, static int8 against fp32": ((256, 512, 512), "w8a8-static", "fp32"),
        "256 x 512 x 512, static int8 against fp16": ((256, 512, 512), "w8a8-static", "fp16"),
        "256 x 512 x 512, dynamic int8 against fp16": ((256, 512, 512), "w8a8-dynamic", "fp16"),
        "256 x 512 x 512, weight-only int8 against fp16": ((256, 512, 512), "w8a16", "fp16"),
        "1 x 512 x 512, static int8 against fp16": ((1, 512, 512), "w8a8-static", "fp16"),
        "16 x 512 x 512, weight-only int8 against fp16": ((16, 512, 512), "w8a16", "fp16"),
        "256 x 512 x 512, groups of 2 against fp16": ((256, 512, 512), _small_groups(), "fp16"),
        "256 x 512 x 16, zero points on weights against fp16": ((256, 512, 16), "w8a8-asym-weight", "fp16"),
    }
    found = {}
    for name, (sizes, scheme, baseline) in wanted.items():
        here, there = (gemm_result(*sizes, Scheme.load(one)) for one in (scheme, baseline))
        mine, other = here.totals(), there.totals()
        found[name] = Ratios(
            mine["weight_bytes"] / other["weight_bytes"],
            mine["power_mw"] / other["power_mw"],
            mine["energy_pj"] / other["energy_pj"],
            mine["latency_us"] / other["latency_us"],
            mine["area_um2"] / other["area_um2"],
        )
    return found


def _cases(what: str, unit: str, given: Mapping[str, Ratios] | None) -> list[Case]:
    ratios = points() if given is None else given
    return [Case(name, getattr(one, what), unit, getattr(one, what) < ADVANTAGE) for name, one in ratios.items()]


_DATA = "M x K x N on edge-16x16 (45 nm), schemes against their baselines; an advantage: at least 1 %"


@claim("N02", text='"Lower memory usage"', data=_DATA)
def less_memory(ratios: Mapping[str, Ratios] | None = None) -> list[Case]:
    """Bytes of the stored weight, scales included."""
    return _cases("memory", "x the bytes of weights", ratios)


@claim("N02", text='"Lower power consumption": power', data=_DATA + "; average power, DRAM included")
def less_power(ratios: Mapping[str, Ratios] | None = None) -> list[Case]:
    """Average power: energy over latency."""
    return _cases("power", "x the power", ratios)


@claim("N02", text='"Lower power consumption": energy of a call', data=_DATA)
def less_energy(ratios: Mapping[str, Ratios] | None = None) -> list[Case]:
    """Energy of one call."""
    return _cases("energy", "x the energy", ratios)


@claim("N02", text='"Lower latency"', data=_DATA + "; the same array")
def less_latency(ratios: Mapping[str, Ratios] | None = None) -> list[Case]:
    """Time of one call on the same array."""
    return _cases("latency", "x the latency", ratios)


@claim("N02", text='"Smaller chip area"', data=_DATA)
def less_area(ratios: Mapping[str, Ratios] | None = None) -> list[Case]:
    """Area of the chip."""
    return _cases("area", "x the area", ratios)


@claim(
    "C10",
    text='GPUs "can also parallelize int8 operations more efficiently"',
    data="multiply-accumulate units at 45 nm: units of the float format's area that one unit makes room for; more "
    "efficient: above 1",
)
def more_units(areas_um2: Mapping[str, tuple[float, float]] | None = None) -> list[Case]:
    """Divide the area of a float unit by that of an integer one."""
    node = Technology.load(NODE)
    pairs = (
        ("int8", 8, "fp32"),
        ("int8", 8, "fp16"),
        ("int8", 8, "bf16"),
        ("int16", 16, "fp16"),
        ("int16", 16, "bf16"),
    )
    given = areas_um2 or {
        f"{name} against {form}": (
            float(node.integer_mac(bits, bits, 32).area_um2), float(node.float_mac(form).area_um2)
        )
        for name, bits, form in pairs
    }  # fmt: skip
    return [Case(name, there / here, "units in its area", there > here) for name, (here, there) in given.items()]
