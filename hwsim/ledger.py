"""The what-if ledger: what the difference between two schemes is made of, line by line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hwsim.cost.areas import PARTS as AREA_PARTS
from hwsim.cost.elements import Element
from hwsim.cost.pricing import price
from hwsim.plan import Place, Quantize, RescalePartialSums, ScanRange

if TYPE_CHECKING:
    from hwsim.results import Result

MEGABYTE = 1e6


def ledger_rows(result: Result, baseline: Result) -> list[dict[str, Any]]:
    """Explain a result's difference to a baseline.

    Returns
    -------
    rows
        ``scheme``, ``quantity``, ``component``, ``baseline_value``, ``value``, ``difference`` and ``reason``; the
        differences of one quantity sum to the difference of its total.
    """
    lines = [*_energy(result, baseline), *_latency(result, baseline), *_area(result, baseline)]
    return [
        {
            "scheme": result.scheme.name,
            "quantity": quantity,
            "component": component,
            "baseline_value": before,
            "value": after,
            "difference": after - before,
            "reason": reason,
        }
        for quantity, component, before, after, reason in lines
        if before or after
    ]


Line = tuple[str, str, float, float, str]


def _energy(result: Result, baseline: Result) -> list[Line]:
    before, after = _parts(baseline), _parts(result)
    moved_before, moved_after = _moved(baseline), _moved(result)
    lines: list[Line] = [
        ("energy_pj", "mac", before["mac_pj"], after["mac_pj"], _mac_reason(result, baseline)),
        (
            "energy_pj",
            "idle clock",
            before["clock_pj"],
            after["clock_pj"],
            f"array {_busy(result):.0%} busy instead of {_busy(baseline):.0%}, "
            f"{_register_bits(result)} register bits an element instead of {_register_bits(baseline)}",
        ),
        ("energy_pj", "vector", before["vector_pj"], after["vector_pj"], _vector_reason(result)),
        (
            "energy_pj",
            "sram",
            before["sram_pj"],
            after["sram_pj"],
            f"{_sram_megabytes(result):.1f} MB through the buffers instead of {_sram_megabytes(baseline):.1f} MB",
        ),
    ]
    for tensor in moved_before:
        per_bit = baseline.technology.dram(baseline.accelerator.memories.dram.type).nominal
        bits_before, bits_after = moved_before[tensor], moved_after[tensor]
        lines.append(
            (
                "energy_pj",
                f"dram: {tensor}",
                bits_before * per_bit,
                bits_after * per_bit,
                f"{bits_after / 8 / MEGABYTE:.2f} MB instead of {bits_before / 8 / MEGABYTE:.2f} MB",
            )
        )
    lines.append(
        (
            "energy_pj",
            "leakage",
            before["leakage_pj"],
            after["leakage_pj"],
            f"{result.built.leakage_uw / 1e3:.2f} mW for {result.latency_us:.0f} us instead of "
            f"{baseline.built.leakage_uw / 1e3:.2f} mW for {baseline.latency_us:.0f} us",
        )
    )
    return lines


def _latency(result: Result, baseline: Result) -> list[Line]:
    ns = result.accelerator.cycle_ns * 1e-3
    compute = [sum(layer.timing.compute_cycles for layer in r.layers) for r in (baseline, result)]
    stall = [sum(layer.timing.stall_cycles for layer in r.layers) for r in (baseline, result)]
    segments = max(layer.plan.mac.segments for layer in result.layers)
    cut = f"; sums cut into up to {segments}, each filling and draining the array" if segments > 1 else ""
    extra = any(layer.plan.extra_columns or layer.plan.extra_rows for layer in result.layers)
    channel = "; an extra channel for zero points" if extra else ""
    bounds = Counter(layer.timing.bound for layer in result.layers)
    return [
        ("latency_us", "array", compute[0] * ns, compute[1] * ns, f"same array and folds{cut}{channel}"),
        (
            "latency_us",
            "stalls",
            stall[0] * ns,
            stall[1] * ns,
            "layers bound by " + ", ".join(f"{bound}: {count}" for bound, count in bounds.most_common()),
        ),
    ]


def _area(result: Result, baseline: Result) -> list[Line]:
    before, after = baseline.built.parts(), result.built.parts()
    return [
        ("area_um2", part.removesuffix("_um2"), before[part], after[part], _area_reason(result, part))
        for part in AREA_PARTS
    ]


def _area_reason(result: Result, part: str) -> str:
    entries = [name for (owner, name) in result.built.tree if owner == part]
    return "; ".join(entries) or "nothing built"


def _parts(result: Result) -> dict[str, float]:
    total: Counter[str] = Counter()
    for layer in result.layers:
        for name, value in layer.energy.parts().items():
            total[name] += value
    return dict(total)


def _moved(result: Result) -> dict[str, float]:
    """Bits through DRAM by what they are; they sum to the traffic."""
    moved = {"weights": 0.0, "activations": 0.0, "results": 0.0}
    for layer in result.layers:
        plan, timing = layer.plan, layer.timing
        weights = 0.0
        if plan.layer.rhs_kind == "weight":
            weights = plan.rhs.total_dram_bits * timing.schedule.rhs_fetches
            weights += plan.bias.total_dram_bits if plan.bias else 0
        moved["weights"] += weights
        moved["results"] += timing.dram.write_bits
        moved["activations"] += timing.dram.read_bits - weights
    return moved


def _mac_reason(result: Result, baseline: Result) -> str:
    return f"{_mac_text(result)} instead of {_mac_text(baseline)}"


def _mac_text(result: Result) -> str:
    prices = {
        str(layer.plan.mac.component): price(result.technology, layer.plan.mac.component).energy_pj
        for layer in result.layers
    }
    return ", ".join(f"{name} at {pj:.3g} pJ" for name, pj in prices.items())


def _vector_reason(result: Result) -> str:
    counts: Counter[str] = Counter()
    for layer in result.layers:
        for step in layer.plan.steps:
            for action in step.actions:
                if action.place is not Place.ELEMENT:
                    name = {ScanRange: "scanned", Quantize: "quantized", RescalePartialSums: "partial sums"}.get(
                        type(step), action.component.kind.replace("_", " ")
                    )
                    counts[name] += action.count * layer.timing.repeats[action.per]
    return ", ".join(f"{count / 1e6:.2f} M {name}" for name, count in counts.most_common()) or "none"


def _busy(result: Result) -> float:
    offered = sum(layer.timing.compute_cycles for layer in result.layers) * result.accelerator.elements
    return float(sum(layer.plan.mac.macs for layer in result.layers) / offered)


def _register_bits(result: Result) -> int:
    array = result.accelerator.array
    return max(Element.of(layer.plan.mac, array).register_bits for layer in result.layers)


def _sram_megabytes(result: Result) -> float:
    bits = sum(traffic.total_bits for layer in result.layers for traffic in layer.timing.buffers.values())
    return float(bits / 8 / MEGABYTE)
