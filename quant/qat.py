"""Quantization-aware training on PyTorch: fake quantization with straight-through gradients.

The forward pass is `quantize` and `dequantize` themselves, so that what is trained is bit for bit what the integer
datapath multiplies. The backward pass takes the quantizer for the identity where the value is inside the range of the
format and for a constant where it is clipped (Bengio et al., arXiv 1308.3432; Jacob et al., arXiv 1712.05877).

This module needs PyTorch: ``pip install 'hwsim[qat]'``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

try:
    import torch
except ImportError as error:
    msg = "quant.qat must have PyTorch, which pip install 'hwsim[qat]' brings"
    raise ImportError(msg) from error
from torch import nn

from quant.contraction import Contraction
from quant.layout import parse_layout
from quant.spec_quantization import quantize_operand

if TYPE_CHECKING:
    from quant.operand_spec import OperandSpec
    from quant.qtensor import QTensor
    from quant.scheme import Scheme

LINEAR = Contraction.parse("mk,kn->mn")
"""What a linear layer contracts: tokens by inputs, inputs by outputs."""
TRAINABLE = ("affine", "pow2", "codebook")
"""Codes of single values; the prototypes of product quantization stand for several at once."""


class _StraightThrough(torch.autograd.Function):
    """Deliver `real`; hand gradients to `x` where `inside`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, real: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        ctx.save_for_backward(inside)
        return real

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


