"""Smoothing factors of a layer: what activations are divided by and weights multiplied by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwsim.execution.quantization import quantized
from hwsim.lowering import operands
from hwsim.plan import Migrate
from quant import Contraction
from quant.outliers import real_product
from quant.rewriting import along_axes, smoothing_factors, widths

if TYPE_CHECKING:
    from hwsim.execution.quantization import Float32
    from hwsim.execution.samples import Samples
    from hwsim.plan import Plan

ALPHAS = tuple(tenths / 10 for tenths in range(11))
"""What a search tries."""


def shared_labels(contraction: Contraction) -> tuple[str, ...]:
    """Labels of both operands, in the order of rhs: those of the batch, then those that are summed."""
    shared = [label for label in contraction.rhs if label in contraction.lhs]
    return tuple(sorted(shared, key=lambda label: label not in contraction.out))


def migration_of(plan: Plan, samples: Samples) -> Float32 | None:
    """Smoothing factors from calibration, with an axis for each of `shared_labels`; None without smoothing."""
    if plan.scheme.smooth is None or not any(isinstance(s, Migrate) for s in plan.steps):
        return None
    alpha = plan.scheme.smooth.alpha
    return _factors(plan, samples, _best_alpha(plan, samples) if alpha is None else alpha)


def along(migration: Float32, contraction: Contraction, axes: tuple[str, ...]) -> Float32:
    """Spread smoothing factors over an operand."""
    return along_axes(migration, axes, shared_labels(contraction))


def _factors(plan: Plan, samples: Samples, alpha: float) -> Float32:
    contraction = Contraction.parse(plan.layer.contraction)
    labels = shared_labels(contraction)
    left, right = widths(samples.lhs, contraction.lhs, labels), widths(samples.rhs, contraction.rhs, labels)
    return smoothing_factors(left, right, alpha).astype(np.float32)


def _best_alpha(plan: Plan, samples: Samples) -> float:
    """Alpha of least square error of the layer's product on calibration tensors, the smallest of equals."""
    contraction = Contraction.parse(plan.layer.contraction)
    exact = real_product(samples.lhs, samples.rhs, contraction)
    lhs, rhs = operands(plan.layer, plan.scheme)
    errors = []
    for alpha in ALPHAS:
        factors = _factors(plan, samples, alpha)
        a = quantized(lhs, samples.lhs / along(factors, contraction, contraction.lhs)).dequantize()
        w = quantized(rhs, samples.rhs * along(factors, contraction, contraction.rhs)).dequantize()
        errors.append(float(np.square(real_product(a, w, contraction) - exact).sum()))
    return ALPHAS[int(np.argmin(errors))]
