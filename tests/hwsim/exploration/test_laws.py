"""Laws over sizes against exact arithmetic, and against shapes that are lowered one by one."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsim
import quant
import workloads
from hwsim.exploration import blocks, sweeps
from hwsim.exploration.counts import QUESTIONS, Count, Path
from hwsim.exploration.laws import Laws
from quant import Scheme

PRESETS = sorted(path.stem for path in (FilePath(quant.__file__).parent / "presets").glob("*.yaml"))

# Arithmetic and questions as lowering asks them, over Python's whole numbers or counts.
FORMULAS: dict[str, Callable[[Any, Any], Any]] = {
    "product": lambda m, k: math.prod((m, k, 3)),
    "blocks": lambda m, k: math.ceil(m / 7) * math.ceil(k / 128),
    "shorter": lambda m, k: min(m, 32) * min(k, 1),
    "quotient": lambda m, k: (m * k) // min(k, 5),
    "rest": lambda m, k: 1 if k % 16 else m,
    "width": lambda _, k: 8 + max(1, (k - 1).bit_length()),
    "share": lambda m, k: m * math.ceil(0.01 * k),
    "nothing": lambda m, k: 0 * m + (k - k) + 1 * m,
    "zero": lambda m, k: m * k if k - 1 else 5,
    "equal": lambda m, k: "same" if m == k else m - k,
    "text": lambda _, k: f"{k} steps",
    "power": lambda m, k: m * (operator.index(k) & -operator.index(k)),
    "logarithm": lambda m, k: m + math.ceil(math.log2(k)),
    "halves": lambda m, k: (1 - m / 2) + 2 / k,
}
SIZES = st.one_of(st.integers(1, 40), st.integers(1, 1 << 20))


def holds(path: Path, sizes: tuple[int, ...]) -> bool:
    """Whether a path's answers are those of other sizes."""
    inputs = [float(size) for size in sizes]
    return all(
        QUESTIONS[question](*path.record.read((one, other), inputs)) == answer
        for (question, one, other), answer in path.answers.items()
    )


@pytest.mark.parametrize("name", FORMULAS)
@given(at=st.tuples(SIZES, SIZES), other=st.tuples(SIZES, SIZES), near=st.booleans())
def test_what_one_shape_wrote_down_is_true_of_all_with_the_same_answers(
    name: str, at: tuple[int, int], other: tuple[int, int], near: bool
) -> None:
    formula, path = FORMULAS[name], Path()
    found = formula(*(path.size(size) for size in at))
    assert (found.value if isinstance(found, Count) else found) == formula(*at)
    assert holds(path, at)
    if near:
        other = (other[0], at[1])
    if holds(path, other):
        (value,) = path.record.read([found.symbol], [float(x) for x in other]) if isinstance(found, Count) else (found,)
        assert value == formula(*other)


def test_nothing_is_asked_where_arithmetic_is_enough() -> None:
    path = Path()
    m, k = path.size(5), path.size(300)
    assert (m * k - k * 0 + 0).value == 1500
    assert m * 0 == 0
    assert (math.ceil(k / 128) * m).value == 15
    assert not path.answers


@pytest.mark.parametrize("scheme", PRESETS)
def test_every_shape_is_that_of_its_own_plan(scheme: str) -> None:
    rng = np.random.default_rng(PRESETS.index(scheme))
    points = {
        "m": [1, 1, 2, 64, *rng.integers(1, 4097, 6).tolist()],
        "k": [1, 129, 128, 256, *rng.integers(1, 700, 6).tolist()],
        "n": [1, 5, 1, 64, *rng.integers(1, 4097, 6).tolist()],
    }
    frame = hwsim.explore(workloads.gemm(2, 3, 5), scheme, points=points)
    for _, row in frame.iterrows():
        network = workloads.gemm(int(row["m"]), int(row["k"]), int(row["n"]))
        if isinstance(row["reason"], str):
            with pytest.raises(ValueError, match=f"^{re.escape(row['reason'])}$"):
                hwsim.simulate(network, scheme, numerics=False)
            continue
        totals = hwsim.simulate(network, scheme, numerics=False).totals()
        common = [name for name in frame if name in totals and name != "scheme"]
        assert len(common) > 20
        assert {name: row[name] for name in common} == {name: totals[name] for name in common}


