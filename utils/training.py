"""Training with a seed and a progress bar, and networks that are trained only once.

`fit` trains any tf_keras classifier and repeats bit for bit in a fresh process, with the settings of
`utils/__init__.py`.  `trained` gives a trained network: from `data/weights`, from the cache, or by training.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import inspect
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils import FRESH, ROOT, SEED, THREADS, checks, data, models
from utils.nudge import nudged

if TYPE_CHECKING:
    import tf_keras

#: Weights that ship: data/weights/ARCHITECTURE-DATASET.npz, made by benchmarks/weights.py.
WEIGHTS = ROOT / "data" / "weights"

#: The seed of the weights that ship.
SHIPPED_SEED = 0

#: Epochs of `trained` when it has to train: at most a minute on 50,000 pictures with one thread.  The weights that
#: ship were trained for longer; data/results/weights.json has the accuracy of both.
EPOCHS = {"mlp": 10, "lenet_300_100": 10, "lenet5": 2, "depthwise_cnn": 3, "residual_cnn": 2, "transformer": 3}

#: Epochs for an architecture that is not in `EPOCHS`.
OTHER_EPOCHS = 3

# Inputs are expected in [0, 1], or normalized to a few standard deviations; 0..255 and the digits' 0..16 are not.
_LARGEST_INPUT = 10.0


def fit(
    model: tf_keras.Model,
    dataset: data.Dataset | tuple[np.ndarray, np.ndarray],
    epochs: int = 1,
    *,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    decay: bool = False,
    seed: int = SEED,
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    """Compile a classifier with Adam and cross-entropy, and train it in place.

    The loss is taken from logits or from probabilities, whichever the model gives.  Prints nothing but a progress
    bar, which TQDM_DISABLE=1 switches off.

    model: tf_keras model with one input and one output of shape (batch, classes); a model prepared by the
        Toolkit (quantize_model, prune_low_magnitude, cluster_weights) too.
    dataset: a `data.Dataset`, or (pictures, labels); pictures are finite, within ±10, shaped as the model's
        input; labels are whole numbers in [0, classes).
    epochs: passes over the training pictures, at least 1.
    batch_size: pictures a step, at least 1.
    learning_rate: of Adam, above 0.
    decay: let the learning rate fall to 0 along a half cosine (Loshchilov, Hutter, arXiv 1608.03983).
    seed: of shuffling, dropout and augmentation.
    augment: (pictures of a batch, generator) -> pictures of the same shape; see `shifted`.
    callbacks: further tf_keras callbacks, such as the Toolkit's UpdatePruningStep.
    Returns one list a metric, one value an epoch: loss, accuracy and, for a Dataset, val_loss and val_accuracy.
    Raises TypeError: a Keras 3 model, or no model at all.
    Raises ValueError: data that does not fit the model, or an argument out of range.
    Raises FloatingPointError: the loss became NaN or infinite.
    """
    import tf_keras

    checks.check_keras(model)
    check_settings(epochs, batch_size, learning_rate, seed)
    pairs = examples(dataset)
    for part, (x, y) in pairs.items():
        check_examples(model, x, y, part)
    x, y = pairs["train"]
    steps = -(-len(x) // batch_size)
    rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps * epochs) if decay else learning_rate
    _compile(model, rate, _gives_probabilities(model, x))
    tf_keras.utils.set_random_seed(int(seed))
    feed = {"x": x, "y": y, "batch_size": batch_size}
    if augment is not None:
        feed = {"x": _batches(x, y, batch_size, augment, seed), "steps_per_epoch": steps}
    with _progress_bar(model.name, epochs * steps) as bar:
        history = model.fit(
            **feed, epochs=epochs, verbose=0, validation_data=pairs.get("val"), callbacks=[bar, *callbacks]
        ).history
    return _finite(history, learning_rate)


def trained(
    architecture: str | Callable[..., tf_keras.Model],
    dataset: str | data.Dataset = "fashion_mnist",
    *,
    epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = SEED,
    fresh: bool = FRESH,
) -> tf_keras.Model:
    """A trained network, without training it twice.

    1. Weights that ship are used for default settings, seed 0 and a whole data set.  They had a **longer** schedule
       than step 3, so they are better; data/results/weights.json has epochs and accuracy of both.
    2. Else weights from the cache (`data.cache_folder`).  Their key is the content of all that made them: code,
       initial weights, data, settings, versions, threads.  A damaged entry is made again.
    3. Else it is trained with `fit` (decaying learning rate) and put into the cache.  Processes that ask at the
       same time train once: the others wait.

    architecture: a name of `models.ARCHITECTURES`, or a function that returns an untrained tf_keras model. The
        function is given those of input_shape, num_classes and seed that it accepts.
    dataset: a name for `data.load`, or a `data.Dataset`.
    epochs: None for `EPOCHS[architecture]`, which takes at most a minute on one thread.
    batch_size, learning_rate: as in `fit`.
    seed: of the initial weights and of training.
    fresh: train even if weights are there; COURSE_FRESH=1 sets it.
    Returns a compiled tf_keras model of its own (changing it changes no other), with a new optimizer.
    Raises ValueError: an unknown name (the nearest one is suggested) or bad settings.
    Raises TypeError: the function does not return a tf_keras model.
    """
    import tf_keras

    build = _architecture(architecture)
    dataset = data.load(dataset) if isinstance(dataset, str) else dataset
    if not isinstance(dataset, data.Dataset):
        raise ValueError(f"dataset is a {type(dataset).__name__}; pass a data.Dataset or a name for data.load")
    default = epochs is None and (batch_size, learning_rate) == (128, 2e-3)
    epochs = EPOCHS.get(_name(build), OTHER_EPOCHS) if epochs is None else epochs
    check_settings(epochs, batch_size, learning_rate, seed)
    epochs, batch_size, seed, learning_rate = int(epochs), int(batch_size), int(seed), float(learning_rate)  # for JSON
    tf_keras.utils.set_random_seed(seed)  # for functions that take no seed
    model = _build(build, dataset, seed)
    if not (default and seed == SHIPPED_SEED and not fresh and _load_shipped(model, build, dataset)):
        settings = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
        path = data.cache_folder() / "trained" / f"{_name(build)}-{_key(model, build, dataset, settings)}.npz"
        _load_or_train(model, dataset, path, settings, fresh)
    _compile(model, learning_rate, _gives_probabilities(model, dataset.x_train))
    return model


def shifted(pictures: np.ndarray, rng: np.random.Generator, pixels: int = 2) -> np.ndarray:
    """Move each picture by up to `pixels` in each direction; what becomes free is 0.

    pictures: shape (n, height, width, channels).
    rng: draws one shift a picture and axis, uniform on -pixels..pixels.
    pixels: largest shift.
    Returns a new array of the same shape and type.
    """
    n, height, width, _ = pictures.shape
    padded = np.pad(pictures, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    down, right = rng.integers(0, 2 * pixels + 1, size=(2, n, 1))
    rows, columns = down + np.arange(height), right + np.arange(width)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def share_correct(model: tf_keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Share of examples whose largest output is at their label, in [0, 1]; `measure.statistics` has its interval.

    model: one output of shape (n, classes).
    x: its inputs, (n, ...).
    y: whole numbers of shape (n,), in [0, classes).
    Raises TypeError: no tf_keras model.
    Raises ValueError: labels or outputs of another shape (they would be compared all with all), labels beyond the
        classes, or outputs that are NaN.
    """
    checks.check_keras(model)
    outputs, y = np.asarray(model.predict(x, batch_size=1000, verbose=0)), np.asarray(y)
    if outputs.ndim != 2 or y.shape != outputs.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(
            f"the outputs have shape {outputs.shape}, the labels {y.shape} of {y.dtype}; pass a classifier with "
            "outputs (n, classes) and n whole numbers"
        )
    if outputs.shape[1] < 2:  # whose largest output is always the first
        raise ValueError(
            f"{model.name} gives one output, {outputs.shape}; pass a classifier of 2 or more classes, or compare it "
            "with a half yourself"
        )
    if len(y) and not 0 <= y.min() <= y.max() < outputs.shape[1]:
        raise ValueError(
            f"the labels reach from {y.min()} to {y.max()}; {model.name} has {outputs.shape[1]} classes, so pass "
            f"labels from 0 to {outputs.shape[1] - 1}"
        )
    if np.isnan(outputs).any():
        raise ValueError(f"{model.name} gives NaN for {int(np.isnan(outputs).any(axis=1).sum())} of {len(y)} examples")
    return float(np.mean(outputs.argmax(axis=1) == y))


