"""The list of constants behind a node, each with its source."""

from __future__ import annotations

from typing import Any

from .nodes import Node, Range, Sourced
from .synthesis import Library
from .tables import document, rows


def _entry(node: Node, name: str, value: float, unit: str, where: Sourced, **other: Any) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "node_nm": node.node_nm,
        "voltage_v": node.voltage_v,
        "source": where.source,
        "year": where.year,
        "confidence": where.confidence,
        "note": where.note,
    } | other


def _range(node: Node, name: str, unit: str, value: Range) -> list[dict[str, Any]]:
    return [_entry(node, f"{name}, {end}", getattr(value, end), unit, value) for end in ("low", "nominal", "high")]


def _published(node: Node) -> list[dict[str, Any]]:
    found = []
    for anchor in node.anchors:
        widths = "x".join(str(w) for w in (anchor.a_bits, anchor.b_bits) if w is not None)
        label = f"{anchor.kind} {anchor.format or widths}"
        if anchor.energy_pj is not None:
            found.append(_entry(node, f"{label} energy", anchor.energy_pj, "pJ", anchor))
        if anchor.area_um2 is not None:
            found.append(_entry(node, f"{label} area", anchor.area_um2, "um2", anchor))
    return found


def _measured(library: Library) -> list[dict[str, Any]]:
    common = {
        "node_nm": library.node_nm,
        "voltage_v": library.voltage_v,
        "source": library.source,
        "year": library.year,
        "confidence": library.confidence,
    }
    found = [
        {"name": f"{r.design} ({r.variant}) area", "value": r.area_um2, "unit": "um2", **common, "note": ""}
        for r in library.area_rows
    ]
    found += [
        {
            "name": f"{r.design} ({r.variant}) energy, {r.stimulus}",
            "value": r.energy_pj,
            "unit": "pJ/cycle",
            **common,
            "note": f"{r.no_wire_pj:g} pJ without wire load",
        }
        for r in library.energy_rows
    ]
    found.append({"name": "NAND2 area", "value": library.nand2_um2, "unit": "um2", **common, "note": "1 GE"})
    found.append({"name": "FO4 delay", "value": library.fo4_ps, "unit": "ps", **common, "note": "no wire"})
    return found


def _memories(node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if node.sram is not None:
        found += [
            _entry(node, f"SRAM {_capacity(p.capacity_bytes)} x {p.width_bits} read", p.read_pj, "pJ", p)
            for p in node.sram.points
        ]
        if node.sram.area_factor is not None:
            found += _range(node, f"SRAM area over {node.sram.family}", "", node.sram.area_factor)
        found += _range(node, "SRAM leakage", "uW/byte", node.sram.leakage_uw_per_byte)
        family = document("sram_families")[node.sram.family]
        for row in rows("sram"):
            if row["family"] == node.sram.family:
                capacity = _capacity(int(row["capacity_bytes"]))
                name = f"{row['family']} {capacity} x {row['width_bits']} {row['op']}"
                where = {"node_nm": int(float(row["node_nm"])), "voltage_v": float(row["voltage_v"])}
                found.append({"name": name, "value": float(row["energy_pj"]), "unit": "pJ", **where, **family})
    return found


def _capacity(size: int) -> str:
    for unit, least in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= least:
            return f"{size / least:g} {unit}"
    return f"{size} B"


def _listed(table: str, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind, entry in document(table).items():
        where = {key: entry[key] for key in ("source", "year", "confidence")}
        about = {"unit": entry.get("unit", "pJ/bit"), "node_nm": None, "voltage_v": None, **where}
        found += [
            {"name": f"{kind} {what}, {end}", "value": entry[end], **about, "note": entry["boundary"]}
            for end in ("low", "nominal", "high")
        ]
    return found


def entries(node: Node, library: Library) -> list[dict[str, Any]]:
    """Return the constants of a node: published first, then wires, leakage, memories, then synthesised rows."""
    found = _published(node)
    if node.wire_pj_per_bit_mm is not None:
        found += _range(node, "wire energy", "pJ/bit/mm", node.wire_pj_per_bit_mm)
    if node.leakage_uw_per_um2 is not None:
        found += _range(node, "logic leakage", "uW/um2", node.leakage_uw_per_um2)
    return found + _memories(node) + _listed("dram", "energy") + _listed("shares", "share") + _measured(library)
