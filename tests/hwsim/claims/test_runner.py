"""Running claims: which, in which order, into which frames; nothing is forgotten and nothing random."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import pytest

from hwsim.claims import (
    NotMeasuredError,
    cases_frame,
    catalogue,
    findings,
    rounding_table,
    run,
    select,
    strategy_table,
    to_frame,
    training_table,
    zero_point_table,
)

QUICK = ("zero points", "layouts", "linear quantization", "advantages")


def test_ids_are_those_of_the_documents() -> None:
    for claim in catalogue():
        assert claim.ids
        for one in claim.ids:
            assert re.fullmatch(r"N(0[1-9]|[1-4]\d|5[0-5])|B(0[1-9]|1[0-2])|C(0[1-9]|[12]\d|3[01])", one), one


def test_claims_of_a_topic_stand_together() -> None:
    topics = [claim.topic for claim in catalogue()]
    runs = [topic for index, topic in enumerate(topics) if index == 0 or topic != topics[index - 1]]
    assert len(runs) == len(set(runs))


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["N22"], ["ten_ninety", "ten_ninety_network"]),
        (["ten_ninety", "Ten_ninety"], ["ten_ninety"]),
        (["c24", "N19"], ["exact_zero", "never_as_accurate"]),
        (["outliers"], ["outliers_ruin", "repairs_help", "repairs_help_networks"]),
    ],
)
def test_claims_are_chosen_by_id_name_or_topic(only: Sequence[str], names: Sequence[str]) -> None:
    assert [claim.name for claim in select(only)] == list(names)


def test_all_claims_are_the_default() -> None:
    assert select() == catalogue()


def test_an_unknown_word_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"^claim must be an id, a name or a topic, not 'N99'; did you mean N\d\d\?$"):
        select(["N99"])
    with pytest.raises(ValueError, match=r"; did you mean rounding\?$"):
        select(["roundings"])


def test_numbers_are_the_same_each_time() -> None:
    first, second = (cases_frame(findings(QUICK)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_a_frame_has_a_row_for_each_claim_and_case() -> None:
    measured = list(findings(["N18", "ten_ninety"]))
    frame, cases = to_frame(measured), cases_frame(measured)
    assert frame["name"].tolist() == ["literal_scale", "ten_ninety"]
    assert frame["verdict"].tolist() == [finding.verdict for finding in measured]
    assert len(cases) == sum(len(finding.cases) for finding in measured)
    for name, group in cases.groupby("name"):
        held = set(group["holds"])
        row = frame[frame["name"] == name].iloc[0]
        assert row["verdict"] == {(True,): "holds", (False,): "does not hold"}.get(tuple(held), "holds only when")
        assert row["result"] in set(group["result"])


def test_progress_names_each_claim() -> None:
    seen: list[str] = []
    frame = run(["N19", "ten_ninety"], seen.append)
    assert len(seen) == len(frame) == 2
    assert seen[0].startswith("linear quantization: ")


def test_claims_can_be_stopped_between_two() -> None:
    measured = []
    for finding in findings(["N18", "N19", "ten_ninety"]):
        measured.append(finding.claim.name)
        if len(measured) == 2:
            break
    assert measured == ["literal_scale", "exact_zero"]


def test_rounding_table_has_a_number_in_every_cell_that_has_a_model() -> None:
    frame = rounding_table(timed=False).set_index("rounding")
    assert frame["software_ns"].isna().all()
    unmodelled = frame.index[frame["energy_pj"].isna()].tolist()
    assert unmodelled == ["stochastic, ideal", "logarithmic, geometric mean"]
    assert frame.drop(columns=["energy_pj", "area_um2", "software_ns"]).notna().all(axis=None)
    assert frame.loc["floor", "energy_pj"] == 0
    assert (frame["energy_pj"].drop("floor").dropna() > 0).all()


def test_zero_point_table_crosses_channels_arrays_and_ways() -> None:
    frame = zero_point_table((1, 16), (16,))
    assert frame[["channels", "array"]].to_numpy().tolist() == [[1, "16x16"], [16, "16x16"]]
    assert frame["channel_cycles_percent"].tolist() == pytest.approx([0, 100])
    assert frame["adders_cycles_percent"].tolist() == pytest.approx([0, 0])
    assert frame.notna().all(axis=None)


def test_strategy_table_has_a_number_behind_every_cell() -> None:
    frame = strategy_table().set_index("strategy")
    numbers = frame.loc[["float32", "weight-only", "dynamic", "static"]].select_dtypes("number")
    # The reference has no error against itself.
    assert numbers.drop(columns=["sqnr_db", "block_sqnr_db"]).notna().all(axis=None)
    assert numbers[["sqnr_db", "block_sqnr_db"]].notna().all(axis=1).tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("strategy", "column"),
    [("weight-only", "dequantized_weights"), ("dynamic", "scanned_values"), ("static", "requantized_values")],
)
def test_each_strategy_alone_does_its_work(strategy: str, column: str) -> None:
    frame = strategy_table().set_index("strategy").loc[["float32", "weight-only", "dynamic", "static"]]
    assert frame.index[frame[column] > 0].tolist() == [strategy]


def test_training_table_has_the_study_in_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    from hwsim.claims import training

    row = {
        "strategy": "weight_only",
        "weight_bits": 4,
        "float_accuracy": 0.9,
        "ptq_accuracy": 0.5,
        "qat_accuracy": 0.75,
    }
    monkeypatch.setattr(training, "study", lambda: [{**row, "weight_bytes": 8.0, "energy_pj": 2.0}])
    assert training_table().to_dict("records") == [
        {
            "strategy": "weight-only",
            "weight_bits": 4,
            "weight_bytes": 8.0,
            "energy_pj": 2.0,
            "float_accuracy_percent": 90.0,
            "ptq_accuracy_percent": 50.0,
            "qat_accuracy_percent": 75.0,
        }
    ]
    assert strategy_table()["best_for"].iloc[-1] == "weight-only, 4 bits: accuracy 50.0 to 75.0 %"


def test_training_table_is_empty_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from hwsim.claims import training

    def missing() -> list[training.Row]:
        raise NotMeasuredError("needs torch")

    monkeypatch.setattr(training, "study", missing)
    assert len(training_table()) == 0
    assert strategy_table()["best_for"].iloc[-1] == "not measured: needs torch"


def test_many_rows_take_longer_than_one() -> None:
    frame = strategy_table().iloc[:4]
    assert (frame["many_rows_cycles"] > 2 * frame["one_row_cycles"]).all()
