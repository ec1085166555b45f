"""A user's own operands: an ``.npz`` file of arrays becomes a network."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.contraction import Contraction

from .layer import Layer, bind_sizes
from .network import Network
from .tensors import FloatArray

DEFAULT_CONTRACTION = "mk,kn->mn"
DEFAULT_NAME = "gemm"
_ARRAYS = ("lhs", "rhs", "bias", "calibration")
_TEXTS = ("contraction", "rhs_kind")
_MALFORMED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)


def _read_archive(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all members; every way a file can be broken becomes one ValueError."""
    if not path.is_file():
        msg = f"operands must be an existing .npz file, not {str(path)!r}"
        raise ValueError(msg)
    try:
        # the file is opened here, since numpy would leave a broken one open
        with path.open("rb") as file:
            loaded: object = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                msg = "a single array"
                raise ValueError(msg)
            arrays: dict[str, npt.NDArray[Any]] = {}
            for name in loaded.files:
                array: object = loaded[name]
                if not isinstance(array, np.ndarray):
                    msg = f"member {name} is no array"
                    raise ValueError(msg)
                arrays[name] = array
    except _MALFORMED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "pickle" in reason:  # numpy's advice to load it anyway is not ours
            reason = "no arrays, or arrays of objects"
        msg = f"operands must be an .npz archive as numpy.savez writes it, not {str(path)!r} ({reason})"
        raise ValueError(msg) from error
    return arrays


def _float32(name: str, array: npt.NDArray[Any]) -> FloatArray:
    if array.dtype not in {np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)}:
        msg = f"{name} must be float16, float32 or float64, not {array.dtype}"
        raise ValueError(msg)
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = bad[0].tolist()
        msg = f"{name} must be finite in float32, not {array[tuple(place)]} at {place}"
        raise ValueError(msg)
    values.flags.writeable = False
    return values


def _text(name: str, array: npt.NDArray[Any]) -> str:
    if array.shape != () or array.dtype.kind != "U":
        msg = f"{name} must be one text, not {array.dtype} of shape {list(array.shape)}"
        raise ValueError(msg)
    return str(array)


