"""Witnesses, written out as whole arrays and recomputed by the definition of the sum."""

import itertools
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from quant.verify import Verdict, Witness, decide
from quant.verify.problem import build_problem
from quant.verify.witness import between, of_codes
from tests.quant.verify.oracle import Case, contract
from tests.quant.verify.test_decision import CASES, pairs


def recompute(case: Case, witness: Witness) -> tuple[bool, bool]:
    """Whether all accumulators agree, and whether the real results differ, by the definition."""
    sums, reals = [], []
    for side in (witness.first, witness.second):
        lhs, rhs = side.dense(witness.problem)
        scales = []
        for operand, axes in (("lhs", case.lhs), ("rhs", case.rhs)):
            layout = getattr(witness.problem, operand)
            shape = tuple(case.sizes[x] for x in axes)
            element: dict[Any, Fraction] = {}
            arrays = witness.scale_arrays(operand)  # type: ignore[arg-type]  # the loop holds a plain str
            for position in itertools.product(*map(range, shape)):
                value = Fraction(1)
                for level, array in zip(layout.levels, arrays, strict=True):
                    blocks = dict(level.blocks)
                    value *= array[tuple(p // blocks.get(x, 10**9) for x, p in zip(axes, position, strict=True))]
                element[position] = value
            scales.append(element)
        sums.append(contract(case, lhs, rhs))
        reals.append(contract(case, lhs, rhs, scales[0], scales[1]))
    return sums[0] == sums[1], reals[0] != reals[1]


@pytest.mark.parametrize("name", [name for name in CASES if name != "gemm"])
def test_witnesses_hold_when_written_out(name: str) -> None:
    case = CASES[name]
    chosen = pairs(name)
    for lhs, rhs in chosen[:: max(1, len(chosen) // 12)]:
        witness = decide(case.text, lhs, rhs, sizes=case.sizes, order=case.loops).witness
        assert witness is None or recompute(case, witness) == (True, True), (lhs, rhs)


def partitions(count: int, parts: int) -> list[list[list[int]]]:
    """All ways to put `count` steps into at most `parts` parts."""
    found = []
    for labels in itertools.product(range(parts), repeat=count):
        groups = [[step for step in range(count) if labels[step] == part] for part in range(parts)]
        found.append([group for group in groups if group])
    return found


def test_fewer_partial_sums_than_classes_are_always_refuted() -> None:
    found = decide("mk,kn->mn", "k:2", "n:1", sizes={"m": 1, "k": 6, "n": 1})
    assert (found.verdict, found.partial_sums) == ("segmented", 3)
    for parts in partitions(6, 2):
        witness = found.refute(parts)
        assert witness is not None
        assert witness.check(parts)
    enough = [parts for parts in partitions(6, 3) if found.refute(parts) is None]
    assert {tuple(sorted(map(tuple, parts))) for parts in enough} == {((0, 1), (2, 3), (4, 5))}


def test_fewer_contiguous_partial_sums_than_runs_are_refuted() -> None:
    """Order src of a convolution: scales per channel come back, so that runs outnumber classes."""
    case = CASES["conv, taps outside"]
    found = decide(case.text, "c:1", "o:1", sizes=case.sizes, order=case.loops)
    length = found.reduction_length
    assert (found.segments.runs, found.segments.classes) == (12, 2)
    assert found.refute([list(range(length))]) is not None
    for cut in range(1, length):
        assert found.refute([list(range(cut)), list(range(cut, length))]) is not None
    assert found.refute([[s for s in range(length) if s % 2 == c] for c in range(2)]) is None


def test_a_witness_of_one_part_says_nothing_about_finer_parts() -> None:
    found = decide("mk,kn->mn", "k:2", "n:1", sizes={"m": 1, "k": 4, "n": 1})
    assert found.witness is not None
    assert found.witness.check([[0, 1, 2, 3]])
    assert not found.witness.check([[0, 1], [2, 3]])


def test_parts_must_be_a_partition() -> None:
    found = decide("mk,kn->mn", "k:2", "n:1", sizes={"m": 1, "k": 4, "n": 1})
    with pytest.raises(ValueError, match=r"^parts must hold each of the 4 steps once, not 3 steps$"):
        found.refute([[0, 1], [2]])


def test_a_witness_that_is_tampered_with_fails() -> None:
    found = decide("mk,kn->mn", "k:1", "n:1", sizes={"m": 1, "k": 4, "n": 1})
    witness = found.witness
    assert witness is not None
    same = Witness(witness.problem, witness.first, witness.first, witness.scales, witness.output, witness.steps)
    assert not same.check()
    bare = Witness(witness.problem, witness.first, witness.second, (), witness.output, witness.steps)
    assert not bare.check()
    double = type(witness.first)(witness.first.lhs, ((witness.first.rhs[0][0], 2),))
    other = Witness(witness.problem, double, witness.second, witness.scales, witness.output, witness.steps)
    assert not other.check()


def test_witness_of_codes_keeps_the_sum_of_codes() -> None:
    found = decide("mk,kn->mn", "m:1", "codebook(real) n:1", sizes={"m": 2, "k": 3, "n": 2})
    assert found.verdict == "incompatible"
    witness = found.witness
    assert witness is not None
    assert witness.check()
    f = witness.table
    assert [witness.real(side) for side in (witness.first, witness.second)] == [f[0] + f[2], 2 * f[1]]
    problem = build_problem("mk,kn->mn", "1", "1", {"m": 1, "k": 2, "n": 1})
    with pytest.raises(ValueError, match=r"^table must not be affine, not \['0', '2', '4'\]$"):
        of_codes(problem, "rhs", [Fraction(x) for x in (0, 2, 4)])
    assert of_codes(problem, "lhs", [Fraction(x) for x in (0, 2, 5)]).check()


@pytest.mark.parametrize(("lhs", "rhs"), [("1", "codebook(real) 1"), ("codebook(real) 1", "1")])
def test_real_tables_have_a_witness_even_for_sums_of_one_term(lhs: str, rhs: str) -> None:
    for contraction, sizes in (("mk,kn->mn", {"m": 1, "k": 1, "n": 1}), ("m,n->mn", {"m": 2, "n": 2})):
        witness = decide(contraction, lhs, rhs, sizes=sizes).witness
        assert witness is not None
        assert witness.check()
        assert {witness.accumulators(side)[witness.output] for side in (witness.first, witness.second)} == {2}


@pytest.mark.parametrize("weights", [(-128, 127), (3, 6), (-128, -128), (127, 1), (-5, 5)])
@pytest.mark.parametrize("number", ["int8", "u8"])
def test_a_witness_with_known_weights_fits_the_format(weights: tuple[int, int], number: str) -> None:
    found = decide(
        "mk,kn->mn",
        "k:1",
        "n:1",
        sizes={"m": 1, "k": 2, "n": 1},
        rhs_codes=np.array(weights)[:, None],
        lhs_format=number,
    )
    witness = found.witness
    assert witness is not None
    assert witness.check()
    for side in (witness.first, witness.second):
        lhs, rhs = side.dense(witness.problem)
        assert found.problem.lhs_format.contains(lhs)
        assert tuple(rhs[:, 0]) == weights


def test_equal_scales_give_no_witness() -> None:
    problem = build_problem("mk,kn->mn", "k:2", "1", {"m": 1, "k": 4, "n": 1})
    with pytest.raises(ValueError, match=f"^{re.escape('steps must differ in scale, not ')}"):
        between(problem, {"m": 0, "n": 0}, ({"k": 0}, {"k": 1}))
    assert between(problem, {"m": 0, "n": 0}, ({"k": 1}, {"k": 2})).check()


def test_witness_of_a_large_product_is_small() -> None:
    found: Verdict = decide("mk,kn->mn", "per_channel_in", "n:1", sizes={"m": 4096, "k": 4096, "n": 4096})
    assert found.witness is not None
    assert found.witness.check()
    assert len(found.witness.first.lhs) == len(found.witness.first.rhs) == 1
