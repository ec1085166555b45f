"""Functions on the vector unit: operations counted by hand, time and area that follow, no change where a host runs."""

import hwsim
import workloads
from hwsim.network import OPERATIONS, with_functions
from hwsim.plan import ApplyFunction
from hwsim.timing import closed_form, run_events
from tests.hwsim.network.graphs import chain, lowered
from workloads import FunctionKind

EDGE = hwsim.Accelerator.load("edge-16x16")
LANES = EDGE.replace(vector__runs_functions=True)


def applied(network: workloads.Network) -> dict[str, list[tuple[str, int, int]]]:
    plans = with_functions(network, lowered(network, "fp32", LANES), LANES)
    return {
        plan.layer.name: [
            (str(s.kind), s.additions, s.multiplications) for s in plan.steps if isinstance(s, ApplyFunction)
        ]
        for plan in plans
    }


def test_functions_run_in_the_epilogue_of_the_layer_before_them() -> None:
    values = 48 * 64
    assert applied(chain()) == {"up": [("relu", values, 0)], "side": [], "down": [("add", values, 0)]}


def test_operations_of_a_block_are_those_of_its_elements() -> None:
    found = applied(workloads.load("minilm-block"))
    hidden, scores, wide = 256 * 384, 24 * 128 * 128, 256 * 1536
    assert {name: steps for name, steps in found.items() if steps} == {
        "scores": [("softmax", 13 * scores, 12 * scores)],
        "attention_out": [("add", hidden, 0), ("layer_norm", 4 * hidden, 3 * hidden)],
        "ffn_up": [("gelu", 19 * wide, 25 * wide)],
        "ffn_down": [("add", hidden, 0), ("layer_norm", 4 * hidden, 3 * hidden)],
    }


def test_what_comes_before_the_first_layer_is_counted_there() -> None:
    network = workloads.load("gpt2-decode-16")
    assert applied(network)["0.q"] == [("layer_norm", 4 * 768, 3 * 768)]


def test_pooling_compares_every_value_of_a_window_and_adds_every_value_of_a_mean() -> None:
    found = applied(workloads.resnet50())
    assert found["stem"] == [("relu", 64 * 112 * 112, 0), ("max_pool", 9 * 64 * 56 * 56, 0)]
    assert found["4.2.expand"][-1] == ("mean", 2048 * 49, 2048)


def test_every_function_that_computes_has_a_cost() -> None:
    assert set(OPERATIONS) | {FunctionKind.MAX_POOL, FunctionKind.MEAN} == {k for k in FunctionKind if not k.moves_only}


def test_lanes_units_and_time_follow() -> None:
    off, on = (hwsim.simulate("minilm-block", "w8a8-static", m, numerics=False) for m in (EDGE, LANES))
    scores = on.layers[3]
    operations = 25 * 24 * 128 * 128
    assert scores.timing.total_cycles >= operations / 16 > off.layers[3].timing.total_cycles
    assert scores.timing.bound == "vector"
    names = [component for _, component in on.built.tree]
    assert any("fp32 adder" in name for name in names)
    assert any("fp32 multiplier" in name for name in names)
    assert not any("fp32 adder" in component for _, component in off.built.tree)
    # On the vector unit and, through time, in leakage; the residual that is not kept and the constants of two norms.
    more = {name: on.totals()[name] - off.totals()[name] for name in ("vector_pj", "mac_pj", "dram_pj", "leakage_pj")}
    assert more["vector_pj"] > 0
    assert more["mac_pj"] == 0
    assert on.totals()["traffic_bytes"] - off.totals()["traffic_bytes"] == 256 * 384 + 2 * 2 * 384 * 4
    assert more["dram_pj"] > 0


def test_the_machine_of_events_waits_for_them_too() -> None:
    network = chain()
    for plan in with_functions(network, lowered(network, "w8a8-static", LANES), LANES):
        slots = sum(step.lane_slots for step in plan.steps if isinstance(step, ApplyFunction))
        assert run_events(plan, LANES).total_cycles >= max(slots / 16, closed_form(plan, LANES).compute_cycles)


def test_a_host_runs_functions_unless_the_machine_says_so() -> None:
    plans = lowered(chain(), "fp32", EDGE)
    assert with_functions(chain(), plans, EDGE) == tuple(plans)


def test_errors_do_not_depend_on_who_runs_functions() -> None:
    off, on = (hwsim.simulate("minilm-block", "w8a8-static", m) for m in (EDGE, LANES))
    assert (off.sqnr_db, off.output_sqnr_db) == (on.sqnr_db, on.output_sqnr_db)
