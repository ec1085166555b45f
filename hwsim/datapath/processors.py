"""The processors that this process may use, and work shared among them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def run_all(tasks: Iterable[Callable[[], None]], threads: int) -> None:
    """Run tasks, the calling thread and up to `threads` - 1 others each taking the next that is left.

    Tasks should spend their time outside the interpreter's lock, and must not call this function.
    """
    left = iter(list(tasks))
    others = [_pool().submit(_take, left) for _ in range(threads - 1)]
    try:
        _take(left)
    finally:
        for other in others:
            other.result()


def _take(tasks: Iterator[Callable[[], None]]) -> None:
    for task in tasks:
        task()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, usable_processors() - 1), thread_name_prefix="hwsim")


if hasattr(os, "register_at_fork"):
    # The threads of a pool stay behind in the parent.
    os.register_at_fork(after_in_child=_pool.cache_clear)
