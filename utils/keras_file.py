"""The `.keras` file as an artifact: packed without what only training needs, run in batches.

A `.keras` file is a zip of three members: `metadata.json`, `config.json` (the layers) and
`model.weights.h5` (their arrays).
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from utils import checks
from utils.formats import ArtifactError

#: The earliest date a zip can hold: one date for all files makes equal models equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
_ONLY_TRAINING = ("optimizer", "metrics")
_CHUNK = 256


def pack(model: Any) -> bytes:
    """The bytes of a `.keras` file that holds architecture and weights, nothing of the training.

    Raises TypeError: if `model` is not a tf_keras model.
    Raises ArtifactError: if Keras cannot save it.
    """
    checks.check_keras(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path, save_format="keras")
        except Exception as error:
            raise ArtifactError(f"Keras cannot save the model {model.name!r}: {error}") from error
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    members["metadata.json"] = _without_date(members["metadata.json"])
    members["config.json"] = _without_compile(members["config.json"])
    members["model.weights.h5"] = _without_training_state(members["model.weights.h5"])
    return _zip(members)


def _without_date(metadata: bytes) -> bytes:
    return json.dumps(json.loads(metadata) | {"date_saved": "1980-01-01@00:00:00"}).encode()


def _without_compile(config: bytes) -> bytes:
    return json.dumps(json.loads(config) | {"compile_config": None}).encode()


def _without_training_state(weights: bytes) -> bytes:
    """Copy the HDF5 file without the optimizer's and the metrics' groups.

    Deleting them in place would leave their bytes in the file.
    """
    import h5py

    packed = io.BytesIO()
    with h5py.File(io.BytesIO(weights), "r") as old, h5py.File(packed, "w") as new:
        for name, value in old.attrs.items():
            new.attrs[name] = value
        for name in old:
            if name not in _ONLY_TRAINING:
                old.copy(name, new)
    return packed.getvalue()


def _zip(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # else Windows writes another byte here
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])
    return packed.getvalue()


def _unzip(content: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in _MEMBERS}
    except KeyError as error:
        raise ArtifactError(f"the zip is not a .keras file: {error}") from error
    except Exception as error:  # each way of packing has errors of its own
        raise ArtifactError(f"the .keras file is damaged ({error}); copy or save it again") from error


def constants(content: bytes) -> dict[str, np.ndarray]:
    """The weights of a `.keras` file by their place in it, read without TensorFlow."""
    import h5py

    found: dict[str, np.ndarray] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and name.split("/")[0] not in _ONLY_TRAINING:
            found[name] = np.asarray(node)

    try:
        with h5py.File(io.BytesIO(_unzip(content)["model.weights.h5"]), "r") as weights:
            weights.visititems(visit)
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"the weights in the .keras file are damaged: {error}") from error
    return found


class Runner:
    """A `.keras` file opened by tf_keras."""

    def __init__(self, content: bytes) -> None:
        import tensorflow as tf

        self.model = _load(content)
        if not self.model.inputs:
            raise ArtifactError(
                f"the model {self.model.name!r} is subclassed and does not say what it takes; build it with the "
                "Functional API, or convert it to another format"
            )
        self.inputs = {tensor.name.split(":")[0]: tensor for tensor in self.model.inputs}
        self._call = tf.function(lambda x: self.model(x, training=False), reduce_retracing=True, autograph=False)

    def run(self, x: Any) -> Any:
        """Outputs for the batch x; see `Artifact.predict`."""
        batch = self._checked(x)
        count = len(next(iter(batch.values())))
        parts = [
            self._invoke({name: values[start : start + _CHUNK] for name, values in batch.items()})
            for start in range(0, count, _CHUNK)
        ]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return next(iter(joined.values())) if len(joined) == 1 else joined

    def prepare(self, x: Any) -> Any:
        """A function that only runs the model on the batch x, already a tensor: for timing."""
        import tensorflow as tf

        batch = self._checked(x)
        tensors = [tf.constant(batch[name]) for name in self.inputs]
        argument = tf.nest.pack_sequence_as(self.model.input, tensors)
        return lambda: tf.nest.map_structure(lambda tensor: tensor.numpy(), self._call(argument))

    def _invoke(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        ordered = [tf.constant(batch[name]) for name in self.inputs]
        outputs = self._call(tf.nest.pack_sequence_as(self.model.input, ordered))
        # The names of the layers, as in a converted file, also where the model gives a dictionary with its own keys.
        names = _unique(self.model.output_names)
        return {n: _float32(y.numpy()) for n, y in zip(names, tf.nest.flatten(outputs), strict=True)}

    def _checked(self, x: Any) -> dict[str, np.ndarray]:
        batch = x if isinstance(x, Mapping) else {next(iter(self.inputs)): x}
        if batch.keys() != self.inputs.keys():
            passed = ", ".join(map(repr, batch)) if isinstance(x, Mapping) else "one array"
            raise ValueError(f"the model takes {{name: array}} with {', '.join(map(repr, self.inputs))}, got {passed}")
        checked = {name: check_input(batch[name], name, tensor) for name, tensor in self.inputs.items()}
        counts = {name: len(values) for name, values in checked.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the inputs have different numbers of examples: {counts}")
        return checked


def check_input(values: Any, name: str, tensor: Any) -> np.ndarray:
    """`values` as the array that the symbolic Keras input `tensor` takes, or a sentence."""
    array = np.asarray(values)
    checks.check_shape(array, tensor.shape, f"input {name!r}")
    return _as_dtype(array, name, np.dtype(tensor.dtype.as_numpy_dtype))


def _as_dtype(array: np.ndarray, name: str, dtype: np.dtype) -> np.ndarray:
    same_kind = array.dtype.kind == dtype.kind or {array.dtype.kind, dtype.kind} == {"i", "u"}
    if not same_kind:
        raise TypeError(
            f"input {name!r} is {array.dtype}, the model takes {dtype}; convert it yourself, "
            "with the scaling the model was trained on"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"input {name!r} contains NaN or infinite values; remove or replace them first")
    return array.astype(dtype, copy=False)


def _load(content: bytes) -> Any:
    """Open with tf_keras in safe mode, which refuses code stored in the file."""
    import tf_keras

    members = _unzip(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(_zip(members))
        try:
            return tf_keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise ArtifactError(
                f"tf_keras cannot load the .keras file: {_first_line(error)}. Layers of your own must be decorated "
                "with tf_keras.saving.register_keras_serializable; a Toolkit wrapper must be stripped first"
            ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300].rstrip(".") if text else type(error).__name__


def _unique(names: list[str]) -> list[str]:
    """Output names, numbered where a layer gives several outputs."""
    return [name if names.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(names)]


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype.kind == "f" else values
