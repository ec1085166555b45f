"""Functions between layers on the vector unit, where a machine runs them there.

A function works on results as they leave the array, in the epilogue of the layer before it; what comes before the first
layer is counted there. Each operation takes a lane for one cycle. Operations for each element of the result, with
comparisons counted as additions, in the order in which they are done:

- exponential: expf of Cephes (Moshier): ``n = floor(x log2 e + 1/2)``, ``r = x - n ln 2`` in two parts, a polynomial of
  degree 5 times ``r^2``, plus ``r``, plus 1; the floor and the shift of the exponent are free: 10 additions, 10
  multiplications;
- softmax: maximum, difference, scale, exponential, sum, product with the reciprocal of the sum;
- layer_norm: sum, difference, square, sum, product with the reciprocal deviation, scale, shift;
- rms_norm: square, sum, product, scale;
- gelu: ``x / 2 (1 + erf(x / sqrt 2))`` with erf by Abramowitz and Stegun 7.1.26: a reciprocal, a polynomial of five
  coefficients in it, the exponential of a square;
- silu: exponential, addition, reciprocal, product;
- rotary: two products with tabled sine and cosine, their sum.

A reciprocal is a table look-up and two steps of Newton's iteration, 2 additions and 4 multiplications; the one of a row
is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hwsim.network.fusion import functions_done
from hwsim.network.side_tensors import with_side_tensors
from hwsim.plan import ApplyFunction, Plan
from workloads import Function, FunctionKind, Layer

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from workloads import Network

_EXPONENTIAL = 10, 10
_RECIPROCAL = 2, 4

# additions and multiplications for each element of the result
OPERATIONS: dict[FunctionKind, tuple[int, int]] = {
    FunctionKind.SOFTMAX: (3 + _EXPONENTIAL[0], 2 + _EXPONENTIAL[1]),
    FunctionKind.LAYER_NORM: (4, 3),
    FunctionKind.RMS_NORM: (1, 3),
    # z = x / sqrt 2, t = 1 / (1 + p z), five coefficients, z^2, its exponential, times that, 1 -, 1 +, times x and 1/2
    FunctionKind.GELU: (1 + _RECIPROCAL[0] + 4 + _EXPONENTIAL[0] + 2, 2 + _RECIPROCAL[1] + 5 + 1 + _EXPONENTIAL[1] + 3),
    FunctionKind.SILU: (_EXPONENTIAL[0] + 1 + _RECIPROCAL[0], _EXPONENTIAL[1] + _RECIPROCAL[1] + 1),
    FunctionKind.RELU: (1, 0),
    FunctionKind.RELU6: (2, 0),
    FunctionKind.ADD: (1, 0),
    FunctionKind.MULTIPLY: (0, 1),
    FunctionKind.SCALE: (0, 1),
    FunctionKind.ROTARY: (1, 2),
}


def with_functions(network: Network, plans: Sequence[Plan], accelerator: Accelerator) -> tuple[Plan, ...]:
    """Add the functions between layers to the plans of the layers before them.

    Parameters
    ----------
    plans
        One for each layer, in the order of the network; as given where a host runs functions.

    Examples
    --------
    >>> import hwsim, quant, workloads
    >>> block = workloads.load("minilm-block")
    >>> machine = hwsim.Accelerator.load("edge-16x16").replace(vector__runs_functions=True)
    >>> plans = [hwsim.lower(layer, quant.Scheme.load("w8a8-static"), machine) for layer in block.layers]
    >>> with_functions(block, plans, machine)[6].steps[-1]
    ApplyFunction(kind='gelu', additions=7471104, multiplications=9830400)
    """
    if not accelerator.vector.runs_functions:
        return tuple(plans)
    made = {plan.layer.name: plan for plan in plans}
    at = network.layers[0].name
    results: dict[str, int] = {}
    done = functions_done(network, plans)
    for node in network.nodes:
        if isinstance(node, Layer):
            at = node.name
            results[node.output] = made[at].out.elements
            continue
        results[node.output] = node.elements()
        if not node.kind.moves_only and node.name not in done:
            step = _step(node, results.get(node.inputs[0], node.elements()))
            made[at] = replace(made[at], steps=(*made[at].steps, step))
    return tuple(with_side_tensors(network, made).values())


def _step(node: Function, read: int) -> ApplyFunction:
    """Operations of a function that reads so many elements."""
    match node.kind:
        case FunctionKind.MAX_POOL:
            return ApplyFunction(node.kind.value, node.elements() * int(node.parameters["window"]) ** 2, 0)
        case FunctionKind.MEAN:
            return ApplyFunction(node.kind.value, read, node.elements())
        case kind:
            additions, multiplications = OPERATIONS[kind]
            return ApplyFunction(kind.value, node.elements() * additions, node.elements() * multiplications)
