from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hwsim
import workloads
from hwsim.cli.shared import records, write_frame
from hwsim.cost import area
from hwsim.cost.pricing import price
from hwsim.equal_area import scaled_to_area
from hwsim.network import plan_network
from hwsim.plan import Component
from hwsim.technology import Technology
from quant import Scheme
from reports import headlines
from tests.hwsim.machines import attention_layer, machine, network_of, weight_layer

COLUMNS = (
    "scheme",
    "verdict",
    "sqnr_db",
    "block_sqnr_db",
    "total_cycles",
    "latency_us",
    "energy_pj",
    "area_um2",
    "power_mw",
    "tops_per_w",
    "energy_delay_pj_s",
    "weight_bytes",
    "traffic_bytes",
)
RATIOS = {
    "latency_ratio": "latency_us",
    "energy_ratio": "energy_pj",
    "area_ratio": "area_um2",
    "power_ratio": "power_mw",
    "energy_delay_ratio": "energy_delay_pj_s",
    "weight_ratio": "weight_bytes",
    "traffic_ratio": "traffic_bytes",
    "equal_area_latency_ratio": "equal_area_latency_us",
    "equal_area_energy_ratio": "equal_area_energy_pj",
}


@pytest.fixture(scope="module")
def small() -> hwsim.Comparison:
    """Every default scheme on one layer of distinct primes."""
    return hwsim.compare(network_of(weight_layer(29, 31, 37)))


COUNTS = ("macs", "compute_cycles", "stall_cycles", "total_cycles")


def test_types_of_columns_do_not_depend_on_whether_a_scheme_is_refused(small: hwsim.Comparison) -> None:
    layer = network_of(weight_layer(5, 7, 3))
    legal = hwsim.compare(layer, "w8a8-static", technologies="45nm-horowitz")
    assert {str(small.schemes[name].dtype) for name in COUNTS} == {"Int64"}
    both = [name for name in legal.schemes if name in small.schemes]
    assert legal.schemes[both].dtypes.to_dict() == small.schemes[both].dtypes.to_dict()
    assert legal.technologies is not None
    assert {str(legal.technologies[f"{name}_rank"].dtype) for name in ("energy", "area", "energy_delay")} == {"Int64"}


