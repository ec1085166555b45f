"""Standard-cell libraries: measured rows of synthesised designs and the laws fitted to them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .errors import MissingConstantError
from .laws import Law, Sample, fit
from .tables import document, rows

Quantity = Literal["area_um2", "energy_pj", "delay_ns"]
Variant = Literal["array", "default"]

# Which features describe a kind of design. An array has (a-1)(b-1) full adders, whose energy falls with its depth.
_ARRAY_MULTIPLIER = {
    "area_um2": ("a*b", "max(a,b)", "min(a,b)"),
    "energy_pj": ("(a-1)*(b-1)", "a*b*log2(min(a,b))"),
    "delay_ns": ("(a+b)", "1"),
}
# The tool's own multipliers compress partial products in a tree of logarithmic depth. Their energy is that of the gates
# that form these, of full adders that add them, and of the glitches that the tree passes on.
_DEFAULT_MULTIPLIER = {
    "area_um2": ("a*b", "(a+b)", "max(a,b)*log2(min(a,b))"),
    "energy_pj": ("a*b", "(a-1)*(b-1)", "max(a,b)*log2(min(a,b))"),
    "delay_ns": ("a*b", "(a+b)", "max(a,b)*log2(min(a,b))"),
}
_FORMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    # The tool's carries run through a prefix tree: log2 levels over all bits.
    "adder": {"area_um2": ("a", "a*log2(a)"), "energy_pj": ("a", "a*log2(a)"), "delay_ns": ("log2(a)",)},
    "register": {"area_um2": ("a",), "energy_pj": ("a",), "delay_ns": ("1",)},
    "enable_register": {"area_um2": ("a",)},
    "comparator": dict.fromkeys(("area_um2", "energy_pj", "delay_ns"), ("a",)),
    "maximum": dict.fromkeys(("area_um2", "energy_pj", "delay_ns"), ("a",)),
    "int_to_float": dict.fromkeys(("area_um2", "energy_pj"), ("a",)) | {"delay_ns": ("1",)},
    "lfsr": {"area_um2": ("a", "1"), "energy_pj": ("a", "1"), "delay_ns": ("1",)},
    "shifter": {"area_um2": ("a*log2(b)",), "energy_pj": ("a*log2(b)",), "delay_ns": ("log2(b)",)},
    "rounding_shift": {"area_um2": ("a*log2(b)",), "energy_pj": ("a*log2(b)",), "delay_ns": ("a",)},
    "float_to_int": dict.fromkeys(("area_um2", "energy_pj", "delay_ns"), ("1",)),
    "shift_multiplier": {"area_um2": ("(a+b)*(1+log2(b+1))",)},
    "ternary_multiplier": {"area_um2": ("a",)},
    "codebook": {"area_um2": ("a*b",), "delay_ns": ("log2(b)",)},
    "codebook_read": {"area_um2": ("a*b",)},
    # Full adders of the products, and adder and register of the sum.
    "mac": {"area_um2": ("(a-1)*(b-1)", "c")},
    # The tool merges the partial sum with the products, each of which it extends to c bits; a + 2b + c flip-flops.
    "pe_ws": {"area_um2": ("min(a,b)*c", "(a+2*b+c)")},
}
_POWER = {
    *((kind, quantity) for kind in ("comparator", "maximum") for quantity in ("area_um2", "energy_pj", "delay_ns")),
    ("int_to_float", "area_um2"),
    ("int_to_float", "energy_pj"),
    ("adder", "delay_ns"),
}
# Activity of the rows that a law is fitted to; kinds not named are at fresh random operands.
_STIMULUS = {"int_to_float": "", "rounding_shift": "accumulator", "lfsr": "free"}
ACTIVITIES = ("uniform", "gaussian", "relu", "held", "zero")


@dataclass(frozen=True, slots=True)
class Row:
    """One synthesised design; energies are per cycle, without and with the estimated wire load."""

    design: str
    kind: str
    widths: tuple[int, ...]
    variant: Variant
    area_um2: float | None
    no_wire_pj: float | None
    energy_pj: float | None
    clock_pj: float | None
    delay_ns: float | None
    stimulus: str


class Library:
    """A standard-cell library: its rows, and laws over widths.

    Parameters
    ----------
    name
        Key of ``libraries.yaml``.
    """

    def __init__(self, name: str) -> None:
        meta = document("libraries").get(name)
        if meta is None:
            raise ValueError(f"library must be one of {', '.join(document('libraries'))}, not {name!r}")
        self.name = name
        self.node_nm: int = meta["node_nm"]
        self.voltage_v: float = meta["voltage_v"]
        self.nand2_um2: float = meta["nand2_um2"]
        self.fo4_ps: float = meta["fo4_ps"]
        self.leakage_uw_per_um2: float | None = meta.get("leakage_uw_per_um2")
        self.title: str = meta["title"]
        self.source: str = meta["source"]
        self.year: int = meta["year"]
        self.confidence: str = meta["confidence"]
        self.area_rows, self.energy_rows = _read(name)
        self._laws: dict[tuple[str, str, str], Law] = {}

    @staticmethod
    @functools.cache
    def load(name: str) -> Library:
        """Return the library of that name, read once."""
        return Library(name)

    def row(self, design: str, stimulus: str | None = None) -> Row:
        """Return the row of a design; with `stimulus` its energy row.

        Raises
        ------
        MissingConstantError
            If the design was not synthesised, or not simulated under that stimulus.
        """
        table = self.area_rows if stimulus is None else self.energy_rows
        for row in table:
            if row.design == design and stimulus in (None, row.stimulus):
                return row
        raise MissingConstantError(f"library {self.name} has no row for {design!r} under {stimulus!r}")

    def samples(self, kind: str, quantity: Quantity, variant: Variant = "default") -> tuple[Sample, ...]:
        """Return the rows a law is fitted to."""
        if quantity == "area_um2":
            found = [r for r in self.area_rows if r.kind == kind and r.variant == variant]
        else:
            wanted = "float" if kind.startswith("float_") else _STIMULUS.get(kind, "uniform")
            found = [
                r for r in self.energy_rows if r.kind == kind and r.variant == variant and wanted in ("", r.stimulus)
            ]
        if not found and quantity == "delay_ns":  # any stimulus has the path
            found = [r for r in self.energy_rows if r.kind == kind and r.variant == variant][:1]
        pairs = [(r, getattr(r, quantity)) for r in found]
        return tuple(Sample(r.design, r.widths, v) for r, v in pairs if v is not None)

    def law(self, kind: str, quantity: Quantity, variant: Variant = "default") -> Law:
        """Return the law of a kind of design, fitted on first use.

        Raises
        ------
        MissingConstantError
            If this library has no rows for it.
        """
        key = (kind, quantity, variant)
        if key not in self._laws:
            samples = self.samples(kind, quantity, variant)
            if kind == "multiplier":
                form = (_ARRAY_MULTIPLIER if variant == "array" else _DEFAULT_MULTIPLIER)[quantity]
            else:
                form = _FORMS.get(kind, {}).get(quantity, ("1",))
            if not samples:
                raise MissingConstantError(f"library {self.name} has no {quantity} of a {kind}")
            self._laws[key] = fit(form, samples, power=(kind, quantity) in _POWER)
        return self._laws[key]

    @functools.cached_property
    def clock_pj_per_bit(self) -> float:
        """Clock-pin energy of one flip-flop in one cycle, in pJ."""
        row = self.row("reg32", "zero")
        return float(row.clock_pj or 0.0) / 32.0

    def mac_samples(self, activity: str = "uniform") -> tuple[Sample, ...]:
        """Return data-dependent energy of the array MACs: total with wire less clock pins."""
        return tuple(
            Sample(r.design, r.widths, r.energy_pj - self.clock_pj_per_bit * r.widths[2])
            for r in self.energy_rows
            if r.kind == "mac" and r.variant == "array" and r.stimulus == activity and r.energy_pj is not None
        )

    @functools.cached_property
    def mac_law(self) -> Law:
        """Data-dependent energy of an array MAC over (a, b, c), in pJ: a product of powers of a*b and c."""
        samples = self.mac_samples()
        if not samples:
            raise MissingConstantError(f"library {self.name} has no energy of a mac")
        return fit(("a*b", "c"), samples, power=True)

    @functools.cache  # noqa: B019 - libraries live as long as the process
    def activity(self, name: str) -> tuple[float, float, float]:
        """Return lowest, mean and highest data-dependent MAC energy under a stimulus, relative to random operands.

        Parameters
        ----------
        name
            ``uniform`` (fresh random), ``gaussian`` (both operands, sigma a quarter of full scale), ``relu`` (gaussian
            weights, half of the activations zero), ``held`` (one operand held 64 cycles) or ``zero`` (one operand 0).
        """
        if name not in ACTIVITIES:
            raise ValueError(f"activity must be one of {', '.join(ACTIVITIES)}, not {name!r}")
        base = {s.design: s.value for s in self.mac_samples()}
        ratios = [s.value / base[s.design] for s in self.mac_samples(name)]
        return min(ratios), float(np.mean(ratios)), max(ratios)

    @functools.cache  # noqa: B019
    def no_wire_share(self, kind: str, variant: Variant = "default") -> float:
        """Return the share of a kind's energy that remains without wire load, over all its rows."""
        found = [r for r in self.energy_rows if r.kind == kind and r.variant == variant]
        total = sum(r.energy_pj or 0.0 for r in found)
        if not total:
            raise MissingConstantError(f"library {self.name} has no energy_pj of a {kind}")
        return sum(r.no_wire_pj or 0.0 for r in found) / total


def _number(text: str) -> float | None:
    return float(text) if text else None


def _variant(text: str) -> Variant:
    return "array" if text == "array" else "default"


def _read(name: str) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    kinds = {r["design"]: (r["kind"], tuple(int(r[c]) for c in "abc" if r[c])) for r in rows("designs")}
    areas = tuple(
        Row(r["design"], *kinds[r["design"]], _variant(r["variant"]), float(r["area_um2"]), None, None, None, None, "")
        for r in rows("synthesis_area")
        if r["library"] == name
    )
    energies = []
    for r in rows("synthesis_energy"):
        if r["library"] == name:
            bare = float(r["energy_pj"])
            total = bare + float(r["wire_pj"])
            energies.append(
                Row(
                    r["design"],
                    *kinds[r["design"]],
                    _variant(r["variant"]),
                    None,
                    bare,
                    total,
                    float(r["clock_pj"]),
                    _number(r["delay_ns"]),
                    r["stimulus"],
                )
            )
    return areas, tuple(energies)
