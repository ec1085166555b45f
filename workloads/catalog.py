"""Shipped workloads by name."""

from __future__ import annotations

from .minilm import shipped_block
from .network import Network, unknown_name

_NETWORKS = {"minilm-block": shipped_block}


def names() -> tuple[str, ...]:
    """List the shipped workloads.

    Returns
    -------
    names
        What `load` takes.

    Examples
    --------
    >>> names()
    ('minilm-block',)
    """
    return tuple(_NETWORKS)


def load(name: str) -> Network:
    """Find a shipped workload.

    Parameters
    ----------
    name
        One of `names`.

    Returns
    -------
    network
        With weights, calibration and evaluation inputs; arrays are read on first use.

    Raises
    ------
    ValueError
        If there is none of that name; the text suggests the nearest.

    Examples
    --------
    >>> network = load("minilm-block")
    >>> [layer.name for layer in network.layers]
    ['q', 'k', 'v', 'scores', 'values', 'attention_out', 'ffn_up', 'ffn_down']
    >>> network.macs, network.layer("scores").gemm
    (478150656, Gemm(batch=24, m=128, k=32, n=128))
    """
    if name not in _NETWORKS:
        raise ValueError(unknown_name("workload", name, list(_NETWORKS)))
    return _NETWORKS[name]()
