"""The front door: one workload, one scheme, one accelerator; latency, energy, area, traffic and error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hwsim.accelerator import Accelerator
from hwsim.cost import Area, Energy, area, energy
from hwsim.cost.pricing import BANDS
from hwsim.execution import Execution, Prepared, Samples, execute, prepare
from hwsim.lowering import lower
from hwsim.network import keep, network_timings, share, with_functions
from hwsim.technology import Technology
from quant import Scheme, sqnr_db

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.execution import Float32
    from hwsim.plan import Plan
    from hwsim.timing import Timing
    from workloads import Layer, Network

Progress = Callable[[str], None]


def _silent(_: str) -> None:
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


@dataclass(frozen=True)
class LayerResult:
    """Everything known about one layer under one scheme.

    Parameters
    ----------
    energy, low, high
        At nominal prices and at the edges of the band that their sources support.
    sqnr_db
        None where it was not measured or the result is the reference itself.
    call
        Which of the runs, one after the other, that a batch is split into.
    """

    plan: Plan
    timing: Timing
    energy: Energy
    low: Energy
    high: Energy
    sqnr_db: float | None = None
    call: int = 0

    def to_row(self, cycle_ns: float) -> dict[str, Any]:
        """Flat row with units in the names."""
        plan, timing = self.plan, self.timing
        return {
            "scheme": plan.scheme.name,
            "layer": plan.layer.name,
            "call": self.call,
            "verdict": plan.verdict_name,
            "partial_sums": plan.mac.segments,
            "sqnr_db": np.nan if self.sqnr_db is None else self.sqnr_db,
            "macs": plan.macs,
            "folds": timing.schedule.folds,
            "compute_cycles": timing.compute_cycles,
            "stall_cycles": timing.stall_cycles,
            "total_cycles": timing.total_cycles,
            "utilization": timing.utilization,
            "bound": timing.bound,
            "latency_us": timing.total_cycles * cycle_ns * 1e-3,
            "energy_pj": self.energy.total_pj,
            "energy_low_pj": self.low.total_pj,
            "energy_high_pj": self.high.total_pj,
            **self.energy.parts(),
            "weight_bytes": plan.weight_bytes,
            "dram_read_bytes": timing.dram.read_bits / 8,
            "dram_write_bytes": timing.dram.write_bits / 8,
            "traffic_bytes": timing.dram.total_bits / 8,
            "kept_bytes": plan.kept_bytes,
        }


@dataclass(frozen=True)
class Result:
    """One workload under one scheme on one accelerator.

    Parameters
    ----------
    layers
        In the order of the network; of a batch that is split, one call after the other.
    built
        Area of the machine that runs all of them.
    output_sqnr_db
        Error of the network's output with errors carried from layer to layer; None if not measured or exact.
    batch, calls
        Repetitions of the workload, and runs that they are split into.
    tokens
        That all calls together read or make; None where that has no meaning.
    """

    workload: str
    scheme: Scheme
    accelerator: Accelerator
    technology: Technology
    layers: tuple[LayerResult, ...]
    built: Area
    output_sqnr_db: float | None
    batch: int = 1
    calls: int = 1
    tokens: int | None = None

    @property
    def total_cycles(self) -> int:
        """Cycles of all layers, one after the other."""
        return sum(layer.timing.total_cycles for layer in self.layers)

    @property
    def latency_us(self) -> float:
        """Time of all layers, one after the other."""
        return self.total_cycles * self.accelerator.cycle_ns * 1e-3

    @property
    def energy_pj(self) -> float:
        """Energy of all layers."""
        return float(sum(layer.energy.total_pj for layer in self.layers))

    @property
    def sqnr_db(self) -> float | None:
        """Signal over noise of the contractions: the mean over layers of noise power over signal power, in dB."""
        measured = [layer.sqnr_db for layer in self.layers if layer.sqnr_db is not None]
        if not measured:
            return None
        return float(-10 * np.log10(np.mean([10 ** (-db / 10) for db in measured])))

    def totals(self) -> dict[str, Any]:
        """Flat row over all layers, with units in the names."""
        layers, cycles = self.layers, self.total_cycles
        macs = sum(layer.plan.macs for layer in layers)
        used = sum(layer.plan.mac.macs for layer in layers)
        parts = [layer.energy.parts() for layer in layers]
        read = sum(layer.timing.dram.read_bits for layer in layers) / 8
        write = sum(layer.timing.dram.write_bits for layer in layers) / 8
        compute = sum(layer.timing.compute_cycles for layer in layers)
        verdicts = [layer.plan.verdict_name for layer in layers]
        return {
            "scheme": self.scheme.name,
            "verdict": next((v for v in ("segmented", "once", "float") if v in verdicts), "float"),
            "sqnr_db": np.nan if self.sqnr_db is None else self.sqnr_db,
            "block_sqnr_db": np.nan if self.output_sqnr_db is None else self.output_sqnr_db,
            "macs": macs,
            "compute_cycles": compute,
            "stall_cycles": cycles - compute,
            "total_cycles": cycles,
            "utilization": used / (self.accelerator.elements * cycles),
            "latency_us": self.latency_us,
            "energy_pj": self.energy_pj,
            "energy_low_pj": float(sum(layer.low.total_pj for layer in layers)),
            "energy_high_pj": float(sum(layer.high.total_pj for layer in layers)),
            **{name: sum(part[name] for part in parts) for name in parts[0]},
            "area_um2": self.built.total_um2,
            **self.built.parts(),
            # pJ over ns is mW; two operations a MAC over pJ is tera-operations a second and watt
            "power_mw": self.energy_pj / (self.latency_us * 1e3),
            "tops_per_w": 2 * macs / self.energy_pj,
            "energy_delay_pj_s": self.energy_pj * self.latency_us * 1e-6,
            "weight_bytes": sum(layer.plan.weight_bytes for layer in layers),
            "dram_read_bytes": read,
            "dram_write_bytes": write,
            "traffic_bytes": read + write,
            **self._per_token(read + write),
        }

    def _per_token(self, traffic_bytes: float) -> dict[str, float]:
        if self.tokens is None:
            return {}
        return {
            "tokens_per_s": self.tokens / self.latency_us * 1e6,
            "energy_per_token_pj": self.energy_pj / self.tokens,
            "traffic_per_token_bytes": traffic_bytes / self.tokens,
        }

    def to_frame(self) -> pd.DataFrame:
        """One row for each layer."""
        import pandas as pd  # noqa: PLC0415  a script that only wants totals never pays for it

        return pd.DataFrame([layer.to_row(self.accelerator.cycle_ns) for layer in self.layers])

    def _repr_html_(self) -> str:
        html: str = self.to_frame().to_html(index=False, float_format="{:.4g}".format)
        return html


def plan_network(network: Network, scheme: Scheme, accelerator: Accelerator) -> tuple[Plan, ...]:
    """Lower every layer of a network; keep on chip what fits, and quantize once what several layers read.

    Raises
    ------
    IllegalLayoutError
        If a layer can not be run.
    """
    lowered = [lower(layer, scheme, accelerator) for layer in network.layers]
    plans = with_functions(network, lowered, accelerator)
    return share(network, keep(network, plans, accelerator))


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


def split_batch(network: Network, scheme: Scheme, accelerator: Accelerator, batch: int) -> tuple[int, tuple[Plan, ...]]:
    """Split a batch into equal calls, one after the other, so that all of them take least time.

    Returns
    -------
    calls
        The fewest of those that take least time.
    plans
        Of one call.

    Raises
    ------
    ValueError
        If the batch is not positive, or the network does not take one.
    """
    whole = network.batched(batch)
    if batch == 1:
        return 1, plan_network(whole, scheme, accelerator)

    def cycles(calls: int) -> int:
        return calls * sum(int(timing.total_cycles) for timing in network_timings(made[calls], accelerator))

    sizes = {calls: network.batched(batch // calls) for calls in range(1, batch + 1) if batch % calls == 0}
    made = {calls: plan_network(sized, scheme, accelerator) for calls, sized in sizes.items()}
    best = min(made, key=cycles)  # of equals the first
    return best, made[best]


def simulate(
    workload: Network | str | Path,
    scheme: Scheme | str | Path = "w8a8-dynamic",
    accelerator: Accelerator | str | Path = "edge-16x16",
    *,
    batch: int = 1,
    numerics: bool | None = None,
    activity: Literal["random", "measured"] = "random",
    recording: Recording | None = None,
    progress: Progress = _silent,
) -> Result:
    """Run a workload under a scheme on an accelerator.

    Parameters
    ----------
    workload
        A network, the name of an embedded one, or an ``.npz`` file of operands.
    scheme, accelerator
        A preset's name, a YAML file or an object.
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
    network = load_workload(workload)
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


