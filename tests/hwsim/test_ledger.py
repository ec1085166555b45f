from __future__ import annotations

import math

import pytest

import hwsim
from hwsim.ledger import ledger_rows
from quant import Scheme
from tests.hwsim.machines import attention_layer, machine, network_of, weight_layer


def result(scheme: str | Scheme, **changes: object) -> hwsim.Result:
    return hwsim.simulate(network_of(weight_layer(13, 29, 17)), scheme, machine(**changes), numerics=False)


@pytest.mark.parametrize("scheme", ["fp16", "w8a16", "w8a8-static", "w8a8-dynamic", "w8a8-asym-weight", "codebook-16"])
def test_lines_sum_to_the_totals_of_both_sides(scheme: str) -> None:
    base, other = result("fp32"), result(scheme)
    rows = ledger_rows(other, base)
    for quantity, before, after in (
        ("energy_pj", base.energy_pj, other.energy_pj),
        ("latency_us", base.latency_us, other.latency_us),
        ("area_um2", base.built.total_um2, other.built.total_um2),
    ):
        lines = [row for row in rows if row["quantity"] == quantity]
        assert math.fsum(row["baseline_value"] for row in lines) == pytest.approx(before, rel=1e-9)
        assert math.fsum(row["value"] for row in lines) == pytest.approx(after, rel=1e-9)
        assert math.fsum(row["difference"] for row in lines) == pytest.approx(after - before, rel=1e-9)
    assert {row["scheme"] for row in rows} == {scheme}


def test_a_scheme_against_itself_differs_in_nothing() -> None:
    base = result("w8a8-static")
    rows = ledger_rows(base, base)
    assert rows
    assert {row["difference"] for row in rows} == {0}


def test_traffic_is_told_by_what_it_carries() -> None:
    """13 x 29 by 29 x 17 with bias, every tensor once: fp32 against int8."""
    per_bit = result("fp32").technology.dram("LPDDR4").nominal
    lines = {row["component"]: row for row in ledger_rows(result("w8a8-static"), result("fp32"))}
    weights, activations, results = (lines[f"dram: {name}"] for name in ("weights", "activations", "results"))
    assert weights["baseline_value"] == pytest.approx(32 * (29 * 17 + 17) * per_bit)
    assert weights["value"] == pytest.approx((8 * 29 * 17 + 32 + 32 * 17) * per_bit)
    assert activations["baseline_value"] == pytest.approx(32 * 13 * 29 * per_bit)
    assert activations["value"] == pytest.approx(8 * 13 * 29 * per_bit)
    assert results["value"] == pytest.approx(8 * 13 * 17 * per_bit)


def test_products_of_activations_move_no_weights() -> None:
    network = network_of(attention_layer())
    base, other = (hwsim.simulate(network, s, machine(), numerics=False) for s in ("fp32", "w8a8-dynamic"))
    names = {row["component"] for row in ledger_rows(other, base)}
    assert "dram: weights" not in names
    assert {"dram: activations", "dram: results"} <= names


def test_pipeline_registers_have_lines_of_their_own() -> None:
    """6 elements with 170 flip-flops and 32 to wait in; 2 lanes with a quantizer's 90 and a requantizer's 2 x 93."""
    base, other = result("fp32"), result("w8a8-static")
    lines = {(row["quantity"], row["component"]): row for row in ledger_rows(other, base)}
    flip_flop = base.technology.register(1)
    array = lines["area_um2", "array: pipeline registers"]
    assert (array["baseline_value"], array["value"]) == (pytest.approx(6 * 202 * flip_flop.area_um2), 0)
    vector = lines["area_um2", "vector: pipeline registers"]
    assert vector["value"] == pytest.approx(2 * (90 + 2 * 93) * flip_flop.area_um2)
    spent = lines["energy_pj", "pipeline registers"]
    assert spent["value"] == pytest.approx((13 * 29 * 90 + 13 * 17 * 2 * 93) * flip_flop.energy_pj)
    assert "fp32 to 8-bit quantizer into 2" in spent["reason"]
    assert "fp32 MAC into 3" in spent["reason"]
    assert "partial sums in turn, joined in each fold: 1 instead of 2" in lines["latency_us", "array"]["reason"]


def test_reasons_name_segments_and_channels() -> None:
    base = result("fp32")
    grouped = Scheme.load("w4a8-g128").replace(weight__layout="group:8")
    [latency] = [
        r for r in ledger_rows(result(grouped), base) if (r["quantity"], r["component"]) == ("latency_us", "array")
    ]
    assert "sums cut into up to 4" in latency["reason"]
    channel = ledger_rows(result("w8a8-asym-weight"), base)
    assert any("extra channel for zero points" in row["reason"] for row in channel)
