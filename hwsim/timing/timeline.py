"""Who was busy with what, and when: intervals of an event-driven run, for charts and trace viewers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

RESOURCES = ("dram", "vector", "array", "weights")


class Interval(NamedTuple):
    """One resource at work.

    Attributes
    ----------
    resource
        ``dram``, ``weights`` (a DRAM port of their own), ``vector`` or ``array``.
    work
        What it does: ``scan``, ``lhs``, ``rhs`` (fetching and preparing an operand), ``fold`` or ``out``.
    layer
        Of the network.
    start_cycle, end_cycle
        From the start of the first layer.
    """

    resource: str
    work: str
    layer: str
    start_cycle: int
    end_cycle: int


def timeline_frame(intervals: Iterable[Interval]) -> pd.DataFrame:
    """One row for each interval, in columns named as its fields.

    Examples
    --------
    >>> timeline_frame([Interval("array", "fold", "gemm", 3, 8)]).to_dict("records")
    [{'resource': 'array', 'work': 'fold', 'layer': 'gemm', 'start_cycle': 3, 'end_cycle': 8}]
    """
    import pandas as pd  # noqa: PLC0415  who only wants cycles never pays for it

    return pd.DataFrame(list(intervals), columns=list(Interval._fields))


def chrome_trace(intervals: Iterable[Interval], cycle_ns: float) -> dict[str, Any]:
    """Trace that Perfetto (ui.perfetto.dev) and ``chrome://tracing`` open.

    Notes
    -----
    Complete events of the Trace Event Format (Google, 2016): `ts` and `dur` in microseconds, a thread for each
    resource.

    Examples
    --------
    >>> chrome_trace([Interval("array", "fold", "gemm", 250, 500)], 4.0)["traceEvents"][-1]
    {'name': 'gemm fold', 'cat': 'fold', 'ph': 'X', 'ts': 1.0, 'dur': 1.0, 'pid': 1, 'tid': 3}
    """
    threads = {name: index for index, name in enumerate(RESOURCES, start=1)}
    named = [
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": {"name": name}}
        for name, thread in threads.items()
    ]
    events = [
        {
            "name": f"{interval.layer} {interval.work}",
            "cat": interval.work,
            "ph": "X",
            "ts": interval.start_cycle * cycle_ns / 1e3,
            "dur": (interval.end_cycle - interval.start_cycle) * cycle_ns / 1e3,
            "pid": 1,
            "tid": threads[interval.resource],
        }
        for interval in intervals
    ]
    return {"traceEvents": [*named, *events], "displayTimeUnit": "ns"}
