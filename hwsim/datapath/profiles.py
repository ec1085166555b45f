"""The catalogue of requantization profiles: one row for each meaning found in public code."""

from __future__ import annotations

from quant.formats import FloatArray, Rounding

from . import fixed_point as fixed
from . import float_requantization as real
from . import multipliers
from .encodings import Encoding, Profile

_TFLITE = "tensorflow/lite/kernels/internal"


def _pair_only(_: FloatArray) -> Encoding:
    msg = "scale must be a ScalePair of row and column scales for cutlass-two-scales"
    raise ValueError(msg)


def _registers_only(_: FloatArray) -> Encoding:
    msg = "scale must be a Convertor of offset, scale and shift for nvdla-convertor"
    raise ValueError(msg)


_ALL = (
    Profile(
        "gemmlowp-double",
        "R1",
        "round_away(round_up(acc * q / 2**31) / 2**shift) + zp",
        f"gemmlowp fixedpoint/fixedpoint.h; {_TFLITE}/common.cc MultiplyByQuantizedMultiplier",
        "run: LiteRT reference convolution and quantize, LiteRT Micro fully connected, in the extra environment",
        multipliers.quantized_multiplier,
        fixed.double(Rounding.HALF_AWAY),
    ),
    Profile(
        "tflite-single",
        "R2",
        "round_up(acc * q / 2**(31 + shift)) + zp",
        f"{_TFLITE}/common.cc built with TFLITE_SINGLE_ROUNDING; ruy/apply_multiplier.cc",
        "from source only",
        multipliers.quantized_multiplier,
        fixed.single(Rounding.HALF_UP),
    ),
    Profile(
        "ruy-avx512",
        "R3",
        "round_up(round_up(acc * q / 2**31) / 2**shift) + zp",
        "ruy/kernel_avx512.cc",
        "run: LiteRT builtin kernels on AVX-512, in the extra environment",
        multipliers.quantized_multiplier,
        fixed.double(Rounding.HALF_UP),
    ),
    Profile(
        "float64-away",
        "R4",
        "round_away(float64(acc) * scale) + zp",
        "tensorflow/lite/kernels/internal/reference/integer_ops/fully_connected.h",
        "run: LiteRT reference fully connected, in the extra environment",
        real.double_scale,
        real.float64_away,
    ),
    Profile(
        "xnnpack-fp32",
        "R5",
        "round_even(float32(acc) * float32(scale)) + zp",
        "XNNPACK src/qs8-gemm/MRx16c8-avx512vnni.c.in",
        "run: LiteRT default delegate, in the extra environment",
        real.single_scale,
        real.float32_even,
    ),
    Profile(
        "xnnpack-8.8",
        "R6",
        "round_up(x * round_even(256 * scale) / 2**8) + zp",
        "XNNPACK src/qs8-vcvt",
        "run: LiteRT int8 to int8 quantize, in the extra environment",
        multipliers.byte_fraction_multiplier,
        fixed.byte_fraction,
    ),
    Profile(
        "xnnpack-rndnu",
        "R7",
        "round_up(acc * mantissa24 / 2**shift) + zp",
        "XNNPACK src/xnnpack/requantization.h xnn_qs8_requantize_rndnu",
        "from source only",
        multipliers.wide_mantissa_multiplier,
        fixed.single(Rounding.HALF_UP),
    ),
    Profile(
        "qnnpack-q31",
        "R8",
        "round_away(round_up(acc * (mantissa24 << 7) / 2**31) / 2**shift) + zp",
        "QNNPACK src/qnnpack/requantization.h",
        "from source only",
        multipliers.mantissa_multiplier,
        fixed.double(Rounding.HALF_AWAY),
    ),
    Profile(
        "float32-even",
        "R9",
        "round_even(float32(acc) * float32(scale)) + zp",
        "onnxruntime mlas/lib/quantize.cpp MlasRequantizeOutput; FBGEMM QuantUtils.h Requantize",
        "run: onnxruntime QLinearMatMul and QLinearConv; torch fbgemm, x86, qnnpack in the extra environment",
        real.single_scale,
        real.float32_even,
    ),
    Profile(
        "zero-point-first",
        "R10",
        "round_even(float32(acc) * float32(scale) + zp)",
        "PyTorch oneDNN engine; compressed-tensors",
        "run: torch oneDNN engine, in the extra environment",
        real.single_scale,
        real.float32_zero_point_first,
    ),
    Profile(
        "onnx-reference",
        "R10",
        "round_even(float64(acc) * scale + zp)",
        "onnx/reference/ops/op_qlinear_matmul.py",
        "run: onnx reference evaluator and backend node tests",
        real.double_scale,
        real.float64_zero_point_first,
    ),
    Profile(
        "cutlass-two-scales",
        "R11",
        "round_even(rows[m] * (columns[n] * float32(acc)) [+ bias by FMA]) + zp",
        "vLLM csrc/cutlass_extensions/epilogue/scaled_mm_epilogues_c2x.hpp; CUTLASS numeric_conversion.h",
        "from source only",
        _pair_only,
        real.two_scales,
        real_bias=True,
    ),
    Profile(
        "torch-linear",
        "R9b",
        "round_even((float32(acc) + float32(bias)) * float32(scale)) + zp",
        "FBGEMM QuantUtils.h and OutputProcessing-inl.h with a float bias; torch.ao.nn.quantized.Linear",
        "run: torch quantized linear, in the extra environment",
        real.single_scale,
        real.float32_real_bias,
        real_bias=True,
    ),
    Profile(
        "tflite-int16",
        "R1w",
        "round_up(acc * q16 / 2**(15 + shift)) + zp",
        f"{_TFLITE}/common.cc MultiplyByQuantizedMultiplier(int64_t, ...)",
        "run: LiteRT Micro fully connected int16x8, in the extra environment",
        multipliers.quantized_multiplier,
        fixed.halved_multiplier,
        accumulator_bits=48,
    ),
    Profile(
        "gemmini-scale",
        "H1",
        "round_even(float32(acc) * float32(scale))",
        "Gemmini software gemmini_params.h ACC_SCALE, default configuration",
        "from source only",
        real.single_scale,
        real.float32_even,
    ),
    Profile(
        "gemmini-shift",
        "H2",
        "round_even(acc / 2**shift)",
        "Gemmini src/main/scala/gemmini/Arithmetic.scala, SInt >>",
        "from source only",
        multipliers.power_of_two,
        fixed.shift_only(Rounding.HALF_EVEN),
    ),
    Profile(
        "nvdla-convertor",
        "H3",
        "round_away((acc - offset) * scale / 2**shift)",
        "NVDLA hw/v1/ias/precision.html, convertor",
        "from source only",
        _registers_only,
        fixed.convertor,
    ),
    *(
        Profile(
            f"{kind}-{name}",
            "H4" if kind == "multiply" else "H5",
            formula.format(name),
            "a requantizer of one multiplier and one rounding shift" if kind == "multiply" else "a shifter",
            "exact arithmetic",
            encode,
            build(rounding),
        )
        for kind, formula, encode, build in (
            (
                "multiply",
                "round_{}(acc * q / 2**(31 + shift)) + zp",
                multipliers.quantized_multiplier,
                fixed.single,
            ),
            ("shift", "round_{}(acc / 2**shift) + zp", multipliers.power_of_two, fixed.shift_only),
        )
        for name, rounding in (
            ("even", Rounding.HALF_EVEN),
            ("away", Rounding.HALF_AWAY),
            ("up", Rounding.HALF_UP),
            ("floor", Rounding.DOWN),
        )
    ),
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in _ALL}
"""Requantization profiles by name."""


