"""Errors of a network under a scheme: float tensors recorded once, plans executed on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.execution import Execution, Prepared, Samples, clamped, execute, prepare
from quant import sqnr_db

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.execution import Float32
    from hwsim.plan import Plan
    from workloads import Layer, Network

Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Report to nobody."""


@dataclass
class Recording:
    """Float tensors of a network, recorded once and shared by every scheme.

    Parameters
    ----------
    network
        Whose calibration and evaluation inputs are run in float32 when first asked for.
    """

    network: Network
    _runs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)

    def samples(self, layer: Layer, *, calibration: bool) -> Samples:
        """Operands and result of a layer."""
        operands, tensors = self._run("calibration" if calibration else "evaluation")
        lhs, rhs, _ = operands[layer.name]
        return Samples(lhs, rhs, tensors[layer.output])

    def bias(self, layer: Layer) -> Float32 | None:
        """Bias of a layer."""
        bias: Float32 | None = self._run("evaluation")[0][layer.name][2]
        return bias

    def output(self) -> Float32:
        """Return what the network delivers on the evaluation inputs."""
        result: Float32 = self._run("evaluation")[1][self.network.output]
        return result

    def run_all(self) -> None:
        """Record both runs now, so that threads only read them."""
        for which in ("calibration", "evaluation"):
            self._run(which)

    def _run(self, which: str) -> tuple[dict[str, Any], dict[str, Any]]:
        if which not in self._runs:
            operands: dict[str, Any] = {}

            def contract(layer: Layer, lhs: Any, rhs: Any, bias: Any) -> Any:
                operands[layer.name] = (lhs, rhs, bias)
                return layer.contract(lhs, rhs, bias)

            tensors = self.network.run(getattr(self.network, which), contract)
            self._runs[which] = (operands, tensors)
        return self._runs[which]


def has_numerics(network: Network, wanted: object) -> bool:
    """Tell whether errors are measured: as wanted, by default where there are tensors.

    Raises
    ------
    ValueError
        If they are wanted of a network that has shapes only, or `wanted` is none of True, False and None.
    """
    if not (wanted is None or isinstance(wanted, bool | np.bool_)):
        msg = f"numerics must be True, False or None, not {wanted!r}"
        raise ValueError(msg)
    if wanted and network.shapes_only:
        msg = f"numerics of {network.name} must be off, as it has shapes only"
        raise ValueError(msg)
    return not network.shapes_only if wanted is None else bool(wanted)


def measure_errors(
    network: Network,
    plans: Iterable[Plan],
    accelerator: Accelerator,
    recording: Recording,
    progress: Progress = silent,
) -> tuple[dict[str, float | None], float | None]:
    """Error of each contraction on its recorded float inputs, and of the output with errors carried along.

    Returns
    -------
    layers : dB
        By name; None where the result is the reference itself.
    output : dB
        Signal over noise at the network's output.
    """
    prepared: dict[str, Prepared] = {}
    runs: dict[str, tuple[Samples, Execution]] = {}
    errors: dict[str, float | None] = {}
    for plan in plans:
        layer = plan.layer
        progress(f"{plan.scheme.name}: {layer.name}")
        evaluation = recording.samples(layer, calibration=False)
        with _named(plan):
            prepared[layer.name] = prepare(plan, recording.samples(layer, calibration=True), recording.bias(layer))
        run = _call(prepared[layer.name], evaluation.lhs, evaluation.rhs, accelerator)
        runs[layer.name] = evaluation, run
        errors[layer.name] = _error(clamped(plan, evaluation.out), run.out)

    def contract(layer: Layer, lhs: Any, rhs: Any, _: Any) -> Any:
        recorded, run = runs[layer.name]
        # Layers that no error has reached yet have been run already.
        if np.array_equal(lhs, recorded.lhs) and np.array_equal(rhs, recorded.rhs):
            return run.out
        return _call(prepared[layer.name], lhs, rhs, accelerator).out

    out = network.run(network.evaluation, contract)[network.output]
    return errors, _error(recording.output(), out)


@contextmanager
def _named(plan: Plan) -> Iterator[None]:
    """Add layer and scheme to what goes wrong in them."""
    try:
        yield
    except (ValueError, ArithmeticError) as error:
        error.add_note(f"in {plan.layer.name} under {plan.scheme.name}")
        raise


def _call(prepared: Prepared, lhs: Float32, rhs: Float32, accelerator: Accelerator) -> Execution:
    with _named(prepared.plan):
        return execute(prepared, lhs, rhs, accelerator)


def _error(reference: Float32, out: Float32) -> float | None:
    """Signal over noise in dB, None where every value is the reference's own."""
    return None if np.array_equal(reference, out) else float(sqnr_db(reference, out))