def has_numerics(network: Network, wanted: bool | None) -> bool:
    """Tell whether errors are measured: as wanted, by default where there are tensors.

    Raises
    ------
    ValueError
        If they are wanted of a network that has shapes only.
    """
    if wanted and network.shapes_only:
        msg = f"numerics of {network.name} must be off, as it has shapes only"
        raise ValueError(msg)
    return not network.shapes_only if wanted is None else wanted


def measure_errors(
    network: Network,
    plans: Iterable[Plan],
    accelerator: Accelerator,
    recording: Recording,
    progress: Progress = _silent,
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
        prepared[layer.name] = prepare(plan, recording.samples(layer, calibration=True), recording.bias(layer))
        run = _call(prepared[layer.name], evaluation.lhs, evaluation.rhs, accelerator)
        runs[layer.name] = evaluation, run
        errors[layer.name] = _error(evaluation.out, run.out)

    def contract(layer: Layer, lhs: Any, rhs: Any, _: Any) -> Any:
        recorded, run = runs[layer.name]
        # Layers that no error has reached yet have been run already.
        if np.array_equal(lhs, recorded.lhs) and np.array_equal(rhs, recorded.rhs):
            return run.out
        return _call(prepared[layer.name], lhs, rhs, accelerator).out

    out = network.run(network.evaluation, contract)[network.output]
    return errors, _error(recording.output(), out)


def _call(prepared: Prepared, lhs: Float32, rhs: Float32, accelerator: Accelerator) -> Execution:
    try:
        return execute(prepared, lhs, rhs, accelerator)
    except (ValueError, ArithmeticError) as error:
        error.add_note(f"in {prepared.plan.layer.name} under {prepared.plan.scheme.name}")
        raise


def _error(reference: Float32, out: Float32) -> float | None:
    """Signal over noise in dB, None where every value is the reference's own."""
    return None if np.array_equal(reference, out) else float(sqnr_db(reference, out))


def load_workload(workload: Network | str | Path) -> Network:
    """Load an embedded network by name or a user's operands from ``.npz``; a Network passes through.

    Raises
    ------
    ValueError, OSError
        If there is no such network or the file is missing or malformed.
    """
    import workloads  # noqa: PLC0415  its lazy names resolve at run time

    if not isinstance(workload, str | Path):
        return workload
    if str(workload).endswith(".npz"):
        return workloads.from_npz(workload)
    return workloads.load(str(workload))
