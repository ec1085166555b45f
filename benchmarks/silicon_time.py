"""Published silicon against the closed form: TPUv1's applications.

``python -m benchmarks silicon_time``. Measured figures: Jouppi et al., In-Datacenter Performance Analysis of a Tensor
Processing Unit, ISCA 2017 (10.1145/3079856.3080246), tables 1 and 3. The paper gives layers, weights and batch of each
application, not the sizes of the layers. Assumed: all layers of an application are equal; matrices are square;
CNN0's are 3 x 3 convolutions of 19 x 19 boards, since its 2888 multiplications a weight are 8 x 19 x 19. Activations
stay in the unified buffer, layers run one after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import hwsim
from hwsim.timing import Timing, closed_form
from quant import Scheme
from workloads import Layer


@dataclass(frozen=True)
class Application:
    """What the paper says of one application, and why the model misses it."""

    name: str
    layers: int
    weights: float
    batch: int
    measured_tops: float
    reason: str
    board: int = 0

    def layer(self) -> Layer:
        """One of its layers."""
        each = self.weights / self.layers
        if self.board:
            channels = round(math.sqrt(each / 9))
            sizes = {"b": self.batch, "c": channels, "h": self.board, "w": self.board, "o": channels, "r": 3, "s": 3}
            return Layer(self.name, "conv2d padding=1", sizes, "x", "w", "y")
        width = round(math.sqrt(each))
        return Layer(self.name, "mk,kn->mn", {"m": self.batch, "k": width, "n": width}, "x", "w", "y")


APPLICATIONS = (
    Application("MLP0", 5, 20e6, 200, 12.3, "host and activation work between layers (17.5 % of cycles) not modelled"),
    Application("MLP1", 4, 5e6, 168, 9.7, "as MLP0, 31.9 % of cycles: layers are four times smaller"),
    Application("LSTM0", 58, 52e6, 64, 3.7, "gates wait for the step before: 17.9 % of cycles outside the array"),
    Application("CNN0", 16, 8e6, 8, 86.0, "236 channels leave 15 % of the array empty; layers wait for weights", 19),
)


def predict(application: Application, machine: hwsim.Accelerator) -> tuple[Timing, float]:
    """Read the timing of one layer, and tera-operations a second, two for each product."""
    plan = hwsim.lower(application.layer(), Scheme.load("w8a8-static"), machine)
    plan = replace(
        plan,
        lhs=replace(plan.lhs, dram_bits=0, overhead_bits=0),
        out=replace(plan.out, dram_bits=0, overhead_bits=0),
        bias=None,
    )
    timing = closed_form(plan, machine)
    return timing, 2e-12 * plan.mac.macs / (timing.total_cycles * machine.cycle_ns * 1e-9)


def main() -> None:
    machine = hwsim.Accelerator.load("tpu-v1")
    print(f"{'':<6} {'layer m x k x n':>18} {'bound':>8} {'model TOPS':>10} {'measured':>8} {'error':>7}  reason")
    for application in APPLICATIONS:
        timing, tops = predict(application, machine)
        gemm = application.layer().gemm
        size = f"{gemm.m} x {gemm.k} x {gemm.n}"
        error = tops / application.measured_tops - 1
        print(
            f"{application.name:<6} {size:>18} {timing.bound:>8} {tops:10.1f} {application.measured_tops:8.1f} "
            f"{100 * error:+6.0f} %  {application.reason}"
        )