def _group(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Sort arrays by layer: ``NAME.lhs`` belongs to NAME, plain ``lhs`` to the one layer without a name."""
    groups: dict[str, dict[str, npt.NDArray[Any]]] = {}
    known = (*_ARRAYS, *_TEXTS)
    for key, array in arrays.items():
        layer, _, part = key.rpartition(".")
        if part not in known:
            msg = f"arrays must be {', '.join(known[:-1])} or {known[-1]}, alone or as in NAME.lhs, not {key!r}"
            raise ValueError(msg)
        groups.setdefault(layer, {})[part] = array
    for layer, parts in groups.items():
        missing = [part for part in ("lhs", "rhs") if part not in parts]
        if missing:
            msg = f"operands must have {_key(layer, missing[0])}, not only {', '.join(arrays)}"
            raise ValueError(msg)
    if not groups:
        msg = "operands must have lhs and rhs, not no array"
        raise ValueError(msg)
    if "" in groups and DEFAULT_NAME in groups:
        msg = f"layer {DEFAULT_NAME} must be given once, not as lhs and as {DEFAULT_NAME}.lhs"
        raise ValueError(msg)
    return groups


def _key(layer: str, part: str) -> str:
    return f"{layer}.{part}" if layer else part


class _Builder:
    """Collects layers and tensors of a file, layer by layer."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.tensors: dict[str, FloatArray] = {}
        self.calibration: dict[str, FloatArray] = {}
        self.evaluation: dict[str, FloatArray] = {}
        self.calibrated: list[str] = []

    def add(self, group: str, parts: dict[str, npt.NDArray[Any]]) -> None:
        """Check the arrays of one layer against its contraction and keep them."""
        names = {part: _key(group, part) for part in (*_ARRAYS, *_TEXTS)}
        texts = {part: _text(names[part], parts[part]) for part in _TEXTS if part in parts}
        arrays = {part: _float32(names[part], parts[part]) for part in _ARRAYS if part in parts}
        lhs, rhs = arrays["lhs"], arrays["rhs"]
        text = texts.get("contraction", DEFAULT_CONTRACTION)
        contraction = Contraction.parse(text)
        sizes = bind_sizes(contraction, lhs.shape, rhs.shape, lhs=names["lhs"], rhs=names["rhs"])
        kind = texts.get("rhs_kind", "weight")
        if kind not in ("weight", "activation"):
            msg = f"{names['rhs_kind']} must be weight or activation, not {kind!r}"
            raise ValueError(msg)
        name = group or DEFAULT_NAME
        layer = Layer(
            name,
            text,
            sizes,
            names["lhs"],
            names["rhs"],
            f"{name}.out",
            rhs_kind="weight" if kind == "weight" else "activation",
            bias=names["bias"] if "bias" in arrays else None,
            rhs_producer="constant" if kind == "weight" else "input",
        )
        if "bias" in arrays:
            if arrays["bias"].shape != layer.output_shape[-1:]:
                expected, given = list(layer.output_shape[-1:]), list(arrays["bias"].shape)
                msg = f"{names['bias']} must have shape {expected}, not {given}"
                raise ValueError(msg)
            self.tensors[names["bias"]] = arrays["bias"]
        self.evaluation[names["lhs"]] = lhs
        self.calibration[names["lhs"]] = arrays.get("calibration", lhs)
        if "calibration" in arrays:
            bind_sizes(
                contraction,
                arrays["calibration"].shape,
                rhs.shape,
                lhs=names["calibration"],
                rhs=names["rhs"],
            )
            self.calibrated.append(name)
        if kind == "weight":
            self.tensors[names["rhs"]] = rhs
        else:
            self.evaluation[names["rhs"]] = self.calibration[names["rhs"]] = rhs
        self.layers.append(layer)

    @property
    def calibration_source(self) -> str:
        """What static schemes calibrate on."""
        own = [layer.name for layer in self.layers if layer.name not in self.calibrated]
        if not own:
            return "calibration arrays of the file"
        if not self.calibrated:
            return "the evaluated operands themselves, since the file has no calibration"
        return f"calibration arrays of the file; for {', '.join(own)} the evaluated operands themselves"


def from_npz(path: str | os.PathLike[str]) -> Network:
    """Make a network of the operands in an ``.npz`` file.

    Parameters
    ----------
    path
        File with arrays ``lhs`` and ``rhs`` of float16, float32 or float64, and optionally

        - ``bias`` [n]: one value for each element of the output's last axis,
        - ``calibration``: another ``lhs`` to choose static scales on; without it static schemes calibrate on ``lhs``
          itself, and ``calibration_source`` of the network says so,
        - ``contraction``: a text as `quant.Contraction.parse` reads it, ``mk,kn->mn`` unless given,
        - ``rhs_kind``: ``weight`` unless given, or ``activation``, which then calibrates on ``rhs`` itself.

        Several layers are ``NAME.lhs``, ``NAME.rhs``, ...; they run side by side, none feeds another.

    Returns
    -------
    network
        Named after the file; layers in the order of the file, a layer without a name is called ``gemm``. All arrays
        are float32 and in memory.

    Raises
    ------
    ValueError
        If the file is missing or malformed; an array is missing, unknown, of a wrong dtype, not finite or empty; or
        shapes do not contract.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", lhs=np.ones((2, 3)), rhs=np.ones((3, 5)))
    ...     network = from_npz(f"{folder}/mine.npz")
    >>> network.name, network.layer("gemm").gemm
    ('mine', Gemm(batch=1, m=2, k=3, n=5))
    """
    file = Path(path)
    builder = _Builder()
    for group, parts in _group(_read_archive(file)).items():
        builder.add(group, parts)
    return Network(
        file.stem,
        f"operands of {file.name}",
        tuple(builder.layers),
        builder.tensors,
        builder.calibration,
        builder.evaluation,
        builder.calibration_source,
        evaluation_source=f"lhs of {file.name}",
    )