def save_weights(model: tf_keras.Model, path: Path) -> None:
    """Store all weights, moving statistics too, as a compressed npz; equal weights give equal bytes."""
    names = [weight.name.removesuffix(":0").replace("/", ".") for weight in model.weights]
    arrays = {f"{i:02d}_{name}": value for i, (name, value) in enumerate(zip(names, model.get_weights(), strict=True))}
    data.write_npz(Path(path), arrays)


def load_weights(model: tf_keras.Model, path: Path) -> None:
    """Give `model` the weights of `save_weights`, which go by order, not by name.

    Raises FileNotFoundError: there is no such file.
    Raises ValueError: the file is damaged, holds NaN, or has other shapes than the model.
    """
    try:
        values = list(data.read_npz(Path(path).read_bytes()).values())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    stored, wanted = [value.shape for value in values], [tuple(weight.shape) for weight in model.weights]
    if stored != wanted:
        raise ValueError(f"{path} holds weights of shapes {stored}, but {model.name} has {wanted}; pass its own file")
    if not all(np.isfinite(value).all() for value in values):
        raise ValueError(f"{path} holds weights that are NaN or infinite")
    model.set_weights(values)


# -- fit ---------------------------------------------------------------------------------------------------------


def _compile(model: tf_keras.Model, learning_rate: object, probabilities: bool) -> None:
    import tf_keras

    model.compile(
        tf_keras.optimizers.Adam(learning_rate),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities),
        metrics=["accuracy"],
    )


