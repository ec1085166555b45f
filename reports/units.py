"""Units of columns: a name's suffix says what it counts, the values say which prefix reads best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SIGNIFICANT_DIGITS = 3
MAX_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit to show values in.

    Parameters
    ----------
    symbol
        ASCII symbol (``uJ``), empty for a pure number.
    size
        How many of the column's own unit make one of this unit.
    """

    symbol: str
    size: float = 1.0

    @property
    def typeset(self) -> str:
        """The symbol with its micro sign and its superscript, for pages and charts."""
        pretty = self.symbol.replace("mm2", "mm²").replace("um2", "µm²")
        return "µ" + pretty[1:] if pretty[:2] in {"uJ", "us", "uW"} else pretty


NO_UNIT = Unit("")

# Binary prefixes for bytes, as memories are sized; decimal (SI) prefixes for the rest.
_ENERGY = ("fJ", 1e-15), ("pJ", 1e-12), ("nJ", 1e-9), ("uJ", 1e-6), ("mJ", 1e-3), ("J", 1.0)
_TIME = ("ps", 1e-12), ("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0)
_POWER = ("nW", 1e-9), ("uW", 1e-6), ("mW", 1e-3), ("W", 1.0)
_BYTES = ("B", 1.0), ("KiB", 1024.0), ("MiB", 1024.0**2), ("GiB", 1024.0**3), ("TiB", 1024.0**4)
_AREA = ("um2", 1e-12), ("mm2", 1e-6)
# From how much on a unit is used, where that is not one of it. Up to ten thousand microseconds or microjoules are
# written as such, so that schemes a percent apart read apart; a hundredth of a square millimetre is still mm2.
_LEAST = {"ms": 1e-2, "mJ": 1e-2, "mm2": 1e-8}
_DELAY_PRODUCT = tuple((f"{symbol} s", size) for symbol, size in _ENERGY)

SCALED: dict[str, tuple[tuple[tuple[str, float], ...], float]] = {
    "_pj_s": (_DELAY_PRODUCT, 1e-12),
    "_pj": (_ENERGY, 1e-12),
    "_nj": (_ENERGY, 1e-9),
    "_uj": (_ENERGY, 1e-6),
    "_ps": (_TIME, 1e-12),
    "_ns": (_TIME, 1e-9),
    "_us": (_TIME, 1e-6),
    "_ms": (_TIME, 1e-3),
    "_nw": (_POWER, 1e-9),
    "_uw": (_POWER, 1e-6),
    "_mw": (_POWER, 1e-3),
    "_um2": (_AREA, 1e-12),
    "_mm2": (_AREA, 1e-6),
    "_bytes": (_BYTES, 1.0),
}
_FIXED = {
    "_db": Unit("dB"),
    "_ratio": Unit("x"),
    "_cycles": NO_UNIT,
    "_bits": Unit("bit"),
    "_hz": Unit("Hz"),
    "_mhz": Unit("MHz"),
    "_percent": Unit("%"),
    "_share": Unit("%", 0.01),
}
_WHOLE = {
    "tops_per_w": Unit("TOPS/W"),
    "equal_area_tops_per_w": Unit("TOPS/W"),
    "utilization": Unit("%", 0.01),
}
_SUFFIXES = tuple(sorted((*SCALED, *_FIXED), key=len, reverse=True))


def split_suffix(name: str) -> tuple[str, str]:
    """Split a column name into its stem and its unit suffix.

    Parameters
    ----------
    name
        Column name such as ``energy_pj``.

    Returns
    -------
    stem, suffix
        The suffix is empty if the name ends in no known unit, or is a rate with a name of its own.

    Examples
    --------
    >>> split_suffix("energy_delay_pj_s"), split_suffix("macs"), split_suffix("tops_per_w")
    (('energy_delay', '_pj_s'), ('macs', ''), ('tops_per_w', ''))
    """
    if name not in _WHOLE:
        for suffix in _SUFFIXES:
            if name.endswith(suffix) and len(name) > len(suffix):
                return name.removesuffix(suffix), suffix
    return name, ""


def choose_unit(name: str, values: Iterable[float]) -> Unit:
    """Choose the prefix in which the middle one of the values reads best.

    Parameters
    ----------
    name
        Column name; its suffix is the unit of the values.
    values
        Numbers in that unit. Zeros, NaN and infinities have no say.

    Returns
    -------
    unit
        The largest unit that the median magnitude reaches (ms and mJ: ten of it; mm2: a hundredth of it).

    Examples
    --------
    >>> choose_unit("energy_pj", [2.5e6, 3e7, 1e8])
    Unit(symbol='uJ', size=1000000.0)
    >>> choose_unit("area_um2", [350_000.0])
    Unit(symbol='mm2', size=1000000.0)
    """
    suffix = split_suffix(name)[1]
    if name in _WHOLE:
        return _WHOLE[name]
    if suffix not in SCALED:
        return _FIXED.get(suffix, NO_UNIT)
    ladder, own = SCALED[suffix]
    magnitudes = sorted(abs(value) for value in values if math.isfinite(value) and value)
    middle = magnitudes[len(magnitudes) // 2] * own if magnitudes else own
    reached = [(symbol, size) for symbol, size in ladder if middle >= _LEAST.get(symbol, size) * (1 - 1e-12)]
    symbol, size = reached[-1] if reached else ladder[0]
    return Unit(symbol, size / own)


def decimals(values: Iterable[float]) -> int:
    """Return how many decimals a column of numbers needs.

    Three significant digits for the median magnitude, two for the smallest, at most six digits for the
    largest; none if all values are whole.

    Examples
    --------
    >>> decimals([512.25, 81.5]), decimals([0.0123, 1.25]), decimals([3.0, 4.0])
    (0, 3, 0)
    """
    magnitudes = sorted(abs(value) for value in values if math.isfinite(value) and value)
    if not magnitudes or all(value == round(value) for value in magnitudes):
        return 0
    exponent = [math.floor(math.log10(value)) for value in magnitudes]
    wanted = max(SIGNIFICANT_DIGITS - 1 - exponent[len(exponent) // 2], SIGNIFICANT_DIGITS - 2 - exponent[0])
    return max(0, min(wanted, MAX_DIGITS - 1 - max(0, exponent[-1])))


def format_number(value: float, places: int) -> str | None:
    """Write one number with a fixed count of decimals and thousands separators.

    Parameters
    ----------
    value
        The number, in the unit shown.
    places
        Decimals.

    Returns
    -------
    text
        None for NaN. A number that is not 0 and would round to 0 is written ``<0.01``, so that small never
        reads as nothing.

    Examples
    --------
    >>> format_number(1234.567, 1), format_number(0.001, 2), format_number(float("nan"), 2)
    ('1,234.6', '<0.01', None)
    """
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = f"{value:,.{places}f}"
    if value and not any(digit in "123456789" for digit in text):
        return f"{'>-' if value < 0 else '<'}{10.0**-places:.{places}f}"
    return text


def format_values(name: str, values: Sequence[float], unit: Unit | None = None) -> tuple[Unit, list[str | None]]:
    """Write a column of numbers: one unit, one count of decimals.

    Parameters
    ----------
    name
        Column name; its suffix is the unit of the values.
    values
        Numbers in that unit, NaN where there is none.
    unit
        Unit to show; by default the one in which the values read best.

    Returns
    -------
    unit, texts
        The unit shown and one text a value, None for NaN.

    Examples
    --------
    >>> format_values("energy_pj", [2.5e6, float("nan"), 8.125e7])
    (Unit(symbol='uJ', size=1000000.0), ['2.5', None, '81.2'])
    """
    unit = choose_unit(name, values) if unit is None else unit
    shown = [value / unit.size for value in values]
    suffix = split_suffix(name)[1]
    if suffix in {"_db", "_share"} or name == "utilization":
        places = 1
    else:
        places = decimals(shown)
        if suffix == "_ratio":
            places = max(2, min(places, 3 if min(filter(None, map(abs, shown)), default=1.0) >= 0.01 else 4))
    return unit, [format_number(value, places) for value in shown]


def format_quantity(name: str, value: float, *, typeset: bool = False) -> str:
    """Write one quantity with its unit, for sentences.

    Parameters
    ----------
    name
        Column name; its suffix is the unit of the value.
    value
        The number in that unit.
    typeset
        Use the micro sign and superscripts.

    Returns
    -------
    text
        Three significant digits and the unit; ``-`` for NaN.

    Examples
    --------
    >>> format_quantity("energy_pj", 2_516_000.0), format_quantity("sqnr_db", 31.26)
    ('2.52 uJ', '31.3 dB')
    """
    unit, (text,) = format_values(name, [value])
    if text is None:
        return "-"
    symbol = unit.typeset if typeset else unit.symbol
    return f"{text} {symbol}" if symbol not in {"", "%", "x"} else text + symbol
