from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import hwsim
import workloads
from hwsim.cli.simulate import simulate as command
from hwsim.execution import Samples, execute, prepare
from hwsim.lowering import lower
from hwsim.numerics import Recording
from quant import Scheme
from tests.hwsim.machines import attention_layer, machine, network_of, weight_layer
from workloads import Function, FunctionKind, Layer, Network


def two_layers() -> Network:
    """Two products with a nonlinearity between them: errors of the first reach the second."""
    rng = np.random.default_rng(7)
    draw = [rng.standard_normal(shape).astype(np.float32) for shape in ((31, 13), (13, 7), (5, 31), (5, 31))]
    up = Layer("up", "mk,kn->mn", {"m": 5, "k": 31, "n": 13}, "x", "up.w", "h")
    down = Layer("down", "mk,kn->mn", {"m": 5, "k": 13, "n": 7}, "g", "down.w", "y", lhs_producer="function")
    gelu = Function("gelu", FunctionKind.GELU, ("h",), "g", "mn", {"m": 5, "n": 13})
    tensors = {"up.w": draw[0], "down.w": draw[1]}
    return Network("two", "random", (up, gelu, down), tensors, {"x": draw[2]}, {"x": draw[3]}, "a draw", "a draw")


def sqnr(reference: npt.NDArray[Any], out: npt.NDArray[Any]) -> float:
    y, e = reference.astype(np.float64), out.astype(np.float64) - reference.astype(np.float64)
    return float(10 * np.log10((y**2).sum() / (e**2).sum()))


def test_sqnr_of_a_layer_is_that_of_its_execution_on_recorded_inputs() -> None:
    network = two_layers()
    result = hwsim.simulate(network, "w8a8-static", machine())
    recording = Recording(network)
    for layer_result in result.layers:
        layer = layer_result.plan.layer
        evaluation = recording.samples(layer, calibration=False)
        prepared = prepare(layer_result.plan, recording.samples(layer, calibration=True))
        out = hwsim.execute(prepared, evaluation.lhs, evaluation.rhs, machine()).out
        assert layer_result.sqnr_db == pytest.approx(sqnr(layer.contract(evaluation.lhs, evaluation.rhs), out))


def test_errors_are_carried_from_layer_to_layer() -> None:
    network = two_layers()
    result = hwsim.simulate(network, "w8a8-static", machine())
    last = result.layers[-1].sqnr_db
    assert last is not None
    assert result.output_sqnr_db is not None
    assert result.output_sqnr_db != last, "the last layer alone sees exact inputs"
    # the quantized layers in the place of the float ones
    recording = Recording(network)
    made = {
        r.plan.layer.name: prepare(r.plan, recording.samples(r.plan.layer, calibration=True)) for r in result.layers
    }
    out = network.run(network.evaluation, lambda layer, a, b, _: hwsim.execute(made[layer.name], a, b, machine()).out)
    expected = network.run(network.evaluation)["y"]
    assert result.output_sqnr_db == pytest.approx(sqnr(expected, out["y"]))


def test_the_figure_of_a_network_averages_noise_over_signal() -> None:
    result = hwsim.simulate(two_layers(), "w8a8-dynamic", machine())
    shares = [10 ** (-float(layer.sqnr_db or 0) / 10) for layer in result.layers]
    assert result.sqnr_db == pytest.approx(-10 * math.log10(sum(shares) / 2))


def test_fp32_and_runs_without_numerics_have_no_error() -> None:
    exact = hwsim.simulate(two_layers(), "fp32", machine())
    assert (exact.sqnr_db, exact.output_sqnr_db) == (None, None)
    costs = hwsim.simulate(two_layers(), "w8a8-static", machine(), numerics=False)
    assert (costs.sqnr_db, costs.output_sqnr_db) == (None, None)
    full = hwsim.simulate(two_layers(), "w8a8-static", machine())
    assert costs.total_cycles == full.total_cycles
    assert costs.energy_pj == full.energy_pj


def test_static_ranges_come_from_calibration_alone() -> None:
    """Another evaluation input changes the error, and not the scales."""
    network = two_layers()
    layer = network.layers[0]
    plan = hwsim.lower(layer, hwsim.simulate(network, "w8a8-static", machine(), numerics=False).scheme, machine())
    samples = Recording(network).samples(layer, calibration=True)
    prepared = prepare(plan, samples)
    largest = np.abs(samples.lhs).max()
    assert prepared.static["lhs"].scales[0].reshape(()) == largest / np.float32(127)
    assert largest == np.abs(network.calibration["x"]).max()