def _gives_probabilities(model: tf_keras.Model, x: np.ndarray) -> bool:
    """True when the outputs for a few pictures are distributions: asked of the model, as a wrapper hides a softmax."""
    return are_probabilities(np.asarray(model(x[:8], training=False)))


def are_probabilities(outputs: np.ndarray) -> bool:
    """Whether each row, along the last axis, is a distribution: at least 0, with the sum 1."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3))


def examples(dataset: object) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{"train": (x, y), "val": (x, y)} of a Dataset, only "train" of a pair; ValueError for anything else."""
    if isinstance(dataset, data.Dataset):
        pairs = {"train": (dataset.x_train, dataset.y_train), "val": (dataset.x_val, dataset.y_val)}
        return pairs if len(dataset.x_val) else {"train": pairs["train"]}
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        return {"train": (np.asarray(dataset[0]), np.asarray(dataset[1]))}
    raise ValueError(f"dataset is a {type(dataset).__name__}; pass a data.Dataset, or a pair (pictures, labels)")


def check_settings(epochs: object, batch_size: object, learning_rate: object, seed: object) -> None:
    """Raise ValueError unless these are usable as in `fit`."""
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}; pass a whole number of at least 1")
    number = isinstance(learning_rate, (int, float, np.number)) and not isinstance(learning_rate, bool)
    if not number or not 0 < learning_rate < 100:
        raise ValueError(f"learning_rate is {learning_rate!r}; pass a number above 0, such as 0.001")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed!r}; pass a whole number from 0 to 4294967295")


def check_examples(model: tf_keras.Model, x: np.ndarray, y: np.ndarray, part: str) -> None:
    """Refuse data on which `model` would fail obscurely, or train on nonsense without a word."""
    if len(x) == 0:
        raise ValueError(f"the {part} pictures are empty; pass at least one")
    if len(x) != len(y):
        raise ValueError(f"there are {len(x):,} {part} pictures but {len(y):,} labels; pass as many")
    if not model.built:
        model(x[:1])
    _check_inputs(model, x, part)
    _check_labels(model, y, part)


