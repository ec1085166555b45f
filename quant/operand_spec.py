"""How one operand becomes integers, as validated fields of a scheme."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import pydantic

from quant.documents import Document
from quant.formats import FloatFormat, Format, IntFormat, Rounding, parse_format
from quant.rounding import LfsrStochastic, Rounder, Stochastic

OperandCode = Literal["affine", "pow2", "codebook", "pq"]
SpecRange = Literal["minmax", "percentile", "mse", "entropy", "moving_average"]
SpecRounding = Literal["down", "up", "toward_zero", "half_up", "half_away", "half_even", "stochastic"]


def integer_name(text: str) -> str:
    """Name of an integer format in its one spelling."""
    return IntFormat.parse(text).name


def float_name(text: str) -> str:
    """Name of a float format that values are computed in."""
    parsed = parse_format(text)
    if not isinstance(parsed, FloatFormat) or parsed.name not in ("fp32", "fp16", "bf16"):
        msg = f"must be one of fp32, fp16, bf16, not {text!r}"
        raise ValueError(msg)
    return parsed.name


def scale_name(text: str) -> str:
    """Name of a format that scales are stored in."""
    try:
        parsed: Format | None = parse_format(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, FloatFormat):
        msg = f"must be one of fp32, fp16, bf16, e8m0 or look like fixed16, not {text!r}"
        raise ValueError(msg)
    return parsed.name


IntegerName = Annotated[str, pydantic.AfterValidator(integer_name)]
FloatName = Annotated[str, pydantic.AfterValidator(float_name)]
ScaleName = Annotated[str, pydantic.AfterValidator(scale_name)]

_ONLY_WITH: dict[str, tuple[str, str]] = {
    "percentile": ("range", "percentile"),
    "momentum": ("range", "moving_average"),
    "seed": ("rounding", "stochastic"),
    "random_bits": ("rounding", "stochastic"),
    "exponent": ("code", "pow2"),
    "centroids": ("code", "codebook"),
    "entries": ("code", "codebook"),
    "prototypes": ("code", "pq"),
    "width": ("code", "pq"),
}
"""Fields that another field's value alone gives a meaning."""

_NEEDED = ("percentile", "seed", "prototypes", "width")
"""Those among them that this value can not do without."""


