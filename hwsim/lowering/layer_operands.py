"""Operands of a layer under a scheme: what is stored, and what the array multiplies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant import Contraction, IntFormat, ScaleLayout, parse_layout

if TYPE_CHECKING:
    from hwsim.plan import Role
    from quant import OperandSpec, Scheme
    from workloads import Layer


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand of a contraction under a scheme: what it is stored as and what the array multiplies.

    Parameters
    ----------
    role, axes, sizes
        Which one, its labels and how long they are.
    spec
        None where it stays float.
    layout, zero_layout
        Of scales and, where it is another, of zero points.
    """

    role: Role
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    spec: OperandSpec | None
    layout: ScaleLayout | None
    zero_layout: ScaleLayout | None = None

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.sizes)

    @property
    def mac_format(self) -> IntFormat:
        """Format of the integers that the array multiplies.

        Raises
        ------
        TypeError
            If the operand stays float.
        """
        match self.spec:
            case None:
                msg = f"{self.role} must be quantized to have an integer format"
                raise TypeError(msg)
            case spec if spec.code == "codebook":
                return IntFormat(8, narrow=True)
            case spec if spec.code == "pow2":
                return IntFormat(1 << (spec.integer_format.bits - 1), narrow=True)
            case spec:
                return spec.integer_format

    @property
    def overhead_bits(self) -> int:
        """Scales, zero points and decoding table of a stored constant."""
        if self.spec is None or self.layout is None:
            return 0
        bits = sum(
            math.prod(level.scale_shape(self.axes, self.sizes)) * self.spec.storage_bits(level.kind)
            for level in self.layout.levels
        )
        if not self.spec.symmetric:
            zeros = (self.zero_layout or self.layout).levels[0].scale_shape(self.axes, self.sizes)
            bits += math.prod(zeros) * self.spec.integer_format.bits
        return bits + self.spec.table_entries * (32 if self.spec.centroids == "real" else 8)

    @property
    def elements_per_scale(self) -> int:
        """Elements that must be seen before the first real scale is known."""
        if self.layout is None:
            return 0
        blocks = self.layout.levels[0].block_size(self.axes)
        return math.prod(
            size if block == -1 else min(size, block) for size, block in zip(self.sizes, blocks, strict=True)
        )


def operands(layer: Layer, scheme: Scheme) -> tuple[Operand, Operand]:
    """Both operands of a layer under a scheme, layouts resolved for its contraction.

    ``per_token`` of an activation on the right-hand side is a scale for each index that its output keeps. On the image
    of a convolution it is one for each image: those of pixels would meet in one sum.

    Raises
    ------
    ValueError
        If a layout does not fit the contraction.
    """
    contraction = Contraction.parse(layer.contraction)
    specs = scheme.operand_specs(rhs_is_weight=layer.rhs_kind == "weight")
    pair: list[Operand] = []
    roles: tuple[Role, Role] = ("lhs", "rhs")
    for role, spec in zip(roles, specs, strict=True):
        axes = contraction.labels_of(role)
        sizes = tuple(layer.sizes[axis] for axis in axes)
        layouts: list[ScaleLayout | None] = []
        for text in (None, None) if spec is None else (spec.layout, spec.zero_layout):
            named = _token_layout(contraction, role) if text == "per_token" else text
            try:
                layouts.append(None if named is None else parse_layout(named, axes, contraction, role))
            except ValueError as error:
                error.add_note(f"in the {role} layout of {layer.name} under {scheme.name}")
                raise
        pair.append(Operand(role, axes, sizes, spec, *layouts))
        _check_zero_points(pair[-1], contraction, layer.name)
    return pair[0], pair[1]


def per_image(layer: Layer, scheme: Scheme) -> bool:
    """Tell whether a layer is a convolution that a scheme with a scale for each token gives one for each image."""
    return bool(layer.parsed.links) and scheme.activation is not None and scheme.activation.layout == "per_token"


def _token_layout(contraction: Contraction, role: Role) -> str:
    if role == "rhs":
        return "per_channel"
    if not contraction.links:
        return "per_token"
    return ",".join(f"{label}:1" for label in contraction.outer_lhs) or "per_tensor"


def _check_zero_points(operand: Operand, contraction: Contraction, name: str) -> None:
    """Refuse zero points that change within a partial sum: correcting one would take a sum for each of them."""
    if operand.layout is None or operand.zero_layout is None:
        return
    for axis in contraction.shared:
        block = operand.zero_layout.levels[0].block_of(axis)
        cuts = [level.block_of(axis) for level in operand.layout.levels]
        if block is not None and not any(cut is not None and block % cut == 0 for cut in cuts):
            msg = (
                f"zero_layout of {operand.role} of {name} must not change within a partial sum, "
                f"not {operand.zero_layout} with scales {operand.layout}"
            )
            raise ValueError(msg)


def spec_of(operand: Operand) -> OperandSpec:
    """Spec of an operand that must have one."""
    if operand.spec is None:
        msg = f"{operand.role} must be quantized"
        raise TypeError(msg)
    return operand.spec
