"""Which differences between schemes stand: against the bands of the sources, and from technology to technology.

A band says how far sources of one price disagree. All schemes pay the same prices, so that bands of totals that
overlap do not yet leave a difference open. What can vary is taken part by part (multiply-accumulates, buffers, DRAM,
...): the price of a part may lie anywhere in its band, for all schemes alike, and independently of other parts. A
difference is *decided* if it keeps its sign for all of these prices.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hwsim.cost import area, energy
from hwsim.cost.areas import PARTS as AREA_PARTS
from hwsim.cost.energies import PARTS as ENERGY_PARTS
from hwsim.results import efficiency
from hwsim.technology import Technology, technology_names

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.results import Result

QUANTITIES = {"energy_pj": "energy", "area_um2": "area", "energy_delay_pj_s": "energy-delay product"}
"""Column and what a sentence calls it. Latency does not depend on the technology."""

Parts = dict[str, tuple[float, float, float]]  # low, nominal, high


def priced_parts(result: Result, quantity: str) -> Parts:
    """Return what a quantity is made of, each part at the low edge, nominal price and high edge of its band.

    Raises
    ------
    ValueError
        If the quantity has no band.
    """
    match quantity:
        case "energy_pj" | "energy_delay_pj_s":
            factor = result.latency_us * 1e-6 if quantity == "energy_delay_pj_s" else 1.0
            spent = [(layer.low.parts(), layer.energy.parts(), layer.high.parts()) for layer in result.layers]
            return {
                part: (
                    factor * sum(low[part] for low, _, _ in spent),
                    factor * sum(nominal[part] for _, nominal, _ in spent),
                    factor * sum(high[part] for _, _, high in spent),
                )
                for part in ENERGY_PARTS
            }
        case "area_um2":
            lines = result.built.built
            return {
                part: (
                    float(sum(line.low_um2 for line in lines if line.part == part)),
                    float(sum(line.um2 for line in lines if line.part == part)),
                    float(sum(line.high_um2 for line in lines if line.part == part)),
                )
                for part in AREA_PARTS
            }
        case _:
            msg = f"quantity must be one of {', '.join(QUANTITIES)}, not {quantity!r}"
            raise ValueError(msg)


def difference(one: Parts, other: Parts) -> tuple[float, float, float]:
    """Return the least, nominal and greatest difference of two sums whose parts have the same prices.

    Examples
    --------
    A part that costs 1 to 4 and is needed 3 times or 2, and one that costs 1 to 2 and is needed once or 3 times:

    >>> difference({"a": (3, 6, 12), "b": (1, 1, 2)}, {"a": (2, 4, 8), "b": (3, 3, 6)})
    (-2.0, 0.0, 3.0)
    """
    low = nominal = high = 0.0
    for part, prices in one.items():
        steps = [o - p for p, o in zip(prices, other[part], strict=True)]
        low, nominal, high = low + min(steps), nominal + steps[1], high + max(steps)
    return low, nominal, high


def pairs(results: Mapping[str, Result]) -> pd.DataFrame:
    """Compare every two schemes in every quantity that has a band.

    Returns
    -------
    frame
        ``quantity``, ``better`` and ``worse`` by nominal prices, ``difference`` and its ``low`` and ``high`` in the
        unit of the quantity, ``decided``, and ``neighbours``: whether no third scheme lies between them.
    """
    import pandas as pd  # noqa: PLC0415

    rows = []
    for quantity in QUANTITIES:
        parts = {name: priced_parts(result, quantity) for name, result in results.items()}
        order = sorted(parts, key=lambda name: sum(nominal for _, nominal, _ in parts[name].values()))
        for (i, better), (j, worse) in itertools.combinations(enumerate(order), 2):
            low, nominal, high = difference(parts[better], parts[worse])
            rows.append(
                {
                    "quantity": quantity,
                    "better": better,
                    "worse": worse,
                    "difference": nominal,
                    "low": low,
                    "high": high,
                    "decided": low > 0,
                    "neighbours": j == i + 1,
                }
            )
    names = ["quantity", "better", "worse", "difference", "low", "high", "decided", "neighbours"]
    return pd.DataFrame(rows, columns=names)


def technologies_of(text: str | Iterable[str], own: str) -> list[str]:
    """Names of the technologies to compare with, the machine's own first.

    Parameters
    ----------
    text
        ``all`` for every shipped one, or names and files.
    own
        The machine's.
    """
    chosen = technology_names() if text == "all" else [text] if isinstance(text, str) else list(text)
    return list(dict.fromkeys([own, *chosen]))


def across(results: Mapping[str, Result], technologies: str | Iterable[str] = "all") -> pd.DataFrame:
    """Price every scheme in several technologies, on the same machine at the same clock.

    Parameters
    ----------
    results
        By scheme.
    technologies
        ``all`` shipped ones, or names and files; the machine's own is always among them, and first.

    Returns
    -------
    frame
        One row a technology and scheme: ``energy_pj``, ``energy_low_pj``, ``energy_high_pj``, ``area_um2``,
        ``latency_us``, ``power_mw``, ``tops_per_w``, ``energy_delay_pj_s``, and ``energy_rank``, ``area_rank``,
        ``energy_delay_rank`` from 1; ``note`` says why a technology has no prices for this machine.

    Raises
    ------
    ValueError
        If there is no such technology.
    """
    import pandas as pd  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    own = next(iter(results.values())).accelerator.technology
    for name in technologies_of(technologies, own):
        technology = Technology.load(name)
        try:
            rows += [{"technology": name, "scheme": key, **_prices(r, technology)} for key, r in results.items()]
        except ValueError as error:  # a size that its rows do not reach, or a constant that it lacks
            rows.append({"technology": name, "scheme": None, "note": str(error)})
    frame = pd.DataFrame(rows)
    if "note" not in frame:
        frame["note"] = pd.Series(None, frame.index, "str")
    for quantity in QUANTITIES:
        rank = quantity.rsplit("_", 1)[0] if quantity != "energy_delay_pj_s" else "energy_delay"
        frame[f"{rank}_rank"] = frame.groupby("technology")[quantity].rank(method="min").astype("Int64")
    return frame


def _prices(result: Result, technology: Technology) -> dict[str, float]:
    machine = result.accelerator
    plans = {id(layer.plan): layer.plan for layer in result.layers}
    built = area(plans.values(), machine, technology)
    low, nominal, high = (
        float(
            sum(energy(layer.plan, layer.timing, machine, technology, built, band).total_pj for layer in result.layers)
        )
        for band in ("low", "nominal", "high")
    )
    return {
        "energy_pj": nominal,
        "energy_low_pj": low,
        "energy_high_pj": high,
        "area_um2": float(built.total_um2),
        "latency_us": result.latency_us,
        **efficiency(nominal, result.latency_us, sum(layer.plan.macs for layer in result.layers)),
    }


def swapped(frame: pd.DataFrame, quantity: str) -> dict[tuple[str, str], list[str]]:
    """Return pairs of schemes, in the order of the first technology, with the technologies that have them turned round.

    Values that are equal in either technology are in no order and never turned round.
    """
    priced = frame[frame["scheme"].notna()]
    tables = {
        name: dict(zip(rows["scheme"], rows[quantity], strict=True)) for name, rows in priced.groupby("technology")
    }
    first, *others = dict.fromkeys(priced["technology"])
    base = tables[first]
    order = sorted(base, key=base.__getitem__)
    found: dict[tuple[str, str], list[str]] = {}
    for one, two in itertools.combinations(order, 2):
        turned = [name for name in others if base[one] < base[two] and tables[name][one] > tables[name][two]]
        if turned:
            found[one, two] = turned
    return found


def ranking_statements(frame: pd.DataFrame, decided: pd.DataFrame, *, most: int = 4) -> list[tuple[str, str]]:
    """Say for each quantity whether the ranking holds in all technologies, and which schemes change places.

    Parameters
    ----------
    frame
        As `across` returns it.
    decided
        As `pairs` returns it, for the first technology.
    most
        Pairs that are named before the rest is only counted.

    Returns
    -------
    statements
        What is asked, and the answer.
    """
    found = []
    priced = frame[frame["scheme"].notna()]
    count, schemes = priced["technology"].nunique(), priced["scheme"].nunique()
    every = schemes * (schemes - 1) // 2
    for quantity, what in QUANTITIES.items():
        turned = swapped(frame, quantity)
        if not turned:
            found.append((f"Ranking by {what}", f"the same in all {count} technologies."))
            continue
        mine = decided[(decided["quantity"] == quantity) & decided["decided"]]
        sure = set(zip(mine["better"], mine["worse"], strict=True))
        named = [
            f"{one} and {two} ({'every other' if len(names) == count - 1 else ', '.join(names)}"
            f"{'' if (one, two) in sure else '; within the band'})"
            for (one, two), names in turned.items()
        ]
        rest = f" and {len(named) - most} more" if len(named) > most else ""
        lead = f"Ranking by {what}, changed in {len(turned)} of {every} pairs by one of {count} technologies"
        found.append((lead, f"{'; '.join(named[:most])}{rest}."))
    for name, note in frame.loc[frame["scheme"].isna(), ["technology", "note"]].itertuples(index=False):
        found.append((f"No prices for this machine in {name}", f"{note}."))
    return found


def near_ties(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the neighbours in a ranking that the bands of the sources leave open.

    Parameters
    ----------
    frame
        As `pairs` returns it.

    Returns
    -------
    frame
        ``quantity``, ``better`` at nominal prices, ``worse``, and their ``difference`` with its ``low`` and ``high``.
    """
    open_ = frame[frame["neighbours"] & ~frame["decided"]]
    return open_.drop(columns=["decided", "neighbours"]).reset_index(drop=True)


def band_statements(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Say in one sentence how many neighbours in each ranking differ by less than the bands of the sources.

    Parameters
    ----------
    frame
        As `pairs` returns it; `near_ties` names them.

    Returns
    -------
    statements
        What is asked, and the answer; empty if every neighbour is decided.
    """
    counts = near_ties(frame)["quantity"].value_counts()
    named = [f"{counts[quantity]} in {what}" for quantity, what in QUANTITIES.items() if quantity in counts]
    return [("Neighbours closer than the sources agree", f"{', '.join(named)}.")] if named else []
