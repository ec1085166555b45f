"""Repairs carried out on operands: the real product, the verdict after it, and the price."""

import itertools
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from quant.contraction import Contraction
from quant.rewriting import walsh_hadamard
from quant.verify import Finding, Repair, Verdict, decide
from tests.quant.verify.oracle import Case, contract
from tests.quant.verify.test_decision import CASES

CONFLICTS = [
    ("gemm", "k:1", "n:1", {}),
    ("gemm", "k:1", "k:1", {}),
    ("gemm", "1", "n:1,k:2", {}),
    ("gemm", "m:1,k:2", "n:1", {"native_depth": 4}),
    ("gemm", "1", "codebook(real) n:1", {}),
    ("batched", "k:1", "b:1,n:1", {}),
    ("scores", "d:1", "d:1", {"rhs_kind": "activation"}),
    ("values", "q:1", "k:1", {"rhs_kind": "cached"}),
    ("two sums", "i:1,j:1", "n:1", {}),
    ("conv", "c:1", "o:1", {}),
    ("conv", "b:1,h:1,w:1", "o:1", {}),
    ("depthwise", "1", "c:1,r:1,s:1", {}),
]


def fractions(case: Case, axes: str, rng: np.random.Generator) -> Any:
    shape = tuple(case.sizes[x] for x in axes)
    array = np.empty(int(np.prod(shape)), object)
    array[:] = [
        Fraction(int(a), int(b))
        for a, b in zip(rng.integers(-50, 50, array.size), rng.integers(1, 9, array.size), strict=True)
    ]
    return array.reshape(shape)


@pytest.mark.parametrize(("name", "lhs", "rhs", "options"), CONFLICTS)
def test_repaired_operands_give_the_same_real_product(name: str, lhs: str, rhs: str, options: Any) -> None:
    rng = np.random.default_rng(7)
    case = CASES[name]
    found = decide(case.text, lhs, rhs, sizes=case.sizes, order=case.loops, **options)
    assert found.verdict != "once"
    assert found.repairs
    left, right = fractions(case, case.lhs, rng), fractions(case, case.rhs, rng)
    expected: dict[Any, Fraction] = {}
    for output in case.outputs():
        pairs = (case.positions(output, step) for step in case.steps())
        expected[tuple(output[x] for x in case.out)] = sum(
            (left[pair[0]] * right[pair[1]] for pair in pairs if pair is not None), Fraction(0)
        )
    for repair in found.repairs:
        repaired = repair.apply(left, right)
        got = repaired.real()
        assert all(got[index] == value for index, value in expected.items()), repair.name
        assert repaired.verdict == repair.after.verdict, repair.name
        assert repair.after.verdict in ("once", "segmented")
        better = repair.after.verdict == "once" or found.verdict == "incompatible" or repair.after.rescale == "shift"
        assert better, repair.name


@pytest.mark.parametrize(("name", "lhs", "rhs", "options"), CONFLICTS)
def test_repairs_come_cheapest_first(name: str, lhs: str, rhs: str, options: Any) -> None:
    case = CASES[name]
    found = decide(case.text, lhs, rhs, sizes=case.sizes, order=case.loops, **options)
    costs = [one.run_time_operations for one in found.repairs]
    assert costs == sorted(costs)


def by_name(found: Verdict) -> dict[str, Repair]:
    return {one.name: one for one in found.repairs}


def test_prices_are_functions_of_the_sizes() -> None:
    sizes = {"m": 256, "k": 512, "n": 128}
    found = by_name(decide("mk,kn->mn", "k:1", "n:1", sizes=sizes))
    smooth = found["smooth"]
    assert [str(one) for one in smooth.run_time] == ["m k multiply, unless folded into the producer of lhs"]
    assert [str(one) for one in smooth.offline] == ["k n multiply"]
    assert smooth.run_time_operations == 256 * 512
    assert smooth.run_time[0].at({"m": 1, "k": 512}) == 512
    assert found["rotate"].run_time_operations == 256 * 512 * 9
    assert found["split outliers"].run_time_operations == 256 * 128 * 5
    assert found["regroup"].run_time_operations == 256 * 128 * 16
    assert found["requantize lhs"].run_time_operations == 256 * 512
    mirror = by_name(decide("mk,kn->mn", "m:1", "k:1", sizes=sizes))
    assert (mirror["requantize rhs"].run_time_operations, mirror["requantize rhs"].offline_operations) == (0, 512 * 128)
    both = by_name(decide("mk,kn->mn", "m:1", "k:1", sizes=sizes, rhs_kind="activation"))
    assert both["smooth"].run_time_operations == 256 * 512 + 512 * 128


