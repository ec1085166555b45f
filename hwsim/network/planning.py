"""Plans of a whole network: every layer lowered, then what stays on chip and what is quantized once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.lowering import lower
from hwsim.network.functions import with_functions
from hwsim.network.fusion import fuse
from hwsim.network.residency import keep
from hwsim.network.sequence import network_timings
from hwsim.network.sharing import share

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from quant import Scheme
    from workloads import Network


def plan_network(network: Network, scheme: Scheme, accelerator: Accelerator) -> tuple[Plan, ...]:
    """Lower every layer of a network; keep on chip what fits, and quantize once what several layers read.

    Raises
    ------
    IllegalLayoutError
        If a layer can not be run.
    """
    lowered = [lower(layer, scheme, accelerator) for layer in network.layers]
    plans = with_functions(network, fuse(network, lowered), accelerator)
    return share(network, keep(network, plans, accelerator))


_MOST_CALLS = 4096
_MOST_SPLITS = 48


def _splits(batch: int) -> list[int]:
    """Numbers of equal calls to try: divisors up to a limit, spread evenly over them where they are many."""
    divisors = [calls for calls in range(1, min(batch, _MOST_CALLS) + 1) if batch % calls == 0]
    step = (len(divisors) - 1) / (_MOST_SPLITS - 1)
    return divisors if step <= 1 else [divisors[round(step * at)] for at in range(_MOST_SPLITS)]


def split_batch(network: Network, scheme: Scheme, accelerator: Accelerator, batch: int) -> tuple[int, tuple[Plan, ...]]:
    """Split a batch into equal calls, one after the other, so that all of them take least time.

    At most 48 splits into up to 4,096 calls are tried.

    Returns
    -------
    calls
        The fewest of those that take least time.
    plans
        Of one call.

    Raises
    ------
    ValueError
        If the batch is not positive, the network does not take one, or a layer of it has more than 2**53
        multiply-accumulates.
    """
    whole = network.batched(batch)
    if batch == 1:
        return 1, plan_network(whole, scheme, accelerator)

    def cycles(calls: int) -> int:
        return calls * sum(int(timing.total_cycles) for timing in network_timings(made[calls], accelerator))

    sizes = {calls: network.batched(batch // calls) for calls in _splits(batch)}
    made = {calls: plan_network(sized, scheme, accelerator) for calls, sized in sizes.items()}
    best = min(made, key=cycles)  # of equals the first
    return best, made[best]