def test_totals_and_rows_agree() -> None:
    result = hwsim.simulate(network_of(weight_layer()), "w8a8-dynamic", machine())
    frame, totals = result.to_frame(), result.totals()
    assert len(frame) == 1
    for column in ("total_cycles", "energy_pj", "weight_bytes", "traffic_bytes", "compute_cycles", "macs"):
        assert frame[column].iloc[0] == totals[column]
    assert totals["latency_us"] == pytest.approx(totals["total_cycles"] * 4e-3)
    assert totals["utilization"] == pytest.approx(385 / (6 * totals["total_cycles"]))
    assert "<table" in result._repr_html_()


def test_a_recording_runs_each_input_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(attention_layer())
    runs: list[str] = []
    run = Network.run

    def counted(self: Network, *arguments: Any, **options: Any) -> Any:
        runs.append(self.name)
        return run(self, *arguments, **options)

    monkeypatch.setattr(Network, "run", counted)
    recording = Recording(network)
    for _ in range(3):
        recording.samples(network.layers[0], calibration=True)
        recording.samples(network.layers[0], calibration=False)
        recording.output()
    assert len(runs) == 2


def test_workloads_are_named_given_or_read(tmp_path: Path) -> None:
    network = network_of(weight_layer())
    assert workloads.load(network) is network
    assert workloads.load("minilm-block").name == "minilm-block"
    path = tmp_path / "o.npz"
    np.savez(path, lhs=np.ones((2, 3), "f4"), rhs=np.ones((3, 5), "f4"))
    assert workloads.load(path).layers[0].sizes == {"m": 2, "k": 3, "n": 5}
    assert hwsim.simulate(str(path), "w8a8-dynamic").layers[0].plan.mac.macs == 30
    with pytest.raises(ValueError, match="minilm-block"):
        workloads.load("minilm")


def test_errors_name_layer_and_scheme() -> None:
    trap = machine(accumulator={"bits": 12, "overflow": "trap"})
    with pytest.raises(ArithmeticError, match="accumulator must stay within") as caught:
        hwsim.simulate(workloads.gemm(5, 67, 3), "w8a8-dynamic", trap)
    assert caught.value.__notes__ == ["in gemm under w8a8-dynamic"]


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "w8a8-static", "w8a8-dynamic"])
def test_huge_operands_are_refused_in_one_line(tmp_path: Path, scheme: str) -> None:
    """Warnings are errors in tests: none may come before."""
    path = tmp_path / "huge.npz"
    np.savez(path, lhs=np.full((2, 4), 1e37, np.float32), rhs=np.full((4, 3), 1e37, np.float32))
    text = "^product of layer gemm must fit float32, not overflow: it has lhs up to 1e\\+37 and rhs up to 1e\\+37$"
    with pytest.raises(ValueError, match=text):
        hwsim.simulate(path, scheme)


def test_sums_of_errors_carried_along_are_refused_too() -> None:
    plan = lower(workloads.gemm(2, 3, 5).layers[0], Scheme.load("fp32"), machine())
    lhs, rhs = np.ones((2, 3), np.float32), np.full((3, 5), 1e38, np.float32)
    prepared = prepare(plan, Samples(lhs, rhs, lhs @ rhs))
    with pytest.raises(ValueError, match=r"^product of layer gemm must fit float32, not overflow: .*"):
        execute(prepared, 2 * lhs, rhs, machine())


def test_weights_out_of_a_format_name_their_layer(tmp_path: Path) -> None:
    path = tmp_path / "wide.npz"
    np.savez(path, lhs=np.ones((2, 4), np.float32), rhs=np.full((4, 3), 1e5, np.float32))
    with pytest.raises(ValueError, match=r"^value must fit fp16, not 100000\.0\n") as caught:
        hwsim.simulate(path, "fp16")
    assert caught.value.__notes__ == ["in gemm under fp16"]


def test_an_illegal_scheme_is_refused_with_its_verdict() -> None:
    with pytest.raises(hwsim.IllegalLayoutError) as caught:
        hwsim.simulate(network_of(weight_layer()), "w8a8-channel-in", machine())
    assert caught.value.verdict.witness is not None
    assert caught.value.verdict.witness.check()


@pytest.mark.parametrize("wanted", ["yes", 1, "no"])
def test_numerics_are_on_or_off_or_as_the_workload_allows(wanted: Any) -> None:
    text = f"^numerics must be True, False or None, not {wanted!r}$"
    with pytest.raises(ValueError, match=text):
        hwsim.simulate(workloads.gemm(2, 3, 5), numerics=wanted)
    with pytest.raises(ValueError, match=text):
        hwsim.compare(workloads.gemm(2, 3, 5), "fp16", numerics=wanted)


def test_library_and_commands_run_one_scheme_by_default() -> None:
    for call in (hwsim.simulate, hwsim.infer):
        assert inspect.signature(call).parameters["scheme"].default == hwsim.DEFAULT_SCHEME
    assert inspect.signature(hwsim.explore).parameters["schemes"].default == hwsim.DEFAULT_SCHEME
    options = {option.name: option for option in command.params}
    assert options["scheme"].default == hwsim.DEFAULT_SCHEME