class OperandSpec(Document):
    """How one operand becomes integers.

    Parameters
    ----------
    code
        ``affine`` (scale and zero point; with a layout like ``mx:32`` the block code of OCP MX), ``pow2`` (sign and
        exponent), ``codebook`` (k-means) or, of activations, ``pq`` (product quantization: prototypes of pieces of a
        row).
    format
        Integer format of the stored code; of ``pq`` that of the values before they are encoded.
    layout
        Which elements share a scale, in the grammar of the verifier.
    symmetric
        Without a zero point if true.
    zero_layout
        Which elements share a zero point, where it is not the layout of the first level of scales.
    range
        How the clipping range is chosen: ``minmax``, ``percentile`` (what `percentile` leaves, in percent of each
        side), ``mse``, ``entropy``, or of static scales ``moving_average`` (over the first axis of the calibration
        tensor, a new entry weighing `momentum`, 0.01 by default). Dynamic activations have ``minmax`` alone, which
        hardware scans in each call. The codes ``pow2`` and ``codebook`` take the
        largest magnitude or, with ``mse``, the scale of least square error.
    rounding, seed, random_bits
        Of the codes: a `Rounding`, or ``stochastic`` from the seed, with `random_bits` by a shift register so wide.
    scale_format
        Storage format of real scales: ``fp32``, ``fp16``, ``bf16``, ``e8m0`` or fixed point, ``fixed16`` being a
        multiplier of 16 bits with a shift.
    integer_bits
        Width of the scales of ``@int`` levels.
    power
        Derivation of the scales of ``@pow2`` levels, see `power_scale`.
    exponent
        Of ``pow2``: a value takes the power ``nearest`` to it (the default) or the nearest exponent (``geometric``).
    centroids, entries
        Of ``codebook``: ``int8`` (the default) or ``real`` centroids; how many, by default all that the format counts.
    prototypes, width
        Of ``pq``: prototypes of each piece, and length of a piece along the reduction.
    """

    code: OperandCode = "affine"
    format: IntegerName = "int8"
    layout: str = "per_tensor"
    symmetric: bool = True
    zero_layout: str | None = None
    range: SpecRange = "minmax"
    percentile: Annotated[float, pydantic.Field(ge=0, lt=50)] | None = None
    momentum: Annotated[float, pydantic.Field(gt=0, le=1)] | None = None
    rounding: SpecRounding = "half_even"
    seed: Annotated[int, pydantic.Field(ge=1, strict=True)] | None = None
    random_bits: Annotated[int, pydantic.Field(ge=4, le=24, strict=True)] | None = None
    scale_format: ScaleName = "fp32"
    integer_bits: Annotated[int, pydantic.Field(ge=1, le=16, strict=True)] | None = None
    power: Literal["floor", "ceil", "even", "rceil"] | None = None
    exponent: Literal["nearest", "geometric"] | None = None
    centroids: Literal["int8", "real"] | None = None
    entries: Annotated[int, pydantic.Field(ge=2, le=1 << 16, strict=True)] | None = None
    prototypes: Annotated[int, pydantic.Field(ge=2, le=256, strict=True)] | None = None
    width: Annotated[int, pydantic.Field(ge=1, strict=True)] | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.code != "affine" and not self.symmetric:
            msg = f"symmetric must be true with code {self.code}, which has no zero point, not false"
            raise ValueError(msg)
        if self.zero_layout is not None and self.symmetric:
            msg = f"zero_layout must go with symmetric false only, not {self.zero_layout} without a zero point"
            raise ValueError(msg)
        for name, (field, wanted) in _ONLY_WITH.items():
            value, is_so = getattr(self, name), getattr(self, field) == wanted
            if value is None and is_so and name in _NEEDED:
                msg = f"{name} must be given with {field} {wanted}"
                raise ValueError(msg)
            if value is not None and not is_so:
                msg = f"{name} must go with {field} {wanted} only, not {value} with {getattr(self, field)}"
                raise ValueError(msg)
        self._check_code()
        return self

    def _check_code(self) -> None:
        if self.code in ("pow2", "codebook"):
            if self.range not in ("minmax", "mse"):
                msg = f"range must be minmax or mse with code {self.code}, not {self.range}"
                raise ValueError(msg)
            if self.rounding != "half_even":
                msg = f"rounding must be half_even with code {self.code}, which takes the nearest, not {self.rounding}"
                raise ValueError(msg)
        if self.entries is not None and self.entries > self.integer_format.hi - self.integer_format.lo + 1:
            msg = f"entries must be counted by the format {self.format}, not {self.entries}"
            raise ValueError(msg)
        if self.random_bits is not None and self.seed is not None and self.seed >= 1 << self.random_bits:
            msg = f"seed must be a state of {self.random_bits} random_bits, not {self.seed}"
            raise ValueError(msg)
        if self.code == "pq" and self.layout != "per_tensor":
            msg = f"layout must be per_tensor with code pq, whose prototypes share one scale, not {self.layout}"
            raise ValueError(msg)

    @property
    def integer_format(self) -> IntFormat:
        """`format`, parsed."""
        return IntFormat.parse(self.format)

    @property
    def table_entries(self) -> int:
        """Entries of the decoding table of a codebook; 0 without one."""
        return (self.entries or 1 << self.integer_format.bits) if self.code == "codebook" else 0

    @property
    def rounder(self) -> Rounding | Rounder:
        """Rounding of the codes; a random one starts again each time."""
        if self.rounding != "stochastic":
            return Rounding(self.rounding)
        seed = self.seed or 1
        return Stochastic(seed) if self.random_bits is None else LfsrStochastic(self.random_bits, seed)

    def storage_bits(self, kind: str) -> int:
        """Width of one scale of a level of that kind."""
        match kind:
            case "real":
                return parse_format(self.scale_format).bits
            case "int":
                return self.integer_bits or 8
            case _:
                return 8

    def scale_arguments(self) -> dict[str, Any]:
        """Arguments that the quantizers of every code take for scales."""
        parsed = parse_format(self.scale_format)
        return {"scale_format": parsed, "integer_bits": self.integer_bits or 8, "power": self.power or "floor"}