def test_counts_are_written_as_whole_numbers_or_as_nothing(small: hwsim.Comparison, tmp_path: Path) -> None:
    macs = 29 * 31 * 37
    rows = {found["scheme"]: found for found in records(small.schemes)}
    assert rows["w8a8-channel-in"]["macs"] is None
    assert type(rows["fp32"]["macs"]) is int
    assert rows["fp32"]["macs"] == macs
    write_frame(small.schemes, tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        written = {found["scheme"]: found["macs"] for found in csv.DictReader(file)}
    assert (written["fp32"], written["w8a8-channel-in"]) == (str(macs), "")
    pytest.importorskip("pyarrow")
    write_frame(small.schemes, tmp_path / "s.parquet")
    back = pd.read_parquet(tmp_path / "s.parquet")
    assert back.dtypes.to_dict() == small.schemes.dtypes.to_dict()
    # Missing texts are None or NaN by the version of pandas.
    found, wanted = (frame.astype(object).where(frame.notna(), None) for frame in (back, small.schemes))
    pd.testing.assert_frame_equal(found, wanted)


def test_one_scheme_need_not_be_in_a_list(tmp_path: Path) -> None:
    layer = network_of(weight_layer(5, 7, 3))
    path = tmp_path / "mine.yaml"
    path.write_text(Scheme.load("w8a16").replace(name="mine").to_yaml(), encoding="utf-8")
    for one, name in (("w8a8-static", "w8a8-static"), (Scheme.load("fp16"), "fp16"), (path, "mine")):
        assert list(hwsim.compare(layer, one, numerics=False).schemes["scheme"]) == ["fp32", name]


def row(comparison: hwsim.Comparison, scheme: str) -> Any:
    frame = comparison.schemes
    return frame[frame["scheme"] == scheme].iloc[0]


def test_one_row_a_scheme_and_the_repair_after_the_refused(small: hwsim.Comparison) -> None:
    names = list(small.schemes["scheme"])
    at = names.index("w8a8-channel-in")
    repair = names.pop(at + 1)
    assert names == list(hwsim.DEFAULT_SCHEMES)
    found = row(small, repair)
    assert found["repair_of"] == "w8a8-channel-in"
    assert found["verdict"] == "once"
    assert found["note"].startswith("repairs w8a8-channel-in: ")
    assert small.schemes["repair_of"].notna().sum() == 1


def test_a_refused_scheme_has_a_witness_and_no_cost(small: hwsim.Comparison) -> None:
    refused = row(small, "w8a8-channel-in")
    assert refused["verdict"] == "incompatible"
    assert "equal sums" in refused["note"]
    assert "\n" not in refused["note"]
    numbers = small.schemes.select_dtypes("number").columns
    assert refused[numbers].isna().all()
    assert "w8a8-channel-in" not in small.results
    assert "w8a8-channel-in" not in set(small.layers["scheme"])
    assert "w8a8-channel-in" not in set(small.ledger["scheme"])


def test_columns_that_users_are_promised_exist(small: hwsim.Comparison) -> None:
    assert set(COLUMNS) <= set(small.schemes.columns)
    assert set(RATIOS) <= set(small.schemes.columns)
    ran = small.schemes[small.schemes["verdict"] != "incompatible"]
    assert ran[[c for c in COLUMNS if "sqnr" not in c]].notna().all().all()


def test_fp32_has_no_error_and_everything_else_has(small: hwsim.Comparison) -> None:
    fp32 = row(small, "fp32")
    assert math.isnan(fp32["sqnr_db"])
    assert math.isnan(fp32["block_sqnr_db"])
    others = small.schemes[~small.schemes["scheme"].isin(["fp32", "w8a8-channel-in"])]
    assert others["sqnr_db"].between(5, 120).all()
    assert others["block_sqnr_db"].between(5, 120).all()


def test_ratios_are_values_over_the_baseline(small: hwsim.Comparison) -> None:
    base = row(small, "fp32")
    for _, scheme in small.schemes.iterrows():
        if scheme["verdict"] == "incompatible":
            continue
        for ratio, column in RATIOS.items():
            assert scheme[ratio] == scheme[column] / base[column], (scheme["scheme"], ratio)
    assert all(base[ratio] == 1 for ratio in RATIOS)


def test_derived_figures_follow_from_cycles_and_energy(small: hwsim.Comparison) -> None:
    ran = small.schemes[small.schemes["verdict"] != "incompatible"]
    for _, s in ran.iterrows():
        seconds, joules = s["latency_us"] * 1e-6, s["energy_pj"] * 1e-12
        assert s["latency_us"] == pytest.approx(s["total_cycles"] / 250)  # 250 MHz
        assert s["power_mw"] == pytest.approx(joules / seconds * 1e3)
        assert s["tops_per_w"] == pytest.approx(2 * 29 * 31 * 37 / joules * 1e-12)
        assert s["energy_delay_pj_s"] == pytest.approx(s["energy_pj"] * seconds)
        assert s["macs"] == 29 * 31 * 37
        assert s["traffic_bytes"] == s["dram_read_bytes"] + s["dram_write_bytes"]
        energy = ["mac_pj", "pipeline_pj", "clock_pj", "vector_pj", "sram_pj", "dram_pj", "leakage_pj"]
        assert s["energy_pj"] == pytest.approx(math.fsum(s[energy]), rel=1e-12)
        parts = ["array_um2", "edge_um2", "vector_um2", "sram_um2"]
        assert s["area_um2"] == pytest.approx(math.fsum(s[parts]), rel=1e-12)


def test_every_frame_has_power_efficiency_and_energy_delay(small: hwsim.Comparison) -> None:
    priced = hwsim.compare(network_of(weight_layer()), ("fp16",), technologies="7nm-tpuv4i", numerics=False)
    assert priced.technologies is not None
    for frame, macs in ((small.layers, 29 * 31 * 37), (priced.technologies, 5 * 11 * 7)):
        for _, r in frame.iterrows():
            seconds, joules = r["latency_us"] * 1e-6, r["energy_pj"] * 1e-12
            assert r["power_mw"] == pytest.approx(joules / seconds * 1e3)
            assert r["tops_per_w"] == pytest.approx(2 * macs / joules * 1e-12)
            assert r["energy_delay_pj_s"] == pytest.approx(r["energy_pj"] * seconds)


def test_layers_sum_to_their_scheme(small: hwsim.Comparison) -> None:
    for name, group in small.layers.groupby("scheme"):
        total = row(small, str(name))
        for column in ("total_cycles", "energy_pj", "traffic_bytes", "weight_bytes", "macs", "mac_pj", "dram_pj"):
            assert total[column] == pytest.approx(math.fsum(group[column]), rel=1e-12), (name, column)


def test_the_ledger_explains_the_whole_difference(small: hwsim.Comparison) -> None:
    base = row(small, "fp32")
    for (name, quantity), lines in small.ledger.groupby(["scheme", "quantity"]):
        found = row(small, str(name))
        assert math.fsum(lines["difference"]) == pytest.approx(found[quantity] - base[quantity], rel=1e-9, abs=1e-6)
        assert math.fsum(lines["value"]) == pytest.approx(found[quantity], rel=1e-9), (name, quantity)
        assert (lines["difference"] == lines["value"] - lines["baseline_value"]).all()
        assert lines["reason"].str.len().min() > 0
    assert set(small.ledger["quantity"]) == {"energy_pj", "latency_us", "area_um2"}
    assert "fp32" not in set(small.ledger["scheme"])


def test_two_runs_give_identical_frames() -> None:
    schemes = ("fp32", "w8a8-static", "w8a8-channel-in", "codebook-16", "w4a8-g128")
    one, two = (hwsim.compare(network_of(weight_layer(7, 131, 5)), schemes) for _ in range(2))
    for name in ("schemes", "layers", "ledger"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name), check_exact=True)


