"""SRAM by capacity and width, DRAM by type, wires by length."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from .cost import Number, Spread, _plain
from .errors import MissingConstantError, checked_widths
from .laws import Law, Sample, fit
from .nodes import Node
from .stillmaker import Scaling
from .tables import document, rows

# Capacity in KiB and width in 64-bit words; an intercept and a slope in the square root of the capacity, both with a
# part that grows with the width. IHP's macros are single arrays whose bit lines grow with the words: capacity / width.
_ENERGY = ("1", "b", "sqrt(a)", "sqrt(a)*b")
_SINGLE_ARRAY = ("1", "b", "a/b", "a")


@dataclass(frozen=True, slots=True, eq=False)
class SramCost:
    """An SRAM: energy of one access of the whole width, area, leakage and access time.

    Parameters
    ----------
    read_pj, write_pj, low_read_pj, high_read_pj, low_write_pj, high_write_pj : pJ per access
        With the band of the sources.
    area_um2, low_um2, high_um2 : um2
        Of all banks with their periphery.
    leakage_uw, low_leakage_uw, high_leakage_uw : uW
        Of all banks.
    delay_ns : ns or None
        Access time of a bank.
    basis
        Statements of where the numbers come from.
    """

    read_pj: Number
    write_pj: Number
    low_read_pj: Number
    high_read_pj: Number
    low_write_pj: Number
    high_write_pj: Number
    area_um2: Number
    low_um2: Number
    high_um2: Number
    leakage_uw: Number
    low_leakage_uw: Number
    high_leakage_uw: Number
    delay_ns: Number | None
    basis: tuple[str, ...]

    @property
    def source(self) -> str:
        """The statements of `basis` as one line."""
        return "; ".join(self.basis)


@functools.cache
def sram_samples(family: str, quantity: str) -> tuple[Sample, ...]:
    """Return a family's rows as (KiB, 64-bit words) and ``read_pj``, ``write_pj``, ``area_um2`` or ``delay_ns``."""
    column, op, unit = {
        "read_pj": ("energy_pj", "read", 1.0),
        "write_pj": ("energy_pj", "write", 1.0),
        "area_um2": ("area_mm2", "read", 1e6),
        "delay_ns": ("access_ns", "read", 1.0),
    }[quantity]
    found = []
    for row in rows("sram"):
        if row["family"] == family and row["op"] == op and row[column]:
            kib, words = int(row["capacity_bytes"]) / 1024, int(row["width_bits"]) / 64
            label = f"{int(row['capacity_bytes'])} B x {row['width_bits']}"
            found.append(Sample(label, (kib, words), float(row[column]) * unit))
    return tuple(found)


@functools.cache
def sram_law(family: str, quantity: str) -> Law:
    """Return the law of a family of SRAMs over (KiB, 64-bit words).

    Raises
    ------
    MissingConstantError
        If the family has no such rows.
    """
    samples = sram_samples(family, quantity)
    if not samples:
        raise MissingConstantError(f"SRAM family {family!r} has no {quantity}")
    single = family.startswith("ihp")
    form = {"area_um2": ("1", "a", "b") if single else ("1", "a"), "delay_ns": ("1", "sqrt(a)")}.get(
        quantity, _SINGLE_ARRAY if single else _ENERGY
    )
    return fit(form, samples, positive=True)


def sram_cost(node: Node, scaling: Scaling, capacity_bytes: Any, width_bits: Any, banks: Any = 1) -> SramCost:
    """Return the cost of an SRAM; see `Technology.sram`."""
    spec = node.sram
    if spec is None:
        raise MissingConstantError(f"{node.name} has no sram")
    n = checked_widths("banks", banks, 1, 4096)
    total = checked_widths("capacity_bytes", capacity_bytes, 1, 1 << 40)
    if np.any(np.asarray(total) % n):
        raise ValueError(f"capacity_bytes must be whole bytes in each of {banks} banks, not {capacity_bytes}")
    bank = total / n
    _inside("capacity_bytes" if np.all(np.asarray(n) == 1) else "capacity_bytes of a bank", bank, spec.capacity_bytes)
    width = checked_widths("width_bits", width_bits, *spec.width_bits)
    kib, words = bank / 1024, width / 64
    ratio = _point_ratio(node, kib)
    read = sram_law(spec.family, "read_pj")(kib, words) * ratio * scaling.energy
    if spec.points:
        # Published points are reads. A write costs the family's write over read at its largest capacity: at small ones
        # that ratio would carry the published intercept, which holds what the family's law does not have, into writes.
        top = spec.capacity_bytes[1] / 1024
        write = read * (sram_law(spec.family, "write_pj")(top, words) / sram_law(spec.family, "read_pj")(top, words))
    else:
        write = sram_law(spec.family, "write_pj")(kib, words) * scaling.energy
    area = sram_law(spec.family, "area_um2")(kib, words) * n * scaling.area
    low_area = high_area = area
    if spec.area_factor is not None:
        factor = spec.area_factor
        low_area, high_area, area = area * factor.low, area * factor.high, area * factor.nominal
    try:
        delay = sram_law(spec.family, "delay_ns")(kib, words) * spec.delay_factor * scaling.delay
    except (MissingConstantError, TypeError):
        delay = None
    basis = [f"SRAM: law over {spec.family} rows"]
    if spec.points:
        basis.append(f"pinned to {len(spec.points)} points of {spec.points[0].source}")
    if scaling.warning:
        basis.append(scaling.warning)
    routing: Any = 0.0
    if np.any(np.asarray(n) > 1):
        # Half the side of the whole memory, there on address-free data wires.
        wire = _wire_range(node)
        routing = width * wire.nominal * np.sqrt(area) * 1e-3 / 2 * scaling.energy * (np.asarray(n) > 1)
        basis.append("banks: wire of half the memory's side added to each access")
    low, high = spec.band.low * scaling.low, spec.band.high * scaling.high
    read, write = _plain(read + routing), _plain(write + routing)
    leak = spec.leakage_uw_per_byte
    return SramCost(
        read_pj=read,
        write_pj=write,
        low_read_pj=read * low,
        high_read_pj=read * high,
        low_write_pj=write * low,
        high_write_pj=write * high,
        area_um2=area,
        low_um2=low_area,
        high_um2=high_area,
        leakage_uw=total * leak.nominal,
        low_leakage_uw=total * leak.low,
        high_leakage_uw=total * leak.high,
        delay_ns=delay,
        basis=tuple(basis),
    )


