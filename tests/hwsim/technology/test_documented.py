"""The page's tables and examples are what the code says."""

import doctest
from pathlib import Path

import pytest

from benchmarks import silicon
from hwsim.technology.residuals import TABLES, markdown

PAGE = Path(__file__).parents[3] / "docs" / "technology.md"


@pytest.mark.parametrize("name", TABLES)
def test_the_page_holds_the_table(name: str) -> None:
    assert markdown(name) in PAGE.read_text(encoding="utf-8"), f"python -m hwsim.technology.residuals {name}"


def test_the_page_holds_the_machines() -> None:
    assert silicon.markdown() in PAGE.read_text(encoding="utf-8"), "python -m benchmarks.silicon"


def test_the_examples_of_the_page_run() -> None:
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert failed == 0
    assert tried > 3
