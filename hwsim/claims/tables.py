"""The tables of the source documents with a number in every cell: rounding, zero points, strategies."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from hwsim.plan import Plan

from . import rounding_modes, strategies, textbook, training, zero_points
from .claim import NotMeasuredError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (1, 2, 15, 16, 17, 64, 256)
ARRAYS = (16, 64)


def rounding_table(*, timed: bool = True) -> pd.DataFrame:
    """One row a rounding: errors, hardware of a cut of 16 bits, time in software.

    Parameters
    ----------
    timed
        Measure software too; its column then differs from run to run.

    Returns
    -------
    frame
        ``bias`` and ``signed_bias`` (steps, values of one and of both signs), ``mean_square`` (steps squared),
        ``sum_bias`` and ``sum_spread`` (steps, sums of 1,024), ``adders`` and ``random_bits`` a value, ``energy_pj``
        and ``area_um2`` of the logic at 45 nm (null where no model covers it), ``software_ns`` a value.
    """
    import pandas as pd  # noqa: PLC0415  only where a frame is asked for

    errors = rounding_modes.measured()
    times = rounding_modes.software_ns({mode.name: mode.make for mode in rounding_modes.MODES}) if timed else {}
    rows = []
    for mode in rounding_modes.MODES:
        found = errors[mode.name]
        energy, area = rounding_modes.hardware(mode)
        rows.append(
            {
                "rounding": mode.name,
                "bias": found.bias,
                "signed_bias": found.signed_bias,
                "mean_square": found.mean_square,
                "sum_bias": found.sum_bias,
                "sum_spread": found.sum_spread,
                "adders": mode.adders,
                "random_bits": mode.random_bits,
                "energy_pj": energy,
                "area_um2": area,
                "software_ns": times.get(mode.name, float("nan")),
            }
        )
    return pd.DataFrame(rows)


def zero_point_table(columns: tuple[int, ...] = COLUMNS, arrays: tuple[int, ...] = ARRAYS) -> pd.DataFrame:
    """One row for each number of output channels, array width and way to form the sums: what it adds, in percent."""
    import pandas as pd  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    for width in arrays:
        for n in columns:
            row: dict[str, Any] = {"channels": n, "array": f"{width}x{width}"}
            for by in ("channel", "adders"):
                found = zero_points.overhead(n, width, "channel" if by == "channel" else "adders")
                row |= {
                    f"{by}_cycles_percent": found.cycles,
                    f"{by}_energy_percent": found.energy,
                    f"{by}_mac_energy_percent": found.mac_energy,
                    f"{by}_area_percent": found.area,
                }
            rows.append(row)
    return pd.DataFrame(rows)


@functools.cache
def _words() -> dict[str, dict[str, str]]:
    """Cells of the strategies' table that are words."""
    return {
        "float32": {"when": "-", "needs": "-", "product": "float32", "best_for": "the reference"},
        "weight-only": {
            "when": "after training", "needs": "the weights", "product": "float32",
            "best_for": "few rows, bound by memory",
        },
        "dynamic": {
            "when": "after training", "needs": "the weights", "product": "int8 into int32",
            "best_for": "activations that vary",
        },
        "static": {
            "when": "after training", "needs": "weights and samples", "product": "int8 into int32",
            "best_for": "integer-only hardware",
        },
    }  # fmt: skip


def strategy_table() -> pd.DataFrame:
    """One row a strategy on the embedded transformer block, as the chapter's schemes have it; then QAT.

    Returns
    -------
    frame
        When and from what; bytes of weights and of results between layers; values that are dequantized, scanned,
        quantized and requantized in one call; SQNR; cycles, and those of one row (M = 1) and of 256 rows of a
        512 x 512 product; energy and area. QAT, whose numbers are in `training_table`, has its largest gain; without
        PyTorch, what is missing.
    """
    import pandas as pd  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    for name in textbook.STRATEGIES:
        result = textbook.block_result(name)
        totals = result.totals()
        plans: list[Plan] = [layer.plan for layer in result.layers]
        rows.append(
            {
                "strategy": name,
                **_words()[name],
                "calibration_sequences": strategies.CALIBRATION_SEQUENCES if name == "static" else 0,
                "weight_bytes": totals["weight_bytes"],
                "activation_bytes": textbook.result_bytes(result),
                **textbook.counts(plans),
                "sqnr_db": totals["sqnr_db"],
                "block_sqnr_db": totals["block_sqnr_db"],
                "total_cycles": totals["total_cycles"],
                "one_row_cycles": textbook.gemm_result(1, 512, 512, textbook.textbook(name)).total_cycles,
                "many_rows_cycles": textbook.gemm_result(256, 512, 512, textbook.textbook(name)).total_cycles,
                "energy_pj": totals["energy_pj"],
                "area_um2": totals["area_um2"],
            }
        )
    return pd.DataFrame([*rows, _trained_row()])


def _trained_row() -> dict[str, Any]:
    """Words on training quantized, and the largest gain that was measured."""
    row = {
        "strategy": "QAT",
        "when": "during training",
        "needs": "training data, gradients",
        "product": "as chosen after",
    }
    try:
        best = max(training.study(), key=lambda found: found["qat_accuracy"] - found["ptq_accuracy"])
    except NotMeasuredError as error:
        return {**row, "best_for": f"not measured: {error}"}
    before, after = (100 * best[name] for name in ("ptq_accuracy", "qat_accuracy"))
    return {**row, "best_for": f"{training.label(best)}: accuracy {before:.1f} to {after:.1f} %"}


def training_table() -> pd.DataFrame:
    """One row a strategy and width on the digits network: accuracy quantized after training and trained quantized.

    Returns
    -------
    frame
        Accuracies of the integer datapath on the test images, bytes of weights, energy of all of them; no rows without
        PyTorch.
    """
    import pandas as pd  # noqa: PLC0415

    columns = ("strategy", "weight_bits", "float_accuracy", "ptq_accuracy", "qat_accuracy", "weight_bytes", "energy_pj")
    try:
        found = training.study()
    except NotMeasuredError:
        found = []
    frame = pd.DataFrame([[row[name] for name in columns] for row in found], columns=list(columns))
    for name in [name for name in columns if name.endswith("accuracy")]:
        frame[f"{name}_percent"] = 100 * frame.pop(name).astype("float64")
    frame["strategy"] = [str(name).replace("_", "-") for name in frame["strategy"]]
    return frame