def test_rotation_is_orthogonal() -> None:
    for size in (1, 2, 8, 64):
        matrix = walsh_hadamard(np.eye(size, dtype=np.int64))
        np.testing.assert_array_equal(matrix @ matrix.T, size * np.eye(size, dtype=np.int64))


def test_padding_to_the_depth_states_its_utilization() -> None:
    found = decide("mk,kn->mn", "m:1,k:16", "n:1", sizes={"m": 4, "k": 64, "n": 4}, native_depth=32)
    assert (found.verdict, found.utilization) == ("incompatible", 0.5)
    pad = by_name(found)["pad"]
    assert dict(pad.problem.shape)["k"] == 128
    assert (pad.after.verdict, pad.after.partial_sums, pad.after.min_run) == ("segmented", 4, 32)
    assert pad.run_time_operations == 4 * 64 * 4 + 4 * 4 * 4


def test_a_repair_checks_its_operands() -> None:
    repair = decide("mk,kn->mn", "k:1", "n:1", sizes={"m": 4, "k": 8, "n": 4}).repairs[0]
    with pytest.raises(ValueError, match=f"^{re.escape('lhs must have shape (4, 8), not (8, 4)')}$"):
        repair.apply(np.ones((8, 4)), np.ones((8, 4)))


def test_once_needs_no_repair() -> None:
    assert decide("mk,kn->mn", sizes={"m": 4, "k": 8, "n": 4}).repairs == ()


def quantized_error(verdict: Finding, lhs: Any, rhs: Any, truth: Any) -> float:
    """Relative error after symmetric int8 in the verdict's layouts, one level each."""
    rounded = []
    for layout, array in ((verdict.problem.lhs, lhs), (verdict.problem.rhs, rhs)):
        level = layout.levels[0]
        blocks = [level.block_of(axis) or size for axis, size in zip(layout.axes, array.shape, strict=True)]
        scale = np.empty(array.shape)
        for start in itertools.product(
            *(range(0, size, block) for size, block in zip(array.shape, blocks, strict=True))
        ):
            part = tuple(slice(a, a + b) for a, b in zip(start, blocks, strict=True))
            scale[part] = max(np.abs(array[part]).max(), 1e-30) / 127
        rounded.append(np.rint(array / scale) * scale)
    got = Contraction.parse("mk,kn->mn").to_gemm(*rounded)
    return float(np.linalg.norm(got[0][0] @ got[1][0] - truth) / np.linalg.norm(truth))


def test_repairs_help_where_four_channels_are_sixty_times_wider() -> None:
    """The published effect of each repair in direction: smoothing, splitting and rotation beat per token scales."""
    rng = np.random.default_rng(7)
    lhs, rhs = rng.normal(size=(64, 512)), rng.normal(size=(512, 64))
    lhs[:, rng.choice(512, 4, replace=False)] *= 60
    truth = lhs @ rhs
    found = decide("mk,kn->mn", "per_channel_in", "per_channel", sizes={"m": 64, "k": 512, "n": 64})
    repairs = by_name(found)
    per_token = quantized_error(decide("mk,kn->mn", "m:1", "n:1", sizes=found.problem.sizes), lhs, rhs, truth)
    errors = {}
    for name in ("smooth", "rotate"):
        product = repairs[name].apply(lhs, rhs).products[0]
        errors[name] = quantized_error(product.verdict, product.lhs, product.rhs, truth)
    integer, beside = repairs["split outliers"].apply(lhs, rhs).products
    errors["split"] = quantized_error(integer.verdict, integer.lhs, integer.rhs, truth - beside.real())
    errors["split"] *= float(np.linalg.norm(truth - beside.real()) / np.linalg.norm(truth))
    assert beside.arithmetic == "float"
    assert max(errors.values()) < per_token / 2
    assert errors["split"] < min(errors["smooth"], errors["rotate"])


def test_contract_of_the_oracle_agrees_with_matrix_product() -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = rng.integers(-9, 9, (3, 7)), rng.integers(-9, 9, (7, 3))
    got = contract(CASES["gemm"], lhs, rhs)
    assert all(got[i, j] == int((lhs @ rhs)[i, j]) for i in range(3) for j in range(3))
