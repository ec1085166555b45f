"""Product quantization: encoded rows, looked-up tables and integer sums, against Python integers."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.execution import Prepared, Samples, prepare
from hwsim.execution.prototypes import Prototypes
from hwsim.plan import EncodePrototypes
from quant import Scheme, quantize
from tests import reference
from tests.hwsim import exact
from tests.hwsim.machines import attention_layer, machine, operands_of, weight_layer
from workloads import Layer

ROWS = 41


def scheme(**changes: Any) -> Scheme:
    return Scheme.load("pq").replace(**({"activation__prototypes": 5, "activation__width": 3} | changes))


def executed(layer: Layer, chosen: Scheme) -> tuple[Prepared, Any, Any]:
    lhs, rhs, bias = operands_of(layer)
    accelerator = machine()
    prepared = prepare(hwsim.lower(layer, chosen, accelerator), Samples(lhs, rhs, layer.contract(lhs, rhs, bias)), bias)
    return prepared, lhs, hwsim.execute(prepared, lhs, None, accelerator)


def pieces_of(row: list[int], width: int = 3) -> list[list[int]]:
    padded = row + [0] * (-len(row) % width)
    return [padded[i : i + width] for i in range(0, len(padded), width)]


def nearest(piece: list[int], prototypes: list[list[int]]) -> int:
    distances = [sum((a - b) ** 2 for a, b in zip(piece, p, strict=True)) for p in prototypes]
    return distances.index(min(distances))


@pytest.mark.parametrize("contraction", ["mk,kn->mn", "mk,nk->mn", "km,kn->mn"])
def test_rows_are_encoded_looked_up_and_requantized_exactly(contraction: str) -> None:
    layer = weight_layer(ROWS, 11, 7, contraction=contraction)
    prepared, lhs, found = executed(layer, scheme())
    assert prepared.prototypes is not None
    rows = lhs.T if contraction == "km,kn->mn" else lhs
    scale = exact.fraction(prepared.static["lhs"].scales[0].reshape(())[()])
    codes = quantize(rows, "int8", "1", axes="mk", scale=prepared.static["lhs"].scales).codes.tolist()
    values, tables = prepared.prototypes.values.tolist(), prepared.prototypes.tables
    column_scale = tables.scales[0].reshape(-1)
    out = prepared.static["out"]
    out_scale = exact.fraction(out.scales[0].reshape(())[()])
    bias = operands_of(layer)[2]
    assert bias is not None
    for m, n in itertools.product(range(ROWS), range(7)):
        chosen = [nearest(piece, values[c]) for c, piece in enumerate(pieces_of(codes[m]))]
        both = scale * exact.fraction(column_scale[n])
        start = reference.rounded(reference.to_double(exact.fraction(bias[n]) / reference.to_float(both)), "HALF_EVEN")
        total = start + sum(int(tables.codes[c, p, n]) for c, p in enumerate(chosen))
        assert int(found.sums[0][0, m, n]) == total
        ratio = reference.to_double(reference.to_double(both) / out_scale)
        code = min(max(reference.requantize(total, ratio, 0, "gemmlowp-double"), -128), 127)
        assert int(found.codes.codes[m, n]) == code


def test_tables_are_the_rounded_products_of_prototypes_and_weights() -> None:
    layer = weight_layer(ROWS, 11, 7)
    prepared, _, _ = executed(layer, scheme())
    assert prepared.prototypes is not None
    weight = np.concatenate([operands_of(layer)[1], np.zeros((1, 7), np.float32)])
    tables, values = prepared.prototypes.tables, prepared.prototypes.values
    assert values.shape == (4, 5, 3)
    assert tables.codes.shape == (4, 5, 7)
    assert tables.layout.axes == ("c", "p", "n")
    largest = [Fraction(0)] * 7
    for c, p, n in itertools.product(range(4), range(5), range(7)):
        product = sum((int(values[c, p, w]) * exact.fraction(weight[3 * c + w, n]) for w in range(3)), Fraction(0))
        largest[n] = max(largest[n], abs(product))
        scale = exact.fraction(tables.scales[0][0, 0, n])
        assert abs(int(tables.codes[c, p, n]) * scale - product) <= scale * Fraction(51, 100)
    for n in range(7):
        assert abs(float(largest[n]) / 127 - float(tables.scales[0][0, 0, n])) < 1e-5 * float(largest[n])


def test_the_first_of_equally_near_prototypes_is_taken() -> None:
    values = np.array([[[0, 0], [4, 0], [4, 0], [0, 4]]])
    found = Prototypes(values, None).encode(np.array([[2, 0], [4, 0], [2, 2], [-9, 1], [1, 3]]))  # type: ignore[arg-type]
    assert found.tolist() == [[0], [1], [0], [0], [3]]


def test_more_prototypes_lower_the_error() -> None:
    layer = weight_layer(ROWS, 12, 7, bias=False)
    errors = []
    for prototypes in (2, 8, 32):
        _, lhs, found = executed(layer, scheme(activation__prototypes=prototypes, output__format="int16"))
        errors.append(float(np.square(found.out - lhs.astype(np.float64) @ operands_of(layer)[1]).sum()))
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


def test_counts_of_encoding_and_look_ups() -> None:
    plan = hwsim.lower(weight_layer(), scheme(), machine())
    assert [type(step).__name__ for step in plan.steps] == [
        "Quantize",
        "EncodePrototypes",
        "AddBias",
        "MultiplyAccumulate",
        "Requantize",
    ]
    encode = next(step for step in plan.steps if isinstance(step, EncodePrototypes))
    assert (encode.rows, encode.subspaces, encode.lane_slots) == (5, 4, 20)
    assert [(a.component.kind, a.component.arguments, a.count) for a in encode.actions] == [
        ("pq_encoder", (5, 3, 8), 20)
    ]
    assert (plan.mac.unit, plan.mac.k, plan.mac.macs, plan.mac.operand_bits) == ("lookup", 4, 5 * 4 * 7, (3, 40))
    assert (plan.mac.component.kind, plan.mac.component.arguments) == ("pq_lookup", (5, 8, 32))
    # 20 pieces of 3 int8 come from memory and become indices of 3 bits
    assert (plan.lhs.elements, plan.lhs.dram_bits, plan.lhs.sram_bits) == (20, 24, 3)
    # 4 tables of 5 int8 for each of 7 columns, each with one scale
    assert (plan.rhs.elements, plan.rhs.total_dram_bits) == (28, 28 * 40 + 7 * 32)


def test_a_deep_array_can_not_look_up() -> None:
    text = "array.dot_depth must be 1 for code pq, which looks one entry up a step, not 4"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        hwsim.lower(weight_layer(), scheme(), machine(array__dot_depth=4))


def test_a_batch_of_weights_has_no_prototypes() -> None:
    grouped = Layer("g", "gmk,gkn->gmn", {"g": 2, "m": 5, "k": 11, "n": 7}, "x", "w", "y")
    text = "layer g must be one matrix product for code pq, not a batch of 2"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        hwsim.lower(grouped, scheme(), machine())


def test_attention_stays_a_product_of_integers() -> None:
    plan = hwsim.lower(attention_layer(), scheme(), machine())
    assert plan.mac.unit == "multiply"
    assert not any(isinstance(step, EncodePrototypes) for step in plan.steps)