def _check_inputs(model: tf_keras.Model, x: np.ndarray, part: str) -> None:
    checks.check_shapes_known(model)
    wanted = model.input_shape
    if isinstance(wanted, (list, dict)):
        raise ValueError(f"{model.name} has {len(wanted)} inputs; pass a model with one")
    if x.ndim != len(wanted) or any(w not in (None, n) for w, n in zip(wanted[1:], x.shape[1:], strict=True)):
        raise ValueError(f"the {part} pictures have shape {x.shape}; {model.name} takes {wanted}")
    if x.dtype.kind in "USO":
        raise ValueError(
            f"the {part} inputs are text or objects ({x.dtype}); prepare them before, x = layer(text), and pass the "
            "model that begins behind that layer"
        )
    if model.inputs and model.inputs[0].dtype.is_integer:  # token numbers, not pictures
        if not np.issubdtype(x.dtype, np.integer):
            raise ValueError(f"the {part} inputs are {x.dtype}; {model.name} takes whole numbers")
        return
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"the {part} pictures are {x.dtype}; pass floats in [0, 1]: x.astype('float32') / 255")
    low, high = float(x.min()), float(x.max())  # NaN if there is one NaN
    if not np.isfinite([low, high]).all():
        raise ValueError(f"the {part} pictures contain NaN or infinity; remove those first (np.isfinite finds them)")
    if max(-low, high) > _LARGEST_INPUT:
        raise ValueError(
            f"the {part} pictures reach from {low:g} to {high:g}; pass values in [0, 1]: divide by {max(-low, high):g}"
        )


def _check_labels(model: tf_keras.Model, y: np.ndarray, part: str) -> None:
    if isinstance(model.output_shape, (list, dict)) or len(model.output_shape) != 2 or model.output_shape[-1] < 2:
        raise ValueError(
            f"{model.name} gives {model.output_shape}; pass a classifier: (batch, classes), 2 or more classes"
        )
    if checks.ends_in_sigmoids(model):
        raise ValueError(
            f"{model.name} ends in a sigmoid for each of {model.output_shape[-1]} outputs, so several may be true at "
            "once; pass a classifier that ends in logits or softmax"
        )
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        of = "a column of labels y[:, 0]" if y.shape[1:] == (1,) else "one-hot labels y.argmax(axis=1)"
        raise ValueError(
            f"the {part} labels are {y.dtype} of shape {y.shape}; pass whole numbers of shape (n,), for {of}"
        )
    if y.min() < 0 or y.max() >= model.output_shape[-1]:
        raise ValueError(
            f"the {part} labels reach from {y.min()} to {y.max()}; {model.name} has {model.output_shape[-1]} outputs, "
            f"so pass labels from 0 to {model.output_shape[-1] - 1}"
        )