def test_rows_become_json_without_nan(small: hwsim.Comparison) -> None:
    from hwsim.cli.shared import records

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = json.dumps(records(small.schemes), allow_nan=False)
    rows = json.loads(text, parse_constant=refuse)
    assert rows[0]["sqnr_db"] is None
    assert rows[1]["energy_pj"] == row(small, rows[1]["scheme"])["energy_pj"], "no digit is lost"


def test_registers_of_any_width_are_priced() -> None:
    """64-deep fp32 dot products with doubled weights clock 6,176 flip-flops in an element, each at the same price."""
    technology = Technology.load("45nm-horowitz")
    one, many = (price(technology, Component("register", (bits,))) for bits in (1, 6176))
    for name in ("area_um2", "energy_pj", "idle_pj", "leakage_uw"):
        assert getattr(many, name) == pytest.approx(6176 * getattr(one, name), rel=1e-12)
    assert many.delay_ns == one.delay_ns
    found = hwsim.compare(network_of(weight_layer()), ("w8a8-static",), "nvdla-large", numerics=False)
    assert list(found.schemes["verdict"]) == ["float", "once"]


def test_a_scheme_without_a_price_is_refused_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        msg = "positions must be in 2..128, not 129"
        raise ValueError(msg)

    monkeypatch.setattr(Technology, "shift_mac", unknown)
    network = network_of(weight_layer())
    found = hwsim.compare(network, ("pow2", "w8a8-static"), numerics=False)
    assert list(found.schemes["verdict"]) == ["float", "incompatible", "once"]
    refused = row(found, "pow2")
    assert re.match(r"pow2: .* MAC into 32 bits must have a price in 45nm-horowitz, but positions", refused["note"])
    assert math.isnan(refused["energy_pj"])
    said = headlines(found.schemes, found.metadata)
    assert any("positions must be in 2..128" in sentence for sentence in said)
    assert not any("dequantized after accumulation" in sentence for sentence in said)
    with pytest.raises(ValueError, match="baseline must be a scheme that the machine can run, not pow2: pow2: "):
        hwsim.compare(network, ("w8a8-static",), baseline="pow2", numerics=False)


def test_schemes_whose_elements_miss_the_clock_are_named_first(small: hwsim.Comparison) -> None:
    """A 32-bit sum that saturates takes more than a nanosecond at 45 nm and can not be split; a float sum can."""
    assert small.metadata["cautions"] == []
    fast = hwsim.Accelerator.load("edge-16x16").replace(
        clock_mhz=1000, accumulator={"bits": 32, "overflow": "saturate"}
    )
    found = hwsim.compare(network_of(weight_layer()), ("fp16", "w8a8-static"), fast, numerics=False)
    first = headlines(found.schemes, found.metadata)[0]
    assert first == "Counted faster than it runs: w8a8-static at 1000 MHz, which the MACs do not reach."


# ---- equal area ----


