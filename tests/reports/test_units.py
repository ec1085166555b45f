import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.units import (
    choose_unit,
    decimals,
    format_number,
    format_quantity,
    format_values,
    split_suffix,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("energy_pj", ("energy", "_pj")),
        ("energy_delay_pj_s", ("energy_delay", "_pj_s")),
        ("equal_area_area_um2", ("equal_area_area", "_um2")),
        ("tops_per_w", ("tops_per_w", "")),
        ("_pj", ("_pj", "")),
        ("macs", ("macs", "")),
        ("weight_bytes", ("weight", "_bytes")),
        ("sqnr_db", ("sqnr", "_db")),
    ],
)
def test_suffixes_are_the_longest_known_unit(name: str, expected: tuple[str, str]) -> None:
    assert split_suffix(name) == expected


@pytest.mark.parametrize(
    ("name", "value", "symbol", "shown"),
    [
        ("energy_pj", 999.0, "pJ", 999.0),
        ("energy_pj", 1e3, "nJ", 1.0),
        ("energy_pj", 4.2e6, "uJ", 4.2),
        ("energy_pj", 9.9e9, "uJ", 9.9e3),
        ("energy_pj", 4.2e10, "mJ", 42.0),
        ("energy_delay_pj_s", 4.2e9, "mJ s", 4.2),
        ("latency_us", 1311.0, "us", 1311.0),
        ("latency_us", 10_000.0, "ms", 10.0),
        ("latency_us", 0.25, "ns", 250.0),
        ("area_um2", 9_999.0, "um2", 9_999.0),
        ("area_um2", 10_000.0, "mm2", 0.01),
        ("power_mw", 250.0, "mW", 250.0),
        ("power_mw", 0.25, "uW", 250.0),
        ("weight_bytes", 1023.0, "B", 1023.0),
        ("weight_bytes", 1024.0, "KiB", 1.0),
        ("weight_bytes", 3 * 1024.0**2, "MiB", 3.0),
        ("energy_delay_pj_s", 5e4, "nJ s", 50.0),
        ("sqnr_db", 31.0, "dB", 31.0),
        ("utilization", 0.5, "%", 50.0),
        ("macs", 7.0, "", 7.0),
    ],
)
def test_a_unit_keeps_the_quantity(name: str, value: float, symbol: str, shown: float) -> None:
    unit = choose_unit(name, [value])
    assert unit.symbol == symbol
    assert value / unit.size == pytest.approx(shown, rel=1e-12)


def test_zeros_and_missing_values_do_not_choose_the_unit() -> None:
    assert choose_unit("energy_pj", [0.0, NAN, math.inf, 2e6]).symbol == "uJ"
    assert choose_unit("energy_pj", [NAN]).symbol == "pJ"
    assert choose_unit("energy_pj", []).symbol == "pJ"


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=20))
def test_a_column_has_one_count_of_decimals_and_no_text_wider_than_it_must_be(values: list[float]) -> None:
    unit, texts = format_values("energy_pj", values)
    places = {len(text.partition(".")[2]) for text in texts if text is not None}
    assert len(places) == 1
    for value, text in zip(values, texts, strict=True):
        assert text is not None
        if text.startswith("<"):
            assert value / unit.size < float(text[1:])
        else:
            step = 10.0 ** -next(iter(places))
            assert float(text.replace(",", "")) == pytest.approx(value / unit.size, abs=0.5001 * step, rel=1e-12)


@given(st.floats(1e-9, 1e9), st.integers(0, 4))
def test_a_number_that_is_not_zero_never_reads_as_zero(value: float, places: int) -> None:
    text = format_number(value, places)
    assert text is not None
    assert text.startswith("<") or float(text.replace(",", "")) > 0


def test_missing_values_have_no_text_and_infinities_have_one() -> None:
    assert format_values("sqnr_db", [NAN, math.inf, -math.inf, 3.0])[1] == [None, "inf", "-inf", "3.0"]
    assert format_number(0.0, 2) == "0.00"
    assert format_number(-0.001, 2) == ">-0.01"


def test_decimals_follow_the_middle_and_the_smallest_value() -> None:
    assert decimals([100.5]) == 0
    assert decimals([10.25]) == 1
    assert decimals([1.125]) == 2
    assert decimals([1.125, 150.5, 151.5]) == 1
    assert decimals([]) == 0
    assert decimals([123456.5, 0.001]) == 0


def test_a_unit_given_is_the_unit_shown() -> None:
    unit = choose_unit("energy_pj", [2e6])
    assert format_values("leakage_pj", [2e3], unit)[0].symbol == "uJ"


@pytest.mark.parametrize(
    ("name", "value", "typeset", "text"),
    [
        ("energy_pj", 2_516_000.0, False, "2.52 uJ"),
        ("energy_pj", 2_516_000.0, True, "2.52 µJ"),
        ("area_um2", 2_840_000.0, True, "2.84 mm²"),
        ("latency_us", 1311.0, True, "1,311 µs"),
        ("latency_ratio", 0.25, False, "0.250x"),
        ("utilization", 0.875, False, "87.5%"),
        ("area_share", 0.05485, False, "5.5%"),
        ("tops_per_w", 0.75, False, "0.750 TOPS/W"),
        ("macs", 12_345.0, False, "12,345"),
        ("energy_pj", NAN, False, "-"),
    ],
)
def test_quantities_in_sentences_carry_their_unit(name: str, value: float, typeset: bool, text: str) -> None:
    assert format_quantity(name, value, typeset=typeset) == text


def test_ratios_have_three_decimals_unless_they_are_tiny() -> None:
    assert format_values("latency_ratio", [1.0, 0.0909, 0.25])[1] == ["1.000", "0.091", "0.250"]
    assert format_values("latency_ratio", [1.0, 0.0045, 0.005])[1] == ["1.0000", "0.0045", "0.0050"]
    assert format_values("latency_ratio", [1.0, 2.0])[1] == ["1.00", "2.00"]
