"""The front door: one workload, one scheme, one accelerator; latency, energy, area, traffic and error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import workloads
from hwsim.accelerator import Accelerator
from hwsim.cost import Area, area, energy
from hwsim.cost.pricing import BANDS
from hwsim.defaults import DEFAULT_SCHEME
from hwsim.network import network_timings, split_batch
from hwsim.numerics import Progress, Recording, has_numerics, measure_errors, silent
from hwsim.results import LayerResult, Result
from hwsim.technology import Technology
from quant import Scheme

if TYPE_CHECKING:
    from hwsim.plan import Plan
    from workloads import Network


def read_plans(
    plans: Iterable[Plan], accelerator: Accelerator, technology: Technology
) -> tuple[Area, tuple[LayerResult, ...]]:
    """Area of the machine for all plans, and time and energy of each."""
    everything = tuple(plans)
    built = area(everything, accelerator, technology)
    layers = []
    for plan, timing in zip(everything, network_timings(everything, accelerator), strict=True):
        low, nominal, high = (energy(plan, timing, accelerator, technology, built, band) for band in BANDS)
        layers.append(LayerResult(plan, timing, nominal, low, high))
    return built, tuple(layers)


def simulate(
    workload: Network | str | Path,
    scheme: Scheme | str | Path = DEFAULT_SCHEME,
    accelerator: Accelerator | str | Path = "edge-16x16",
    *,
    batch: int = 1,
    numerics: bool | None = None,
    activity: Literal["random", "measured"] = "random",
    recording: Recording | None = None,
    progress: Progress = silent,
) -> Result:
    """Run a workload under a scheme on an accelerator.

    Parameters
    ----------
    workload
        A network, the name of an embedded one, or an ``.npz`` file of operands.
    scheme, accelerator
        A preset's name, a YAML file or an object; by default `DEFAULT_SCHEME`.
    batch
        Repetitions of the workload, side by side or in calls one after the other, whichever takes less time.
    numerics
        Execute the plans on the evaluation inputs and measure errors; otherwise only costs are computed. None does
        so where the workload has tensors.
    activity
        Energy of the array for fresh ``random`` operands, or by the toggles ``measured`` on the evaluation inputs.
    recording
        Float tensors recorded earlier, so that several schemes share them.
    progress
        Called with the name of what is being done.

    Raises
    ------
    IllegalLayoutError
        If the scheme's scales can not leave the integer sums on this array.
    ValueError
        If a name, a field or an operand is wrong, a buffer is too small, or errors are asked for of a workload that
        has shapes only.

    Examples
    --------
    >>> import hwsim, workloads
    >>> result = hwsim.simulate(workloads.gemm(16, 64, 16), "w8a8-dynamic", numerics=False)
    >>> result.total_cycles > 64
    True
    """
    network = workloads.load(workload)
    chosen, machine = Scheme.load(scheme), Accelerator.load(accelerator)
    technology = Technology.load(machine.technology)
    calls, plans = split_batch(network, chosen, machine, batch)
    built, layers = read_plans(plans, machine, technology)
    carried = None
    shared = recording or Recording(network)
    if has_numerics(network, numerics):
        errors, carried = measure_errors(network, plans, machine, shared, progress)
        layers = tuple(replace(layer, sqnr_db=errors[layer.plan.layer.name]) for layer in layers)
    repeated = tuple(replace(layer, call=call) for call in range(calls) for layer in layers)
    sized = network.batched(batch)
    result = Result(sized.name, chosen, machine, technology, repeated, built, carried, batch, calls, sized.tokens)
    return _with_activity(result, network, shared, activity)


def _with_activity(result: Result, network: Network, recording: Recording, activity: str) -> Result:
    """Price the array's energy again by the operands' toggles, where they are asked for."""
    match activity:
        case "random":
            return result
        case "measured":
            from hwsim.activity import activities, with_activities  # noqa: PLC0415  compiled counting, seldom asked for

            has_numerics(network, wanted=True)  # toggles need tensors
            return with_activities(result, activities(result, recording))
        case _:
            msg = f"activity must be random or measured, not {activity!r}"
            raise ValueError(msg)
