"""Ratios of published to synthesised numbers, which carry a synthesised law to a published node."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .cost import Number, _plain
from .errors import MissingConstantError
from .nodes import Node
from .synthesis import Library

Measure = Literal["energy", "area"]
_FLOATS = ("float_add", "float_mul")
# fp8 has no published anchor; it takes the ratio of the published format that is nearest in width.
_NEAREST_FORMATS = {"bf16": ("fp16", "fp32"), "fp8_e4m3": ("fp16",), "fp16": ("bf16", "fp32"), "fp32": ("fp16",)}


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A ratio of published to synthesised and the range of the ratios it was taken from, relative to it."""

    value: Number
    low: float
    high: float
    basis: str


@dataclass(frozen=True, slots=True)
class Pin:
    """One anchor: its size, the published value, the synthesised value, their ratio."""

    label: str
    size: float
    published: float
    synthesised: float

    @property
    def ratio(self) -> float:
        """Published over synthesised."""
        return self.published / self.synthesised


class Calibration:
    """The ratios of one node.

    Parameters
    ----------
    node, library
        The node, and the library whose laws it scales.
    """

    def __init__(self, node: Node, library: Library) -> None:
        self.node = node
        self.library = library
        self._pins: dict[tuple[str, str], tuple[Pin, ...]] = {}

    def pins(self, kind: str, measure: Measure) -> tuple[Pin, ...]:
        """Return the published anchors of a kind beside the synthesised values."""
        key = (kind, measure)
        if key not in self._pins:
            quantity: Any = "energy_pj" if measure == "energy" else "area_um2"
            found = []
            for anchor in self.node.anchors:
                published = getattr(anchor, quantity)
                if anchor.kind != kind or published is None:
                    continue
                if kind in _FLOATS:
                    law = self.library.law(f"{kind}:{_row_format(str(anchor.format))}", quantity)
                    found.append(Pin(str(anchor.format), 1.0, published, float(law())))
                    continue
                widths = tuple(w for w in (anchor.a_bits, anchor.b_bits) if w is not None)
                law = self.library.law(kind, quantity, "array" if kind == "multiplier" else "default")
                label = "x".join(str(w) for w in widths)
                found.append(Pin(label, float(math.prod(widths)), published, float(law(*widths))))
            self._pins[key] = tuple(sorted(found, key=lambda p: p.size))
        return self._pins[key]

    def factor(self, kind: str, measure: Measure, *, size: Number = 1.0, fmt: str = "") -> Factor:
        """Return the ratio for a kind at a size (product of widths) or for a float format.

        Between anchors the logarithm of the ratio is linear in the logarithm of the size, so that every anchor is
        returned exactly; beyond the outermost anchor the ratio stays.

        Raises
        ------
        MissingConstantError
            If the node has neither an anchor nor a stated stand-in.
        """
        if self.node.synthesised:
            return Factor(1.0, 1.0, 1.0, "")
        pins = self.pins(kind, measure)
        if kind in _FLOATS and pins:
            return self._float_factor(kind, measure, fmt)
        if pins:
            if len(pins) == 1:
                value: Any = pins[0].ratio
            else:
                sizes = np.log([p.size for p in pins])
                ratios = np.log([p.ratio for p in pins])
                value = _plain(np.exp(np.interp(np.log(size), sizes, ratios)))
            return Factor(value, 1.0, 1.0, f"{kind} {measure} x published/synthesised at {_labels(pins)}")
        return self._borrowed(kind, measure)

    @functools.cache  # noqa: B019 - one calibration a technology, few kinds
    def _float_factor(self, kind: str, measure: Measure, fmt: str) -> Factor:
        pins = {p.label: p for p in self.pins(kind, measure)}
        if fmt in pins:
            return Factor(pins[fmt].ratio, 1.0, 1.0, f"{kind} {fmt} {measure} as published")
        near = [pins[f].ratio for f in _NEAREST_FORMATS[fmt] if f in pins]
        if not near:
            raise MissingConstantError(f"{self.node.name} has no {measure} of {kind} near {fmt}")
        middle = math.exp(sum(map(math.log, near)) / len(near))
        basis = f"{kind} {fmt} {measure} x mean ratio of {', '.join(f for f in _NEAREST_FORMATS[fmt] if f in pins)}"
        return Factor(middle, min(near) / middle, max(near) / middle, basis)

    @functools.cache  # noqa: B019
    def _borrowed(self, kind: str, measure: Measure) -> Factor:
        entry = self.node.borrow.get(kind)  # type: ignore[call-overload]
        lenders = getattr(entry, measure) if entry else None
        if not lenders:
            raise MissingConstantError(
                f"{self.node.name} has no {measure} of a {kind}: neither an anchor nor a kind to borrow a ratio from"
            )
        ratios: list[float] = []
        for lender in lenders:
            found = [1.0] if lender == "library" else [p.ratio for p in self.pins(lender, measure)]
            if not found:
                raise MissingConstantError(
                    f"{self.node.name} borrows {measure} of {kind} from {lender}, which has none"
                )
            # Each lending kind weighs the same, however many anchors it has.
            ratios.append(math.exp(sum(map(math.log, found)) / len(found)))
        every = [p.ratio for k in lenders if k != "library" for p in self.pins(k, measure)] or [1.0]
        middle = math.exp(sum(map(math.log, ratios)) / len(ratios))
        low, high = min(*every, middle) / middle, max(*every, middle) / middle
        return Factor(middle, low, high, f"{kind} {measure} x ratio {middle:.3g} of {', '.join(lenders)}")


# No published number at a node of 2 to 250 nm is so far from a synthesised one; a wrong prefix is 1000 times off.
_FARTHEST = 100.0


def require_units(node: Node, where: str) -> None:
    """Check that a user's anchors are of the size of the library's own numbers, which a wrong unit is not.

    Raises
    ------
    ValueError
        If one is more than 100 times larger or smaller, or the library has nothing to compare it with.
    """
    try:
        library = Library.load(node.library)
        calibration = Calibration(node, library)
        for i, anchor in enumerate(node.anchors):
            units: tuple[tuple[Measure, str], ...] = (("energy", "energy_pj"), ("area", "area_um2"))
            for measure, field in units:
                published = getattr(anchor, field)
                for pin in calibration.pins(anchor.kind, measure):
                    if published == pin.published and not 1 / _FARTHEST <= pin.ratio <= _FARTHEST:
                        raise ValueError(
                            f"anchors.{i}.{field} must be within {_FARTHEST:g} times of the {pin.synthesised:.3g} of "
                            f"{node.library}, not {published:g}; its unit may be another"
                        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _labels(pins: tuple[Pin, ...]) -> str:
    return ", ".join(p.label for p in pins)


def _row_format(fmt: str) -> str:
    return {"fp8_e4m3": "fp8e4m3"}.get(fmt, fmt)