def _inside(name: str, value: Any, limits: tuple[int, int]) -> None:
    low, high = np.min(value), np.max(value)
    if low < limits[0] or high > limits[1]:
        raise ValueError(f"{name} must be in {limits[0]}..{limits[1]}, not {low if low < limits[0] else high:g}")


def _point_ratio(node: Node, kib: Any) -> Any:
    """Ratio of the published points to the family's law at their width.

    The points make a chain of lines in the square root of the capacity, an intercept and a slope each; the outer ones
    go on beyond the first and the last point.
    """
    spec = node.sram
    if spec is None or not spec.points:
        return 1.0
    law = sram_law(spec.family, "read_pj")
    words = spec.points[0].width_bits / 64
    pins = sorted((math.sqrt(p.capacity_bytes / 1024), p.read_pj) for p in spec.points)
    if len(pins) == 1:
        return pins[0][1] / float(law(pins[0][0] ** 2, words))
    root = np.sqrt(kib)
    segments = []
    for (x0, y0), (x1, y1) in pairwise(pins):
        segments.append(y0 + (root - x0) * ((y1 - y0) / (x1 - x0)))
    energy: Any = segments[-1]
    for (place, _), segment in zip(reversed(pins[1:-1]), reversed(segments[:-1]), strict=True):
        energy = np.where(root < place, segment, energy)
    return _plain(energy / law(kib, words))


def _wire_range(node: Node) -> Any:
    if node.wire_pj_per_bit_mm is None:
        raise MissingConstantError(f"{node.name} has no wire_pj_per_bit_mm")
    return node.wire_pj_per_bit_mm


def wire_spread(node: Node, scaling: Scaling) -> Spread:
    """Return the energy of an on-chip wire; see `Technology.wire`."""
    wire = _wire_range(node)
    return Spread(
        low=wire.low * scaling.energy * scaling.low,
        nominal=wire.nominal * scaling.energy,
        high=wire.high * scaling.energy * scaling.high,
        unit="pJ/bit/mm",
        boundary="driver, repeaters and wire; one bit moved one millimetre",
        source=wire.source,
        confidence=wire.confidence,
    )


def published_share(name: str) -> Spread:
    """Return a share of power or area that a published chip reports.

    Parameters
    ----------
    name
        ``clock_network`` (of a PE's power, EIE) or ``control_area`` (of the die, TPUv1).

    Raises
    ------
    ValueError
        If no source is known for the share.

    Notes
    -----
    No model applies these: flip-flop clock pins are in the registers, the network that drives them is in nothing.
    """
    return _listed("shares", "share", name)


def dram_types() -> tuple[str, ...]:
    """Return the DRAM types with a sourced energy."""
    return tuple(document("dram"))


def dram(type_name: str) -> Spread:
    """Return the energy per bit of a DRAM type.

    Parameters
    ----------
    type_name
        One of `dram_types`, in any case.

    Returns
    -------
    spread : pJ/bit
        With the boundary (device, I/O, PHY) and source stated.

    Raises
    ------
    ValueError
        If no source is known for the type.

    Examples
    --------
    >>> dram("HBM2").nominal
    5.45
    """
    return _listed("dram", "DRAM type", type_name, type_name.upper())


def _listed(table: str, what: str, asked: str, key: str | None = None) -> Spread:
    known: dict[str, Any] = document(table)
    name = key or asked
    if name not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, not {asked!r}")
    entry = known[name]
    confidence: Literal["high", "medium", "low"] = entry["confidence"]
    return Spread(
        low=entry["low"],
        nominal=entry["nominal"],
        high=entry["high"],
        unit=entry.get("unit", "pJ/bit"),
        boundary=entry["boundary"],
        source=f"{entry['source']} ({entry['year']})",
        confidence=confidence,
    )
