"""Pictures of a layout table, from frames made by hand."""

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from reports import LayoutPicture, layout_chart

FRAME = pd.DataFrame(
    {
        "lhs": ["m:1", "m:1", "k:1", "k:1"],
        "rhs": ["n:1", "n:1,k:4", "n:1", "n:1,k:4"],
        "verdict": ["once", "segmented", "incompatible", "segmented"],
        "partial_sums": [1, 2, 8, 9],
        "rescale": ["none", "float", "float", "shift"],
        "needs_reorder": [False, False, False, True],
    }
)


def printed(width: int, *, colour: bool = False, frame: pd.DataFrame = FRAME) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(LayoutPicture(frame, "title"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_wide_terminals_name_the_columns() -> None:
    lines = [line.rstrip() for line in printed(80).splitlines()]
    assert lines[:5] == ["title", "              n:1", "lhs \\ rhs n:1 k:4", "m:1         1  2f", "k:1         - 9s*"]
    assert "  *  after the reduction is sorted by scale" in lines


def test_narrow_terminals_use_letters() -> None:
    long = FRAME.replace({"rhs": {"n:1": "n:1,k:1024@pow2"}})
    lines = [line.rstrip() for line in printed(20, frame=long).splitlines()]
    assert lines[1] == "lhs \\ rhs a   b"
    assert "a n:1,k:1024@pow2" in lines
    assert "b n:1,k:4" in lines


def test_very_narrow_terminals_split_the_columns() -> None:
    lines = [line.rstrip() for line in printed(14).splitlines()]
    first, second = ["lhs \\ rhs a", "A         1", "B         -"], ["lhs \\ rhs   b", "A          2f", "B         9s*"]
    assert lines[1:8] == [*first, "", *second]
    assert "A m:1  B k:1" in lines
    assert not any("…" in line for line in lines)


def test_colour_only_where_the_terminal_has_it() -> None:
    assert "\x1b[" not in printed(80)
    assert "\x1b[1;32m" in printed(80, colour=True)


def test_chart_has_a_cell_for_each_pair_and_a_colour_for_each_kind() -> None:
    spec = layout_chart(FRAME, "title").to_dict()
    cells = next(iter(spec["datasets"].values()))
    assert [cell["cell"] for cell in cells] == ["1", "2f", "-", "9s*"]
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["once", "segmented, shift", "segmented, float", "incompatible"]
    assert len(set(scale["range"])) == 4


def test_missing_columns_are_named() -> None:
    message = "frame must have a column rescale, not only"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        layout_chart(FRAME.drop(columns="rescale"))
