"""Sample frames in the shape that comparisons have. Sample numbers: made up, consistent, measured by nobody."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

NAN = math.nan
WITNESS = "k=0 and k=384 carry scales 0.031 and 0.12: sums 1*1 and 1*1 agree as integers, differ as reals"

ENERGY_PARTS = ["mac_pj", "sram_pj", "dram_pj", "vector_pj", "leakage_pj"]
AREA_PARTS = ["array_um2", "vector_um2", "sram_um2"]
LAYER_NAMES = ["query", "key", "value", "scores", "context", "output", "ffn-up", "ffn-down"]
MACS = 226_492_416
_SHARES = (0.08, 0.08, 0.08, 0.06, 0.06, 0.08, 0.28, 0.28)


def metadata() -> dict[str, Any]:
    return {
        "title": "Quantization schemes side by side",
        "workload": "minilm-block (sample numbers)",
        "workload_source": "all-MiniLM-L6-v2, block 0, Apache-2.0",
        "accelerator": "edge-16x16",
        "technology": "cmos-45nm",
        "baseline": "fp32",
        "assumptions": ["Softmax, LayerNorm and GELU are counted on the vector unit.", "Batch of 32 tokens."],
        "sources": ["M. Horowitz, Computing's energy problem, ISSCC 2014"],
        "energy_parts": ENERGY_PARTS,
        "area_parts": AREA_PARTS,
    }


def schemes() -> pd.DataFrame:
    """One row a scheme; sums and ratios follow from the parts in sample.csv."""
    raw = pd.read_csv(Path(__file__).with_name("sample.csv"))
    frame = raw[["scheme", "verdict", "repair_of", "note", "sqnr_db", "block_sqnr_db", "total_cycles"]].copy()
    frame["note"] = frame["note"].fillna("")
    frame["latency_us"] = frame["total_cycles"] / 1000.0
    for part in ENERGY_PARTS:
        frame[part] = raw[part.replace("_pj", "_uj")] * 1e6
    for part in AREA_PARTS:
        frame[part] = raw[part.replace("_um2", "_mm2")] * 1e6
    frame["energy_pj"] = frame[ENERGY_PARTS].sum(axis=1, skipna=False)
    frame["area_um2"] = frame[AREA_PARTS].sum(axis=1, skipna=False)
    frame["power_mw"] = frame["energy_pj"] / frame["latency_us"] / 1e3
    frame["macs"] = MACS
    frame["tops_per_w"] = 2 * MACS / frame["energy_pj"]
    frame["energy_delay_pj_s"] = frame["energy_pj"] * frame["latency_us"] * 1e-6
    frame["weight_bytes"], frame["traffic_bytes"] = raw["weight_kib"] * 1024, raw["traffic_kib"] * 1024
    side = raw["side"]
    frame["equal_area_array"] = [None if math.isnan(value) else f"{int(value)}x{int(value)}" for value in side]
    frame["equal_area_latency_us"] = frame["latency_us"] * (16 / side) ** 1.7
    frame["equal_area_energy_pj"] = frame["energy_pj"] * 0.97
    frame["equal_area_area_um2"] = side * 0 + frame["area_um2"].iloc[0]
    frame["equal_area_tops_per_w"] = frame["tops_per_w"] / 0.97
    for column in (
        "latency_us",
        "energy_pj",
        "area_um2",
        "power_mw",
        "energy_delay_pj_s",
        "weight_bytes",
        "traffic_bytes",
        "equal_area_latency_us",
        "equal_area_energy_pj",
    ):
        stem = column.removesuffix("_s").rsplit("_", 1)[0]
        frame[f"{stem}_ratio"] = frame[column] / frame[column].iloc[0]
    return frame


def layers() -> pd.DataFrame:
    records = []
    for row in schemes().to_dict("records"):
        for index, (layer, share) in enumerate(zip(LAYER_NAMES, _SHARES, strict=True)):
            cycles = float(row["total_cycles"]) * share
            records.append(
                {
                    "scheme": row["scheme"],
                    "layer": layer,
                    "verdict": row["verdict"],
                    "partial_sums": 3 if row["verdict"] == "segmented" else 1,
                    "sqnr_db": float(row["sqnr_db"]) + (4.0, 3.5, 1.0, 6.0, 5.0, 2.0, -1.0, -4.0)[index],
                    "total_cycles": cycles,
                    "compute_cycles": cycles * 0.8,
                    "stall_cycles": cycles * 0.2,
                    "utilization": 0.6 + 0.04 * index if cycles > 0 else NAN,
                    "bound": "memory" if index in {3, 4} else "compute",
                    "energy_pj": float(row["energy_pj"]) * share,
                    **{part: float(row[part]) * share for part in ENERGY_PARTS},
                    "traffic_bytes": float(row["traffic_bytes"]) * share,
                    "weight_bytes": 0.0 if index in {3, 4} else float(row["weight_bytes"]) * share,
                }
            )
    return pd.DataFrame(records)


def ledger() -> pd.DataFrame:
    records = []
    table = schemes().set_index("scheme")
    for name in table.index[1:]:
        for part in ENERGY_PARTS:
            old, new = float(table[part]["fp32"]), float(table[part][name])
            if math.isnan(new):
                continue
            component = part.removesuffix("_pj")
            records.append(
                {
                    "scheme": name,
                    "quantity": "energy_pj",
                    "component": component,
                    "baseline_value": old,
                    "value": new,
                    "difference": new - old,
                    "reason": f"{component}: operands of 8 bits toggle fewer wires than operands of 32 bits",
                }
            )
    return pd.DataFrame(records)
