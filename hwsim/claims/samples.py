"""Data that claims are measured on: seeded draws, and the operands of the embedded transformer block."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

import workloads
from hwsim.numerics import Recording
from hwsim.simulation import simulate

Float32 = npt.NDArray[np.float32]

SEED = 7
SIZE = 1 << 16


@functools.cache
def normal(size: int = SIZE) -> Float32:
    """Draw standard normal values."""
    return np.random.default_rng(SEED).standard_normal(size, np.float32)


@functools.cache
def heavy_tails(size: int = SIZE) -> Float32:
    """Draw Student's t with three degrees of freedom: outliers as activations have them."""
    return np.random.default_rng(SEED).standard_t(3, size).astype(np.float32)


@functools.cache
def uniform(size: int = SIZE) -> Float32:
    """Draw uniform values in -1..1."""
    return np.random.default_rng(SEED).uniform(-1, 1, size).astype(np.float32)


@functools.cache
def relu(size: int = SIZE) -> Float32:
    """Draw standard normal values with the negative ones at 0."""
    return np.maximum(normal(size), 0)


@functools.cache
def weight(k: int = 512, n: int = 256, spread: float = 0.0) -> Float32:
    """Draw normal weights [k, n]; `spread` is the standard deviation of the logarithm of each column's size."""
    rng = np.random.default_rng(SEED)
    sizes = np.exp(spread * rng.standard_normal(n))
    drawn: Float32 = (rng.standard_normal((k, n)) * sizes / np.sqrt(k)).astype(np.float32)
    return drawn


@functools.cache
def block() -> workloads.Network:
    """Load block 0 of MiniLM-L6: trained weights, hidden states of real sentences."""
    return workloads.load("minilm-block")


@functools.cache
def recording() -> Recording:
    """Record the float tensors of `block`."""
    return Recording(block())


@functools.cache
def block_totals(scheme: str) -> dict[str, Any]:
    """Run `block` under a preset on edge-16x16, and total its costs and errors."""
    return simulate(block(), scheme, recording=recording()).totals()


@functools.cache
def operands(layer: str, calibration: bool = False) -> tuple[Float32, Float32]:
    """Give activation [m, k] and trained weight [k, n] of a linear layer of `block`."""
    found: Any = recording().samples(block().layer(layer), calibration=calibration)
    return found.lhs, found.rhs
