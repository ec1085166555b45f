"""The page on layouts says what the code does."""

import doctest
from pathlib import Path


def test_examples_of_the_page_on_layouts() -> None:
    page = Path(__file__).parents[3] / "docs" / "layouts.md"
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 20
    assert result.failed == 0
