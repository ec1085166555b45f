"""Verdicts by layout against exact products of distinct primes, over the whole catalogue."""

import itertools
import json
import math
import pickle
import re
from typing import Any

import pytest

from quant.contraction import Contraction
from quant.verify import decide
from tests.quant.verify.oracle import Case, gemm, truth

ACTIVATIONS = ["1", "m:1", "m:2", "k:1", "k:2", "m:1,k:2", "m:1,k:3", "m:2,k:2", "m:2,k:1", "m:1,k:2@pow2"]
ACTIVATIONS += ["m:1 * k:1@pow2", "m:1 * m:1,k:2@int", "m:1,k:1", "k:4 * k:6"]
WEIGHTS = ["1", "n:1", "n:2", "k:1", "n:1,k:2", "n:1,k:3", "n:1,k:5", "k:2", "k:4,n:2", "n:1,k:2@pow2"]
WEIGHTS += ["n:1 * n:1,k:2@int", "1 * n:1,k:3@int", "n:1,k:1", "codebook(int8) n:1"]


def conv(stride: int, padding: int, dilation: int, loops: str = "crs", size: int = 6) -> Case:
    taps = 3
    out = (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    sizes = {"b": 1, "c": 2, "h": size, "w": 4, "o": 2, "r": taps, "s": 2, "p": out}
    sizes["q"] = (4 + 2 * padding - dilation - 1) // stride + 1
    links = (("h", "p", "r", stride, dilation, padding), ("w", "q", "s", stride, dilation, padding))
    text = f"conv2d stride={stride} padding={padding} dilation={dilation}"
    return Case(text, "bchw", "ocrs", "bopq", loops, sizes, links)


CASES = {
    "gemm": gemm(3, 7, 3),
    "one term": gemm(2, 1, 2),
    "batched": Case("bmk,bkn->bmn", "bmk", "bkn", "bmn", "k", {"b": 2, "m": 2, "k": 6, "n": 2}),
    "transposed": Case("km,nk->nm", "km", "nk", "nm", "k", {"m": 2, "k": 5, "n": 2}),
    "two sums": Case("mij,ijn->mn", "mij", "ijn", "mn", "ij", {"m": 2, "i": 3, "j": 4, "n": 2}),
    "two sums, other order": Case("mij,ijn->mn", "mij", "ijn", "mn", "ji", {"m": 2, "i": 3, "j": 4, "n": 2}),
    "scores": Case("hqd,hkd->hqk", "hqd", "hkd", "hqk", "d", {"h": 2, "q": 3, "k": 2, "d": 5}),
    "values": Case("hqk,hkd->hqd", "hqk", "hkd", "hqd", "k", {"h": 2, "q": 3, "k": 5, "d": 2}),
    "weight gradient": Case("mk,mn->kn", "mk", "mn", "kn", "m", {"m": 4, "k": 3, "n": 2}),
    "conv": conv(1, 1, 1),
    "conv, taps outside": conv(1, 1, 1, "rsc"),
    "conv, stride": conv(2, 1, 1),
    "conv, dilation": conv(1, 2, 2),
    "conv, stride and no padding": conv(2, 0, 1, "src"),
    "depthwise": Case(
        "depthwise2d padding=1",
        "bchw",
        "crs",
        "bcpq",
        "rs",
        {"b": 1, "c": 3, "h": 4, "w": 4, "r": 3, "s": 3, "p": 4, "q": 4},
        (("h", "p", "r", 1, 1, 1), ("w", "q", "s", 1, 1, 1)),
    ),
    "grouped": Case(
        "grouped2d stride=2 padding=1",
        "bgchw",
        "gocrs",
        "bgopq",
        "crs",
        {"b": 1, "g": 2, "c": 2, "h": 5, "w": 4, "o": 2, "r": 3, "s": 2, "p": 3, "q": 3},
        (("h", "p", "r", 2, 1, 1), ("w", "q", "s", 2, 1, 1)),
    ),
    "transposed conv": Case(
        "transposed2d stride=2 padding=1",
        "bchw",
        "cors",
        "bopq",
        "crs",
        {"b": 1, "c": 2, "h": 3, "w": 3, "o": 2, "r": 3, "s": 2, "p": 5, "q": 4},
        (("p", "h", "r", 2, 1, 1), ("q", "w", "s", 2, 1, 1)),
    ),
    "transposed conv, taps outside": Case(
        "transposed2d stride=2 padding=1",
        "bchw",
        "cors",
        "bopq",
        "rsc",
        {"b": 1, "c": 2, "h": 3, "w": 3, "o": 2, "r": 3, "s": 2, "p": 5, "q": 4},
        (("p", "h", "r", 2, 1, 1), ("q", "w", "s", 2, 1, 1)),
    ),
    "conv weight gradient": Case(
        "bcw,boq->ocs; w=2q+s-1",
        "bcw",
        "boq",
        "ocs",
        "bq",
        {"b": 2, "c": 2, "w": 6, "o": 2, "q": 3, "s": 3},
        (("w", "s", "q", 1, 2, 1),),
    ),
}


def layouts(axes: str) -> list[str]:
    """Layouts over any axes: none, each axis in blocks of 1, 2 and 3, pairs, two levels."""
    found = ["1", *(f"{a}:{b}" for a in axes for b in (1, 2, 3))]
    found += [f"{a}:1,{b}:2" for a, b in itertools.permutations(axes, 2)][:6]
    found += [f"{axes[0]}:1 * {axes[-1]}:2@pow2", ",".join(f"{a}:1" for a in axes)]
    return found


def pairs(name: str) -> list[tuple[str, str]]:
    if name in ("gemm", "one term"):
        return list(itertools.product(ACTIVATIONS, WEIGHTS))
    case = CASES[name]
    return list(itertools.product(layouts(case.lhs), layouts(case.rhs)))


@pytest.mark.parametrize("name", CASES)
def test_runs_and_classes_equal_those_of_distinct_primes(name: str) -> None:
    case = CASES[name]
    for lhs, rhs in pairs(name):
        found = decide(case.text, lhs, rhs, sizes=case.sizes, order=case.loops)
        expected = truth(case, lhs, rhs.removeprefix("codebook(int8) "))
        assert (found.verdict == "once") == expected.constant, (lhs, rhs)
        assert found.segments.runs == expected.runs, (lhs, rhs)
        assert found.segments.classes == expected.classes, (lhs, rhs)
        assert found.segments.max_run == expected.max_run, (lhs, rhs)
        assert found.segments.max_class == expected.max_class, (lhs, rhs)
        if case.links:
            continue
        assert found.segments.min_run == min(length for length, _ in expected.lengths), (lhs, rhs)
        inner = [length for length, last in expected.lengths if not last] or [found.segments.length]
        assert found.segments.inner_run == min(inner), (lhs, rhs)
        assert found.segments.min_class == min(expected.sizes), (lhs, rhs)
        assert found.segments.aligned == (math.gcd(*expected.cuts) or found.segments.length), (lhs, rhs)


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_other_than_once_has_a_witness_that_checks(name: str) -> None:
    case = CASES[name]
    for lhs, rhs in pairs(name):
        found = decide(case.text, lhs, rhs, sizes=case.sizes, order=case.loops)
        assert (found.witness is None) == (found.verdict == "once"), (lhs, rhs)
        assert found.witness is None or found.witness.check(), (lhs, rhs)


@pytest.mark.parametrize(
    ("lhs", "rhs", "depth", "expected"),
    [
        ("per_tensor", "per_tensor", 2, ("once", 1, 512, 512, "none")),
        ("per_token", "per_channel", 2, ("once", 1, 512, 512, "none")),
        ("per_channel_in", "per_channel_in", 2, ("incompatible", 512, 1, 1, "float")),
        ("per_token", "group:128", 2, ("segmented", 4, 128, 128, "float")),
        ("per_token", "group:128", 128, ("segmented", 4, 128, 128, "float")),
        ("per_token", "group:128", 129, ("incompatible", 4, 128, 128, "float")),
        ("mx:32", "mx:32", 32, ("segmented", 16, 32, 32, "shift")),
        ("mx:32", "group:128", 2, ("segmented", 16, 32, 32, "float")),
        ("block:1x128", "block:128x128", 2, ("segmented", 4, 128, 128, "float")),
        ("k:32", "k:48", 2, ("segmented", 21, 16, 16, "float")),
        ("k:32", "k:48", 17, ("incompatible", 21, 16, 16, "float")),
        ("group:512", "group:600", 2, ("once", 1, 512, 512, "none")),
        ("group:511", "per_channel", 2, ("segmented", 2, 511, 1, "float")),
        ("m:1 * m:1,k:16@int", "n:1", 2, ("segmented", 32, 16, 16, "integer")),
        ("m:1 * k:1@pow2", "n:1", 2, ("incompatible", 512, 1, 1, "shift")),
        ("per_element", "per_tensor", 2, ("incompatible", 512, 1, 1, "float")),
        ("per_token", "codebook(int8) n:1", 2, ("once", 1, 512, 512, "none")),
        ("per_token", "codebook(real) n:1", 2, ("incompatible", 1, 512, 512, "none")),
        ("per_token", "pow2 n:1", 2, ("once", 1, 512, 512, "none")),
    ],
)
def test_verdicts_of_a_gemm(lhs: str, rhs: str, depth: int, expected: tuple[Any, ...]) -> None:
    found = decide("mk,kn->mn", lhs, rhs, sizes={"m": 256, "k": 512, "n": 256}, native_depth=depth)
    got = (found.verdict, found.partial_sums, found.segment, found.min_run, found.rescale)
    assert got == expected


def test_one_short_run_may_go_to_the_end() -> None:
    """Blocks of 5 and 8 cut 13 steps into 5, 3, 2, 3: with a depth of 3 the run of 2 is fed last."""
    found = decide("mk,kn->mn", "k:5", "k:8", sizes={"m": 4, "k": 13, "n": 4}, native_depth=3)
    assert (found.verdict, found.needs_reorder, found.partial_sums, found.gathered) == ("segmented", True, 4, 13 * 4)
    found = decide("mk,kn->mn", "k:5", "k:8", sizes={"m": 4, "k": 13, "n": 4}, native_depth=4)
    assert (found.verdict, found.needs_reorder) == ("incompatible", False)


def test_two_short_runs_can_not_both_go_to_the_end() -> None:
    """Blocks of 5 and 8 cut 20 steps into 5, 3, 2, 5, 1, 4."""
    found = decide("mk,kn->mn", "k:5", "k:8", sizes={"m": 4, "k": 20, "n": 4}, native_depth=3)
    assert (found.verdict, found.utilization) == ("incompatible", 20 / (6 + 3 + 3 + 6 + 3 + 6))


def test_the_last_run_may_be_short_where_it_stands() -> None:
    found = decide("mk,kn->mn", "k:4", "1", sizes={"m": 4, "k": 9, "n": 4}, native_depth=4)
    assert (found.verdict, found.needs_reorder, found.min_run, found.segment) == ("segmented", False, 1, 4)
    found = decide("mij,ijn->mn", "j:4", "1", sizes={"m": 4, "i": 2, "j": 9, "n": 4}, native_depth=4)
    assert (found.verdict, found.segments.min_run) == ("segmented", 1)
    assert found.needs_reorder, "the run of 1 comes twice"


def test_a_verdict_shows_in_rows_json_and_notebooks() -> None:
    found = decide("mk,kn->mn", "m:1", "n:1,k:4", sizes={"m": 2, "k": 8, "n": 2})
    row = found.to_row()
    assert (row["verdict"], row["varying"], row["lhs_scale_bits"]) == ("segmented", "rhs k:4", 64)
    assert json.loads(json.dumps(found.to_dict()))["segments"]["runs"] == 2
    page = found._repr_html_()
    assert "<b>segmented</b>" in page
    assert "acc[0,0] = 1, real = 2" in page
    again = pickle.loads(pickle.dumps(found))  # noqa: S301  our own bytes
    assert again.to_dict() == found.to_dict()


def test_im2col_form_has_the_verdict_of_the_convolution() -> None:
    conv2d = Contraction.parse("conv2d padding=1")
    sizes = {"b": 1, "c": 4, "h": 6, "w": 6, "o": 3, "r": 3, "s": 3}
    plain = {x: n for x, n in conv2d.complete(sizes).items() if x not in "hw"}
    for lhs, rhs in (("c:1", "o:1"), ("c:2", "o:1,r:1"), ("1", "c:1"), ("b:1", "o:1")):
        for order in ("crs", "rsc"):
            left = decide(conv2d, lhs, rhs, sizes=sizes, order=order)
            right = decide(conv2d.im2col(), lhs, rhs, sizes=plain, order=order)
            assert left.segments == right.segments
            assert left.verdict == right.verdict


def test_rescales_nest() -> None:
    found = decide("mk,kn->mn", "mx:32", "group:128", sizes={"m": 8, "k": 512, "n": 8})
    assert dict(found.rescales_by_kind) == {"shift": 16, "float": 4}
    found = decide("mk,kn->mn", "mx:128", "group:32", sizes={"m": 8, "k": 512, "n": 8})
    assert dict(found.rescales_by_kind) == {"float": 16}
    found = decide("mk,kn->mn", "m:1 * m:1,k:16@int", "k:64@pow2 * n:1,k:256", sizes={"m": 8, "k": 512, "n": 8})
    assert dict(found.rescales_by_kind) == {"integer": 32, "float": 2}


@pytest.mark.parametrize(
    ("order", "lhs", "runs", "shortest", "reorder"),
    [
        ("crs", "per_channel_in", 64, 9, False),
        ("rsc", "per_channel_in", 64, 9, True),
        ("rsc", "per_token", 9, 64, False),
        ("crs", "per_token", 9, 64, True),
    ],
)
def test_loop_order_of_a_convolution_decides(order: str, lhs: str, runs: int, shortest: int, reorder: bool) -> None:
    sizes = {"b": 1, "c": 64, "h": 56, "w": 56, "o": 64, "r": 3, "s": 3}
    found = decide("conv2d padding=1", lhs, "per_channel", sizes=sizes, order=order)
    assert (found.verdict, found.partial_sums, found.min_run) == ("segmented", runs, shortest)
    assert found.needs_reorder == reorder
    assert (found.gathered > 0) == reorder
    better = "".join(found.loop_order)
    assert better == ({"per_token": "rsc", "per_channel_in": "crs"}[lhs] if reorder else "")
    assert ("Loops in the order" in found.explanation) == reorder


def test_depthwise_takes_channel_scales_and_pointwise_takes_pixel_scales() -> None:
    sizes = {"b": 1, "c": 32, "h": 14, "w": 14, "r": 3, "s": 3}
    assert decide("depthwise2d padding=1", "c:1", "c:1", sizes=sizes).verdict == "once"
    assert decide("depthwise2d padding=1", "c:1", "r:1,s:1", sizes=sizes).verdict == "incompatible"
    sizes = {"b": 1, "c": 32, "h": 14, "w": 14, "o": 8, "r": 1, "s": 1}
    assert decide("conv2d", "per_token", "per_channel", sizes=sizes).verdict == "once"
    assert decide("conv2d", "per_channel_in", "per_channel", sizes=sizes).verdict == "incompatible"


def test_stride_can_keep_a_window_inside_a_block() -> None:
    sizes = {"b": 1, "c": 1, "w": 8, "o": 1, "s": 2}
    assert decide("conv1d stride=2", "w:2", "o:1", sizes=sizes).verdict == "once"
    assert decide("conv1d stride=1", "w:2", "o:1", sizes=sizes).verdict != "once"


def test_backward_products_of_a_legal_layer_are_illegal() -> None:
    sizes = {"m": 8, "k": 16, "n": 4}
    assert decide("mk,kn->mn", "m:1", "n:1", sizes=sizes).verdict == "once"
    assert decide("mn,kn->mk", "m:1", "n:1", sizes=sizes).verdict == "incompatible"
    assert decide("mk,mn->kn", "m:1", "m:1", sizes=sizes).verdict == "incompatible"


def test_a_usual_cache_choice_is_wrong_twice() -> None:
    sizes = {"b": 1, "h": 2, "q": 4, "k": 8, "d": 16}
    kinds: Any = {"rhs_kind": "cached", "sizes": sizes}
    assert decide("bhqd,bhkd->bhqk", "per_token", "d:1", **kinds).verdict == "incompatible"
    assert decide("bhqk,bhkd->bhqd", "per_token", "k:1", **kinds).verdict == "incompatible"
    assert decide("bhqd,bhkd->bhqk", "per_token", "k:1", **kinds).verdict == "once"
    assert decide("bhqk,bhkd->bhqd", "per_token", "d:1", **kinds).verdict == "once"
    assert decide("bhqd,bhkd->bhqk", "per_head", "per_head", **kinds).verdict == "once"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lhs": "x:1"}, "axis must be one of m, k, not 'x' in 'x:1'"),
        ({"lhs": "k:0"}, "block must be at least 1, not k:0"),
        ({"sizes": {"m": 1, "k": 2}}, "sizes must give every label of mk,kn->mn, not lack n"),
        ({"native_depth": 1}, "native_depth must be at least 2, not 1"),
        ({"order": "m"}, "order must name each of k once, not 'm'"),
        ({"rhs_kind": "bias"}, "rhs_kind must be one of weight, activation, cached, not 'bias'"),
        ({"lhs_format": "fp8"}, "integer format must look like int8, u8 or int8_narrow, not 'fp8'"),
        ({"tolerance": 0.1}, "tolerance must be 0, or positive with scales given, not 0.1"),
        ({"lhs_zero": "z:1"}, "axis must be one of m, k, not 'z' in 'z:1'"),
    ],
)
def test_bad_questions_are_refused(arguments: Any, message: str) -> None:
    given: Any = {"sizes": {"m": 1, "k": 2, "n": 3}, **arguments}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        decide("mk,kn->mn", **given)