def multiplier_profile(bits: int, rounding: Rounding = Rounding.HALF_UP) -> Profile:
    """Describe a requantizer with a multiplier of any width: one product, one rounding shift.

    Parameters
    ----------
    bits : 2..32
        Width of the signed multiplier; its value is in ``2**(bits - 2)..2**(bits - 1) - 1``.
    rounding
        Rounding of the shift.

    Returns
    -------
    profile : Profile
        Give it to `requantize` in place of a name.

    Raises
    ------
    ValueError
        If `bits` is outside 2..32.

    Examples
    --------
    >>> multiplier_profile(16).name
    'multiply16-half_up'
    """
    if not 2 <= bits <= 32:
        msg = f"bits must be in 2..32, not {bits}"
        raise ValueError(msg)
    return Profile(
        f"multiply{bits}-{rounding.value}",
        "H4",
        f"{rounding.value}(acc * q / 2**({bits - 1} + shift)) + zp",
        "a requantizer of one multiplier and one rounding shift",
        "exact arithmetic",
        multipliers.fraction_of(bits),
        fixed.single(rounding, bits),
        accumulator_bits=32,
    )


def requantization_profile(profile: str | Profile) -> Profile:
    """Find a profile by name.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        msg = f"profile must be one of {', '.join(PROFILES)}, not {profile!r}"
        raise ValueError(msg)
    return PROFILES[profile]
