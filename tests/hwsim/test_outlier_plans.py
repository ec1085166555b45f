"""Rotation and outlier split, against Python Fractions from the definitions."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import hwsim
from hwsim.cost.pricing import price
from hwsim.execution import Prepared, Samples, prepare
from hwsim.plan import EncodePrototypes, MultiplyOutliers, Per, Quantize, Rotate, ScanRange
from hwsim.simulation import read_plans
from hwsim.technology import Technology
from hwsim.timing.cycles import lane_elements
from quant import Scheme, quantize
from tests import reference
from tests.hwsim import exact
from tests.hwsim.machines import attention_layer, machine, operands_of, weight_layer
from workloads import Layer

Float32 = npt.NDArray[np.float32]
f32 = reference.to_float


def run(layer: Layer, scheme: Scheme, lhs: Float32 | None = None) -> tuple[Prepared, Float32, Float32 | None, Any]:
    accelerator = machine()
    values, rhs, bias = operands_of(layer)
    values = values if lhs is None else lhs
    prepared = prepare(
        hwsim.lower(layer, scheme, accelerator), Samples(values, rhs, layer.contract(values, rhs, bias)), bias
    )
    return prepared, values, bias, hwsim.execute(prepared, values, None, accelerator)


# ---- outlier channels in floating point ----


def split_scheme(**changes: Any) -> Scheme:
    return Scheme.load("llm-int8").replace(**({"outliers": {"threshold": 2.0, "share": 0.25}} | changes))


def outlier_operands(k: int = 12) -> Float32:
    """Channels 3, 7, 8 and 10 reach 2; the share has room for three."""
    lhs = np.random.default_rng(7).uniform(-1, 1, (5, k)).astype(np.float32)
    for channel, size in ((3, 9.0), (7, -40.0), (8, 2.0), (10, 5.0)):
        lhs[channel % 5, channel] = size
    return lhs


@pytest.mark.parametrize("contraction", ["mk,kn->mn", "mk,nk->mn", "km,kn->mn"])
@pytest.mark.parametrize("carrier", ["fp16", "fp32"])
def test_outliers_are_multiplied_in_floating_point_one_channel_after_the_other(contraction: str, carrier: str) -> None:
    layer = weight_layer(5, 12, 7, contraction=contraction)
    lhs = outlier_operands()
    prepared, _, bias, found = run(layer, split_scheme(carrier=carrier), lhs.T if contraction == "km,kn->mn" else lhs)
    to_carrier = exact.half if carrier == "fp16" else f32
    assert found.outlier_channels.tolist() == [3, 7, 10]
    assert prepared.weight is not None
    codes, scales = prepared.weight.codes, prepared.weight.scales[0].reshape(-1)
    codes = codes.T if contraction == "mk,nk->mn" else codes
    seen = np.array([[to_carrier(exact.fraction(x)) for x in row] for row in lhs])
    kept = [k for k in range(12) if k not in (3, 7, 10)]
    assert bias is not None
    for m, n in itertools.product(range(5), range(7)):
        token = max(abs(seen[m][k]) for k in kept)
        scale = f32(token / 127)
        ints = [reference.rounded(f32(seen[m][k] / scale), "HALF_EVEN") for k in kept]
        total = sum(a * int(codes[k, n]) for a, k in zip(ints, kept, strict=True))
        assert int(found.sums[0][0, m, n]) == total
        column = exact.fraction(scales[n])
        value = f32(scale * f32(column * total))
        product = Fraction(0)
        for k in (3, 7, 10):
            weight = to_carrier(f32(int(codes[k, n]) * column))
            product = f32(product + f32(seen[m][k] * weight))
        value = f32(f32(value + product) + exact.fraction(bias[n]))
        assert exact.fraction(found.out[m, n]) == to_carrier(value)


def test_no_channel_reaches_the_threshold() -> None:
    """Then the result is that of the scheme without a split."""
    layer, lhs = weight_layer(5, 12, 7), outlier_operands()
    scheme = split_scheme(outliers={"threshold": 100.0, "share": 0.25})
    _, _, _, found = run(layer, scheme, lhs)
    _, _, _, plain = run(layer, scheme.replace(outliers=None), lhs)
    assert found.outlier_channels.tolist() == []
    np.testing.assert_array_equal(found.out, plain.out)


def test_splitting_lowers_the_error_of_channels_far_apart() -> None:
    layer, lhs = weight_layer(5, 12, 7, bias=False), outlier_operands()
    weight = operands_of(layer)[1]
    errors = []
    exact_else = {"carrier": "fp32", "weight__format": "int16"}
    for scheme in (split_scheme(**exact_else), split_scheme(**exact_else, outliers=None)):
        found = run(layer, scheme, lhs)[3]
        errors.append(float(np.square(found.out - lhs.astype(np.float64) @ weight).sum()))
    assert errors[0] < errors[1] / 10


def test_steps_and_counts_of_an_outlier_split() -> None:
    plan = hwsim.lower(weight_layer(5, 12, 7), split_scheme(), machine())
    first, second = (step for step in plan.steps if isinstance(step, ScanRange))
    assert (first.finds, first.barrier_elements, first.elements) == ("outliers", 60, 60)
    assert (second.finds, second.barrier_elements, second.elements) == ("range", 0, 60)
    outliers = next(step for step in plan.steps if isinstance(step, MultiplyOutliers))
    assert (outliers.batch, outliers.rows, outliers.channels, outliers.columns) == (1, 5, 3, 7)
    assert [(a.component.kind, a.count) for a in outliers.actions] == [
        ("int_to_float", 3 * 7),
        ("float_mul", 3 * 7),
        ("float_mac", 5 * 3 * 7),
        ("float_add", 5 * 7),
    ]
    assert outliers.lane_slots == 105
    assert not any(
        isinstance(s, MultiplyOutliers) for s in hwsim.lower(attention_layer(), split_scheme(), machine()).steps
    )


# ---- rotation ----


def rotated_rows(rows: list[list[Fraction]], block: int) -> list[list[Fraction]]:
    """Sums and differences of neighbours at distance 1, 2, 4, ..., each rounded to float32."""
    out = []
    for row in rows:
        values = list(row)
        distance = 1
        while distance < block:
            stage = list(values)
            for i in range(len(values)):
                other = i ^ distance
                stage[i] = f32(values[i] + values[other]) if i < other else f32(values[other] - values[i])
            values, distance = stage, 2 * distance
        out.append(values)
    return out


@pytest.mark.parametrize(("contraction", "seed"), [("mk,kn->mn", None), ("mk,nk->mn", None), ("km,kn->mn", 3)])
def test_rotated_operands_are_multiplied_exactly(contraction: str, seed: int | None) -> None:
    layer = weight_layer(5, 12, 7, contraction=contraction)
    scheme = Scheme.load("w4a4-quarot").replace(rotate={"seed": seed} if seed else {})
    prepared, lhs, _, found = run(layer, scheme)
    rows = lhs.T if contraction == "km,kn->mn" else lhs
    signs = np.ones(12) if seed is None else np.random.default_rng(seed).choice([-1, 1], 12)
    seen = [[exact.half(exact.fraction(x)) * int(s) for x, s in zip(row, signs, strict=True)] for row in rows]
    turned = exact.floats(np.array(rotated_rows(seen, 4), object))
    codes = quantize(turned, "int4", "m:1", axes="mk").codes.astype(int)
    assert prepared.weight is not None
    weight = prepared.weight.codes.astype(int)
    weight = weight.T if contraction == "mk,nk->mn" else weight
    np.testing.assert_array_equal(found.sums[0][0], codes @ weight)


def test_rotation_keeps_the_real_product() -> None:
    """At 16 bits the rotated product is the original one but for rounding."""
    layer = weight_layer(5, 12, 7, bias=False)
    scheme = Scheme.load("w4a4-quarot").replace(
        carrier="fp32", activation__format="int16", weight__format="int16", weight__range="minmax"
    )
    _, lhs, _, found = run(layer, scheme)
    exact_product = lhs.astype(np.float64) @ operands_of(layer)[1]
    assert np.abs(found.out - exact_product).max() < 1e-3


def test_counts_of_a_rotation() -> None:
    plan = hwsim.lower(weight_layer(5, 12, 7), Scheme.load("w4a4-quarot"), machine())
    rotate = next(step for step in plan.steps if isinstance(step, Rotate))
    assert (rotate.block, rotate.elements, rotate.lane_slots) == (4, 60, 120)
    assert [(a.component.kind, a.component.arguments, a.count) for a in rotate.actions] == [
        ("float_add", ("fp32",), 120)
    ]
    odd = hwsim.lower(weight_layer(5, 11, 7), Scheme.load("w4a4-quarot"), machine())
    assert not any(isinstance(step, Rotate) for step in odd.steps), "an odd reduction has no rotation"
    with pytest.raises(ValueError, match=r"^rotate.block must divide the 12 steps of k of up, not 8$"):
        hwsim.lower(weight_layer(5, 12, 7), Scheme.load("w4a4-quarot").replace(rotate={"block": 8}), machine())


def test_a_magnitude_at_the_threshold_is_an_outlier() -> None:
    layer, lhs = weight_layer(5, 12, 7), outlier_operands()
    _, _, _, found = run(layer, split_scheme(carrier="fp32", outliers={"threshold": 2.0, "share": 0.5}), lhs)
    assert found.outlier_channels.tolist() == [3, 7, 8, 10]


# ---- time and price ----


def test_new_steps_take_slots_of_the_vector_unit_with_each_fetch() -> None:
    per = {Per.CALL: 1, Per.LHS_FETCH: 3, Per.RHS_FETCH: 5, Per.RHS_STREAM: 7}
    layer = weight_layer(5, 12, 7)
    steps = [
        step
        for scheme in (split_scheme(), Scheme.load("w4a4-quarot"), Scheme.load("pq"))
        for step in hwsim.lower(layer, scheme, machine()).steps
    ]
    slots = {type(step): lane_elements(step, per) for step in steps}
    assert slots[MultiplyOutliers] == 5 * 3 * 7
    assert slots[Rotate] == 3 * 2 * 60
    assert slots[EncodePrototypes] == 3 * 5 * 3  # pieces of 4


@pytest.mark.parametrize("name", ["llm-int8", "w4a4-quarot", "pq", "mxint8", "w4a16-g128", "codebook-16-real"])
def test_every_scheme_has_time_energy_and_area(name: str) -> None:
    layer = weight_layer(17, 12, 7)
    accelerator = machine()
    technology = Technology.load(accelerator.technology)
    plan = hwsim.lower(layer, Scheme.load(name), accelerator)
    built, (result,) = read_plans((plan,), accelerator, technology)
    assert result.timing.total_cycles > 0
    assert min(result.low.total_pj, result.energy.total_pj, result.high.total_pj) > 0
    assert built.total_um2 > 0
    for step in plan.steps:
        for action in step.actions:
            assert price(technology, action.component).area_um2 > 0
            assert "(" not in str(action.component), "each component has words of its own"


def test_a_split_costs_more_than_none() -> None:
    layer, accelerator = weight_layer(17, 12, 7), machine()
    technology = Technology.load(accelerator.technology)
    split, plain = (
        read_plans((hwsim.lower(layer, scheme, accelerator),), accelerator, technology)
        for scheme in (split_scheme(), split_scheme(outliers=None))
    )
    assert split[0].total_um2 > plain[0].total_um2
    assert split[1][0].energy.vector_pj > plain[1][0].energy.vector_pj
    assert split[1][0].timing.total_cycles > plain[1][0].timing.total_cycles


def test_a_stochastic_rounding_at_run_time_is_priced_by_its_register() -> None:
    scheme = Scheme.load("w8a8-dynamic")
    free = scheme.replace(activation__rounding="stochastic", activation__seed=3)
    text = "random_bits must be given for stochastic rounding of lhs at run time, not None"
    with pytest.raises(ValueError, match=f"^{text}$"):
        hwsim.lower(weight_layer(), free, machine())
    plan = hwsim.lower(weight_layer(), free.replace(activation__random_bits=8), machine())
    quantize = next(step for step in plan.steps if isinstance(step, Quantize))
    assert [(a.component.kind, a.component.arguments, a.count) for a in quantize.actions] == [
        ("quantizer", ("fp16", 8), 55),
        ("rounder", ("stochastic", 16, 8), 55),
    ]


def test_zero_points_that_change_within_a_partial_sum_are_refused() -> None:
    scheme = Scheme.load("w8a8-dynamic").replace(weight__symmetric=False, weight__zero_layout="k:4,n:1")
    text = "zero_layout of rhs of up must not change within a partial sum, not k:4,n:1 with scales n:1"
    with pytest.raises(ValueError, match=f"^{text}$"):
        hwsim.lower(weight_layer(), scheme, machine())
    hwsim.lower(weight_layer(), scheme.replace(weight__layout="k:2,n:1"), machine())