def _batches(x: np.ndarray, y: np.ndarray, batch_size: int, augment: Callable, seed: int) -> Iterator[tuple]:
    """Shuffled, augmented batches without end; each epoch in an order of its own."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            yield augment(x[rows], rng), y[rows]


@contextlib.contextmanager
def _progress_bar(name: str, steps: int) -> Iterator[tf_keras.callbacks.Callback]:
    """A callback that moves a tqdm bar; tqdm.keras would import Keras 3."""
    import tf_keras
    from tqdm.auto import tqdm

    off = os.environ.get("TQDM_DISABLE", "") not in ("", "0")  # tqdm itself reads it only when imported
    with tqdm(total=steps, desc=f"training {name}", unit="batch", leave=False, disable=off) as bar:

        def after_epoch(epoch: int, logs: dict) -> None:
            bar.set_postfix({metric: f"{value:.4f}" for metric, value in logs.items()}, refresh=False)

        yield tf_keras.callbacks.LambdaCallback(on_epoch_end=after_epoch, on_batch_end=lambda batch, logs: bar.update())


def _finite(history: dict, learning_rate: float) -> dict[str, list[float]]:
    """The history as plain floats; FloatingPointError when training diverged."""
    plain = {metric: [float(value) for value in values] for metric, values in history.items()}
    bad = [epoch for epoch, loss in enumerate(plain["loss"], 1) if not np.isfinite(loss)]
    if bad:
        raise FloatingPointError(
            f"the loss is {plain['loss'][bad[0] - 1]} in epoch {bad[0]}: training diverged and the weights are "
            f"useless; pass a learning_rate below {learning_rate:g}"
        )
    return plain


# -- trained -----------------------------------------------------------------------------------------------------


def _architecture(architecture: object) -> Callable[..., tf_keras.Model]:
    """The function behind a name, or the function itself."""
    if callable(architecture):
        return architecture
    if isinstance(architecture, str) and architecture in models.ARCHITECTURES:
        return models.ARCHITECTURES[architecture]
    near = difflib.get_close_matches(str(architecture), models.ARCHITECTURES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"pass one of {', '.join(models.ARCHITECTURES)}, or a function"
    raise ValueError(f"there is no architecture {architecture!r}; {hint}")


def _name(build: Callable) -> str:
    """Name of a function; a functools.partial has none of its own."""
    return getattr(getattr(build, "func", build), "__name__", type(build).__name__).strip("<>")


def _build(build: Callable[..., tf_keras.Model], dataset: data.Dataset, seed: int) -> tf_keras.Model:
    offered = {"input_shape": dataset.input_shape, "num_classes": dataset.num_classes, "seed": int(seed)}
    for fixed in getattr(build, "keywords", {}):  # functools.partial(models.mlp, num_classes=3) means it
        offered.pop(fixed, None)
    parameters = inspect.signature(build).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    model = build(**{name: value for name, value in offered.items() if anything or name in parameters})
    checks.check_keras(model)
    return model


def shipped_path(architecture: str, dataset: str) -> Path:
    """Where the weights of that network ship, if they do."""
    return WEIGHTS / f"{architecture}-{dataset}.npz"


def _load_shipped(model: tf_keras.Model, build: Callable, dataset: data.Dataset) -> bool:
    """Give `model` the weights that ship; False when none ship for this function and exactly this data."""
    path = shipped_path(_name(build), dataset.name)
    if models.ARCHITECTURES.get(_name(build)) is not build or not path.exists():
        return False
    if dataset is not data.load(dataset.name):  # a subset keeps the name
        return False
    sums = dict(reversed(line.split()) for line in (WEIGHTS / "SHA256SUMS").read_text().splitlines())
    if hashlib.sha256(path.read_bytes()).hexdigest() != sums.get(path.name):
        raise ValueError(
            f"{path} is not the file that the course ships; restore it with "
            f"`git checkout -- data/weights`, or train with fresh=True"
        )
    load_weights(model, path)
    model.set_weights([nudged(weight) for weight in model.get_weights()])
    return True


def _load_or_train(model: tf_keras.Model, dataset: data.Dataset, path: Path, settings: dict, fresh: bool) -> None:
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not fresh:
            with contextlib.suppress(OSError, ValueError):  # absent or damaged: train
                return load_weights(model, path)
        fit(model, dataset, **settings, decay=True)
        try:
            save_weights(model, path)
        except OSError as error:
            warnings.warn(f"the trained {model.name} could not be kept in {path.parent} ({error})", stacklevel=3)


def _key(model: tf_keras.Model, build: Callable, dataset: data.Dataset, settings: dict) -> str:
    """What the weights after training depend on, as 16 hexadecimal digits.

    Initial weights are part of it, because a function may depend on variables that its source does not show.
    """
    import tensorflow as tf
    import tf_keras

    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(value.tobytes())
    surroundings = (tf.__version__, tf_keras.__version__, THREADS, os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
    parts = (_structure(model), _source(build), Path(__file__).read_text("utf-8"), dataset.fingerprint, surroundings)
    digest.update(json.dumps([settings, *parts], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _structure(model: tf_keras.Model) -> str:
    """The model as JSON, layers by number: automatic names count up within a process."""
    text = model.to_json()
    for number, layer in enumerate([model, *model.layers]):
        text = text.replace(f'"{layer.name}"', f'"#{number}"')
    return text


def _source(build: Callable) -> str:
    try:
        return inspect.getsource(build)
    except (OSError, TypeError):  # typed at a prompt, or a partial: initial weights and structure must do
        return ""
