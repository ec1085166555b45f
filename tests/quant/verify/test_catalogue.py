"""The table of all pairs: a row a pair, the same verdict as asked one by one, fast."""

import time
from typing import Any

import pytest

from quant.verify import decide, layout_pivot, layout_table, layouts_for

SIZES = {"m": 256, "k": 512, "n": 256}


def test_catalogue_of_a_gemm_has_every_layout_of_practice() -> None:
    assert layouts_for("mk,kn->mn", "lhs") == (
        "1",
        "m:1",
        "m:128",
        "k:1",
        "k:128",
        "m:1,k:128",
        "m:1,k:32",
        "m:128,k:128",
        "m:128,k:1",
        "m:1,k:32@pow2",
        "m:1 * k:1@pow2",
        "m:1 * m:1,k:16@int",
        "m:1,k:1",
    )
    assert layouts_for("mk,kn->mn", "rhs") == (
        "1",
        "n:1",
        "n:128",
        "k:1",
        "n:1,k:128",
        "n:1,k:64",
        "n:1,k:32",
        "k:128",
        "n:128,k:128",
        "n:1,k:32@pow2",
        "n:1 * n:1,k:64@int",
        "1 * n:1,k:16@int",
        "k:1,n:1",
        "codebook(int8) n:1",
        "codebook(real) n:1",
    )


@pytest.mark.parametrize(
    ("contraction", "sizes"),
    [
        ("mk,kn->mn", SIZES),
        ("bhqd,bhkd->bhqk", {"b": 2, "h": 2, "q": 130, "k": 140, "d": 64}),
        ("conv2d padding=1", {"b": 1, "c": 256, "h": 14, "w": 14, "o": 256, "r": 3, "s": 3}),
        ("depthwise2d padding=1", {"b": 1, "c": 32, "h": 14, "w": 14, "r": 3, "s": 3}),
    ],
)
def test_every_pair_has_a_row_and_the_verdict_of_decide(contraction: str, sizes: Any) -> None:
    frame = layout_table(contraction, sizes=sizes)
    assert len(frame) == len(layouts_for(contraction, "lhs")) * len(layouts_for(contraction, "rhs"))
    assert not frame.isna().any().any()
    for row in frame.iloc[::17].to_dict("records"):
        found = decide(contraction, row["lhs"], row["rhs"], sizes=sizes).to_row()
        names = ("verdict", "partial_sums", "rescale")
        assert [row[name] for name in names] == [found[name] for name in names]


def test_pivot_reads_as_a_picture() -> None:
    frame = layout_table(activations=["1", "m:1", "k:1"], weights=["n:1", "n:1,k:128", "n:1,k:32@pow2"], sizes=SIZES)
    pivot = layout_pivot(frame)
    assert list(pivot.index) == ["1", "m:1", "k:1"]
    assert pivot.to_numpy().tolist() == [["1", "4f", "16s"], ["1", "4f", "16s"], ["-", "-", "-"]]


def test_sorting_is_marked() -> None:
    sizes = {"b": 1, "c": 8, "h": 9, "w": 9, "o": 4, "r": 3, "s": 3}
    frame = layout_table("conv2d", ["b:1,h:1,w:1"], ["o:1"], sizes=sizes)
    assert layout_pivot(frame).iloc[0, 0] == "9f*"


def test_native_depth_refuses_short_segments() -> None:
    frame = layout_table(sizes=SIZES, native_depth=64)
    short = frame[(frame["partial_sums"] > 1) & (frame["min_run"] < 64)]
    assert len(short) > 0
    assert (short["verdict"] == "incompatible").all()


def test_verdicts_are_fast_at_any_size() -> None:
    """A verdict of a 4096 cube and the whole table take milliseconds and a second; generous for a busy machine."""
    big = {"m": 4096, "k": 4096, "n": 4096}
    start = time.process_time()
    for depth in range(2, 22):
        decide("mk,kn->mn", "mx:32", "group:128", sizes=big, native_depth=depth)
    assert (time.process_time() - start) / 20 < 0.02
    start = time.process_time()
    layout_table(sizes=big, native_depth=3)
    assert time.process_time() - start < 3
