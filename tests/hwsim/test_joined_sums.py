"""Partial sums that are joined as integers: shifts of power-of-two scales, integer factors of two-level scales."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import hwsim
from hwsim.execution import Samples, prepare
from hwsim.plan import Dequantize, RescalePartialSums
from quant import QTensor, Scheme, parse_layout, quantize_operand
from tests import reference
from tests.hwsim import exact
from tests.hwsim.machines import attention_layer, machine, operands_of, values_layer, weight_layer
from workloads import Layer

f32 = reference.to_float
TWO_LEVEL = "n:1 * k:4,n:1@int"


def scheme(lhs: str = "mx:4", rhs: str = "mx:4", **changes: Any) -> Scheme:
    return Scheme.load("mxint8").replace(
        **({"activation__layout": lhs, "weight__layout": rhs, "attention": "float"} | changes)
    )


def levels_at(q: QTensor, index: tuple[int, ...]) -> list[tuple[str, Fraction]]:
    return [
        (level.kind, exact.fraction(q.scales[i][exact.block_at(q, i, index)]))
        for i, level in enumerate(q.layout.levels)
    ]


class Joined:
    """One executed layer and its quantized operands."""

    def __init__(self, layer: Layer, chosen: Scheme, spread: npt.NDArray[np.float32] | None = None) -> None:
        accelerator = machine()
        self.lhs, rhs, self.bias = operands_of(layer)
        if spread is not None:
            self.lhs = self.lhs * spread
        self.plan = hwsim.lower(layer, chosen, accelerator)
        self.prepared = prepare(self.plan, Samples(self.lhs, rhs, layer.contract(self.lhs, rhs, self.bias)), self.bias)
        self.run = hwsim.execute(self.prepared, self.lhs, None, accelerator)
        assert chosen.activation is not None
        layout = parse_layout(chosen.activation.layout, "mk", layer.parsed, "lhs")
        self.q = quantize_operand(exact_carrier(chosen)(self.lhs), chosen.activation, layout)
        assert self.prepared.weight is not None
        self.w = self.prepared.weight
        self.layer = layer

    def each(self, value: Callable[[list[tuple[int, list[Any], list[Any]]], int], Fraction]) -> None:
        """Check every output against a value of its runs: sum, levels of lhs and of rhs."""
        m, n, k = self.layer.sizes["m"], self.layer.sizes["n"], self.layer.sizes["k"]
        for i, j in itertools.product(range(m), range(n)):
            steps = [(levels_at(self.q, (i, s)), levels_at(self.w, (s, j)), s) for s in range(k)]
            runs = []
            for (a, b), group in itertools.groupby(steps, lambda t: (t[0], t[1])):
                total = sum(int(self.q.codes[i, s]) * int(self.w.codes[s, j]) for _, _, s in group)
                runs.append((total, a, b))
            assert exact.fraction(self.run.out[i, j]) == value(runs, j)

    def finished(self, value: Fraction, column: int) -> Fraction:
        if self.bias is not None:
            value = f32(value + exact.fraction(self.bias[column]))
        return exact.half(value)


def exact_carrier(chosen: Scheme) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    assert chosen.carrier == "fp16"
    return lambda x: x.astype(np.float16).astype(np.float32)


def product(levels: list[tuple[str, Fraction]]) -> Fraction:
    found = Fraction(1)
    for _, scale in levels:
        found *= scale
    return found


@pytest.mark.parametrize("bias", [True, False])
def test_power_of_two_scales_are_joined_exactly_and_rounded_once(bias: bool) -> None:
    case = Joined(weight_layer(5, 11, 7, bias=bias), scheme())
    assert case.plan.mac.boundaries == (0, 4, 8)
    assert case.plan.verdict is not None
    assert case.plan.verdict.rescale == "shift"

    def value(runs: list[Any], column: int) -> Fraction:
        return case.finished(f32(sum((total * product(a) * product(b) for total, a, b in runs), Fraction(0))), column)

    case.each(value)


def test_sums_beyond_the_shifter_lose_their_low_bits_towards_minus_infinity() -> None:
    """Blocks of activations 2**34 apart; the shifter reaches 31."""
    spread = np.array([2.0**-9] * 4 + [1.0] * 4 + [2.0**-24] * 3, np.float32)
    layer = weight_layer(5, 11, 7, bias=False)
    case = Joined(layer, scheme(carrier="fp16"), spread)
    rescale = next(s for s in case.plan.steps if isinstance(s, RescalePartialSums))
    far = 0

    def value(runs: list[Any], _: int) -> Fraction:
        nonlocal far
        powers = [exponent(product(a) * product(b)) for _, a, b in runs]
        base = max(min(powers), max(powers) - 3)
        far += min(powers) < base
        total = sum(t << p - base if p >= base else t >> base - p for (t, _, _), p in zip(runs, powers, strict=True))
        return exact.half(f32(total * Fraction(2) ** base))

    short = tuple(
        s if s is not rescale else RescalePartialSums(s.count, "shift", s.accumulator_bits, 0, 3, s.outer_bits)
        for s in case.plan.steps
    )
    object.__setattr__(case.plan, "steps", short)
    case.run = hwsim.execute(case.prepared, case.lhs, None, machine())
    case.each(value)
    assert far > 10


def exponent(x: Fraction) -> int:
    power = x.numerator.bit_length() - x.denominator.bit_length()
    assert Fraction(2) ** power == x
    return power


def test_integer_scales_multiply_partial_sums_exactly() -> None:
    case = Joined(weight_layer(), scheme("per_token", TWO_LEVEL))
    assert case.plan.verdict is not None
    assert case.plan.verdict.rescale == "integer"

    def value(runs: list[Any], column: int) -> Fraction:
        total = sum(t * b[1][1] for t, _, b in runs)
        return case.finished(f32(runs[0][1][0][1] * f32(runs[0][2][0][1] * f32(total))), column)

    case.each(value)


def test_integer_factors_and_shifts_together() -> None:
    case = Joined(weight_layer(), scheme("mx:4", TWO_LEVEL))

    def value(runs: list[Any], column: int) -> Fraction:
        total = sum((t * a[0][1] * b[1][1] for t, a, b in runs), Fraction(0))
        return case.finished(f32(runs[0][2][0][1] * f32(total)), column)

    case.each(value)


def test_joined_sums_are_dequantized_and_priced_for_it() -> None:
    for chosen in (scheme(), scheme("per_token", TWO_LEVEL)):
        plan = hwsim.lower(weight_layer(), chosen, machine())
        rescale = next(s for s in plan.steps if isinstance(s, RescalePartialSums))
        dequantize = next(s for s in plan.steps if isinstance(s, Dequantize))
        assert (rescale.count, dequantize.count) == (3 * 35, 35)
        assert dequantize.accumulator_bits == rescale.outer_bits
    shift, integer = (
        [
            (a.component.kind, a.component.arguments)
            for s in hwsim.lower(weight_layer(), c, machine()).steps
            if isinstance(s, RescalePartialSums)
            for a in s.actions
        ]
        for c in (scheme(), scheme("per_token", TWO_LEVEL))
    )
    # 4 products of 8 bits: 19 bits; 3 sums and a sign: 3 more; 31 positions of the shifter
    assert shift == [("shifter", (53, 32)), ("adder", (53,))]
    # 8-bit factors instead
    assert integer == [("multiplier", (8, 32)), ("adder", (30,))]


def test_static_groups_end_in_a_quantizer_that_is_priced() -> None:
    static = Scheme.load("w8a8-static").replace(weight__layout=TWO_LEVEL)
    plan = hwsim.lower(weight_layer(), static, machine())
    assert [type(step).__name__ for step in plan.steps][-4:] == [
        "RescalePartialSums",
        "Dequantize",
        "AddBias",
        "Quantize",
    ]
    assert plan.steps[-1].actions[0].count == 35


@pytest.mark.parametrize("layer", [attention_layer(), values_layer()], ids=["scores", "values"])
def test_blocks_of_products_of_activations(layer: Layer) -> None:
    """MX on both operands of attention, whichever axis is summed."""
    lhs, rhs, _ = operands_of(layer)
    plan = hwsim.lower(layer, scheme(attention="activation"), machine())
    prepared = prepare(plan, Samples(lhs, rhs, layer.contract(lhs, rhs)))
    found = hwsim.execute(prepared, lhs, rhs, machine())
    error = found.out - layer.contract(lhs.astype(np.float64), rhs.astype(np.float64))
    assert len(found.sums) == 3
    assert np.abs(error).max() < 0.2


@pytest.mark.parametrize(
    ("lhs", "rhs", "multiplications", "shifted"),
    [
        ("mx:4", "mx:4", 0, True),
        ("per_token", TWO_LEVEL, 2, False),
        ("per_token", "mx:4", 1, True),
    ],
)
def test_only_scales_that_stay_are_multiplied_at_the_end(
    lhs: str, rhs: str, multiplications: int, shifted: bool
) -> None:
    """Powers of two of MX blocks have moved all sums already; a real level of each operand is left to multiply."""
    changes = {} if lhs == "mx:4" else {"activation__scale_format": "fp32"}
    plan = hwsim.lower(weight_layer(bias=False), scheme(lhs, rhs, **changes), machine())
    [step] = [step for step in plan.steps if isinstance(step, Dequantize)]
    assert (step.multiplications, step.shifted) == (multiplications, shifted)
    kinds = [action.component.kind for action in step.actions]
    expected = ["dequantizer" if multiplications else "int_to_float", *["float_mul"] * (multiplications - 1)]
    assert kinds == [*expected, *["adder"] * shifted]
    assert {action.count for action in step.actions} == {35}
