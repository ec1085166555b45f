"""Schemes: which codes, layouts and strategy a network is quantized with, as validated YAML."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

import pydantic

from quant.documents import Document, Name, PresetDocument
from quant.operand_spec import FloatName, OperandSpec

Strategy = Literal["float", "weight_only", "dynamic", "static"]
OUTLIER_STRATEGIES = ("smooth", "rotate", "outliers", "duplicate")
"""Fields that say what is done about outlier channels; a scheme has one of them at most."""


class ActivationPair(Document):
    """Specs of a product of two activations that differ from one another."""

    lhs: OperandSpec
    rhs: OperandSpec


class Smooth(Document):
    """Migrate activation ranges into the weights before quantizing (SmoothQuant, arXiv 2211.10438).

    The activations are divided, the weights multiplied by
    ``s[k] = max|A[:, k]|**alpha / max|W[k, :]|**(1 - alpha)``; alpha 1 moves the whole activation scale.

    Parameters
    ----------
    alpha
        One for all layers.
    search
        Take for each layer the alpha of least error on the calibration tensors instead.
    """

    alpha: Annotated[float, pydantic.Field(ge=0, le=1)] | None = None
    search: bool = False

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.alpha is None) != self.search:
            msg = f"alpha must be given where search is false and only there, not {self.alpha} with {self.search}"
            raise ValueError(msg)
        return self


class Rotation(Document):
    """Rotate both operands along the reduction by a Hadamard matrix (QuaRot, arXiv 2404.00456).

    Parameters
    ----------
    block
        Size of the rotations, a power of two that divides the reduction; by default the greatest.
    seed
        Of random signs before the rotation; by default none.
    """

    block: Annotated[int, pydantic.Field(ge=2, strict=True)] | None = None
    seed: Annotated[int, pydantic.Field(ge=0, strict=True)] | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.block is not None and self.block & (self.block - 1):
            msg = f"block must be a power of two, not {self.block}"
            raise ValueError(msg)
        return self


class OutlierChannels(Document):
    """Multiply the widest activation channels in floating point beside the array (LLM.int8(), arXiv 2208.07339).

    Channels are found in each call: those with a magnitude of `threshold` or more, the widest `share` of them at most,
    which is what the hardware has room for.

    Parameters
    ----------
    threshold
        Least magnitude of an outlier, 6 in the paper.
    share
        Part of the channels, rounded up, that can be taken.
    """

    threshold: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 6.0
    share: Annotated[float, pydantic.Field(gt=0, lt=1)]

    def capacity(self, channels: int) -> int:
        """Most channels taken of so many."""
        return math.ceil(self.share * channels)


class Duplicate(Document):
    """Repeat the widest activation channels, each copy divided by their number (Zhao et al., arXiv 1901.09504).

    The weights of a channel are repeated, so that the real product stays. Which channels, calibration says: copies are
    added one by one, each to the channel that is widest by then.

    Parameters
    ----------
    share
        Channels added for each channel there is, rounded up.
    """

    share: Annotated[float, pydantic.Field(gt=0, le=1)]

    def added(self, channels: int) -> int:
        """Channels added to so many."""
        return math.ceil(self.share * channels)


class Scheme(PresetDocument):
    """A quantization scheme of a whole network.

    Parameters
    ----------
    strategy
        ``float`` (nothing quantized), ``weight_only`` (float MAC), ``dynamic`` (activation ranges taken from
        each call, float results) or ``static`` (ranges from calibration, integer results).
    carrier
        Float format of operands that stay float and of activations between layers. Of a static scheme, whose
        activations are integers between layers, that of what functions hand to the quantizers: fp32, as they run in it.
    activation, weight
        Specs of the two operand kinds; absent means float.
    attention
        Products of two activations: ``activation`` quantizes both as `activation` says, ``float`` neither; or
        a pair of specs.
    output
        Spec of a static scheme's results.
    smooth, rotate, outliers, duplicate
        What is done about outlier channels of activations that meet weights; one of them at most.
    requantization
        Profile of the integer requantizer of a static scheme.
    zero_point_sums
        Where the sums for a weight zero point come from: ``adders`` beside the array or an extra ``channel``.

    Examples
    --------
    >>> Scheme.load("w8a8-dynamic").activation.layout
    'per_token'
    """

    package: ClassVar[str] = "quant"
    folder: ClassVar[str] = "presets"
    kind: ClassVar[str] = "scheme"

    name: Name
    description: str
    source: str
    strategy: Strategy
    carrier: FloatName = "fp32"
    activation: OperandSpec | None = None
    weight: OperandSpec | None = None
    attention: Literal["activation", "float"] | ActivationPair = "activation"
    output: OperandSpec | None = None
    smooth: Smooth | None = None
    rotate: Rotation | None = None
    outliers: OutlierChannels | None = None
    duplicate: Duplicate | None = None
    requantization: str = "gemmlowp-double"
    zero_point_sums: Literal["adders", "channel"] = "adders"

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        needs = {
            "float": (False, False, False),
            "weight_only": (False, True, False),
            "dynamic": (True, True, False),
            "static": (True, True, True),
        }[self.strategy]
        for field, needed in zip(("activation", "weight", "output"), needs, strict=True):
            if (getattr(self, field) is not None) != needed:
                rule = "be given" if needed else "be absent"
                msg = f"{field} must {rule} with strategy {self.strategy}"
                raise ValueError(msg)
        self._check_operands()
        given = [name for name in OUTLIER_STRATEGIES if getattr(self, name) is not None]
        if len(given) > 1:
            msg = f"one of {', '.join(OUTLIER_STRATEGIES)} must be given at most, not {' and '.join(given)}"
            raise ValueError(msg)
        if given and self.strategy not in {"dynamic", "static"}:
            msg = f"{given[0]} must go with strategy dynamic or static, not {self.strategy}"
            raise ValueError(msg)
        if self.outliers is not None and self.strategy != "dynamic":
            msg = f"outliers must go with strategy dynamic, which sees each call, not {self.strategy}"
            raise ValueError(msg)
        return self

    def _check_operands(self) -> None:
        """Refuse codes and ranges that an operand can not have."""
        pair = self.attention if isinstance(self.attention, ActivationPair) else None
        activations = {
            "activation": self.activation,
            "output": self.output,
            "attention.lhs": pair.lhs if pair else None,
            "attention.rhs": pair.rhs if pair else None,
        }
        for name, spec in activations.items():
            encodes = name == "activation" and self.strategy == "static"
            if spec is not None and spec.code != "affine" and not (spec.code == "pq" and encodes):
                msg = f"{name}.code must be {'affine or pq' if encodes else 'affine'}, not {spec.code}"
                raise ValueError(msg)
            if spec is not None and spec.range != "minmax" and self.strategy == "dynamic":
                msg = (
                    f"{name}.range must be minmax with strategy dynamic, not {spec.range}: hardware scans a call for "
                    "its absmax (symmetric) or minmax; percentile, mse, entropy and moving_average are for static "
                    "calibration"
                )
                raise ValueError(msg)
        if self.output is not None and self.output.rounding != "half_even":
            msg = (
                f"output.rounding must be half_even, not {self.output.rounding}: results are rounded as requantization "
                f"{self.requantization} does"
            )
            raise ValueError(msg)
        if self.weight is not None:
            self._check_weight(self.weight)

    def _check_weight(self, weight: OperandSpec) -> None:
        if weight.code == "pq" or weight.range == "moving_average":
            what = "code" if weight.code == "pq" else "range"
            msg = f"weight.{what} must be of a constant, not {getattr(weight, what)}"
            raise ValueError(msg)
        if weight.centroids == "real" and self.strategy != "weight_only":
            msg = f"weight.centroids must be int8 with strategy {self.strategy}, whose MAC is an integer one, not real"
            raise ValueError(msg)
        if self.activation is None or self.activation.code != "pq":
            return
        if weight.code != "affine" or not weight.symmetric or weight.layout not in ("per_tensor", "per_channel"):
            msg = "weight must be affine, symmetric and per_tensor or per_channel where activations are pq"
            raise ValueError(msg)
        if self.attention == "activation" or any(getattr(self, name) is not None for name in OUTLIER_STRATEGIES):
            given = ", ".join(OUTLIER_STRATEGIES)
            msg = f"attention must be float or a pair, and none of {given} given, where activations are pq"
            raise ValueError(msg)

    def operand_specs(self, *, rhs_is_weight: bool) -> tuple[OperandSpec | None, OperandSpec | None]:
        """Specs of the two operands of a contraction; None where the operand stays float."""
        if rhs_is_weight:
            return self.activation, self.weight
        match self.attention:
            case "activation":
                return self.activation, self.activation
            case "float":
                return None, None
            case pair:
                return pair.lhs, pair.rhs