def test_reductions_of_one_structure_share_a_law() -> None:
    lengths = np.arange(1, 4097)
    layer, scheme = workloads.gemm(4, 8, 16).layers[0], Scheme.load("w4a8-g128")
    names, kind_of = ["m", "k", "n"], (lengths - 1) // 128
    laws = Laws(layer, names, names, kind_of, scheme, hwsim.Accelerator.load("edge-16x16"))
    sizes = {"m": np.full(len(lengths), 4.0), "k": lengths.astype(float), "n": np.full(len(lengths), 9.0)}
    which = laws.sort(sizes, kind_of)
    # One sum; or several, the last one as long as the others or shorter.
    assert len(laws.laws) <= 8
    for number, law in enumerate(laws.laws):
        mine = np.flatnonzero(which == number)
        group = law.at(law.inputs([size[mine] for size in sizes.values()], kind_of[mine]))
        segments = np.sum([np.broadcast_to(count, len(mine)) for _, count in group.work.segments], axis=0)
        steps = np.sum([np.broadcast_to(size * count, len(mine)) for size, count in group.work.segments], axis=0)
        assert segments.tolist() == [-(-lengths[at] // 128) for at in mine]
        assert steps.tolist() == lengths[mine].tolist()


LEVELS = st.sampled_from(
    ["k:1", "k:2", "k:3@int", "k:4", "k:6@pow2", "k:16 * k:4@int", "k:12@pow2 * k:4", "per_tensor"]
)


@given(
    lhs=LEVELS, rhs=LEVELS, depth=st.sampled_from([2, 3, 4, 6, 12]), lengths=st.lists(st.integers(1, 60), min_size=12)
)
def test_a_verdict_reads_no_more_of_a_length_than_how_often_scales_change(
    lhs: str, rhs: str, depth: int, lengths: list[int]
) -> None:
    """What lowering takes from it: whether the array can run it, its cuts, what joins the sums, which levels move."""
    blocks_of = {int(digits) for digits in re.findall(r"k:(\d+)", lhs + rhs)}
    found: dict[tuple[int, ...], Any] = {}
    for length in lengths:
        verdict = quant.decide("mk,kn->mn", lhs, rhs, sizes={"m": 3, "k": length, "n": 5}, native_depth=depth)
        taken: tuple[Any, ...] = (verdict.verdict == "incompatible" or verdict.needs_reorder,)
        if not taken[0]:
            taken = (verdict.verdict, verdict.cuts({"m": 0, "n": 0}), verdict.rescale, verdict.varying)
        kind = tuple(-(-length // block) for block in sorted(blocks_of))
        assert found.setdefault(kind, taken) == taken


@pytest.mark.parametrize("compiled", [False, True])
def test_shapes_that_come_later_join_the_laws(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"m": [3] * 40, "k": list(range(1, 800, 20)), "n": list(range(5, 45))}
    whole = hwsim.explore(workloads.gemm(2, 3, 5), "w4a8-g128", points=points)
    monkeypatch.setattr(sweeps, "PRODUCT_BLOCK", 9)
    monkeypatch.setattr(blocks, "COMPILED_FROM", 1 if compiled else 1 << 60)
    pieces = hwsim.explore(workloads.gemm(2, 3, 5), "w4a8-g128", points=points)
    for name in whole:
        assert whole[name].equals(pieces[name]), name


def test_a_shape_beyond_exact_counts_is_refused() -> None:
    points = {"m": [1, 1 << 20], "k": [1, 1 << 20], "n": [1, 1 << 20]}
    text = r"^sizes of layer gemm must give at most 2\*\*53 multiply-accumulates, not 1152921504606846976$"
    with pytest.raises(ValueError, match=text):
        hwsim.explore(workloads.gemm(2, 3, 5), points=points)