class FakeQuantize(nn.Module):
    """Quantize and dequantize a tensor [m, k], [k, n] or [m, n]; gradients pass straight through.

    Parameters
    ----------
    spec
        Code, format, layout, range, rounding and scale format; its code must be affine, pow2 or codebook.
    role
        Operand of the linear layer, or its result.
    static
        Take the scales of the last `calibrate` instead of those of each call.

    Raises
    ------
    ValueError
        If the code is another or the layout does not fit the role.
    """

    def __init__(self, spec: OperandSpec, role: Literal["lhs", "rhs", "out"], *, static: bool = False) -> None:
        super().__init__()
        if spec.code not in TRAINABLE:
            msg = f"code must be one of {', '.join(TRAINABLE)} to train through, not {spec.code}"
            raise ValueError(msg)
        self.spec, self.static = spec, static
        axes = LINEAR.out if role == "out" else LINEAR.labels_of(role)
        named = None if role == "out" else role
        contraction = LINEAR if named else None
        self.layout = parse_layout(spec.layout, axes, contraction, named)
        self.zero_layout = (
            None if spec.zero_layout is None else parse_layout(spec.zero_layout, axes, contraction, named)
        )
        self.zero_layout = None
        if spec.zero_layout is not None:
            self.zero_layout = parse_layout(spec.zero_layout, axes, LINEAR if named else None, named)
        self.calibrated: QTensor | None = None

    def quantize(self, x: torch.Tensor) -> QTensor:
        """Codes and scales of a tensor, as the forward pass uses them.

        Raises
        ------
        ValueError
            If the tensor is empty or not finite, or a static quantizer has not been calibrated.
        """
        values = x.detach().cpu().numpy()
        if not self.static:
            return self._quantized(values)
        if self.calibrated is None:
            msg = "static scales must be calibrated before they are used: call calibrate first"
            raise ValueError(msg)
        return self._quantized(values, self.calibrated)

    def calibrate(self, x: torch.Tensor) -> None:
        """Choose the static scales on a tensor.

        Raises
        ------
        ValueError
            If it is empty or not finite.
        """
        self.calibrated = self._quantized(x.detach().cpu().numpy())

    def _quantized(self, values: Any, like: QTensor | None = None) -> QTensor:
        return quantize_operand(values, self.spec, self.layout, like, zero_layout=self.zero_layout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Real values of the quantized tensor."""
        q = self.quantize(x)
        real = torch.from_numpy(q.dequantize()).to(x.device)
        out: torch.Tensor = _StraightThrough.apply(x, real, torch.from_numpy(self._inside(x, q)).to(x.device))
        return out

    def _inside(self, x: torch.Tensor, q: QTensor) -> npt.NDArray[np.bool_]:
        """Where the value is not clipped; the largest power or centroid of another code clips nothing on purpose."""
        if self.spec.code != "affine":
            return np.ones(q.shape, np.bool_)
        zero = q.element_zero_point()
        code = np.rint(x.detach().cpu().numpy() / q.element_scale()) + (0 if zero is None else zero)
        inside: npt.NDArray[np.bool_] = (code >= q.format.lo) & (code <= q.format.hi)
        return inside


class FakeQuantLinear(nn.Module):
    """A linear layer whose operands, and result where the scheme is static, are fake-quantized.

    Parameters
    ----------
    linear
        Its weight [n, k] and bias [n] are trained on.
    scheme
        Gives the specs of activations, weights and results.
    """

    def __init__(self, linear: nn.Linear, scheme: Scheme) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        static = scheme.strategy == "static"

        def quantizer(spec: OperandSpec | None, role: Literal["lhs", "rhs", "out"], *, static: bool) -> nn.Module:
            return nn.Identity() if spec is None else FakeQuantize(spec, role, static=static)

        self.quantize_input = quantizer(scheme.activation, "lhs", static=static)
        self.quantize_weight = quantizer(scheme.weight, "rhs", static=False)
        self.quantize_output = quantizer(scheme.output, "out", static=static)
        self.calibrating = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Real result [m, n] of activations [m, k]."""
        if self.calibrating:
            out = nn.functional.linear(x, self.weight, self.bias)
            for module, tensor in ((self.quantize_input, x), (self.quantize_output, out)):
                if isinstance(module, FakeQuantize):
                    module.calibrate(tensor)
            return out
        weight = self.weight.T
        product = self.quantize_input(x) @ self.quantize_weight(weight)
        result: torch.Tensor = self.quantize_output(product if self.bias is None else product + self._bias(weight))
        return result

    def _bias(self, weight: torch.Tensor) -> torch.Tensor:
        """Bias as the epilogue adds it: rounded to the scale of the integer sums where the scheme is static."""
        if not isinstance(self.quantize_input, FakeQuantize) or not isinstance(self.quantize_weight, FakeQuantize):
            return self.bias
        given = self.quantize_input.calibrated if self.quantize_input.static else None
        if given is None:
            return self.bias
        scale = given.scales[0].reshape(-1)[0] * self.quantize_weight.quantize(weight).element_scale()[0]
        real = torch.from_numpy(np.rint(self.bias.detach().cpu().numpy() / scale) * scale).to(self.bias.device)
        out: torch.Tensor = _StraightThrough.apply(self.bias, real, torch.ones_like(real, dtype=torch.bool))
        return out


def prepare_qat(model: nn.Module, scheme: Scheme) -> nn.Module:
    """Copy a model with every ``nn.Linear`` replaced by a `FakeQuantLinear`.

    Parameters
    ----------
    scheme
        Of strategy ``weight_only``, ``dynamic`` or ``static``, without a transform of outliers.

    Returns
    -------
    model
        With copies of the weights; a static one must be calibrated before use.

    Raises
    ------
    ValueError
        If the scheme quantizes nothing or transforms outliers, or the model has no linear layer.
    """
    if scheme.strategy == "float" or scheme.smooth or scheme.rotate or scheme.outliers:
        msg = f"scheme must quantize and leave outliers to the training, not {scheme.name}"
        raise ValueError(msg)
    copied = copy.deepcopy(model)
    if isinstance(copied, nn.Linear):
        return FakeQuantLinear(copied, scheme)
    found = [
        (parent, name, child)
        for parent in copied.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    if not found:
        msg = f"model must have a linear layer, not only {type(model).__name__}"
        raise ValueError(msg)
    for parent, name, linear in found:
        setattr(parent, name, FakeQuantLinear(linear, scheme))
    return copied


def calibrate(model: nn.Module, inputs: torch.Tensor) -> None:
    """Choose the static scales of every layer on one float run, as the integer datapath's calibration does."""
    layers = [module for module in model.modules() if isinstance(module, FakeQuantLinear)]
    for layer in layers:
        layer.calibrating = True
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for layer in layers:
            layer.calibrating = False


def fit(
    model: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    epochs: int = 40,
    batch: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train a classifier by Adam on cross entropy, the rate falling along half a cosine.

    Static scales are calibrated on all inputs before each epoch and after the last.

    Parameters
    ----------
    inputs : float32 [samples, features]
    targets : int64 [samples]
        Classes.
    epochs, batch
        Passes over the data, and samples of one step.
    seed
        Of the order of the samples.
    progress
        Called with the epoch and its mean loss.

    Returns
    -------
    losses : nats
        Mean loss of each epoch.

    Raises
    ------
    ValueError
        If inputs and targets differ in length, or a count is below 1.
    """
    if len(inputs) != len(targets) or len(inputs) == 0:
        msg = f"inputs and targets must be as many and at least one, not {len(inputs)} and {len(targets)}"
        raise ValueError(msg)
    if epochs < 1 or batch < 1:
        msg = f"epochs and batch must be at least 1, not {epochs} and {batch}"
        raise ValueError(msg)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    losses = []
    for epoch in range(epochs):
        calibrate(model, inputs)
        total = 0.0
        for chosen in torch.randperm(len(inputs), generator=order).split(batch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        schedule.step()
        losses.append(total / len(inputs))
        if progress is not None:
            progress(epoch, losses[-1])
    calibrate(model, inputs)
    return losses
