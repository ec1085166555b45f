"""Smoothing factors of a layer: what activations are divided by and weights multiplied by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwsim.plan import Migrate
from quant import Contraction, smooth

if TYPE_CHECKING:
    from hwsim.execution.preparation import Samples
    from hwsim.execution.quantization import Float32
    from hwsim.plan import Plan


def shared_labels(contraction: Contraction) -> tuple[str, ...]:
    """Labels of both operands, in the order of rhs: those of the batch, then those that are summed."""
    shared = [label for label in contraction.rhs if label in contraction.lhs]
    return tuple(sorted(shared, key=lambda label: label not in contraction.out))


def migration_of(plan: Plan, samples: Samples) -> Float32 | None:
    """Smoothing factors from calibration, with an axis for each of `shared_labels`; None without smoothing."""
    if plan.scheme.smooth is None or not any(isinstance(s, Migrate) for s in plan.steps):
        return None
    contraction = Contraction.parse(plan.layer.contraction)
    labels = shared_labels(contraction)
    batch = len(contraction.batch)
    flat: list[Float32] = []
    for x, axes in ((samples.lhs, contraction.lhs), (samples.rhs, contraction.rhs)):
        front = np.moveaxis(x, [axes.index(label) for label in labels], range(len(labels)))
        sizes = front.shape[: len(labels)]
        flat.append(front.reshape(math.prod(sizes[:batch]), math.prod(sizes[batch:]), -1))
    factors = [smooth(np.abs(a).max(axis=-1), w, plan.scheme.smooth.alpha) for a, w in zip(*flat, strict=True)]
    return np.asarray(factors, np.float32).reshape(sizes)


def along(migration: Float32, contraction: Contraction, axes: tuple[str, ...]) -> Float32:
    """Spread smoothing factors over an operand."""
    labels = shared_labels(contraction)
    ordered = migration.transpose([labels.index(axis) for axis in axes if axis in labels])
    sizes = iter(ordered.shape)
    return ordered.reshape([next(sizes) if axis in labels else 1 for axis in axes])
