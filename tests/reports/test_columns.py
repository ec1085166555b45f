import math

import pandas as pd
import pytest

from reports.columns import arrange, best_marks, direction, is_numeric, label_of, make_column, scheme_columns
from tests.reports import sample


@pytest.mark.parametrize(
    "name",
    ["energy_pj", "latency_us", "area_um2", "power_mw", "weight_bytes", "total_cycles", "latency_ratio", "x_pj_s"],
)
def test_costs_are_better_low(name: str) -> None:
    assert direction(name) == "lower"


@pytest.mark.parametrize("name", ["sqnr_db", "block_sqnr_db", "tops_per_w", "equal_area_tops_per_w", "utilization"])
def test_merits_are_better_high(name: str) -> None:
    assert direction(name) == "higher"
    assert direction(f"{name}_ratio") == ("lower" if name.endswith("_db") else "higher")


@pytest.mark.parametrize("name", ["macs", "partial_sums", "array", "register_bits"])
def test_other_columns_have_no_better(name: str) -> None:
    assert direction(name) is None


def test_equal_texts_share_the_mark_and_a_column_of_equals_has_none() -> None:
    assert best_marks([1.001, 1.0, 2.0], ["1.0", "1.0", "2.0"], "lower") == (True, True, False)
    assert best_marks([1.0, 1.0], ["1", "1"], "lower") == (False, False)
    assert best_marks([math.nan, 1.0, 3.0], [None, "1", "3"], "higher") == (False, False, True)
    assert best_marks([1.0, 2.0], ["1", "2"], None) == (False, False)
    assert best_marks([math.nan], [None], "lower") == (False,)


def test_the_best_of_every_column_of_the_sample_is_the_frames_own_minimum_or_maximum() -> None:
    frame, rows = arrange(sample.schemes(), sample.metadata())
    higher = {"sqnr_db", "block_sqnr_db", "tops_per_w", "equal_area_tops_per_w"}
    ranked = [column for column in scheme_columns(frame, sample.metadata()) if column.numeric]
    assert len(ranked) > 15
    for column in ranked:
        series = frame[column.name]
        winner = series.max() if column.name in higher else series.min()
        marked = [rows[index].name for index, best in enumerate(column.best) if best]
        assert frame["scheme"][(series == winner).to_numpy()].iloc[0] in marked
        # Whatever shares the mark reads exactly like the winner.
        assert len({column.cells[index] for index, best in enumerate(column.best) if best}) == 1


def test_a_repair_follows_what_it_repairs_and_the_baseline_comes_first() -> None:
    frame = pd.DataFrame(
        {
            "scheme": ["fix of fix", "fix", "bad", "base", "good", "lost"],
            "repair_of": ["fix", "bad", None, None, None, "nobody"],
        }
    )
    arranged, rows = arrange(frame, {"baseline": "base"})
    assert [(row.name, row.depth) for row in rows] == [
        ("base", 0),
        ("bad", 0),
        ("fix", 1),
        ("fix of fix", 2),
        ("good", 0),
        ("lost", 0),
    ]
    assert list(arranged["scheme"]) == [row.name for row in rows]
    assert [row.baseline for row in rows] == [True, False, False, False, False, False]


def test_repairs_in_a_circle_are_all_kept() -> None:
    frame = pd.DataFrame({"scheme": ["a", "b"], "repair_of": ["b", "a"]})
    assert sorted(row.name for row in arrange(frame, {})[1]) == ["a", "b"]


def test_schemes_of_equal_name_are_all_kept() -> None:
    frame = pd.DataFrame({"scheme": ["a", "a"], "energy_pj": [1.0, 2.0]})
    arranged, rows = arrange(frame, {"baseline": "a"})
    assert list(arranged["energy_pj"]) == [1.0, 2.0]
    assert len(rows) == 2


def test_arrange_needs_names() -> None:
    with pytest.raises(ValueError, match=r"^schemes must have a column scheme, not only \['name'\]$"):
        arrange(pd.DataFrame({"name": ["a"]}), {})


def test_columns_without_any_value_are_left_out() -> None:
    frame, _ = arrange(sample.schemes().assign(block_sqnr_db=math.nan), sample.metadata())
    assert "block_sqnr_db" not in {column.name for column in scheme_columns(frame, sample.metadata())}


def test_texts_truth_values_and_missing_values_are_told_from_numbers() -> None:
    frame = pd.DataFrame({"text": ["a", None], "flag": [True, False], "mixed": [1, None], "array": ["16x16", "8x8"]})
    assert [is_numeric(frame[name]) for name in frame] == [False, False, True, False]
    assert make_column(frame, "text").cells == ("a", None)
    assert make_column(frame, "flag").cells == ("yes", "no")
    assert make_column(frame, "mixed").cells == ("1", None)


def test_control_characters_of_names_do_not_reach_the_output() -> None:
    frame = pd.DataFrame({"name": ["a\x1b[31mred\nnext\ttab"]})
    assert make_column(frame, "name").cells == ("a [31mred next tab",)


def test_labels_name_the_quantity_without_its_unit() -> None:
    assert [label_of(name) for name in ("total_cycles", "stall_cycles", "equal_area_latency_us", "mac_pj")] == [
        "cycles",
        "stall cycles",
        "latency",
        "MAC",
    ]
