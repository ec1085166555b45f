"""Colours and the common look of charts.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which people of any colour vision tell apart;
shape or text repeats what colour says. Text takes the colour of its surroundings (``currentColor``), so that a
chart is readable on light and on dark. Views and selections that answer to a reader carry names of their own: those
that Altair gives count up, and a page would differ from its own second rendering.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import altair as alt

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, GREY = "#56B4E9", "#CC79A7", "#F0E442", "#8C8C8C"
PALETTE = (BLUE, SKY, VERMILION, GREEN, GREY, PURPLE, ORANGE, YELLOW)
# A part keeps its colour from chart to chart.
_PARTS = {
    "mac": BLUE,
    "array": BLUE,
    "pipeline": PURPLE,
    "clock": SKY,
    "edge": SKY,
    "sram": GREEN,
    "dram": VERMILION,
    "vector": ORANGE,
    "leakage": GREY,
}
INK = "currentColor"
VERDICTS = {
    "float": (GREY, "square"),
    "once": (BLUE, "circle"),
    "segmented": (VERMILION, "triangle-up"),
    "incompatible": (PURPLE, "cross"),
}

C = TypeVar("C", alt.LayerChart, alt.Chart, alt.HConcatChart)


def part_colours(stems: Sequence[str]) -> list[str]:
    """Return one colour a part: its own if it is a known one, else one that is free.

    Examples
    --------
    >>> part_colours(["mac", "noc", "dram"])
    ['#0072B2', '#56B4E9', '#D55E00']
    """
    taken = {_PARTS[stem] for stem in stems if stem in _PARTS}
    free = itertools.cycle([colour for colour in PALETTE if colour not in taken] or PALETTE)
    return [_PARTS[stem] if stem in _PARTS else next(free) for stem in stems]


def verdict_styles(verdicts: set[str]) -> dict[str, tuple[str, str]]:
    """Return colour and shape of each verdict that occurs, known ones first.

    Examples
    --------
    >>> verdict_styles({"once", "float"})
    {'float': ('#8C8C8C', 'square'), 'once': ('#0072B2', 'circle')}
    """
    known = {name: style for name, style in VERDICTS.items() if name in verdicts}
    return known | dict.fromkeys(sorted(verdicts - set(VERDICTS)), (GREEN, "diamond"))


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers (1, 2, 5 times a power of ten; all digits on a short axis) between two positive ones.

    Examples
    --------
    >>> log_ticks(0.9, 12.0)
    [1.0, 2.0, 5.0, 10.0]
    """
    digits = (1, 2, 5) if high / low > 5 else range(1, 10)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


def styled(chart: C, **properties: Any) -> C:
    """Give a finished chart its properties and the common look."""
    look: C = (
        chart.properties(**properties)
        .configure(font="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif", padding=8)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            labelOpacity=0.85,
            titleOpacity=0.85,
            labelFontSize=11,
            titleFontSize=11,
            titleFontWeight="normal",
            titlePadding=8,
            gridColor=GREY,
            gridOpacity=0.22,
            domainColor=GREY,
            tickColor=GREY,
            labelLimit=260,
        )
        .configure_legend(
            labelColor=INK, titleColor=INK, labelFontSize=11, titleFontSize=11, titleFontWeight="normal", orient="top"
        )
        .configure_title(color=INK, fontSize=12, fontWeight="normal", anchor="start", frame="group")
    )
    return look
