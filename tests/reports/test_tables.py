import math
import re

import pandas as pd
import pytest

from reports import compare_table, frame_table, layers_table, ledger_table
from tests.reports import sample
from tests.reports.render import rendered, widest

SCHEMES, METADATA = sample.schemes(), sample.metadata()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [24, 40, 60, 80, 100, 120, 140, 200, 400])
def test_no_table_is_wider_than_its_terminal(width: int) -> None:
    for table in (
        compare_table(SCHEMES, METADATA),
        layers_table(sample.layers(), METADATA),
        ledger_table(sample.ledger(), METADATA),
        frame_table(SCHEMES, "all"),
    ):
        assert widest(rendered(table, width)) <= width


def test_a_width_given_is_a_limit_inside_a_wider_terminal() -> None:
    assert widest(rendered(compare_table(SCHEMES, METADATA, 80), 140)) == 80
    assert widest(rendered(compare_table(SCHEMES, METADATA, 140), 80)) <= 80


@pytest.mark.parametrize("width", [80, 140])
def test_every_scheme_and_every_note_appears(width: int) -> None:
    text = words(rendered(compare_table(SCHEMES, METADATA, width), width))
    for name, note in zip(SCHEMES["scheme"], SCHEMES["note"], strict=True):
        assert name in text or words(name[:16]) in text
        assert words(note) in text


@pytest.mark.parametrize("width", [80, 140])
def test_every_quantity_of_the_comparison_is_in_a_header(width: int) -> None:
    text = rendered(compare_table(SCHEMES, METADATA, width), width)
    for header in (
        "verdict", "SQNR", "block", "latency", "energy", "area", "TOPS/W", "cycles", "power", "EDP", "weights",
        "traffic", "ratio to fp32", "with the area of fp32", "array", "dB", "us", "uJ", "mm2", "mW", "nJ s", "MiB",
    ):  # fmt: skip
        assert header in text


@pytest.mark.parametrize("width", [80, 140, 250])
def test_a_refused_scheme_shows_dashes_and_its_witness_right_under_it(width: int) -> None:
    lines = rendered(compare_table(SCHEMES, METADATA, width), width).splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("channel-in x token"))
    costs = lines[at].split("incompatible")[1].split()
    assert costs
    assert set(costs) == {"-"}
    under = words(" ".join(lines[at + 1 : at + 4]))
    assert under.startswith(words(sample.WITNESS))
    after = words(" ".join(lines[at + 2 : at + 4]))
    assert "channel-in x token," in after


@pytest.mark.parametrize("width", [30, 80, 140])
def test_nothing_that_is_missing_is_printed_as_a_number_or_as_nan(width: int) -> None:
    for table in (compare_table(SCHEMES, METADATA), layers_table(sample.layers(), METADATA), frame_table(SCHEMES)):
        text = rendered(table, width)
        assert not re.search(r"\b(nan|None|NaT|<NA>)\b", text, re.IGNORECASE)


def test_the_best_are_marked_in_text_and_nothing_else_is() -> None:
    text = rendered(compare_table(SCHEMES, METADATA, 80), 80)
    first = text.split("cycles")[0]
    assert re.findall(r"\s([\d.,]+)\*(?=\s)", first) == ["67.2", "64.9", "1,198", "1,198", "62.8", "0.98", "7.21"]
    # Weights and traffic of codebook-16 (MiB), and the latency of pow2 at equal area (us).
    marked = re.findall(r"\s([\d.,]+)\*(?=\s)", rendered(compare_table(SCHEMES, METADATA, 140), 140))
    assert {"0.85", "1.43", "147"} < set(marked)
    assert "601.7" not in marked


def test_the_rule_of_the_marks_is_stated() -> None:
    text = words(rendered(compare_table(SCHEMES, METADATA, 80), 80))
    assert "best of its column (highest SQNR, block SQNR, TOPS/W; lowest of the rest)" in text
    assert "fp32 takes part" in text


def test_the_baseline_is_first_and_set_apart() -> None:
    shuffled = SCHEMES.iloc[::-1]
    lines = rendered(compare_table(shuffled, METADATA, 140), 140).splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("fp32"))
    assert set(lines[at - 1]) == set(lines[at + 1]) == {"─"}


def test_no_escape_codes_outside_a_terminal_and_colour_inside_one() -> None:
    table = compare_table(SCHEMES, METADATA)
    assert "\x1b" not in rendered(table, 80)
    coloured = rendered(table, 80, terminal=True)
    assert "\x1b" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == rendered(table, 80)


def test_an_old_encoding_gets_ascii_only() -> None:
    metadata = METADATA | {"title": "µ × — ² 日本"}
    text = rendered(compare_table(SCHEMES, metadata), 80, ascii_only=True)
    assert text.isascii()
    assert "u x - 2 ??" in text
    assert "─" in rendered(compare_table(SCHEMES, metadata), 80)


