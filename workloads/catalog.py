"""Workloads by name: the shipped block, and networks by their published shapes."""

from __future__ import annotations

import re
from pathlib import Path

from .minilm import shipped_block
from .network import Network, unknown_name
from .operands import from_npz
from .resnet import resnet50
from .transformer import decode, prefill
from .transformer_shapes import SHAPES

_NETWORKS = {"minilm-block": shipped_block, "resnet50": resnet50}
_SHAPED = re.compile(r"(?P<model>.+)-(?P<phase>prefill|decode)-(?P<tokens>[1-9]\d*)", re.ASCII)
_TOKENS = 512  # in the names that are listed


def names() -> tuple[str, ...]:
    """List the workloads.

    Returns
    -------
    names
        What `load` takes; the number of tokens in a name may be another.

    Examples
    --------
    >>> names()[:4]
    ('minilm-block', 'resnet50', 'minilm-l6-prefill-512', 'gpt2-prefill-512')
    """
    shaped = [
        f"{shape.name}-{phase}-{_TOKENS}"
        for shape in SHAPES.values()
        for phase in ("prefill", "decode")
        if phase == "prefill" or shape.causal
    ]
    return (*_NETWORKS, *shaped)


def load(name: str | Path | Network) -> Network:
    """Find a workload by name, or read a user's operands; a Network passes through.

    Parameters
    ----------
    name
        One of `names`, or ``MODEL-prefill-TOKENS``, ``MODEL-decode-CONTEXT`` with other numbers; or the path of an
        ``.npz`` file of operands, see `from_npz`.

    Returns
    -------
    network
        ``minilm-block`` has weights, calibration and evaluation inputs, read on first use; the others have shapes
        only.

    Raises
    ------
    ValueError
        If there is none of that name (the text suggests the nearest), the model takes no so long a sequence, or the
        file is malformed.
    OSError
        If the file can not be read.

    Examples
    --------
    >>> network = load("minilm-block")
    >>> [layer.name for layer in network.layers]
    ['q', 'k', 'v', 'scores', 'values', 'attention_out', 'ffn_up', 'ffn_down']
    >>> network.macs, network.layer("scores").gemm
    (478150656, Gemm(batch=24, m=128, k=32, n=128))
    >>> load("gpt2-decode-100").layer("0.scores").gemm
    Gemm(batch=12, m=1, k=64, n=100)
    """
    if isinstance(name, Network):
        return name
    if str(name).endswith(".npz"):
        return from_npz(name)
    return _named(str(name))


def _named(name: str) -> Network:
    if name in _NETWORKS:
        return _NETWORKS[name]()
    match = _SHAPED.fullmatch(name)
    if match is None or match["model"] not in SHAPES:
        raise ValueError(unknown_name("workload", name, list(names())))
    shape, tokens = SHAPES[match["model"]], int(match["tokens"])
    return prefill(shape, tokens) if match["phase"] == "prefill" else decode(shape, tokens)
