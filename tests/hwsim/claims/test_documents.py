"""docs/concepts.md names every concept and nothing that is not there; docs/claims.md is what the command writes."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

from hwsim.accelerator import Accelerator
from hwsim.claims import Finding, catalogue, findings, select
from hwsim.cli.main import COMMANDS, cli
from quant import Scheme

DOCS = Path(__file__).parents[3] / "docs"
IDS = [f"{letter}{number:02}" for letter, last in (("N", 55), ("B", 12), ("C", 31)) for number in range(1, last + 1)]
ROWS = {
    cells[0]: cells
    for line in (DOCS / "concepts.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [NBC]\d\d \|", line)
    for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
}


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]*)`", text)


def test_every_concept_has_one_row_in_order() -> None:
    assert list(ROWS) == IDS
    assert all(len(cells) == 4 and all(cells) for cells in ROWS.values())


@pytest.mark.parametrize("one", IDS)
def test_names_in_the_code_exist(one: str) -> None:
    where = spans(ROWS[one][2])
    assert where
    for name in (name for name in where if name.startswith(("quant.", "hwsim.", "workloads."))):
        parts = name.split(".")
        found: object = importlib.import_module(parts[0])
        for depth, part in enumerate(parts[1:], start=2):
            if not hasattr(found, part):
                importlib.import_module(".".join(parts[:depth]))
            found = getattr(found, part)
        assert found is not None
    presets = {*Scheme.presets(), *Accelerator.presets()}
    if "preset" in ROWS[one][2]:
        assert presets & set(where), f"{one} names a preset that is not there"


@pytest.mark.parametrize("one", IDS)
def test_what_shows_a_concept_can_be_called(one: str) -> None:
    shown = ROWS[one][3]
    links = re.findall(r"\]\(([^)]*)\)", shown)
    assert spans(shown) or links
    assert all((DOCS / link).exists() for link in links)
    for text in spans(shown):
        program, command, *arguments = shlex.split(text)
        assert program == "hwsim"
        assert command in COMMANDS
        found = cli.get_command(click.Context(cli), command)
        assert found is not None
        context = found.make_context(command, list(arguments))
        if command == "claims":
            assert select(context.params["only"])
            assert one in {one_id for claim in select(context.params["only"]) for one_id in claim.ids} or one == "C01"


def test_every_measured_id_says_so() -> None:
    for one in {one for claim in catalogue() for one in claim.ids}:
        assert f"--only {one}" in ROWS[one][3], f"{one} is measured, and its row does not say so"


@pytest.fixture(scope="module")
def measured() -> list[Finding]:
    return list(findings())


def test_the_page_has_the_verdicts_of_today(measured: list[Finding]) -> None:
    """Numbers may drift with the models; a verdict that flips must be written down."""
    page = (DOCS / "claims.md").read_text(encoding="utf-8").splitlines()
    for finding in measured:
        if finding.claim.timed or finding.missing:
            continue
        start = f"| {' '.join(finding.claim.ids)} | "
        text = re.sub(r"([|*_<\[])", r"\\\1", finding.claim.text)
        rows = [line for line in page if line.startswith(f"{start}{text} | ")]
        assert len(rows) == 1, finding.claim.name
        assert f"| **{finding.verdict}** |" in rows[0], finding.claim.name


def test_every_claim_without_a_missing_part_is_measured(measured: list[Finding]) -> None:
    assert {finding.claim.name for finding in measured if finding.missing} <= {"qat_is_better", "trained_is_deployed"}
