"""What a scheme does where: one line for each thing that happens to an operand or a result of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quant.operand_spec import OperandSpec
    from quant.scheme import Scheme


def explain(scheme: Scheme) -> dict[str, str]:
    """Say where a scheme quantizes, scans, multiplies, dequantizes, and what it stores.

    Returns
    -------
    lines
        By subject: ``weights``, ``activations``, ``ranges``, ``outliers``, ``products``, ``sums``, ``bias``,
        ``results``, ``attention``; a subject that the scheme does not have is left out.

    Examples
    --------
    >>> from quant import Scheme
    >>> lines = explain(Scheme.load("w8a8-static"))
    >>> lines["ranges"]
    'fixed by calibration; nothing is scanned in a call'
    >>> lines["results"]
    'requantized to int8 (gemmlowp-double) and stored so; no float between linear layers and ReLU'
    """
    static = scheme.strategy == "static"
    lines = {"weights": _weights(scheme), "activations": _activations(scheme)}
    if scheme.activation is not None:
        lines["ranges"] = "fixed by calibration; nothing is scanned in a call" if static else _scans(scheme.activation)
    if (outliers := _outliers(scheme)) is not None:
        lines["outliers"] = outliers
    lines |= {"products": _products(scheme), "sums": _sums(scheme), "bias": _bias(scheme), "results": _results(scheme)}
    if scheme.activation is not None:
        lines["attention"] = _attention(scheme)
    return lines


def _stored(spec: OperandSpec) -> str:
    """Code, format and scales of an operand in memory."""
    code = {
        "affine": spec.format,
        "pow2": f"sign and exponent in {spec.integer_format.bits} bits",
        "codebook": f"indices of {spec.table_entries} {spec.centroids or 'int8'} centroids",
        "pq": f"{spec.format}, encoded to {spec.prototypes} prototypes of {spec.width} values",
    }[spec.code]
    zero = "" if spec.symmetric else f" and zero point{'' if spec.zero_layout is None else f' ({spec.zero_layout})'}"
    levels = ["@pow2"] if spec.layout.startswith("mx:") else spec.layout.split("*")
    formats = [_scale_format(spec, level.partition("@")[2].strip()) for level in levels]
    return f"{code}, scale{zero} {spec.layout} in {' and '.join(dict.fromkeys(formats))}"


def _scale_format(spec: OperandSpec, kind: str) -> str:
    return {"int": f"{spec.integer_bits or 8}-bit integers", "pow2": "e8m0"}.get(kind, spec.scale_format)


def _weights(scheme: Scheme) -> str:
    if scheme.weight is None:
        return f"{scheme.carrier}"
    if scheme.activation is not None and scheme.activation.code == "pq":
        return f"only tables of their products with the prototypes are stored: {_stored(scheme.weight)}"
    return f"quantized offline, range {scheme.weight.range}, stored as {_stored(scheme.weight)}"


def _activations(scheme: Scheme) -> str:
    if scheme.activation is None:
        return f"{scheme.carrier} throughout"
    stored = _stored(scheme.activation)
    if scheme.strategy == "static":
        return f"quantized in the epilogue of what makes them, stored as {stored}"
    return f"stored as {scheme.carrier}, quantized in each call as they are loaded: {stored}"


def _scans(spec: OperandSpec) -> str:
    if spec.layout == "per_tensor":
        return "scanned in each call; the whole tensor must have passed before the first product"
    return f"scanned in each call, {spec.layout}: a barrier of one block"


def _outliers(scheme: Scheme) -> str | None:
    if scheme.smooth is not None:
        where = "in the quantizer's constants" if scheme.strategy == "static" else "as they are loaded"
        alpha = "found by search" if scheme.smooth.alpha is None else f"{scheme.smooth.alpha:g}"
        return f"channels divided by a smoothing factor (alpha {alpha}) {where}, weights multiplied"
    if scheme.rotate is not None:
        return (
            "both operands rotated along the reduction by a Hadamard matrix: weights offline, activations in each call"
        )
    if scheme.duplicate is not None:
        where = "in the quantizer's constants" if scheme.strategy == "static" else "as they are loaded"
        return (
            f"the widest channels of calibration repeated, {scheme.duplicate.share:.2%} more in all: activations "
            f"divided by the number of copies {where}, rows of the weights repeated"
        )
    if scheme.outliers is not None:
        return (
            f"channels that reach {scheme.outliers.threshold:g} (at most {scheme.outliers.share:.2%}) are found "
            f"in each call, when the whole tensor has passed, and multiplied in {scheme.carrier}"
        )
    return None


def _products(scheme: Scheme) -> str:
    if scheme.activation is None or scheme.weight is None:
        return f"{scheme.carrier} x {scheme.carrier}"
    match scheme.weight.code:
        case "pow2":
            return f"{scheme.activation.format} shifted by the weight's exponent"
        case "codebook":
            return f"{scheme.activation.format} x int8 from the weight's table"
        case _ if scheme.activation.code == "pq":
            return "none: an index chooses a table entry"
        case _:
            return f"{scheme.activation.format} x {scheme.weight.format}"


def _sums(scheme: Scheme) -> str:
    if scheme.activation is None:
        before = "" if scheme.weight is None else "; weights dequantized on their way to the multipliers, each fetch"
        return f"fp32{before}"
    if scheme.strategy == "static":
        return "integers; one fixed multiplier for each output channel where the verdict is once"
    return f"integers, dequantized once to {scheme.carrier} (once for each partial sum where scales cut the reduction)"


def _bias(scheme: Scheme) -> str:
    if scheme.strategy == "static":
        return "int32 of scale lhs x rhs, preloaded with the zero-point terms of constants; float after partial sums"
    return "float, added after dequantization" if scheme.activation is not None else "float"


def _results(scheme: Scheme) -> str:
    if scheme.output is not None:
        text = f"requantized to {scheme.output.format} ({scheme.requantization}) and stored so"
        return f"{text}; no float between linear layers and ReLU"
    return f"stored as {scheme.carrier}"


def _attention(scheme: Scheme) -> str:
    match scheme.attention:
        case "activation":
            return "both operands quantized as activations are"
        case "float":
            return f"products of activations stay {scheme.carrier}"
        case pair:
            return f"lhs {_stored(pair.lhs)}; rhs {_stored(pair.rhs)}"
