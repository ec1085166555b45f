"""Schemes: which codes, layouts and strategy a network is quantized with, as validated YAML."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic

from quant.documents import Document, load_document, preset_names
from quant.formats import FloatFormat, IntFormat, parse_format

Strategy = Literal["float", "weight_only", "dynamic", "static"]
RangeMethod = Literal["minmax", "percentile", "mse", "entropy"]

PRESETS = "presets"


def _integer_format(text: str) -> str:
    return IntFormat.parse(text).name


def _float_format(text: str) -> str:
    parsed = parse_format(text)
    if not isinstance(parsed, FloatFormat) or parsed.name == "e8m0":
        msg = f"must be one of fp32, fp16, bf16, not {text!r}"
        raise ValueError(msg)
    return parsed.name


IntegerName = Annotated[str, pydantic.AfterValidator(_integer_format)]
FloatName = Annotated[str, pydantic.AfterValidator(_float_format)]


class OperandSpec(Document):
    """How one operand becomes integers.

    Parameters
    ----------
    code
        ``affine`` (scale and zero point), ``pow2`` (sign and exponent) or ``codebook`` (k-means).
    format
        Integer format of the stored code; a codebook has one entry for each value of it.
    layout
        Which elements share a scale, in the grammar of the verifier.
    symmetric
        Without a zero point if true.
    range, percentile
        How the clipping range is chosen; `percentile` (of each side, in percent) goes with ``percentile``.
    scale_format
        Storage format of real scales.
    """

    code: Literal["affine", "pow2", "codebook"] = "affine"
    format: IntegerName = "int8"
    layout: str = "per_tensor"
    symmetric: bool = True
    range: RangeMethod = "minmax"
    percentile: Annotated[float, pydantic.Field(ge=0, lt=50)] | None = None
    scale_format: FloatName = "fp32"

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.code != "affine" and not self.symmetric:
            msg = f"symmetric must be true with code {self.code}, which has no zero point, not false"
            raise ValueError(msg)
        if (self.percentile is not None) != (self.range == "percentile"):
            msg = f"percentile must go with range percentile only, not {self.percentile} with {self.range}"
            raise ValueError(msg)
        return self

    @property
    def integer_format(self) -> IntFormat:
        """`format`, parsed."""
        return IntFormat.parse(self.format)


class ActivationPair(Document):
    """Specs of a product of two activations that differ from one another."""

    lhs: OperandSpec
    rhs: OperandSpec


class Smooth(Document):
    """Migrate activation ranges into the weights before quantizing (SmoothQuant, arXiv 2211.10438).

    The activations are divided, the weights multiplied by
    ``s[k] = max|A[:, k]|**alpha / max|W[k, :]|**(1 - alpha)``; alpha 1 moves the whole activation scale.
    """

    alpha: Annotated[float, pydantic.Field(ge=0, le=1)]


class Scheme(Document):
    """A quantization scheme of a whole network.

    Parameters
    ----------
    strategy
        ``float`` (nothing quantized), ``weight_only`` (float MAC), ``dynamic`` (activation ranges taken from
        each call, float results) or ``static`` (ranges from calibration, integer results).
    carrier
        Float format of operands that stay float and of activations between layers.
    activation, weight
        Specs of the two operand kinds; absent means float.
    attention
        Products of two activations: ``activation`` quantizes both as `activation` says, ``float`` neither; or
        a pair of specs.
    output
        Spec of a static scheme's results.
    smooth
        Migration of activation ranges into the weights.
    requantization
        Profile of the integer requantizer of a static scheme.
    zero_point_sums
        Where the sums for a weight zero point come from: ``adders`` beside the array or an extra ``channel``.
    """

    name: str
    description: str
    source: str
    strategy: Strategy
    carrier: FloatName = "fp32"
    activation: OperandSpec | None = None
    weight: OperandSpec | None = None
    attention: Literal["activation", "float"] | ActivationPair = "activation"
    output: OperandSpec | None = None
    smooth: Smooth | None = None
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
        if self.activation is not None and self.activation.code != "affine":
            msg = f"activation.code must be affine, not {self.activation.code}"
            raise ValueError(msg)
        if self.smooth is not None and self.strategy not in {"dynamic", "static"}:
            msg = f"smooth must go with strategy dynamic or static, not {self.strategy}"
            raise ValueError(msg)
        return self

    @classmethod
    def load(cls, name: str | Path | Scheme) -> Scheme:
        """Load a preset by name or a YAML file by path; a Scheme passes through.

        Raises
        ------
        ValueError
            If there is no such preset (the nearest is suggested) or a field breaks its rule.
        OSError
            If the file can not be read.

        Examples
        --------
        >>> Scheme.load("w8a8-dynamic").activation.layout
        'per_token'
        """
        return name if isinstance(name, Scheme) else _load(str(name))

    @staticmethod
    def presets() -> list[str]:
        """Names of the presets."""
        return preset_names("quant", PRESETS)

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


@functools.lru_cache(maxsize=256)
def _load_preset(name: str) -> Scheme:
    return load_document(Scheme, name, "quant", PRESETS, "scheme")


def _load(name: str) -> Scheme:
    # A file may change between two calls; a preset can not.
    if name.endswith((".yaml", ".yml")):
        return load_document(Scheme, name, "quant", PRESETS, "scheme")
    return _load_preset(name)
