"""Repeated channels, against Python integers and Fractions from the definition."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import hwsim
import workloads
from hwsim.execution import Prepared, Samples, prepare
from hwsim.plan import MultiplyAccumulate, Per, Plan, Quantize, RepeatChannels, Rotate, ScanRange
from hwsim.simulation import read_plans
from hwsim.technology import Technology
from hwsim.timing.cycles import lane_elements
from quant import Scheme, explain, quantize
from tests import reference
from tests.hwsim import exact
from tests.hwsim.machines import attention_layer, machine, operands_of, weight_layer
from workloads import Layer

Float32 = npt.NDArray[np.float32]
f32 = reference.to_float

COPIES = [1, 1, 1, 2, 1, 1, 1, 5, 1, 1, 1, 1]
"""Of magnitudes 40 and 9 among ones: 40, 20, 13.3, 10 are the widest in turn, then 9."""


def wide_operands() -> Float32:
    lhs = np.random.default_rng(7).uniform(-1, 1, (5, 12)).astype(np.float32)
    lhs[3, 3], lhs[2, 7] = 9.0, -40.0
    return lhs


def scheme_of(name: str = "w8a8-dynamic", **changes: Any) -> Scheme:
    return Scheme.load(name).replace(**({"duplicate": {"share": 0.4}} | changes))


def run(layer: Layer, scheme: Scheme, lhs: Float32) -> tuple[Prepared, Any]:
    accelerator = machine()
    _, rhs, bias = operands_of(layer)
    samples = Samples(lhs, rhs, layer.contract(lhs, rhs, bias))
    prepared = prepare(hwsim.lower(layer, scheme, accelerator), samples, bias)
    return prepared, hwsim.execute(prepared, lhs, None, accelerator)


def integers(row: list[Fraction], scale: Fraction) -> list[int]:
    """Divide each channel by its copies, then quantize each copy."""
    values = [f32(x / copies) for x, copies in zip(row, COPIES, strict=True) for _ in range(copies)]
    return [reference.rounded(f32(value / scale), "HALF_EVEN") for value in values]


@pytest.mark.parametrize("contraction", ["mk,kn->mn", "mk,nk->mn", "km,kn->mn"])
@pytest.mark.parametrize("carrier", ["fp16", "fp32"])
def test_each_copy_is_divided_quantized_and_multiplied(contraction: str, carrier: str) -> None:
    layer, lhs = weight_layer(5, 12, 7, contraction=contraction), wide_operands()
    prepared, found = run(layer, scheme_of(carrier=carrier), lhs.T if contraction == "km,kn->mn" else lhs)
    to_carrier = exact.half if carrier == "fp16" else f32
    assert prepared.copies is not None
    assert prepared.copies.tolist() == COPIES
    assert prepared.weight is not None
    weight = operands_of(layer)[1]
    plain = quantize(weight.T if contraction == "mk,nk->mn" else weight, "int8_narrow", "n:1", axes="kn")
    codes = [row for row, copies in zip(plain.codes.tolist(), COPIES, strict=True) for _ in range(copies)]
    stored = prepared.weight.codes.T if contraction == "mk,nk->mn" else prepared.weight.codes
    assert stored.tolist() == codes
    bias = operands_of(layer)[2]
    assert bias is not None
    for m, n in itertools.product(range(5), range(7)):
        row = [to_carrier(exact.fraction(x)) for x in lhs[m]]
        token = max(abs(f32(x / copies)) for x, copies in zip(row, COPIES, strict=True))
        scale = f32(token / 127)
        total = sum(a * w[n] for a, w in zip(integers(row, scale), codes, strict=True))
        assert int(found.sums[0][0, m, n]) == total
        value = f32(scale * f32(exact.fraction(plain.scales[0].reshape(-1)[n]) * total))
        assert exact.fraction(found.out[m, n]) == to_carrier(f32(value + exact.fraction(bias[n])))


def test_static_scales_are_those_of_the_divided_channels() -> None:
    layer, lhs = weight_layer(5, 12, 7), wide_operands()
    prepared, found = run(layer, scheme_of("w8a8-static"), lhs)
    assert prepared.weight is not None
    scale = f32(Fraction(8) / 127)  # -40 in five copies; 9 in two is less
    assert exact.fraction(prepared.static["lhs"].scales[0].item()) == scale
    ints = np.array([integers([exact.fraction(x) for x in row], scale) for row in lhs])
    bias = operands_of(layer)[2]
    assert bias is not None
    start = np.rint(bias / (np.float64(float(scale)) * prepared.weight.scales[0].reshape(-1)))
    np.testing.assert_array_equal(found.sums[0][0] - start.astype(int), ints @ prepared.weight.codes.astype(int))


def test_repeating_lowers_the_error_and_keeps_the_real_product() -> None:
    layer, lhs = weight_layer(5, 12, 7, bias=False), wide_operands()
    truth = lhs.astype(np.float64) @ operands_of(layer)[1]
    fine = {"carrier": "fp32", "weight__format": "int16"}
    errors = [
        float(np.square(run(layer, scheme_of(**fine, duplicate=given), lhs)[1].out - truth).sum())
        for given in ({"share": 0.4}, None)
    ]
    assert errors[0] < errors[1] / 3
    wide = run(layer, scheme_of(carrier="fp32", weight__format="int13", activation__format="int14"), lhs)[1].out
    assert np.abs(wide - truth).max() < 3e-2


def test_groups_run_over_the_copies_too() -> None:
    """Scales that change along the reduction count the channels that the array sees."""
    layer, lhs = weight_layer(5, 12, 7, bias=False), wide_operands()
    prepared, found = run(layer, scheme_of(weight__layout="k:6,n:1", carrier="fp32"), lhs)
    assert prepared.plan.mac.boundaries == (0, 6, 12)
    assert prepared.weight is not None
    assert prepared.weight.scales[0].shape == (3, 7)
    truth = lhs.astype(np.float64) @ operands_of(layer)[1]
    assert np.abs(found.out - truth).max() < 0.5


def counts(plan: Plan) -> tuple[int, int, int, int]:
    return plan.macs, plan.mac.k, plan.lhs.elements, plan.rhs.elements


def test_copies_are_counted_wherever_channels_are() -> None:
    layer = weight_layer(5, 12, 7)
    plan = hwsim.lower(layer, scheme_of(), machine())
    assert counts(plan) == (5 * 12 * 7, 17, 5 * 17, 17 * 7)
    step = next(s for s in plan.steps if isinstance(s, RepeatChannels))
    assert (step.elements, step.axis, step.channels, step.extra) == (60, "k", 12, 5)
    assert [(a.component.kind, a.component.arguments, a.count) for a in step.actions] == [("float_mul", ("fp16",), 60)]
    assert [s.elements for s in plan.steps if isinstance(s, ScanRange | Quantize)] == [85, 85]
    wide = hwsim.lower(weight_layer(5, 17, 7), scheme_of(duplicate=None), machine())
    assert next(s for s in plan.steps if isinstance(s, MultiplyAccumulate)) == wide.mac
    assert "RepeatChannels of lhs along k, 5 more than 12" in str(plan)
    per = {Per.CALL: 1, Per.LHS_FETCH: 3, Per.RHS_FETCH: 5, Per.RHS_STREAM: 7}
    assert lane_elements(step, per) == 3 * 60
    static = hwsim.lower(layer, scheme_of("w8a8-static"), machine())
    folded = next(s for s in static.steps if isinstance(s, RepeatChannels))
    assert (folded.actions, lane_elements(folded, per)) == ((), 0)
    assert counts(static) == counts(plan)


def test_products_of_activations_repeat_nothing() -> None:
    plan = hwsim.lower(attention_layer(), scheme_of(), machine())
    assert not any(isinstance(s, RepeatChannels) for s in plan.steps)
    assert plan.mac.k == 11


def test_copies_of_a_convolution_are_of_its_channels() -> None:
    sizes = {"b": 1, "c": 5, "h": 7, "w": 7, "o": 3, "r": 3, "s": 3}
    layer = Layer("conv", "conv2d", {**sizes, "p": 5, "q": 5}, "x", "w", "y")
    lhs, rhs, _ = operands_of(layer)
    lhs[:, 2] *= 30
    accelerator = machine()
    plan = hwsim.lower(layer, scheme_of(duplicate={"share": 0.3}, activation__layout="per_tensor"), accelerator)
    assert plan.mac.k == 7 * 9
    prepared = prepare(plan, Samples(lhs, rhs, layer.contract(lhs, rhs, None)))
    assert prepared.copies is not None
    assert prepared.copies.tolist() == [1, 1, 3, 1, 1]
    out = hwsim.execute(prepared, lhs, None, accelerator).out
    truth = layer.contract(lhs, rhs, None)
    plain = hwsim.lower(layer, scheme_of(duplicate=None, activation__layout="per_tensor"), accelerator)
    other = hwsim.execute(prepare(plain, Samples(lhs, rhs, truth)), lhs, None, accelerator).out
    assert np.square(out - truth).sum() < np.square(other - truth).sum() / 2


@pytest.mark.parametrize("changes", [{}, {"duplicate": None, "rotate": {}}])
def test_a_depthwise_convolution_has_no_channels_to_sum(changes: Any) -> None:
    sizes = {"b": 1, "c": 5, "h": 7, "w": 7, "p": 5, "q": 5, "r": 3, "s": 3}
    layer = Layer("conv", "depthwise2d", sizes, "x", "w", "y")
    plan = hwsim.lower(layer, scheme_of(**changes, activation__layout="per_tensor", weight__layout="c:1"), machine())
    assert not any(isinstance(s, RepeatChannels | Rotate) for s in plan.steps)
    assert plan.mac.k == 9


@pytest.mark.parametrize("changes", [{}, {"weight__layout": "k:16,n:1"}])
def test_exploring_lengths_of_the_reduction_counts_the_copies(changes: Any) -> None:
    scheme = scheme_of(duplicate={"share": 0.07}, **changes)
    found = hwsim.explore(workloads.gemm(16, 48, 8), scheme, grid={"k": [48, 96, 37], "m": [16, 5]}, costs=False)
    assert len(found) == 6
    for row in found.to_dict("records"):
        network = workloads.gemm(row["m"], row["k"], 8)
        alone = hwsim.simulate(network, scheme, "edge-16x16", numerics=False).to_frame()
        assert row["total_cycles"] == alone["total_cycles"].sum()


def test_repeating_costs_time_energy_and_weight_memory() -> None:
    layer, accelerator = weight_layer(17, 12, 7), machine()
    technology = Technology.load(accelerator.technology)
    plans = [hwsim.lower(layer, scheme_of(duplicate=given), accelerator) for given in ({"share": 0.4}, None)]
    (repeated,), (plain,) = (read_plans((plan,), accelerator, technology)[1] for plan in plans)
    assert repeated.timing.total_cycles > plain.timing.total_cycles
    assert repeated.energy.total_pj > plain.energy.total_pj
    assert plans[0].weight_bytes - plans[1].weight_bytes == 5 * 7


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"smooth": {"alpha": 0.5}},
            "one of smooth, rotate, outliers, duplicate must be given at most, not smooth and duplicate",
        ),
        ({"duplicate": {"share": 0}}, "duplicate.share must be greater than 0, not 0"),
        ({"duplicate": {"share": 2}}, "duplicate.share must be less than or equal to 1, not 2"),
    ],
)
def test_what_does_not_fit_is_refused(changes: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        scheme_of(**changes)
    with pytest.raises(ValueError, match="duplicate must go with strategy dynamic or static, not weight_only"):
        scheme_of("w8a16")


def test_a_scheme_says_what_it_repeats() -> None:
    text = explain(scheme_of())["outliers"]
    assert text.startswith("the widest channels of calibration repeated, 40.00% more in all")
