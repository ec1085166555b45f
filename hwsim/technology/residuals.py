"""Tables of how the laws meet their rows: ``python -m hwsim.technology.residuals [TABLE]``.

Tables: ``laws``, ``failed``, ``composed``, ``activities``, ``toggles``, ``calibration``, ``sram``, ``peers``,
``silicon``. Without a name all of them. ``docs/technology.md`` holds their output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from . import toggles
from .cost import Cost
from .laws import Law
from .memory import sram_law, sram_samples
from .nodes import technology_names
from .synthesis import ACTIVITIES, Library, Quantity, Variant
from .technology import Technology

LIBRARIES = ("nangate45", "asap7", "sky130hd", "sg13g2", "osu018")
SIMULATED = LIBRARIES[:3]
# The laws that claim to meet every row within LIMIT when fitted without it: kind, variant, quantities.
CLAIMS: tuple[tuple[str, Variant, tuple[Quantity, ...]], ...] = (
    ("multiplier", "array", ("area_um2", "energy_pj", "delay_ns")),
    ("multiplier", "default", ("area_um2", "energy_pj")),
    ("adder", "default", ("area_um2", "energy_pj", "delay_ns")),
    ("register", "default", ("area_um2", "energy_pj")),
    ("mac", "default", ("area_um2",)),
    ("pe_ws", "default", ("area_um2",)),
    ("lfsr", "default", ("area_um2", "energy_pj")),
    ("codebook", "default", ("area_um2",)),
)
LIMIT = 0.10
Table = tuple[Sequence[str], Iterable[Sequence[str]]]


def claimed_laws() -> Iterator[tuple[str, str, Law]]:
    """Yield library, label and law of everything in `CLAIMS`, and the energy of array MACs."""
    for name in LIBRARIES:
        library = Library.load(name)
        for kind, variant, quantities in CLAIMS:
            for quantity in quantities:
                if library.samples(kind, quantity, variant):
                    yield name, f"{kind} ({variant}) {quantity}", library.law(kind, quantity, variant)
        if name in SIMULATED:
            yield name, "mac (array) energy_pj less clock", library.mac_law


def _percent(value: float | None) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0: an exact fit reads the same on every machine.
    return "-" if value is None else f"{round(100 * value, 1) + 0.0:+.1f} %"


def laws() -> Table:
    """Every claimed law with its largest residuals."""
    found = []
    for name, label, law in claimed_laws():
        rows = law.residuals()
        out = [abs(r.left_out) for r in rows if r.left_out is not None]
        missed = sum(o > LIMIT for o in out)
        worst = f"{100 * max(abs(r.error) for r in rows):.1f} %"
        left = f"{100 * max(out):.1f} %" if out else "-"
        found.append((name, label, f"`{law.text}`", str(len(rows)), worst, left, str(missed)))
    return ("library", "law", "formula", "rows", "largest error", "largest left out", "rows missed"), found


def failed() -> Table:
    """Rows that a claimed law misses by more than `LIMIT` when fitted without them."""
    found = [
        (name, label, r.design, f"{r.measured:.4g}", _percent(r.error), _percent(r.left_out))
        for name, label, law in claimed_laws()
        for r in law.residuals()
        if r.left_out is not None and abs(r.left_out) > LIMIT
    ]
    return ("library", "law", "row", "measured", "fitted", "fitted without it"), found


# Synthesised composites as parts: a kind and its widths, times a count.
Parts = tuple[tuple[str, tuple[float, ...], float], ...]
_RECIPES: Mapping[str, Callable[..., Parts]] = {
    "mac": lambda a, b, c: (("multiplier", (a, b), 1), ("adder", (c,), 1), ("register", (c,), 1)),
    "pe_ws": lambda a, b, c: (
        ("multiplier", (a, b), 1),
        ("adder", (c,), 1),
        ("register", (a + 2 * b + c,), 1),
    ),
    "requantizer": lambda c, m: (("multiplier", (c, m), 1), ("rounding_shift", (c + m, c + m), 1)),
    "requantizer_double": lambda c, m: (
        ("multiplier", (c, m), 1),
        ("adder", (c + m,), 1),
        ("rounding_shift", (c, c), 1),
    ),
    "quantizer": lambda *_: (("float_mul:fp32", (), 1), ("float_to_int", (), 1)),
    "dequantizer": lambda *_: (("int_to_float", (32,), 1), ("float_mul:fp32", (), 1)),
    "float_mac:fp32": lambda: (("float_mul:fp32", (), 1), ("float_add:fp32", (), 1), ("register", (32,), 1)),
    "float_mac:bf16_fp32": lambda: (("float_mul:bf16", (), 1), ("float_add:fp32", (), 1), ("register", (32,), 1)),
    "absmax": lambda a: (("adder", (a,), 0.5), ("maximum", (a,), 1), ("register", (a,), 1)),
    "shift_mac": lambda a, s, c: (("shift_multiplier", (a, s), 1), ("adder", (c,), 1), ("register", (c,), 1)),
    "ternary_mac": lambda a, c: (("ternary_multiplier", (a,), 1), ("adder", (c,), 1), ("register", (c,), 1)),
}
# Composites whose energy is not compared: sequential ones, whose accumulators do not move at full activity.
_AREA_ONLY = {"mac", "pe_ws", "absmax", "shift_mac", "ternary_mac"}


def _sum(library: Library, quantity: Quantity, parts: Parts, variant: Variant) -> float:
    total = 0.0
    for kind, widths, count in parts:
        how: Variant = variant if kind == "multiplier" else "default"
        total += count * float(library.law(kind, quantity, how)(*widths))
    return total


def composed() -> Table:
    """Synthesised composites against the sum of our parts, in the same arithmetic variant."""
    found = []
    for name in SIMULATED:
        library = Library.load(name)
        for row in library.area_rows:
            if row.kind not in _RECIPES or row.area_um2 is None:
                continue
            parts = _RECIPES[row.kind](*row.widths)
            area = _sum(library, "area_um2", parts, row.variant)
            cells = [name, row.design, f"{row.area_um2:.4g}", f"{area:.4g}", _percent(area / row.area_um2 - 1)]
            stimuli = {r.stimulus: r.energy_pj for r in library.energy_rows if r.design == row.design}
            measured = stimuli.get("uniform") or stimuli.get("float") or stimuli.get("accumulator")
            energy: float | None = None
            if row.variant == "array":
                energy = float(library.mac_law(*row.widths)) + library.clock_pj_per_bit * row.widths[2]
            elif row.kind not in _AREA_ONLY:
                energy = _sum(library, "energy_pj", parts, row.variant)
            if energy is None or measured is None:
                cells += ["-", "-", "-"]
            else:
                cells += [f"{measured:.4g}", f"{energy:.4g}", _percent(energy / measured - 1)]
            found.append(cells)
    return ("library", "row", "um2", "parts um2", "error", "pJ", "parts pJ", "error"), found


def calibration() -> Table:
    """Ratios of published to synthesised at every anchor."""
    found = []
    for name in technology_names():
        node = Technology.load(name)
        for kind in dict.fromkeys(a.kind for a in node.node.anchors):
            for pin in node.calibration.pins(kind, "energy"):
                unit = ("pJ", f"{pin.published:g}", f"{pin.synthesised:.4g}", f"{pin.ratio:.3f}")
                found.append((name, kind, pin.label, *unit))
            for pin in node.calibration.pins(kind, "area"):
                unit = ("um2", f"{pin.published:g}", f"{pin.synthesised:.4g}", f"{pin.ratio:.3f}")
                found.append((name, kind, pin.label, *unit))
    return ("technology", "kind", "at", "unit", "published", "synthesised", "ratio"), found


def sram() -> Table:
    """SRAM laws with their residuals over the rows of each family."""
    found = []
    for family in ("cacti7-65nm", "cacti7-45nm", "cacti7-32nm", "cacti7-22nm", "ihp-sg13g2-1p"):
        for quantity in ("read_pj", "write_pj", "area_um2", "delay_ns"):
            if not sram_samples(family, quantity):
                continue
            law = sram_law(family, quantity)
            errors = [r.error for r in law.residuals()]
            root = (sum(e * e for e in errors) / len(errors)) ** 0.5
            span = f"{_percent(min(errors))} to {_percent(max(errors))}"
            found.append((family, quantity, f"`{law.text}`", str(len(errors)), f"{100 * root:.0f} %", span))
    return ("family", "quantity", "law (a KiB, b 64-bit words)", "rows", "rms", "range"), found


def activities() -> Table:
    """Data-dependent energy of the array MACs by stimulus, relative to fresh random operands."""
    found = [
        (name, activity, *(f"{v:.3f}" for v in Library.load(name).activity(activity)))
        for name in SIMULATED
        for activity in ACTIVITIES
    ]
    return ("library", "stimulus", "lowest", "mean", "highest"), found


def toggle_law() -> Table:
    """Energy of the array MACs from the toggles of product and sum, against the simulations."""
    found = []
    for name in SIMULATED:
        rows = toggles.residuals(name)
        for activity in ACTIVITIES:
            mine = [(measured, law) for _, stimulus, measured, law in rows if stimulus == activity]
            errors = [law - measured for measured, law in mine]
            middle = [f"{sum(values) / len(mine):.3f}" for values in zip(*mine, strict=True)]
            span = f"{min(errors):+.2f} to {max(errors):+.2f}"
            found.append((name, activity, *middle, span))
    return ("library", "stimulus", "simulated", "law", "error"), found


def peers() -> Table:
    """Our int8 MAC, register and SRAM beside what QKeras, Aladdin and CACTI through hwcomponents give."""
    horowitz, nangate = Technology.load("45nm-horowitz"), Technology.load("45nm-nangate")
    seven = Technology.load("7nm-tpuv4i")

    def pj(cost: Cost) -> str:
        return f"{cost.energy_pj:.3g} ({cost.low_pj:.3g} to {cost.high_pj:.3g})"

    def um2(cost: Cost) -> str:
        return f"{cost.area_um2:.3g}"

    def read(node: Technology, kib: int) -> str:
        cell = node.sram(kib * 1024, 64)
        return f"{cell.read_pj:.3g} ({cell.low_read_pj:.3g} to {cell.high_read_pj:.3g})"

    def of(model: Callable[[Technology], Any]) -> tuple[Any, Any, Any]:
        return model(horowitz), model(nangate), model(seven)

    qkeras_multiply, qkeras_add = 0.002994791667 * 64 + 0.001041666667 * 8, 0.003125 * 32
    found = [
        ("int8 multiply, pJ", *of(lambda t: pj(t.multiplier(8, 8))), f"QKeras 45 nm {qkeras_multiply:.3g}"),
        ("4-bit multiply, pJ", *of(lambda t: pj(t.multiplier(4, 4))), "QKeras 45 nm 0.0521"),
        ("16-bit multiply, pJ", *of(lambda t: pj(t.multiplier(16, 16))), "QKeras 45 nm 0.783"),
        ("32-bit add, pJ", *of(lambda t: pj(t.adder(32))), f"QKeras 45 nm {qkeras_add:.3g}; Aladdin 40 nm 0.21"),
        ("int8 multiply + 32-bit add, pJ", *of(lambda t: pj(t.multiplier(8, 8) + t.adder(32))), "QKeras 45 nm 0.3"),
        (
            "int8 MAC with register, pJ",
            *of(lambda t: pj(t.integer_mac(8, 8, 32))),
            "AccelForge 7 nm 0.084 (mul + 2 add)",
        ),
        ("same, 4-bit weights, pJ", *of(lambda t: pj(t.integer_mac(8, 4, 32))), "AccelForge 7 nm 0.084: unchanged"),
        ("int8 MAC with register, um2", *of(lambda t: um2(t.integer_mac(8, 8, 32))), "upcycle 28 nm 337"),
        ("register bit, fJ", *of(lambda t: f"{1e3 * t.register(1).energy_pj:.3g}"), "Aladdin 40 nm 9"),
        ("register bit, um2", *of(lambda t: um2(t.register(1))), "Aladdin 40 nm 5.98"),
        ("32-bit shifter, pJ", *of(lambda t: pj(t.shifter(32, 32))), "Aladdin 40 nm 0.417"),
        ("32-bit comparator, pJ", *of(lambda t: pj(t.comparator(32))), "Aladdin 40 nm 0.0295"),
        ("SRAM 64 KiB x 64 read, pJ", *of(lambda t: read(t, 64)), "hwcomponents CACTI 45 nm 25.9, 7 nm 3.2"),
        ("SRAM 256 KiB x 64 read, pJ", *of(lambda t: read(t, 256)), "hwcomponents CACTI 45 nm 44.7, 7 nm 6.69"),
        (
            "SRAM 64 KiB x 64, mm2",
            *of(lambda t: f"{1e-6 * t.sram(65536, 64).area_um2:.3g}"),
            "hwcomponents CACTI 45 nm 0.209, 7 nm 0.0187",
        ),
        (
            "SRAM 64 KiB leakage, uW",
            *of(lambda t: f"{t.sram(65536, 64).leakage_uw:.3g}"),
            "hwcomponents CACTI 45 nm 1.7, 7 nm 4.4; CACTI itrs-hp 45 nm 73846",
        ),
    ]
    return ("", "45nm-horowitz", "45nm-nangate", "7nm-tpuv4i", "others"), found


def silicon() -> Table:
    """Components beside what published chips report for the same thing; what each side leaves out differs."""
    base = Technology.load("45nm-horowitz")
    synthesised = Technology.load("45nm-nangate")
    seven, scaled = Technology.load("7nm-tpuv4i"), base.scaled_to(28, 0.9)
    sixteen = base.scaled_to(16)
    eie = base.codebook(16, 16).then(base.integer_mac(16, 16, 32))
    weights = base.sram(131072, 64)
    systolic, netlist = scaled.processing_element(8, 8, 32, "weight_stationary"), synthesised.scaled_to(28, 0.9)
    tpu_pj = 12.0 / (65536 * 700e6) * 1e12  # busy less idle power over peak multiply-accumulates
    tpu_um2 = 0.30 * 331e6 / 65536

    def row(what: str, cost: float, low: float, high: float, reported: float, where: str) -> tuple[str, ...]:
        ours = f"{cost:.3g} ({low:.3g} to {high:.3g})"
        return what, ours, f"{reported:.3g}", f"{cost / reported:.2f}", where

    def energy(what: str, cost: Cost, reported: float, where: str) -> tuple[str, ...]:
        return row(f"{what}, pJ", cost.energy_pj, cost.low_pj, cost.high_pj, reported, where)

    def area(what: str, cost: Cost, reported: float, where: str) -> tuple[str, ...]:
        return row(f"{what}, um2", cost.area_um2, cost.low_um2, cost.high_um2, reported, where)

    found = [
        area("EIE arithmetic: 16-entry codebook + 16-bit MAC", eie, 3110, "Han 2016, 45 nm"),
        energy("same, reported per cycle at 800 MHz", eie, 1.4525, "Han 2016, 45 nm"),
        row(
            "EIE weight SRAM 128 KiB, um2",
            weights.area_um2,
            weights.low_um2,
            weights.high_um2,
            469412,
            "Han 2016, 45 nm",
        ),
        energy("TPUv1 MAC: busy less idle power over peak rate", systolic, tpu_pj, "Jouppi 2017, 28 nm (scaled)"),
        area("TPUv1 element: 30 % of 331 mm2 over 65536", systolic, tpu_um2, "Jouppi 2017, 28 nm (scaled)"),
        area("upcycle int8 MAC", netlist.integer_mac(8, 8, 32), 336.672, "5d33c89, 28 nm (Nangate45 scaled)"),
        energy("same", netlist.integer_mac(8, 8, 32), 0.283, "5d33c89, 28 nm (Nangate45 scaled)"),
        area("TPUv4i MXU per MAC", seven.float_mac("bf16"), 850, "read off Jouppi 2021, Fig. 6, 7 nm"),
        energy("Simba, best 0.11 pJ/op, 2 op", sixteen.integer_mac(8, 8, 24), 0.22, "Shao 2019, 16 nm (scaled)"),
    ]
    return ("what", "ours", "reported", "ratio", "source"), found


TABLES: dict[str, Callable[[], Table]] = {
    "laws": laws,
    "failed": failed,
    "composed": composed,
    "activities": activities,
    "toggles": toggle_law,
    "calibration": calibration,
    "sram": sram,
    "peers": peers,
    "silicon": silicon,
}


def markdown(name: str) -> str:
    """Return a table as Markdown.

    Raises
    ------
    ValueError
        If there is no table of that name.
    """
    if name not in TABLES:
        raise ValueError(f"table must be one of {', '.join(TABLES)}, not {name!r}")
    head, body = TABLES[name]()
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cells) + " |" for cells in body]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Write the named tables, or all of them, to standard output."""
    for name in arguments or TABLES:
        sys.stdout.write(f"## {name}\n\n{markdown(name)}\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