def test_require_raises_with_the_explanation() -> None:
    found = decide("mk,kn->mn", "group:4", sizes={"m": 2, "k": 8, "n": 2})
    assert found.require("segmented") is found
    with pytest.raises(ValueError, match=f"^{re.escape(found.explanation)}$"):
        found.require("once")
    with pytest.raises(ValueError, match=r"^verdict must be one of incompatible, segmented, once, not 'best'$"):
        found.require("best")


def test_explanations_name_the_axis() -> None:
    sizes = {"m": 256, "k": 512, "n": 256}
    once = decide("mk,kn->mn", "per_token", "per_channel", sizes=sizes).explanation
    assert once.startswith("Both scales are constant while k is summed")
    cut = decide("mk,kn->mn", "per_token", "group:128", sizes=sizes).explanation
    assert cut.startswith("The weight scale changes every 128 steps of k, so the sum is cut into 4 integer")
    bad = decide("mk,kn->mn", "per_channel_in", "per_channel", sizes=sizes).explanation
    assert bad.startswith("The activation scale changes every step of k, and k is summed away")
    deep = decide("mk,kn->mn", "group:16", "per_channel", sizes=sizes, native_depth=32).explanation
    assert "segments of 16 are shorter than the array's depth of 32: padded, it would run at 50%." in deep
