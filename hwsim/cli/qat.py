"""``hwsim qat``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsim.cli.shared import OutputFile, check_streams, console, print_json, progress, records, write_frame
from hwsim.cli.strict import Strict

if TYPE_CHECKING:
    from hwsim.training import TrainedStrategy

STRATEGIES: tuple[TrainedStrategy, ...] = ("weight_only", "dynamic", "static")
ACCURACIES = ("float_accuracy", "ptq_accuracy", "qat_accuracy", "fake_accuracy")


@click.command(cls=Strict)
@click.option("--bits", default="8,4,3,2", show_default=True, metavar="N,N", help="Widths of the integers.")
@click.option("--strategy", multiple=True, type=click.Choice(STRATEGIES), help="Strategies; default all.")
@click.option("--epochs", default=30, show_default=True, metavar="N", help="Passes over the images of each training.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Of the weights and the order of images.")
@click.option("--accelerator", "-a", default="edge-16x16", show_default=True, metavar="NAME|FILE", help="The machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--csv", type=OutputFile(".csv", allow_dash=True), help="Write the rows to a .csv file; - prints them.")
def qat(
    bits: str,
    strategy: tuple[TrainedStrategy, ...],
    epochs: int,
    seed: int,
    accelerator: str,
    as_json: bool,
    csv: Path | None,
) -> None:
    """Train digits quantized, and put the accuracy beside quantization after training.

    Both run through the integer datapath on the test images. Needs PyTorch and scikit-learn: pip install 'hwsim[qat]'.
    """
    from hwsim.training import qat_study
    from reports import frame_table

    check_streams(as_json=as_json, csv=csv)
    widths = [_width(text) for text in bits.split(",")]
    strategies = strategy or STRATEGIES
    with progress(1 + len(widths) * len(strategies)) as report:
        frame = qat_study(widths, strategies, epochs=epochs, seed=seed, accelerator=accelerator, progress=report)
    if csv is not None:
        write_frame(frame, csv)
    if as_json:
        print_json(records(frame))
    elif str(csv) != "-":
        out = console()
        shown = frame.drop(columns=["strategy", "weight_bits"])
        for name in [name for name in ACCURACIES if name in shown]:
            shown[name] = [f"{value:.1%}" for value in shown[name]]
        if out.width < 120:
            shown = shown.drop(columns=["latency_us", "fake_accuracy"])
        title = (
            "Accuracy on the test images, integer datapath: quantized after training (PTQ) and trained quantized (QAT)"
        )
        out.print(frame_table(shown, title=title, width=out.width))


def _width(text: str) -> int:
    if not text.strip().isdigit():
        msg = f"bits must be whole numbers such as 8,4, not {text.strip()!r}"
        raise ValueError(msg)
    return int(text)
