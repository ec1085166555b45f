"""What a claim is, how it is measured, and how its verdict follows from the cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["holds", "holds only when", "does not hold", "not measured"]
Measure = Callable[..., Iterable["Case"]]


class NotMeasuredError(RuntimeError):
    """A claim that can not be measured here; the text says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One condition under which a claim was measured.

    Parameters
    ----------
    when
        The condition, to be read after "holds when" or "fails when".
    value
        What was measured.
    unit
        Of the value, as it is read after the number: ``dB``, ``x the error of min-max``.
    holds
        Whether the claim holds here: a comparison of measured numbers.

    Raises
    ------
    ValueError
        If the value is not a number.
    """

    when: str
    value: float
    unit: str
    holds: bool

    def __post_init__(self) -> None:
        if self.value != self.value:
            msg = f"value of case {self.when!r} must be a number, not NaN"
            raise ValueError(msg)

    @property
    def text(self) -> str:
        """Number and unit."""
        return f"{number(self.value)} {self.unit}".rstrip()


def number(value: float) -> str:
    """Write a number with three significant digits, whole numbers whole.

    Examples
    --------
    >>> number(838.3), number(0.012345), number(65536.0), number(-0.25)
    ('838', '0.0123', '65,536', '-0.25')
    """
    if value == int(value) if abs(value) < 1e15 else False:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.1e}" if "e" in text else text


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of the source documents and the function that measures it.

    Parameters
    ----------
    name
        Name of the function, which is unique.
    topic
        Heading it stands under.
    ids
        Ids of the statements, see ``docs/concepts.md``.
    text
        What is claimed, in the words of the document where quoted.
    data
        What it is measured on unless other data are given.
    measure
        Takes other data by keyword and gives the cases, the most telling first.
    timed
        Whether it measures time, so that the numbers differ from run to run.
    """

    name: str
    topic: str
    ids: tuple[str, ...]
    text: str
    data: str
    measure: Measure
    timed: bool = False

    def __call__(self, **data: Any) -> Finding:
        """Measure, on other data where given.

        Raises
        ------
        ValueError
            If the function gives no case.
        """
        try:
            cases = tuple(self.measure(**data))
        except NotMeasuredError as error:
            return Finding(self, (), str(error))
        if not cases:
            msg = f"claim {self.name} must give a case, not none"
            raise ValueError(msg)
        return Finding(self, cases)


@dataclass(frozen=True, slots=True)
class Finding:
    """A measured claim.

    Parameters
    ----------
    claim
        What was measured.
    cases
        Under which conditions, and whether it held.
    missing
        What is missing where it could not be measured.
    """

    claim: Claim
    cases: tuple[Case, ...]
    missing: str = ""

    @property
    def verdict(self) -> Outcome:
        """``holds`` in every case, ``holds only when`` in some, ``does not hold`` in none; or ``not measured``."""
        if not self.cases:
            return "not measured"
        held = [case.holds for case in self.cases]
        if all(held):
            return "holds"
        return "holds only when" if any(held) else "does not hold"

    @property
    def condition(self) -> str:
        """Cases that hold and cases that fail, where there are both; else what is missing."""
        if self.verdict != "holds only when":
            return self.missing
        held, failed = (
            "; ".join(f"{case.when} ({case.text})" for case in self.cases if case.holds is which)
            for which in (True, False)
        )
        return f"when: {held}. Not when: {failed}"

    @property
    def headline(self) -> Case | None:
        """The case to quote: the first that decides against a claim, else the first."""
        if not self.cases:
            return None
        return next((case for case in self.cases if not case.holds), self.cases[0])


def claims_of(topic: str) -> Callable[..., Callable[[Measure], Claim]]:
    """Make the decorator that turns measuring functions of one topic into claims.

    Examples
    --------
    >>> claim = claims_of("arithmetic")
    >>> @claim("X01", text="a sum is even", data="two numbers")
    ... def even(numbers=(2, 4)):
    ...     return [Case(f"it is {number}", number % 2, "left over", number % 2 == 0) for number in numbers]
    >>> even().verdict, even(numbers=[3]).verdict, even(numbers=[2, 3]).condition
    ('holds', 'does not hold', 'when: it is 2 (0 left over). Not when: it is 3 (1 left over)')
    """

    def claim(*ids: str, text: str, data: str, timed: bool = False) -> Callable[[Measure], Claim]:
        def define(measure: Measure) -> Claim:
            return Claim(measure.__name__, topic, ids, text, data, measure, timed)

        return define

    return claim
