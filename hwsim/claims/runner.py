"""Run claims, one after the other, into frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from quant.documents import suggest

from . import (
    advantages,
    codebooks,
    granularity,
    layouts,
    linear,
    outliers,
    ranges,
    roundings,
    static_dynamic,
    strategies,
    training,
    zero_points,
)
from .claim import Claim, Finding

if TYPE_CHECKING:
    import pandas as pd

_MODULES = (
    advantages,
    linear,
    ranges,
    roundings,
    granularity,
    zero_points,
    layouts,
    codebooks,
    outliers,
    strategies,
    static_dynamic,
    training,
)


def catalogue() -> tuple[Claim, ...]:
    """Every claim, in the order of the report."""
    return tuple(value for module in _MODULES for value in vars(module).values() if isinstance(value, Claim))


def select(only: Sequence[str] = ()) -> tuple[Claim, ...]:
    """Choose claims by id (``N12``), name or topic; all of them by default.

    Raises
    ------
    ValueError
        If a word names none; the nearest that does is suggested.

    Examples
    --------
    >>> [claim.name for claim in select(["n15"])]
    ['adaptive_is_better']
    """
    everything = catalogue()
    chosen: dict[str, Claim] = {}
    for word in only:
        found = [c for c in everything if word.upper() in c.ids or word.lower() in {c.name, c.topic}]
        if not found:
            known = dict.fromkeys(key for c in everything for key in (*c.ids, c.name, c.topic))
            msg = f"claim must be an id, a name or a topic, not {word!r}; {suggest(word, known)}"
            raise ValueError(msg)
        chosen |= {claim.name: claim for claim in found}
    return tuple(claim for claim in everything if not only or claim.name in chosen)


def findings(only: Sequence[str] = (), progress: Callable[[str], None] | None = None) -> Iterator[Finding]:
    """Measure claims one by one, so that a caller can stop and keep what is done.

    Parameters
    ----------
    only
        As in `select`.
    progress
        Called with the text of each claim before it is measured.
    """
    for claim in select(only):
        if progress is not None:
            progress(f"{claim.topic}: {claim.text}")
        yield claim()


def to_frame(measured: Iterable[Finding]) -> pd.DataFrame:
    """One row a claim; `measured` and `unit` are those of its headline case, null where nothing was measured."""
    import pandas as pd  # noqa: PLC0415  only where a frame is asked for

    return pd.DataFrame([_row(finding) for finding in measured], columns=list(_COLUMNS))


_COLUMNS = (
    "topic",
    "ids",
    "claim",
    "verdict",
    "measured",
    "unit",
    "at",
    "result",
    "condition",
    "data",
    "timed",
    "name",
)


def _row(finding: Finding) -> dict[str, Any]:
    claim, headline = finding.claim, finding.headline
    return {
        "topic": claim.topic,
        "ids": " ".join(claim.ids),
        "claim": claim.text,
        "verdict": finding.verdict,
        "measured": float("nan") if headline is None else headline.value,
        "unit": "" if headline is None else headline.unit,
        "at": "" if headline is None else headline.when,
        "result": "" if headline is None else headline.text,
        "condition": finding.condition,
        "data": claim.data,
        "timed": claim.timed,
        "name": claim.name,
    }


def cases_frame(measured: Iterable[Finding]) -> pd.DataFrame:
    """One row a case: what was measured under each condition, and whether the claim holds there."""
    import pandas as pd  # noqa: PLC0415

    rows = [
        {
            "name": finding.claim.name,
            "ids": " ".join(finding.claim.ids),
            "when": case.when,
            "measured": case.value,
            "unit": case.unit,
            "result": case.text,
            "holds": case.holds,
        }
        for finding in measured
        for case in finding.cases
    ]
    return pd.DataFrame(rows, columns=["name", "ids", "when", "measured", "unit", "result", "holds"])


def run(only: Sequence[str] = (), progress: Callable[[str], None] | None = None) -> pd.DataFrame:
    """Measure claims and give one row each.

    Parameters
    ----------
    only
        Ids (``N12``), names or topics; all by default.
    progress
        Called with the text of each claim before it is measured.

    Returns
    -------
    frame
        Columns topic, ids, claim, verdict, measured, unit, at, result, condition, data, timed, name.

    Raises
    ------
    ValueError
        If a word of `only` names no claim.

    Examples
    --------
    >>> frame = run(["N19"])
    >>> frame["verdict"].tolist()
    ['holds only when']
    """
    return to_frame(findings(only, progress))
