import math

import pandas as pd

from reports import headlines, render_page
from tests.reports import sample

SCHEMES, METADATA = sample.schemes(), sample.metadata()


def answer(sentences: list[str], lead: str) -> str:
    (found,) = [sentence for sentence in sentences if sentence.startswith(lead)]
    return found


def test_the_best_by_the_stated_rule_are_those_of_the_frame() -> None:
    for least in (15.0, 20.0, 30.0):
        sentences = headlines(SCHEMES, METADATA, least_db=least)
        among = SCHEMES[SCHEMES["block_sqnr_db"] >= least].set_index("scheme")
        for lead, column in (("Least energy", "energy_pj"), ("Smallest area", "area_um2"), ("Shortest", "latency_us")):
            sentence = answer(sentences, lead)
            best = str(among[column].idxmin())
            assert f"with {least:g} dB of block SQNR or more: {best} (" in sentence
            assert f"at {among['block_sqnr_db'][best]:.1f} dB" in sentence
        assert f": {among['equal_area_latency_us'].idxmin()} with an array of" in answer(sentences, "The same in")


def test_factors_to_the_baseline_are_right() -> None:
    energy = SCHEMES.set_index("scheme")["energy_pj"]
    sentence = answer(headlines(SCHEMES, METADATA), "Least energy")
    assert f"{energy['fp32'] / energy['w8a8-asymmetric-activations']:.3g} times less than fp32" in sentence


def test_losses_are_named() -> None:
    sentence = answer(headlines(SCHEMES, METADATA), "Costing more than fp32")
    latency = SCHEMES.set_index("scheme")["latency_us"]
    for name in SCHEMES["scheme"]:
        assert (f"{name} (latency" in sentence) == (latency[name] > latency["fp32"])
    winning = SCHEMES[~(SCHEMES["latency_us"] > latency["fp32"])]
    assert answer(headlines(winning, METADATA), "Costing").endswith("no scheme, in latency, energy or area.")


def test_a_refusal_comes_with_its_witness_and_its_repair() -> None:
    sentence = answer(headlines(SCHEMES, METADATA), "Refused: channel-in x token cannot be")
    assert "as its witness in the table shows" in sentence
    assert (
        "Its repair channel-in x token, in blocks of 64 takes 1,403 us, 93.2 uJ and 1.09 mm2, at 28.4 dB." in sentence
    )


def test_no_scheme_good_enough_is_said() -> None:
    assert "With 90 dB of block SQNR or more: no scheme." in headlines(SCHEMES, METADATA, least_db=90)


def test_missing_columns_leave_out_their_sentences_and_nothing_reads_nan() -> None:
    for columns in (["scheme"], ["scheme", "energy_pj"], ["scheme", "sqnr_db"], ["scheme", "verdict", "latency_us"]):
        for metadata in ({}, METADATA):
            text = " ".join(headlines(SCHEMES[columns], metadata))
            assert "nan" not in text.split()
    assert headlines(pd.DataFrame({"scheme": ["a"], "sqnr_db": [math.nan]})) == []


def test_statements_of_the_metadata_come_last() -> None:
    frame = pd.DataFrame({"scheme": ["fp32", "int8"], "energy_pj": [2.0, 1.0]})
    metadata = {"baseline": "fp32", "statements": [("Ranking by energy", "the same in all 5 technologies.")]}
    assert headlines(frame, metadata)[-1] == "Ranking by energy: the same in all 5 technologies."
    assert len(headlines(frame, metadata)) == 1 + len(headlines(frame, {"baseline": "fp32"}))
    page = render_page(frame, metadata=metadata)
    assert page.count("the same in all 5 technologies.") == 1
