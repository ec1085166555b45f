"""Prefill and decode of transformers, and batches: orderings and bounds that must hold."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
import workloads
from hwsim.network import planning
from quant import OperandSpec, Scheme
from workloads import SHAPES, decode, prefill

GPT2 = dataclasses.replace(SHAPES["gpt2"], layers=2, vocabulary=1000)
EDGE = hwsim.Accelerator.load("edge-16x16")
W4A16 = Scheme.load("w8a16").model_copy(
    update={"name": "w4a16", "weight": OperandSpec(format="int4", layout="per_channel")}
)


def latency(network: workloads.Network, scheme: str | Scheme) -> float:
    return hwsim.simulate(network, scheme, EDGE).latency_us


def test_narrow_weights_win_where_weights_are_all_that_moves_and_nowhere_else() -> None:
    """One token for each pass over the weights: memory sets the pace. A prompt shares them: the array does."""
    one, many = decode(GPT2, 256), prefill(GPT2, 256)
    assert latency(one, "w8a16") < 0.62 * latency(one, "fp16")
    assert latency(many, "w8a16") > 0.95 * latency(many, "fp16")
    # bits of activations hardly matter while decoding
    assert math.isclose(latency(one, "w8a16"), latency(one, "w8a8-static"), rel_tol=0.1)
    faster = EDGE.replace(array__dataflow="weight_stationary", array__double_buffered=True)
    slower = faster.replace(memories__dram__bandwidth_gb_per_s=0.4)
    times = [hwsim.simulate(one, scheme, slower).latency_us for scheme in ("fp16", "w8a16", W4A16)]
    assert times[0] > 1.8 * times[1]
    assert times[1] > 1.6 * times[2]


def test_a_token_moves_its_weights_its_cache_and_little_else() -> None:
    context = 512
    cache = 2 * GPT2.layers * context * GPT2.width
    for scheme, weight, kv in (("fp16", 2, 2), ("w8a16", 1, 2), ("w8a8-static", 1, 1), ("w8a8-dynamic", 1, 1)):
        result = hwsim.simulate(decode(GPT2, context), scheme, EDGE)
        weights = sum(math.prod(p.plan.layer.rhs_shape) for p in result.layers if p.plan.layer.rhs_kind == "weight")
        least = weight * weights + kv * cache
        assert least <= result.totals()["traffic_per_token_bytes"] <= 1.04 * least, scheme


def test_a_longer_context_costs_its_cache_and_its_products() -> None:
    plain = EDGE.replace(memories__keeps_results=False)
    one, two = (hwsim.simulate(decode(GPT2, context), "w8a8-static", plain) for context in (256, 512))
    # K and V of 256 more tokens in two layers, and as many scores and probabilities written and read in 12 heads
    more = 2 * 2 * 256 * 768 + 2 * 12 * 256 * 2
    read = two.totals()["dram_read_bytes"] + two.totals()["dram_write_bytes"]
    assert read - (one.totals()["dram_read_bytes"] + one.totals()["dram_write_bytes"]) == more


def test_figures_for_a_token_are_those_of_the_run() -> None:
    result = hwsim.simulate(decode(GPT2, 128), "w8a8-static", EDGE, batch=4)
    totals = result.totals()
    assert result.tokens == 4
    assert math.isclose(totals["tokens_per_s"], 4 / (result.latency_us * 1e-6))
    assert math.isclose(totals["energy_per_token_pj"] * 4, totals["energy_pj"])
    assert math.isclose(totals["traffic_per_token_bytes"] * 4, totals["traffic_bytes"])
    assert "tokens_per_s" not in hwsim.simulate(workloads.gemm(8, 8, 8), numerics=False).totals()


def test_sequences_side_by_side_share_the_weights_of_a_step() -> None:
    one, eight = (hwsim.simulate(decode(GPT2, 128), "w8a16", EDGE, batch=batch) for batch in (1, 8))
    assert eight.totals()["tokens_per_s"] > 4 * one.totals()["tokens_per_s"]
    assert eight.calls == 1


@settings(max_examples=30, deadline=None)
@given(
    m=st.integers(1, 40),
    k=st.integers(1, 600),
    n=st.integers(1, 90),
    batch=st.integers(1, 6),
    scheme=st.sampled_from(["fp32", "w8a16", "w8a8-static", "w8a8-dynamic"]),
    dataflow=st.sampled_from(["output_stationary", "weight_stationary", "input_stationary"]),
    bandwidth=st.sampled_from([0.1, 3.2, 100.0]),
)
def test_twice_the_batch_takes_at_most_twice_the_time(
    m: int, k: int, n: int, batch: int, scheme: str, dataflow: str, bandwidth: float
) -> None:
    machine = EDGE.replace(array__dataflow=dataflow, memories__dram__bandwidth_gb_per_s=bandwidth)
    network = workloads.gemm(m, k, n)
    once, twice = (
        hwsim.simulate(network, scheme, machine, batch=count, numerics=False) for count in (batch, 2 * batch)
    )
    assert twice.total_cycles <= 2 * once.total_cycles
    assert twice.totals()["macs"] == 2 * once.totals()["macs"]


def test_a_batch_is_split_where_that_is_faster() -> None:
    """Two products of 16 rows, one after the other, fit a buffer that both together do not."""
    splits = {
        hwsim.simulate(
            workloads.gemm(rows, 512, 48),
            "fp32",
            EDGE.replace(memories__activation__capacity_bytes=65536, array__dataflow=dataflow),
            batch=4,
            numerics=False,
        ).calls
        for rows in (5, 16, 24, 40, 100)
        for dataflow in ("output_stationary", "weight_stationary")
    }
    assert 1 in splits


def test_rows_of_a_split_batch_add_up() -> None:
    result = hwsim.simulate(workloads.gemm(8, 64, 16), "w8a8-static", EDGE, batch=3, numerics=False)
    doubled = dataclasses.replace(result, layers=result.layers * 2, calls=2)
    assert doubled.totals()["total_cycles"] == 2 * result.total_cycles
    assert doubled.to_frame()["total_cycles"].sum() == 2 * result.total_cycles


def test_errors_do_not_depend_on_the_batch() -> None:
    one, three = (hwsim.simulate(workloads.gemm(8, 64, 16), "w8a8-dynamic", EDGE, batch=b) for b in (1, 3))
    assert one.output_sqnr_db == three.output_sqnr_db
    assert one.sqnr_db == three.sqnr_db


def test_errors_can_not_be_asked_of_shapes() -> None:
    with pytest.raises(ValueError, match=r"^numerics of resnet50 must be off, as it has shapes only$"):
        hwsim.simulate("resnet50", "fp32", numerics=True)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_is_positive(batch: int) -> None:
    with pytest.raises(ValueError, match=f"^batch must be a positive integer, not {batch}$"):
        hwsim.simulate(workloads.gemm(8, 8, 8), batch=batch, numerics=False)


def test_a_large_batch_is_split_in_few_ways_and_a_larger_one_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[str] = []
    plan = planning.plan_network

    def counted(network: workloads.Network, *rest: Any) -> Any:
        planned.append(network.name)
        return plan(network, *rest)

    monkeypatch.setattr(planning, "plan_network", counted)
    network, batch = workloads.gemm(8, 8, 8), 2**7 * 3**4 * 5**2 * 7 * 11 * 13
    result = hwsim.simulate(network, batch=batch, numerics=False)
    assert len(planned) == 48, "of the 328 divisors up to 4,096"
    assert batch % result.calls == 0
    assert sum(layer.plan.macs for layer in result.layers) == batch * 512
    with pytest.raises(ValueError, match=r"must give at most 2\*\*53 multiply-accumulates"):
        hwsim.simulate(network, batch=2**45, numerics=False)


def test_a_comparison_of_shapes_has_costs_and_no_errors() -> None:
    result = hwsim.compare(decode(GPT2, 64), ["fp16", "w8a16"], EDGE, batch=2)
    frame = result.to_frame()
    assert frame["sqnr_db"].isna().all()
    assert (frame["tokens_per_s"] > 0).all()
    assert frame["energy_ratio"].iloc[0] == 1


def test_a_network_of_convolutions_has_costs_under_every_scheme_or_its_repair() -> None:
    schemes = ["w8a8-static", "w8a8-dynamic", "w8a8-channel-in"]
    frame = hwsim.compare(workloads.resnet50(), schemes, baseline="fp32").to_frame()
    rows = frame.set_index("scheme")
    assert rows.loc["w8a8-dynamic", "verdict"] == "once"  # a scale for each image
    assert rows.loc["w8a8-channel-in", "verdict"] == "incompatible"
    repaired = rows[rows["repair_of"] == "w8a8-channel-in"]
    assert len(repaired) == 1
    assert (repaired["latency_us"] < rows.loc["fp32", "latency_us"]).all()
    assert rows.loc["fp32", "macs"] == 4_089_184_256