@pytest.mark.parametrize("scheme", ["w8a8-static", "w8a8-dynamic", "fp16", "w8a8-asym-weight", "pow2"])
def test_the_machine_of_equal_area_is_the_largest_that_fits(scheme: str, small: hwsim.Comparison) -> None:
    result, budget = small.results[scheme], row(small, "fp32")["area_um2"]
    fitted = scaled_to_area(result, budget)

    def built_um2(columns: int) -> float:
        """The machine of so many columns, its shape and lanes in proportion, built anew from its components."""
        larger = result.accelerator.replace(array__rows=columns, array__columns=columns, vector__lanes=columns)
        plans = plan_network(network_of(weight_layer(29, 31, 37)), result.scheme, larger)
        return float(area(plans, larger, result.technology).total_um2)

    columns = fitted.array.columns
    assert built_um2(columns) <= budget
    assert built_um2(columns + 1) > budget
    assert row(small, scheme)["equal_area_area_um2"] == pytest.approx(built_um2(columns), rel=1e-12)
    assert row(small, scheme)["equal_area_array"] == f"{columns}x{columns}"
    assert (fitted.array.rows, fitted.vector.lanes) == (columns, columns)


def test_the_baseline_fits_its_own_area(small: hwsim.Comparison) -> None:
    fp32 = row(small, "fp32")
    assert fp32["equal_area_array"] == "16x16"
    assert fp32["equal_area_latency_us"] == fp32["latency_us"]
    assert fp32["equal_area_energy_pj"] == fp32["energy_pj"]


def test_one_element_is_left_where_nothing_fits(small: hwsim.Comparison) -> None:
    fitted = scaled_to_area(small.results["w8a8-static"], 1.0)
    assert (fitted.array.rows, fitted.array.columns, fitted.vector.lanes) == (1, 1, 1)


def test_a_larger_array_stays_within_what_the_buffers_hold() -> None:
    """An output buffer of one tile of 16 x 16 sums leaves no room for a larger array, whatever its area."""
    accelerator = hwsim.Accelerator.load("edge-16x16").replace(memories__output__capacity_bytes=8 * 2 * 16 * 16 * 4)
    tight = accelerator.replace(
        memories__output__double_buffered=False, memories__output__capacity_bytes=16 * 16 * 4 * 8
    )
    for one in (accelerator, tight):
        comparison = hwsim.compare(network_of(weight_layer(29, 31, 37)), ("w8a8-static",), one, numerics=False)
        rows, columns = map(int, row(comparison, "w8a8-static")["equal_area_array"].split("x"))
        assert rows * columns > 16 * 16
        assert rows * columns * 4 <= one.memories.output.tile_bytes


def test_a_larger_array_stays_as_shallow_as_the_groups() -> None:
    """A weight-stationary array of 16 rows adds 16 products; with more rows groups of 16 could not leave it."""
    accelerator = hwsim.Accelerator.load("edge-16x16").replace(array__dataflow="weight_stationary")
    scheme = Scheme.load("w4a8-g128").replace(name="g16", weight__layout="group:16")
    comparison = hwsim.compare(network_of(weight_layer(29, 64, 37)), (scheme,), accelerator, numerics=False)
    found = row(comparison, "g16")
    assert found["verdict"] == "segmented"
    assert found["equal_area_array"] == "16x16"


def test_few_networks_are_planned_to_find_a_larger_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """By area there would be hundreds of columns more than the weight buffer of the TPU has tiles for."""
    planned: list[str] = []

    def counted(network: workloads.Network, scheme: Scheme, accelerator: hwsim.Accelerator) -> Any:
        planned.append(f"{accelerator.array.rows}x{accelerator.array.columns}")
        return plan_network(network, scheme, accelerator)

    monkeypatch.setattr("hwsim.equal_area.plan_network", counted)
    network, tpu = network_of(weight_layer(29, 31, 37)), hwsim.Accelerator.load("tpu-v1")
    found = row(hwsim.compare(network, ("w8a8-static",), tpu, numerics=False), "w8a8-static")["equal_area_array"]
    side = int(found.split("x")[0])
    result = hwsim.simulate(network, "w8a8-static", tpu, numerics=False)
    # Sums of 32 bits in an output buffer of which half holds a tile.
    assert found == f"{side}x{side}"
    assert side**2 * 4 <= tpu.memories.output.tile_bytes < (side + 1) ** 2 * 4
    assert scaled_to_area(result, result.built.total_um2).array.columns == 256
    assert len(planned) <= 4, planned


# ---- other inputs ----


def test_products_of_activations_have_no_weights_to_compare() -> None:
    network = network_of(attention_layer())
    comparison = hwsim.compare(network, ("w8a8-static",))
    found = row(comparison, "w8a8-static")
    assert found["weight_bytes"] == 0
    assert math.isnan(found["weight_ratio"])
    assert found["energy_ratio"] < 1


