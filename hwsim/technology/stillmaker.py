"""Node and voltage scaling after Stillmaker and Baas, for use on request.

Energy and delay factors are ratios of polynomials in the supply; area factors are a table. Over a wide span they are
optimistic: from 45 to 7 nm they give 3 to 7 times less energy than published and synthesised numbers show.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from .tables import rows

_SOURCE = "Stillmaker & Baas, Integration 58 (2017) 74-81 (10.1016/j.vlsi.2017.02.002)"
# Optimism of the energy polynomials measured over 45 to 7 nm, and the logarithm of that span.
_OPTIMISM = 7.0
_SPAN = math.log(45 / 7)
# Supplies at which each node is taken when no voltage is given; our choice within the paper's ranges.
NOMINAL_V = {180: 1.8, 130: 1.2, 90: 1.1, 65: 1.1, 45: 1.0, 32: 0.9, 20: 0.9, 16: 0.85, 14: 0.8, 10: 0.75, 7: 0.7}


@dataclass(frozen=True, slots=True)
class Scaling:
    """Factors on energy, area and delay, the widening of the energy band, and what to be told about them."""

    energy: float
    area: float
    delay: float
    low: float
    high: float
    node_nm: int
    voltage_v: float
    warning: str


IDENTITY = Scaling(1.0, 1.0, 1.0, 1.0, 1.0, 0, 0.0, "")


@functools.cache
def _polynomials() -> dict[int, tuple[tuple[float, ...], tuple[float, ...]]]:
    # One flavour throughout: bulk down to 65 nm, high performance below. Mixing flavours adds 1.25 to 1.4 at the seam.
    found = {}
    for row in rows("scaling"):
        if row["flavour"] in ("bulk", "HP"):
            energy = tuple(float(row[k]) for k in ("e2", "e1", "e0"))
            found[int(row["node_nm"])] = (energy, tuple(float(row[k]) for k in ("d3", "d2", "d1", "d0")))
    return found


@functools.cache
def _areas() -> dict[tuple[int, int], float]:
    return {(int(r["from_node_nm"]), int(r["to_node_nm"])): float(r["area_factor"]) for r in rows("scaling_area")}


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    total = 0.0
    for c in coefficients:
        total = total * x + c
    return total


def _lowest_delay_voltage(node_nm: int) -> float:
    """Return the supply above which the delay polynomial turns upward and is not used."""
    d3, d2, d1, _ = _polynomials()[node_nm][1]
    if d3 == 0.0:
        return -d1 / (2.0 * d2)
    root = 4.0 * d2 * d2 - 12.0 * d3 * d1
    if root < 0.0:
        return math.inf
    turns = sorted(((-2.0 * d2 + s * math.sqrt(root)) / (6.0 * d3)) for s in (-1.0, 1.0))
    minima = [t for t in turns if 6.0 * d3 * t + 2.0 * d2 > 0.0]
    return minima[0] if minima else math.inf


def _absolute(node_nm: int, voltage_v: float) -> tuple[float, float]:
    energy, delay = _polynomials()[node_nm]
    clamped = min(voltage_v, _lowest_delay_voltage(node_nm))
    return _polynomial(energy, voltage_v), _polynomial(delay, clamped)


def _neighbours(node_nm: int) -> tuple[int, int, float]:
    known = sorted(_polynomials())
    if node_nm in known:
        return node_nm, node_nm, 0.0
    if not known[0] < node_nm < known[-1]:
        raise ValueError(f"node_nm must be in {known[0]}..{known[-1]}, not {node_nm}")
    low = max(k for k in known if k < node_nm)
    high = min(k for k in known if k > node_nm)
    return low, high, math.log(node_nm / low) / math.log(high / low)


def _nominal(node_nm: int) -> float:
    low, high, share = _neighbours(node_nm)
    return NOMINAL_V[low] + share * (NOMINAL_V[high] - NOMINAL_V[low])


def _node_values(node_nm: int, voltage_v: float | None) -> tuple[float, float, float]:
    """Return energy, delay and area of a node in the paper's units; between nodes logarithmic in the node."""
    low, high, share = _neighbours(node_nm)

    def at(known: int) -> tuple[float, float, float]:
        # Between two nodes each end is taken at its own nominal supply, moved by the same ratio.
        volts = NOMINAL_V[known] if voltage_v is None else voltage_v * NOMINAL_V[known] / _nominal(node_nm)
        if known == node_nm and voltage_v is not None:
            volts = voltage_v
        energy, delay = _absolute(known, volts)
        if energy <= 0.0 or delay <= 0.0:
            raise ValueError(f"voltage_v must be near the nominal {NOMINAL_V[known]} V of {known} nm, not {volts:.3g}")
        return energy, delay, _areas()[45, known]

    ends = zip(at(low), at(high), strict=True)
    energy, delay, area = (math.exp((1 - share) * math.log(a) + share * math.log(b)) for a, b in ends)
    return energy, delay, area


def node_scaling(
    from_nm: int, to_nm: int, *, from_voltage_v: float | None = None, to_voltage_v: float | None = None
) -> Scaling:
    """Return the factors from one node to another.

    Parameters
    ----------
    from_nm, to_nm : 7..180 nm
        Nodes; between the eleven nodes of the paper logarithmic interpolation.
    from_voltage_v, to_voltage_v : V, optional
        Supplies; the nodes' nominal ones if left out.

    Returns
    -------
    scaling
        All factors are exactly 1 where both ends are the same.

    Raises
    ------
    ValueError
        If a node is outside the paper's range, or a supply so far off that a polynomial is not positive.

    Examples
    --------
    >>> node_scaling(45, 45).energy
    1.0
    >>> round(node_scaling(45, 7, from_voltage_v=0.9, to_voltage_v=0.7).energy, 4)
    0.0684
    """
    start, stop = _nominal(from_nm), _nominal(to_nm)
    start = start if from_voltage_v is None else from_voltage_v
    stop = stop if to_voltage_v is None else to_voltage_v
    if (from_nm, start) == (to_nm, stop):
        return Scaling(1.0, 1.0, 1.0, 1.0, 1.0, to_nm, stop, "")
    before, after = _node_values(from_nm, start), _node_values(to_nm, stop)
    energy, delay, area = (b / a for a, b in zip(before, after, strict=True))
    span = math.log(from_nm / to_nm) / _SPAN
    stretch = _OPTIMISM ** abs(span)
    low, high = (1.0, stretch) if span >= 0 else (1.0 / stretch, 1.0)
    warning = (
        f"scaled from {from_nm} nm {start:g} V to {to_nm} nm {stop:g} V after {_SOURCE}; its energy is 3 to 7 x"
        f" optimistic over 45 to 7 nm, so the band is widened {stretch:.2g} x; delay holds near nominal supply only"
    )
    return Scaling(energy, area if from_nm != to_nm else 1.0, delay, low, high, to_nm, stop, warning)