def test_wide_and_marked_up_names_are_shown_as_they_are_and_fit() -> None:
    frame = SCHEMES.assign(scheme=["[bold]fp32[/bold]", "日本語の長い名前" * 4, *SCHEMES["scheme"][2:]])
    text = rendered(compare_table(frame, {"baseline": "[bold]fp32[/bold]"}), 80)
    assert "[bold]fp32[/bold]" in text
    assert widest(text) <= 80


def test_few_columns_and_few_rows_are_enough() -> None:
    text = rendered(compare_table(pd.DataFrame({"scheme": ["only"], "energy_pj": [2e6]})), 80)
    assert "only" in text
    assert "*" not in text
    assert "2" in text
    assert "only" in rendered(compare_table(pd.DataFrame({"scheme": ["only"]})), 80)


def test_an_exact_scheme_shows_its_infinite_sqnr() -> None:
    frame = pd.DataFrame({"scheme": ["a", "b"], "sqnr_db": [math.inf, 30.0]})
    assert "inf*" in rendered(compare_table(frame), 80)


def test_layers_are_grouped_by_scheme_and_can_be_one_schemes() -> None:
    text = rendered(layers_table(sample.layers(), METADATA), 140)
    for name in SCHEMES["scheme"]:
        assert name in text
    assert text.count("ffn-down") == len(SCHEMES)
    one = rendered(layers_table(sample.layers(), METADATA, scheme="pow2"), 140)
    assert one.count("ffn-down") == 1
    assert "104,858" not in one
    with pytest.raises(ValueError, match=r"^scheme must be one of \['fp32'.*\], not 'pow3'$"):
        layers_table(sample.layers(), METADATA, scheme="pow3")


def test_parts_of_the_energy_share_the_unit_of_the_whole() -> None:
    lines = rendered(layers_table(sample.layers(), METADATA, scheme="pow2"), 140).splitlines()
    units = next(line for line in lines if line.startswith("layer"))
    assert "nJ" not in units
    assert units.count("uJ") == 6


def test_the_ledger_shows_signed_differences_in_one_unit_a_section() -> None:
    text = rendered(ledger_table(sample.ledger(), METADATA, scheme="w4a8-g128"), 100)
    assert "w4a8-g128: energy, 601.7 to 66.5 uJ" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("vector"))
    assert row.split()[1:4] == ["9.8", "12.2", "+2.4"]
    row = next(line for line in text.splitlines() if line.strip().startswith("mac"))
    assert row.split()[1:4] == ["412.5", "18.3", "-394.2"]
    with pytest.raises(ValueError, match=r"^scheme must be one of"):
        ledger_table(sample.ledger(), METADATA, scheme="absent")
    with pytest.raises(ValueError, match=r"^ledger must have a column value, not only"):
        ledger_table(sample.ledger().drop(columns="value"), METADATA)


def test_any_frame_has_a_table() -> None:
    frame = pd.DataFrame({"n": [1, 20], "energy_pj": [1.5e3, None], "when": ["now", None], "total_cycles": [5, 12345]})
    text = rendered(frame_table(frame, "Title", caption="Caption.", max_rows=1), 80)
    assert "Title" in text
    assert "Caption. 1 more rows." in words(text)
    assert "12,345" not in text
    full = rendered(frame_table(frame, key="when"), 80)
    assert "12,345" in full
    assert "nJ" in full
    with pytest.raises(ValueError, match=r"^frame must have a column$"):
        frame_table(pd.DataFrame())
    with pytest.raises(ValueError, match=r"^frame must have a column absent, not only \['n', 'energy_pj'"):
        frame_table(frame, key="absent")
    assert rendered(frame_table(frame.head(0)), 80)


@pytest.mark.parametrize("width", [60, 70, 80, 90, 100, 120, 140])
@pytest.mark.parametrize("baseline", ["fp32", "w8a8-static", "w8a8-channel-in"])
def test_the_titles_over_bands_are_whole_at_any_width(baseline: str, width: int) -> None:
    schemes = SCHEMES.replace({"scheme": {"fp32": baseline}})
    text = rendered(compare_table(schemes, METADATA | {"baseline": baseline}, width), width)
    assert widest(text) <= width
    titles = text.count("ratio to") + text.count("with the area of")
    assert titles >= 2
    # Each ends in the baseline's name, beside the words or under them.
    assert len(re.findall(rf"(?<=[─ ] )(ratio to |with the area of )?{baseline}(?![\w,-])", text)) == titles


def test_columns_of_one_unit_are_compared_along_a_row() -> None:
    """Alone, 2e9 pJ would be mJ; beside microjoules it is 2,000 of them."""
    frame = pd.DataFrame({"scheme": ["a", "b"], "one_pj": [3e6, 4e6], "two_pj": [3e6, 4e6], "large_pj": [2e10, 3e10]})
    alone, beside = (rendered(frame_table(frame, one_unit=one), 80) for one in (False, True))
    assert "mJ" in alone
    assert "mJ" not in beside
    assert "20,000" in beside