def test_the_baseline_comes_first_and_once() -> None:
    network = network_of(weight_layer())
    comparison = hwsim.compare(network, ("w8a8-static", "fp16"), baseline="fp16", numerics=False)
    assert list(comparison.schemes["scheme"]) == ["fp16", "w8a8-static"]
    assert row(comparison, "fp16")["energy_ratio"] == 1
    assert comparison.metadata["baseline"] == "fp16"


def test_a_scheme_given_twice_is_refused() -> None:
    text = "schemes must have different names, not fp32, w8a8-static, w8a8-static"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        hwsim.compare(network_of(weight_layer()), ("w8a8-static", "w8a8-static"), numerics=False)


def test_a_baseline_that_can_not_run_is_refused() -> None:
    text = "baseline must be a scheme that the machine can run, not w8a8-channel-in"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}: up: lhs.* equal sums, "):
        hwsim.compare(network_of(weight_layer()), ("fp32",), baseline="w8a8-channel-in", numerics=False)


def test_costs_alone_are_those_of_a_full_run(small: hwsim.Comparison) -> None:
    costs = hwsim.compare(network_of(weight_layer(29, 31, 37)), numerics=False)
    columns = [c for c in COLUMNS if "sqnr" not in c]
    pd.testing.assert_frame_equal(costs.schemes[columns], small.schemes[columns], check_exact=True)
    assert costs.schemes["sqnr_db"].isna().all()


def test_progress_names_schemes_and_layers() -> None:
    said: list[str] = []
    hwsim.compare(network_of(weight_layer()), ("w8a8-static",), machine(), progress=said.append)
    assert "w8a8-static" in said
    assert "w8a8-static: up" in said
    assert "w8a8-static: with the area of the baseline" in said


def test_a_comparison_shows_itself_in_a_notebook(small: hwsim.Comparison) -> None:
    html = small._repr_html_()
    assert html.count("<tr") == 1 + len(small.schemes)
    assert "w8a8-smoothquant" in html
    assert small.to_frame() is small.schemes


# ---- the real block, once ----


@pytest.fixture(scope="session")
def block() -> hwsim.Comparison:
    return hwsim.compare()


def test_the_block_runs_under_every_default_scheme(block: hwsim.Comparison) -> None:
    layers = [layer.name for layer in workloads.load("minilm-block").layers]
    assert len(layers) == 8
    for _, group in block.layers.groupby("scheme"):
        assert list(group["layer"]) == layers
    assert len(block.schemes) == len(hwsim.DEFAULT_SCHEMES) + 1
    fp32 = row(block, "fp32")
    assert math.isnan(fp32["sqnr_db"])
    assert math.isnan(fp32["block_sqnr_db"])


def test_the_block_behaves_as_the_literature_says(block: hwsim.Comparison) -> None:
    """Orders that hold for transformers with outlier channels (SmoothQuant, LLM.int8()) and for any silicon."""
    sqnr = block.schemes.set_index("scheme")["sqnr_db"]
    assert sqnr["fp16"] > sqnr["w8a16"] > sqnr["w8a8-dynamic"] > sqnr["w8a8-static"]
    assert sqnr["w8a8-smoothquant"] > sqnr["w8a8-dynamic"]
    assert sqnr["w8a8-asym-act"] > sqnr["w8a8-static"]
    # at 4 bits: k-means below uniform groups, powers of two last
    assert sqnr["w8a8-dynamic"] > sqnr["codebook-16"] > sqnr["w4a8-g128"] > sqnr["pow2"]
    energy = block.schemes.set_index("scheme")["energy_pj"]
    assert energy["fp32"] > energy["fp16"] > energy["w8a8-dynamic"] > energy["w8a8-static"]
    assert energy["w8a8-asym-weight"] > energy["w8a8-asym-act"] > energy["w8a8-static"]


def test_the_block_moves_its_weights_at_least_once(block: hwsim.Comparison) -> None:
    """Four 384 x 384, two of 384 x 1536, and 5 x 384 + 1536 biases."""
    weights, biases = 4 * 384 * 384 + 2 * 384 * 1536, 5 * 384 + 1536
    size = block.schemes.set_index("scheme")["weight_bytes"]
    assert size["fp32"] == 4 * (weights + biases)
    assert size["fp16"] == 2 * (weights + biases)
    assert size["w8a8-static"] == weights + 4 * (biases + 6)
    traffic = block.schemes.set_index("scheme")["traffic_bytes"]
    assert (traffic.dropna() >= size.dropna()).all()
