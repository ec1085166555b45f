"""The what-if ledger: what the difference between two schemes is made of, line by line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hwsim.cost.areas import PARTS as AREA_PARTS
from hwsim.cost.elements import Element
from hwsim.cost.pipelines import Pipeline
from hwsim.cost.pricing import price
from hwsim.plan import Place, Quantize, RescalePartialSums, ScanRange
from hwsim.timing.float_sums import adder_stages

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
            "pipeline registers",
            before["pipeline_pj"],
            after["pipeline_pj"],
            f"cut for {result.accelerator.cycle_ns:.3g} ns: {_cut_units(result)}; instead of {_cut_units(baseline)}",
        ),
        (
            "energy_pj",
            "idle clock",
            before["clock_pj"],
            after["clock_pj"],
            f"array {_busy(result):.0%} busy instead of {_busy(baseline):.0%}, "
            f"{_clocked_bits(result)} register bits an element instead of {_clocked_bits(baseline)}",
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
    hops = [_hop(one) for one in (result, baseline)]
    stays = result.accelerator.array.dataflow == "output_stationary"
    cost = "partial sums in turn, joined in each fold" if stays else "cycles for a sum to pass an element"
    adder = f"; {cost}: {hops[0]} instead of {hops[1]}" if hops[0] != hops[1] else ""
    bounds = Counter(layer.timing.bound for layer in result.layers)
    return [
        ("latency_us", "array", compute[0] * ns, compute[1] * ns, f"same array and folds{adder}{cut}{channel}"),
        (
            "latency_us",
            "stalls",
            stall[0] * ns,
            stall[1] * ns,
            "layers bound by " + ", ".join(f"{bound}: {count}" for bound, count in bounds.most_common()),
        ),
    ]


def _area(result: Result, baseline: Result) -> list[Line]:
    lines: list[Line] = []
    for part in AREA_PARTS:
        for cuts in (False, True):
            mine = [
                [line for line in one.built.built if line.part == part and bool(line.cuts) == cuts]
                for one in (baseline, result)
            ]
            before, after = (float(sum(line.um2 for line in some)) for some in mine)
            reason = "; ".join(f"{line.count} {line.what} ({line.place})" for line in mine[1]) or "nothing built"
            name = part.removesuffix("_um2")
            lines.append(("area_um2", f"{name}: pipeline registers" if cuts else name, before, after, reason))
    return lines


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


def _clocked_bits(result: Result) -> int:
    """Flip-flops of an element, those of its pipeline included."""
    machine, technology = result.accelerator, result.technology
    elements = [Element.of(layer.plan.mac, machine.array) for layer in result.layers]
    cuts = [Pipeline.of(price(technology, one.unit), machine.cycle_ns, technology) for one in elements]
    return max(int(one.register_bits + cut.bits) for one, cut in zip(elements, cuts, strict=True))


def _cut_units(result: Result) -> str:
    """Name units that registers cut, with their stages."""
    machine, technology = result.accelerator, result.technology
    units = dict.fromkeys(line.cuts for line in result.built.built if line.cuts is not None)
    stages = {unit: Pipeline.of(price(technology, unit), machine.cycle_ns, technology).stages for unit in units}
    return ", ".join(f"{unit} into {count}" for unit, count in stages.items()) or "no unit"


def _hop(result: Result) -> int:
    """Cycles from a sum to the next that takes it up."""
    is_float = any(layer.plan.mac.unit == "float" for layer in result.layers)
    machine = result.accelerator
    return int(adder_stages(machine.technology, machine.cycle_ns)) if is_float else 1


def _sram_megabytes(result: Result) -> float:
    bits = sum(traffic.total_bits for layer in result.layers for traffic in layer.timing.buffers.values())
    return float(bits / 8 / MEGABYTE)
