"""Run a whole network through the integer datapath and keep what it delivers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

import workloads
from hwsim.accelerator import Accelerator
from hwsim.defaults import DEFAULT_SCHEME
from hwsim.execution import execute, prepare
from hwsim.network import plan_network
from hwsim.numerics import Recording
from quant import Scheme

if TYPE_CHECKING:
    from workloads import Layer, Network


def infer(
    workload: Network | str | Path,
    scheme: Scheme | str | Path = DEFAULT_SCHEME,
    accelerator: Accelerator | str | Path = "edge-16x16",
    *,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
    recording: Recording | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Compute every tensor of a network with its contractions on the accelerator, errors carried along.

    Parameters
    ----------
    workload, scheme, accelerator
        As for `simulate`.
    inputs
        By name; default the evaluation inputs.
    recording
        Float tensors recorded earlier, which static schemes calibrate on.

    Returns
    -------
    tensors : float32
        Real values by name; `Network.output` names the last.

    Raises
    ------
    IllegalLayoutError
        If the scheme's scales can not leave the integer sums on this array.
    ValueError
        If a name, a field or an operand is wrong.

    Examples
    --------
    >>> import hwsim, workloads
    >>> network = workloads.gemm(4, 64, 2)
    >>> float(abs(infer(network, "w8a8-dynamic")["y"] - network.run(network.evaluation)["y"]).max()) < 0.1
    True
    """
    network, machine = workloads.load(workload), Accelerator.load(accelerator)
    known = recording or Recording(network)
    prepared = {
        plan.layer.name: prepare(plan, known.samples(plan.layer, calibration=True), known.bias(plan.layer))
        for plan in plan_network(network, Scheme.load(scheme), machine)
    }

    def contract(layer: Layer, lhs: Any, rhs: Any, _: Any) -> Any:
        return execute(prepared[layer.name], lhs, rhs, machine).out

    return network.run(network.evaluation if inputs is None else inputs, contract)
