"""Networks from the shell: shapes alone, batches, figures for a token, one line on bad input."""

import json
import sys
from collections.abc import Callable

import pytest

from hwsim.cli import main as entry

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the entry point in this process: exit code, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "150")

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["hwsim", *arguments])
        code: object = 0
        try:
            entry.main()
        except SystemExit as stop:
            code = stop.code
        return code or 0, *capsys.readouterr()

    return run


def out_of(call: Run, *arguments: str) -> str:
    code, out, err = call(*arguments)
    assert code == 0, err
    return out


def test_a_step_of_decoding_has_figures_for_a_token_and_no_errors(call: Run) -> None:
    found = json.loads(out_of(call, "simulate", "gpt2-decode-16", "-s", "w8a16", "--batch", "2", "--json"))
    assert found["sqnr_db"] is None
    assert found["block_sqnr_db"] is None
    assert found["tokens_per_s"] == pytest.approx(2 / (found["latency_us"] * 1e-6))
    assert len(found["layers"]) == 97
    text = out_of(call, "simulate", "gpt2-decode-16", "-s", "w8a16")
    assert "SQNR" not in text
    assert "tokens" in text
    assert "nan" not in text.lower()


def test_a_comparison_of_shapes_shows_costs_alone(call: Run) -> None:
    text = out_of(call, "compare", "minilm-l6-prefill-16", "-s", "fp16", "-s", "w8a8-static")
    assert "SQNR" not in text
    assert "latency" in text
    rows = json.loads(out_of(call, "compare", "minilm-l6-prefill-16", "-s", "fp16", "--batch", "3", "--json"))
    assert [row["scheme"] for row in rows] == ["fp32", "fp16"]
    assert all(row["sqnr_db"] is None and row["tokens_per_s"] > 0 for row in rows)


def test_time_alone_takes_a_batch(call: Run) -> None:
    one, two = (
        json.loads(out_of(call, "simulate", "--gemm", "32x32x64", "--model", "event", "--batch", batch, "--json"))
        for batch in ("1", "2")
    )
    assert 1 < two["total_cycles"] / one["total_cycles"] <= 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("simulate", "gpt2-prefill-2000"), "tokens of gpt2 must be in 1..1024, not 2000"),
        (("compare", "resnet51"), "did you mean resnet50?"),
        (("simulate", "--batch", "0"), "0 is not in the range x>=1"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], text: str, call: Run) -> None:
    code, out, err = call(*arguments)
    assert code != 0
    assert out == ""
    assert text in err
