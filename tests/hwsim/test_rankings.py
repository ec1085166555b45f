"""Bands and technologies against the order of schemes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

import hwsim
import workloads
from hwsim.rankings import (
    QUANTITIES,
    across,
    band_statements,
    difference,
    near_ties,
    pairs,
    priced_parts,
    ranking_statements,
    swapped,
    technologies_of,
)
from hwsim.technology import technology_names

SCHEMES = ("fp32", "fp16", "w8a8-static", "w8a8-dynamic", "w8a8-asym-act", "pow2")


@pytest.fixture(scope="module")
def results() -> dict[str, hwsim.Result]:
    network = workloads.gemm(64, 96, 80)
    return {name: hwsim.simulate(network, name, numerics=False) for name in SCHEMES}


def test_a_difference_holds_for_every_price_in_the_band() -> None:
    """Against all 3**3 choices of one edge or the nominal price for each part."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        unit = np.sort(rng.uniform(1, 10, (3, 3)), axis=1)  # price of each of three parts: low, nominal, high
        one, other = rng.uniform(0, 5, (2, 3))  # how many of them
        parts = [{str(i): tuple(count[i] * unit[i]) for i in range(3)} for count in (one, other)]
        low, nominal, high = difference(*parts)
        every = [
            sum((other[i] - one[i]) * unit[i, edge] for i, edge in enumerate(edges))
            for edges in itertools.product(range(3), repeat=3)
        ]
        assert low == pytest.approx(min(every), abs=1e-12)
        assert high == pytest.approx(max(every), abs=1e-12)
        assert nominal == pytest.approx(((other - one) * unit[:, 1]).sum(), abs=1e-12)


def test_parts_sum_to_the_totals(results: dict[str, hwsim.Result]) -> None:
    for result in results.values():
        totals = result.totals()
        for quantity in ("energy_pj", "area_um2", "energy_delay_pj_s"):
            parts = priced_parts(result, quantity)
            assert math.isclose(math.fsum(n for _, n, _ in parts.values()), totals[quantity], rel_tol=1e-12)
            assert all(low <= nominal <= high for low, nominal, high in parts.values())
        energy = priced_parts(result, "energy_pj").values()
        assert math.isclose(math.fsum(low for low, _, _ in energy), totals["energy_low_pj"], rel_tol=1e-12)
        assert math.isclose(math.fsum(high for _, _, high in energy), totals["energy_high_pj"], rel_tol=1e-12)
    with pytest.raises(ValueError, match=r"^quantity must be one of energy_pj, .*, not 'macs'$"):
        priced_parts(results["fp32"], "macs")


def test_every_pair_is_there_once_the_cheaper_first(results: dict[str, hwsim.Result]) -> None:
    frame = pairs(results)
    assert len(frame) == 3 * math.comb(len(SCHEMES), 2)
    assert (frame["low"] <= frame["difference"]).all()
    assert (frame["difference"] <= frame["high"]).all()
    assert (frame["difference"] >= 0).all()
    assert (frame["decided"] == (frame["low"] > 0)).all()
    for row in frame[frame["quantity"] == "energy_pj"].itertuples():
        gap = results[row.worse].energy_pj - results[row.better].energy_pj  # type: ignore[index]
        assert math.isclose(row.difference, gap, rel_tol=1e-9, abs_tol=1e-6)  # type: ignore[arg-type]
    assert frame.groupby("quantity")["neighbours"].sum().eq(len(SCHEMES) - 1).all()


def test_a_scheme_does_not_differ_from_itself(results: dict[str, hwsim.Result]) -> None:
    frame = pairs({"one": results["fp16"], "two": results["fp16"]})
    assert not frame["decided"].any()
    assert (frame[["difference", "low", "high"]] == 0).all(axis=None)
    counted = "1 in energy, 1 in area, 1 in energy-delay product."
    assert band_statements(frame) == [("Neighbours closer than the sources agree", counted)]
    ties = near_ties(frame)
    assert list(ties["quantity"]) == list(QUANTITIES)
    assert list(ties["better"]) == ["one"] * 3


def test_far_schemes_are_decided(results: dict[str, hwsim.Result]) -> None:
    frame = pairs({name: results[name] for name in ("fp32", "w8a8-static")})
    assert frame["decided"].all()
    assert band_statements(frame) == []
    assert near_ties(frame).empty


def test_the_own_technology_comes_first_and_has_the_totals(results: dict[str, hwsim.Result]) -> None:
    frame = across(results)
    assert frame["technology"].iloc[0] == "45nm-horowitz"
    assert set(frame["technology"]) == set(technology_names())
    mine = frame[frame["technology"] == "45nm-horowitz"].set_index("scheme")
    for name, result in results.items():
        totals = result.totals()
        for column in ("energy_pj", "energy_low_pj", "energy_high_pj", "area_um2", "latency_us", "energy_delay_pj_s"):
            assert math.isclose(mine.loc[name, column], totals[column], rel_tol=1e-12), column  # type: ignore[arg-type]
    assert sorted(mine["energy_rank"]) == [1, 2, 3, 4, 5, 6]
    assert frame.groupby("scheme")["latency_us"].nunique().eq(1).all()


def test_a_technology_without_prices_says_why(results: dict[str, hwsim.Result]) -> None:
    large = hwsim.Accelerator.load("edge-16x16").replace(memories__weight__banks=1)
    network = workloads.gemm(16, 16, 16)
    some = {name: hwsim.simulate(network, name, large, numerics=False) for name in ("fp16", "w8a8-static")}
    frame = across(some, ["130nm-sky130"])
    (text,) = [text for lead, text in ranking_statements(frame, pairs(some)) if lead.startswith("No prices")]
    assert "262144" in text
    assert len(results) == 6


def test_pairs_that_change_places_are_named() -> None:
    frame = pd.DataFrame(
        [
            ("mine", "a", 1.0),
            ("mine", "b", 2.0),
            ("mine", "c", 2.0),
            ("other", "a", 3.0),
            ("other", "b", 1.0),
            ("other", "c", 5.0),
            ("third", "a", 1.0),
            ("third", "b", 1.0),
            ("third", "c", 0.5),
        ],
        columns=["technology", "scheme", "energy_pj"],
    )
    assert swapped(frame, "energy_pj") == {("a", "b"): ["other"], ("a", "c"): ["third"]}
    frame = frame.assign(area_um2=frame["energy_pj"], energy_delay_pj_s=1.0, note=None)
    decided = pd.DataFrame(
        [("energy_pj", "a", "b", True), ("energy_pj", "a", "c", False)],
        columns=["quantity", "better", "worse", "decided"],
    )
    energy, _, product = ranking_statements(frame, decided)
    assert energy == (
        "Ranking by energy, changed in 2 of 3 pairs by one of 3 technologies",
        "a and b (other); a and c (third; within the band).",
    )
    assert product == ("Ranking by energy-delay product", "the same in all 3 technologies.")


def test_names_of_technologies() -> None:
    assert technologies_of("all", "7nm-asap7")[0] == "7nm-asap7"
    assert len(technologies_of("all", "7nm-asap7")) == len(technology_names())
    assert technologies_of(["45nm-nangate"], "7nm-asap7") == ["7nm-asap7", "45nm-nangate"]
    with pytest.raises(ValueError, match=r"^technology must be "):
        across({"x": hwsim.simulate(workloads.gemm(4, 4, 4), "fp16", numerics=False)}, "45nm-none")
