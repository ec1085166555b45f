"""Accuracy of trained networks on the integer datapath: quantized after training, and trained quantized."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from hwsim.accelerator import Accelerator
from hwsim.inference import infer
from hwsim.numerics import Progress, Recording, silent
from hwsim.simulation import simulate
from quant import Scheme

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

TrainedStrategy = Literal["weight_only", "dynamic", "static"]
STRATEGIES: tuple[TrainedStrategy, ...] = get_args(TrainedStrategy)
BITS = (8, 4, 3, 2)
HIDDEN = 32  # wide enough for 97 % in float, narrow enough for low widths to hurt

_PRESETS = {"weight_only": "w8a16", "dynamic": "w8a8-dynamic", "static": "w8a8-static"}


def narrowed(strategy: TrainedStrategy, bits: int) -> Scheme:
    """Take a strategy's preset with `bits` bits for weights, and for activations where it quantizes them.

    Results of a static scheme keep their 8 bits: they leave through the requantizer, not the multiplier.

    Raises
    ------
    ValueError
        If the strategy is unknown or the width is not 2..8.

    Examples
    --------
    >>> narrowed("dynamic", 4).activation.format
    'int4'
    """
    if strategy not in STRATEGIES:
        msg = f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}"
        raise ValueError(msg)
    if not 2 <= bits <= 8:
        msg = f"bits must be 2 to 8, not {bits}"
        raise ValueError(msg)
    preset = Scheme.load(_PRESETS[strategy])
    changes: dict[str, Any] = {"name": f"w{bits}a{bits}-{strategy}" if strategy != "weight_only" else f"w{bits}a16"}
    for side in ("weight", "activation"):
        spec = getattr(preset, side)
        if spec is not None:
            changes |= {f"{side}__format": f"int{bits}"}
    return preset.replace(**changes)


def _weights(model: nn.Module) -> dict[str, Any]:
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return {
        "hidden.weight": state["hidden.weight"].T,
        "hidden.bias": state["hidden.bias"],
        "logits.weight": state["logits.weight"].T,
        "logits.bias": state["logits.bias"],
    }


def qat_study(
    bits: Iterable[int] = BITS,
    strategies: Iterable[TrainedStrategy] = STRATEGIES,
    *,
    epochs: int = 30,
    seed: int = 0,
    accelerator: Accelerator | str | Path = "edge-16x16",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Train digits in float and quantized, run both through the integer datapath, and compare.

    A float network is trained for `epochs`. From there it trains on for as many, in float, to be quantized as it is
    (PTQ), and under each scheme with fake quantization (QAT): both have seen the images equally often.

    Parameters
    ----------
    bits, strategies
        Schemes: each strategy with each width, see `narrowed`.
    epochs
        Of the training that all share, and again of each that follows.
    seed
        Of the initial weights and the order of samples.
    progress
        Called with what is being done.

    Returns
    -------
    frame
        One row a scheme: ``float_accuracy``, ``ptq_accuracy``, ``qat_accuracy`` of the integer datapath on the test
        images, ``fake_accuracy`` of the trained network in PyTorch, with latency, energy and bytes of weights.

    Raises
    ------
    ValueError
        If PyTorch or scikit-learn is not installed, or a width or strategy is unknown.
    """
    schemes = [narrowed(strategy, width) for strategy in strategies for width in bits]
    try:
        import torch  # noqa: PLC0415  an optional extra
        from torch import nn  # noqa: PLC0415

        from quant import qat  # noqa: PLC0415
    except ImportError:
        msg = "training must have PyTorch, which pip install 'hwsim[qat]' brings"
        raise ValueError(msg) from None
    import pandas as pd  # noqa: PLC0415

    from workloads.digits import CLASSES, PIXELS, digits_network, load_digits  # noqa: PLC0415

    digits, machine = load_digits(), Accelerator.load(accelerator)
    images, classes = torch.from_numpy(digits.train), torch.from_numpy(digits.train_classes)
    tests = torch.from_numpy(digits.test)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = {"hidden": nn.Linear(PIXELS, HIDDEN), "relu": nn.ReLU(), "logits": nn.Linear(HIDDEN, CLASSES)}
        model = nn.Sequential()
        for name, module in layers.items():
            model.add_module(name, module)
    progress("float: training")
    qat.fit(model, images, classes, epochs=epochs, seed=seed)
    longer = copy.deepcopy(model)
    qat.fit(longer, images, classes, epochs=epochs, seed=seed)
    float_network = digits_network(_weights(longer))
    recording = Recording(float_network)

    def accuracy(logits: npt.NDArray[Any]) -> float:
        return float(np.mean(np.argmax(logits, axis=1) == digits.test_classes))

    float_accuracy = accuracy(recording.output())
    rows = []
    for scheme in schemes:
        progress(f"{scheme.name}: training")
        after = infer(float_network, scheme, machine, recording=recording)["logits"]
        trained = qat.prepare_qat(model, scheme)
        qat.fit(trained, images, classes, epochs=epochs, seed=seed)
        network = digits_network(_weights(trained))
        with torch.no_grad():
            fake = trained(tests).numpy()
        costs = simulate(network, scheme, machine, numerics=False).totals()
        rows.append(
            {
                "scheme": scheme.name,
                "strategy": scheme.strategy,
                "weight_bits": scheme.weight.integer_format.bits if scheme.weight else 0,
                "float_accuracy": float_accuracy,
                "ptq_accuracy": accuracy(after),
                "qat_accuracy": accuracy(infer(network, scheme, machine)["logits"]),
                "fake_accuracy": accuracy(fake),
                **{name: costs[name] for name in ("latency_us", "energy_pj", "weight_bytes")},
            }
        )
    return pd.DataFrame(rows)
