"""Chart of who was busy with what, and when."""

from __future__ import annotations

import altair as alt
import pandas as pd

from .columns import require
from .palette import part_colours, styled

WIDTH, ROW_PX = 760, 34
_WORK = ("scan", "lhs", "rhs", "fold", "out", "producer")


def timeline_chart(intervals: pd.DataFrame, *, title: str = "") -> alt.Chart:
    """Draw a bar for each interval, a row for each resource.

    Parameters
    ----------
    intervals
        Columns ``resource``, ``work``, ``layer``, ``start_cycle``, ``end_cycle``.
    title
        Above the chart.

    Returns
    -------
    chart
        Time from left to right in cycles; colour says what is done.

    Raises
    ------
    ValueError
        If a column is missing or there is no interval.
    """
    require(intervals, "intervals", "resource", "work", "layer", "start_cycle", "end_cycle")
    if intervals.empty:
        message = "intervals must have a row"
        raise ValueError(message)
    resources = list(dict.fromkeys(str(name) for name in intervals["resource"]))
    work = [name for name in _WORK if name in set(intervals["work"])]
    work += sorted(set(intervals["work"]) - set(work))
    names = ["resource", "work", "layer", "start_cycle", "end_cycle"]
    values = [dict(zip(names, row, strict=True)) for row in intervals[names].itertuples(index=False)]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar()
        .encode(
            alt.X("start_cycle:Q", title="cycle"),
            alt.X2("end_cycle:Q"),
            alt.Y("resource:N", sort=resources, title=None),
            alt.Color("work:N", title=None, scale=alt.Scale(domain=work, range=part_colours(work))),
            tooltip=["layer:N", "work:N", "start_cycle:Q", "end_cycle:Q"],
        )
    )
    return styled(chart, width=WIDTH, height=ROW_PX * len(resources), title=title)
