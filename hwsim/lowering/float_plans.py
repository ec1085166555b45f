"""Plans of a float MAC: nothing quantized, or weights that are stored as integers and dequantized on their way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.plan import AddBias, DequantizeWeights, MultiplyAccumulate, Plan, Step, Stored, Windows
from quant import FloatFormat, parse_format

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.lowering.layer_operands import Operand
    from quant import Scheme
    from workloads import Layer


def float_plan(layer: Layer, scheme: Scheme, accelerator: Accelerator, lhs: Operand, rhs: Operand) -> Plan:
    """Write a float MAC; weights stored as integers are dequantized on the way into their buffer."""
    carrier = parse_format(scheme.carrier)
    gemm = layer.gemm
    steps: list[Step] = []
    stored = Stored(rhs.elements, carrier.bits, carrier.bits)
    if rhs.spec is not None and isinstance(carrier, FloatFormat):
        steps.append(DequantizeWeights(rhs.elements, rhs.spec, carrier))
        stored = Stored(rhs.elements, rhs.spec.integer_format.bits, carrier.bits, rhs.overhead_bits)
    steps.append(
        MultiplyAccumulate(gemm.batch, gemm.m, gemm.k, gemm.n, (0,), carrier, carrier, accumulator_bits=0, unit="float")
    )
    outputs = gemm.batch * gemm.m * gemm.n
    if layer.bias is not None:
        steps.append(AddBias(outputs, carrier))
    return Plan(
        layer=layer,
        scheme=scheme,
        verdict=None,
        steps=tuple(steps),
        lhs=Stored(lhs.elements, carrier.bits, carrier.bits),
        rhs=stored,
        bias=None if layer.bias is None else Stored(gemm.n, carrier.bits, carrier.bits),
        out=Stored(outputs, carrier.bits, carrier.bits),
        windows=Windows.of(layer.contraction, layer.sizes, accelerator.array.convolution),
    )
