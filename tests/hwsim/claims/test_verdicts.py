"""Verdicts follow from comparisons: a claim holds on data made to agree with it, and fails on data made against it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hwsim.claims import Case, Claim, Finding, catalogue
from hwsim.claims.claim import claims_of, number
from tests.hwsim.claims.counter_data import CERTAIN, FAILS, HOLDS, PARTLY

CLAIMS = {claim.name: claim for claim in catalogue()}


def test_each_claim_has_data_for_and_against_it() -> None:
    assert len(CLAIMS) == len(catalogue())
    assert set(HOLDS) == set(CLAIMS)
    assert set(FAILS) == set(CLAIMS) - set(CERTAIN)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_where_data_agree(name: str) -> None:
    finding = CLAIMS[name](**HOLDS[name])
    expected = "holds only when" if name == "adaptive_is_better" else "holds"
    assert finding.verdict == expected, finding.cases


@pytest.mark.parametrize("name", FAILS)
def test_a_claim_fails_where_data_disagree(name: str) -> None:
    finding = CLAIMS[name](**FAILS[name])
    possible = {"does not hold", "holds only when"} if name in PARTLY else {"does not hold"}
    assert finding.verdict in possible, finding.cases


def claim_of(*cases: Case) -> Claim:
    define = claims_of("made up")("X01", text="as claimed", data="made up")

    def measured() -> list[Case]:
        return list(cases)

    return define(measured)


YES, NO = Case("here", 1.0, "m", True), Case("there", 2.0, "m", False)


@pytest.mark.parametrize(
    ("cases", "verdict", "headline"),
    [
        ([YES], "holds", YES),
        ([NO], "does not hold", NO),
        ([YES, NO], "holds only when", NO),
        ([NO, YES], "holds only when", NO),
    ],
)
def test_a_verdict_sums_up_its_cases(cases: list[Case], verdict: str, headline: Case) -> None:
    finding = claim_of(*cases)()
    assert finding.verdict == verdict
    assert finding.headline == headline


def test_a_condition_names_both_sides() -> None:
    assert claim_of(YES, NO)().condition == "when: here (1 m). Not when: there (2 m)"
    assert claim_of(YES)().condition == ""


def test_a_claim_must_give_a_case() -> None:
    with pytest.raises(ValueError, match=f"^{re.escape('claim measured must give a case, not none')}$"):
        claim_of()()


def test_a_value_must_be_a_number() -> None:
    text = "value of case 'here' must be a number, not NaN"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Case("here", float("nan"), "", True)


def test_what_is_missing_is_said_and_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    from hwsim.claims import training

    training.study.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    finding: Finding = CLAIMS["qat_is_better"]()
    assert finding.verdict == "not measured"
    assert finding.headline is None
    assert finding.condition == "needs torch and scikit-learn: pip install 'hwsim[qat]'"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (4.0, "4"),
        (65536.0, "65,536"),
        (838.31, "838"),
        (6.25, "6.25"),
        (-0.0123, "-0.0123"),
        (2.44e-5, "2.4e-05"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_one_case_that_changes_moves_the_verdict() -> None:
    """The data a claim is made on decide it, not its name: swap them, and the verdict swaps."""
    swapped: dict[str, Any] = {"contraction": "mk,kn->mn", "sizes": {"m": 4, "k": 8, "n": 4}}
    both = CLAIMS["both_along_k"]
    assert both(problems={"one": {**swapped, "lhs": "k:1", "rhs": "k:1"}}).verdict == "holds"
    assert both(problems={"one": {**swapped, "lhs": "k:8", "rhs": "k:8"}}).verdict == "does not hold"
