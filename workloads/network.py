"""Networks: nodes in the order they run, constants, and the inputs to calibrate and to evaluate on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from .function import Function
from .layer import Layer, Producer
from .tensors import FloatArray, ShapesOnly

Contract = Callable[[Layer, FloatArray, FloatArray, FloatArray | None], FloatArray]
Operands = tuple[FloatArray, FloatArray, FloatArray | None]


@dataclass(frozen=True, eq=False)
class Network:
    """Layers and functions over named tensors.

    Parameters
    ----------
    name
        ``minilm-block``.
    source
        Where structure and tensors come from.
    nodes
        In an order in which they can run.
    tensors : float32
        Constants by name: weights, biases, scales of layer_norm.
    calibration, evaluation : float32
        Inputs by name: the one to choose static scales on, the other to measure errors on. They may have different
        numbers of tokens.
    calibration_source, evaluation_source
        What the inputs are, for reports; says so where calibration is the evaluation input itself.
    tokens
        That one run reads (prefill) or makes (decode); None where that has no meaning.

    Examples
    --------
    >>> layer = Layer("up", "mk,kn->mn", {"m": 1, "k": 2, "n": 1}, "x", "up.weight", "y")
    >>> weights = {"up.weight": np.array([[3.0], [4.0]], np.float32)}
    >>> x = {"x": np.array([[1.0, 2.0]], np.float32)}
    >>> network = Network("one", "example", (layer,), weights, x, x, "evaluation input", "example")
    >>> network.run(network.evaluation)["y"]
    array([[11.]], dtype=float32)
    """

    name: str
    source: str
    nodes: tuple[Layer | Function, ...]
    tensors: Mapping[str, FloatArray]
    calibration: Mapping[str, FloatArray]
    evaluation: Mapping[str, FloatArray]
    calibration_source: str
    evaluation_source: str
    tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.nodes:
            msg = f"nodes of network {self.name} must be at least one, not none"
            raise ValueError(msg)
        if set(self.calibration) != set(self.evaluation):
            msg = f"calibration of network {self.name} must have the inputs {', '.join(self.evaluation)}"
            raise ValueError(f"{msg}, not {', '.join(self.calibration) or 'none'}")
        for name in self.evaluation:
            if name in self.tensors:
                msg = f"tensor {name} of network {self.name} must be an input or a constant, not both"
                raise ValueError(msg)
        producers: dict[str, Producer] = dict.fromkeys(self.evaluation, "input")
        producers |= dict.fromkeys(self.tensors, "constant")
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                msg = f"node names of network {self.name} must differ, not repeat {node.name}"
                raise ValueError(msg)
            names.add(node.name)
            self._check_node(node, producers)
            producers[node.output] = _producer_of(node, producers)

    def _check_node(self, node: Layer | Function, producers: Mapping[str, Producer]) -> None:
        """Hold the tensors of a node, and the producers a layer states, against what is known before it runs."""
        for tensor in _tensors_read(node):
            if tensor not in producers:
                msg = f"tensor {tensor} of {node.name} must be an input, a constant or made by an earlier node"
                raise ValueError(msg)
        if node.output in producers:
            msg = f"output of {node.name} must be a new tensor, not {node.output}"
            raise ValueError(msg)
        if isinstance(node, Layer):
            stated = (("lhs", node.lhs, node.lhs_producer), ("rhs", node.rhs, node.rhs_producer))
            for side, tensor, producer in stated:
                known = producers[tensor]
                if producer != known and (producer, known) != ("cache", "input"):
                    msg = f"{side}_producer of layer {node.name} must be {known}, not {producer}"
                    raise ValueError(msg)
            if node.bias is not None and producers[node.bias] != "constant":
                msg = f"bias of layer {node.name} must be a constant, not {producers[node.bias]} {node.bias}"
                raise ValueError(msg)

    @property
    def shapes_only(self) -> bool:
        """Whether tensors are not at hand, so that costs can be stated but nothing can be run."""
        return isinstance(self.evaluation, ShapesOnly)

    def batched(self, count: int) -> Network:
        """Repeat the work of a run `count` times side by side: the first axis of every tensor but constants grows.

        Parameters
        ----------
        count
            At least 1.

        Returns
        -------
        network
            The same graph with other sizes; its inputs and constants stay, since a run takes any number of rows.

        Raises
        ------
        ValueError
            If `count` is below 1, or an operand made at run time does not share the first axis of the other, so that
            one would have to serve all calls.

        Examples
        --------
        >>> layer = Layer("up", "mk,kn->mn", {"m": 3, "k": 2, "n": 1}, "x", "up.weight", "y")
        >>> x = {"x": np.ones((3, 2), np.float32)}
        >>> network = Network("one", "example", (layer,), {"up.weight": np.ones((2, 1))}, x, x, "-", "-")
        >>> network.batched(4).layers[0].gemm
        Gemm(batch=1, m=12, k=2, n=1)
        """
        value: object = count
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            msg = f"batch must be a positive integer, not {count!r}"
            raise ValueError(msg)
        if count == 1:
            return self
        nodes = tuple(_batched(node, count) for node in self.nodes)
        tokens = None if self.tokens is None else count * self.tokens
        return replace(self, name=f"{self.name} x {count}", nodes=nodes, tokens=tokens)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The contractions, in order."""
        return tuple(node for node in self.nodes if isinstance(node, Layer))

    @property
    def functions(self) -> tuple[Function, ...]:
        """What runs between the contractions, in order."""
        return tuple(node for node in self.nodes if isinstance(node, Function))

    @property
    def output(self) -> str:
        """Name of the tensor that the last node makes."""
        return self.nodes[-1].output

    @property
    def macs(self) -> int:
        """Number of multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    def layer(self, name: str) -> Layer:
        """Find a layer by name.

        Parameters
        ----------
        name
            Of the layer.

        Returns
        -------
        layer
            The one of that name.

        Raises
        ------
        ValueError
            If there is none; the text suggests the nearest name.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(unknown_name(f"layer of {self.name}", name, [layer.name for layer in self.layers]))

    def run(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        contract: Contract | None = None,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> dict[str, FloatArray]:
        """Compute every tensor, in floating point except where `contract` says otherwise.

        Parameters
        ----------
        inputs
            By name, finite. The number of tokens is free, in whole sequences where the network has attention.
        contract
            ``contract(layer, lhs, rhs, bias) -> out`` replaces the float contraction of every layer. Its result feeds
            the nodes that follow, so that errors carry from layer to layer.
        dtype
            float32, or float64 for a reference.

        Returns
        -------
        tensors : dtype
            Inputs and the output of every node, by name; constants are in `tensors`.

        Raises
        ------
        ValueError
            If inputs are missing, unknown, not finite or of a wrong shape, or `contract` returns a wrong shape.
        """
        kind = np.dtype(dtype)
        if kind not in {np.dtype(np.float32), np.dtype(np.float64)}:
            msg = f"dtype must be float32 or float64, not {kind}"
            raise ValueError(msg)
        return self._run(self._checked_inputs(inputs, kind), contract)

    def record(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Operands]:
        """Collect the operands of every layer in a float32 run.

        Parameters
        ----------
        inputs
            As for `run`.

        Returns
        -------
        operands : float32
            ``(lhs, rhs, bias)`` by name of the layer; bias is None where the layer has none.

        Raises
        ------
        ValueError
            As `run`.
        """
        operands: dict[str, Operands] = {}

        def contract(layer: Layer, lhs: FloatArray, rhs: FloatArray, bias: FloatArray | None) -> FloatArray:
            operands[layer.name] = (lhs, rhs, bias)
            return layer.contract(lhs, rhs, bias)

        self.run(inputs, contract)
        return operands

    def _checked_inputs(self, inputs: Mapping[str, npt.ArrayLike], dtype: np.dtype[Any]) -> dict[str, FloatArray]:
        if set(inputs) != set(self.evaluation):
            msg = f"inputs of network {self.name} must be {', '.join(self.evaluation)}"
            raise ValueError(f"{msg}, not {', '.join(inputs) or 'none'}")
        arrays: dict[str, FloatArray] = {}
        for name, value in inputs.items():
            arrays[name] = np.asarray(value, dtype)
            if not np.isfinite(arrays[name]).all():
                msg = f"input {name} of network {self.name} must be finite, not NaN or infinite"
                raise ValueError(msg)
        return arrays

    def _run(self, tensors: dict[str, FloatArray], contract: Contract | None) -> dict[str, FloatArray]:
        """Run on `tensors`, which gains the outputs; all of one dtype."""
        dtype = next(iter(tensors.values())).dtype

        def read(name: str) -> FloatArray:
            return tensors[name] if name in tensors else self.tensors[name].astype(dtype, copy=False)

        for node in self.nodes:
            if isinstance(node, Function):
                tensors[node.output] = node.apply(*(read(name) for name in node.inputs))
                continue
            bias = None if node.bias is None else read(node.bias)
            lhs, rhs = read(node.lhs), read(node.rhs)
            if contract is None:
                tensors[node.output] = node.contract(lhs, rhs, bias)
                continue
            out: FloatArray = np.asarray(contract(node, lhs, rhs, bias), dtype)
            expected = node.output_shape_of(lhs, rhs)
            if out.shape != expected:
                msg = f"contract must return shape {list(expected)} for layer {node.name}, not {list(out.shape)}"
                raise ValueError(msg)
            tensors[node.output] = out
        return tensors


def _tensors_read(node: Layer | Function) -> tuple[str, ...]:
    """List the tensors that a node reads."""
    if isinstance(node, Function):
        return node.inputs
    return (node.lhs, node.rhs) if node.bias is None else (node.lhs, node.rhs, node.bias)


def _producer_of(node: Layer | Function, producers: Mapping[str, Producer]) -> Producer:
    """Say what makes the output of a node, seen through functions that only move data."""
    if isinstance(node, Layer):
        return "contraction"
    return producers[node.inputs[0]] if node.kind.moves_only else "function"


def _batched(node: Layer | Function, count: int) -> Layer | Function:
    """Multiply the first axis of a node's operand and result."""
    if isinstance(node, Function):
        return replace(node, sizes={**node.sizes, node.axes[0]: count * node.sizes[node.axes[0]]})
    first = node.parsed.lhs[0]
    if first not in node.parsed.out or (node.rhs_kind == "activation") != (first in node.parsed.rhs):
        msg = f"batch must be 1 for layer {node.name}, whose operands do not share their first axis, not {count}"
        raise ValueError(msg)
    return replace(node, sizes={**node.sizes, first: count * node.sizes[first]})


def unknown_name(what: str, name: str, known: list[str]) -> str:
    """Write the error for a name that is not known, with the nearest one that is.

    Parameters
    ----------
    what
        The kind of thing.
    name
        The unknown name.
    known
        All names.

    Returns
    -------
    text
        One line.

    Examples
    --------
    >>> unknown_name("workload", "minilm", ["minilm-block"])
    "workload must be one of minilm-block, not 'minilm'; did you mean minilm-block?"
    """
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    return f"{what} must be one of {', '.join(known)}, not {name!r}{suggestion}"
