"""Try what chapter 02 says of its small network and of single layers, one change at a time.

    python course.py bench toolkit_causes            # both, about ten minutes, or one of these:

zeros   80 % zeros in the chapter's network: what the rate, the masks, the last layer and the steps cost
ways    layers that a technique refuses or leaves in float: what the other ways make of them

`zeros` trains the chapter's program with five seeds, each with data, first weights and orders of its own, and beside
each pruned network the unpruned one at the same rate.  `ways` is exact: another machine gives the same words.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)

import tensorflow as tf  # isort: skip
import tensorflow_model_optimization as tfmot  # isort: skip
import tf_keras  # isort: skip

from benchmarks._command import measure_parts, start
from utils import tflite_file
from utils.optimize.toolkit.wrapping import shortened
from utils.quiet import quiet

SEEDS = (0, 1, 2, 3, 4)
STEPS_AN_EPOCH = 40
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
SPARSITY = 0.8

# --------------------------------------------------------------------------- 80 % zeros


def pictures(seed: int) -> tuple:
    """The chapter's made-up data: 2,000 pictures to train, 1,000 to choose by."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(size=(10, 16, 16, 1))
    labels = rng.integers(10, size=4000)
    x = (patterns[labels] + 3 * rng.normal(size=(4000, 16, 16, 1))).astype("float32")
    return x[:2000], labels[:2000], x[2000:3000], labels[2000:3000]


def network() -> tf_keras.Model:
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            tf_keras.Input((16, 16, 1), name="picture"),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="conv"),
            layers.Flatten(name="flat"),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(10, name="logits"),
        ]
    )


def trained(model, dataset: tuple, epochs: int, rate, callbacks=()) -> float:
    """`model` trained in place; % right of the validation pictures."""
    x, y, x_val, y_val = dataset
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(rate), loss)
    model.fit(x, y, batch_size=50, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return 100 * float(np.mean(model.predict(x_val, verbose=0).argmax(1) == y_val))


def copied(model: tf_keras.Model) -> tf_keras.Model:
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def schedule(masks: str, steps: int):
    """The chapter's schedule, ten masks up to three quarters of the steps, or all zeros in step 1."""
    sparsity = tfmot.sparsity.keras
    if masks == "one":
        return sparsity.ConstantSparsity(SPARSITY, begin_step=1, end_step=1, frequency=1)
    turn = steps * 3 // 40
    return sparsity.PolynomialDecay(0, SPARSITY, begin_step=0, end_step=10 * turn, frequency=turn)


def falling(rate: float, steps: int):
    """A rate that stays up to the last mask, at three quarters of the steps, and then falls to 0."""
    held = steps * 3 // 4
    return tf_keras.optimizers.schedules.CosineDecay(rate, steps - held, warmup_target=rate, warmup_steps=held)


def pruned(model, dataset: tuple, epochs: int, rate, masks: str, spared: Sequence[str]) -> float:
    """% right of a pruned copy; the layers named in `spared` keep all weights."""
    plan = schedule(masks, epochs * STEPS_AN_EPOCH)

    def wrap(layer):
        if layer.name in spared:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=plan)

    wrapped = tf_keras.models.clone_model(copied(model), clone_function=wrap)
    right = trained(wrapped, dataset, epochs, rate, [tfmot.sparsity.keras.UpdatePruningStep()])
    stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
    zeros = np.mean(stripped.get_layer("hidden").get_weights()[0] == 0)
    assert abs(zeros - SPARSITY) < 0.005, f"{zeros:.1%} zeros"
    return right


def with_interval(values: Sequence[float]) -> str:
    """Mean ± half the 95 % interval of the mean, by Student's t."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.1f} ± {half:.1f}"


def row(where: dict, columns: dict[str, list[float]]) -> dict:
    figures = {name: [round(value, 2) for value in values] for name, values in columns.items()}
    made = {**where, **{name: with_interval(values) for name, values in figures.items()}, "seeds": figures}
    print(made, flush=True)
    return made


def changes() -> Iterator[dict]:
    """One change at a time; the first row is the chapter's program."""
    plain = {"change": "the chapter's program", "masks": "ten", "epochs": 3, "rate": 0.001}
    yield plain
    yield plain | {"change": "logits pruned, too"}
    for rate in RATES:
        if rate != plain["rate"]:
            yield plain | {"change": "rate", "rate": rate}
    yield plain | {"change": "epochs", "epochs": 9}
    yield plain | {"change": "rate falls behind the last mask"}
    for rate in RATES:
        yield plain | {"change": "masks" if rate == plain["rate"] else "masks and rate", "masks": "one", "rate": rate}
    yield plain | {"change": "epochs and rate", "epochs": 9, "rate": 0.003}


def measure_zeros(seeds: Sequence[int] = SEEDS) -> list[dict]:
    """Points lost from the unpruned network, for each change: pruned, and unpruned with the same training."""
    cases = []
    for seed in seeds:
        tf_keras.utils.set_random_seed(seed)
        dataset, model = pictures(seed), network()
        cases.append((model, dataset, trained(model, dataset, 8, 0.001)))
    found, rows = {}, []
    for change in changes():
        late = change["change"].startswith("rate falls")
        epochs, rate = change["epochs"], change["rate"]
        spared = () if change["change"].startswith("logits") else ("logits",)
        lost, control = [], []
        for number, (model, dataset, before) in enumerate(cases):
            plan = falling(rate, epochs * STEPS_AN_EPOCH) if late else rate
            tf_keras.utils.set_random_seed(seeds[number])
            lost.append(before - pruned(model, dataset, epochs, plan, change["masks"], spared))
            place = (epochs, rate, late, number)
            if place not in found:
                tf_keras.utils.set_random_seed(seeds[number])
                plan = falling(rate, epochs * STEPS_AN_EPOCH) if late else rate
                found[place] = before - trained(copied(model), dataset, epochs, plan)
            control.append(found[place])
        rows.append(row(change, {"80 % zeros": lost, "no zeros": control}))
    return rows


# --------------------------------------------------------------------------- ways

MOVES = {"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SHAPE", "STRIDED_SLICE", "PACK", "UNPACK", "TRANSPOSE", "EXPAND_DIMS"}
PICTURE, SEQUENCE, VECTOR = (8, 8, 8), (8, 16), (16,)
K = tf_keras.layers
qat = tfmot.quantization.keras


class Config(qat.QuantizeConfig):
    """The chapter's WeightsAndOutput: the kernel, if there is one, and what comes out, if `output` says so."""

    def __init__(self, output: bool = True) -> None:
        self.output = output

    def get_weights_and_quantizers(self, layer):
        how = {"num_bits": 8, "per_axis": False, "symmetric": True, "narrow_range": True}
        kernel = getattr(layer, "kernel", None)
        return [] if kernel is None else [(kernel, qat.quantizers.LastValueQuantizer(**how))]

    def set_quantize_weights(self, layer, quantize_weights):
        if quantize_weights:
            layer.kernel = quantize_weights[0]

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        how = {"num_bits": 8, "per_axis": False, "symmetric": False, "narrow_range": False}
        return [qat.quantizers.MovingAverageQuantizer(**how)] if self.output else []

    def get_config(self):
        return {"output": self.output}


def chain(shape: tuple, *layers) -> tf_keras.Model:
    return tf_keras.Sequential([tf_keras.Input(shape, name="input"), *layers])


def with_statistics(model: tf_keras.Model, offset: bool = True) -> tf_keras.Model:
    """Its normalizations as training leaves them: numbers that differ; without `offset` they add 0."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        inside = getattr(layer, "layer", layer)  # what `quantize_annotate_layer` marked
        if isinstance(inside, K.BatchNormalization):
            gamma, beta, mean, variance = (rng.uniform(0.5, 1.5, w.shape) for w in inside.get_weights())
            inside.set_weights([gamma, beta, mean, variance] if offset else [gamma, 0 * beta, 0 * mean, variance])
    return model


def examples(model: tf_keras.Model, count: int = 16) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, *model.input_shape[1:])).astype("float32")


def aware(model: tf_keras.Model) -> bytes:
    """Quantization-aware training, of one step at rate 0: `quantize_apply` if a layer is marked, else all."""
    marked = any("Annotate" in type(layer).__name__ for layer in model.layers)
    with qat.quantize_scope({"Config": Config}):
        wrapped = qat.quantize_apply(model) if marked else qat.quantize_model(model)
    x = examples(model)
    wrapped.compile(tf_keras.optimizers.legacy.SGD(0.0), "mse", run_eagerly=True)
    wrapped.fit(x, np.zeros_like(wrapped(x)), verbose=0)
    return converted(wrapped, tf.lite.Optimize.DEFAULT)


def converted(model: tf_keras.Model, *options, batch: int | None = None, calibrate: bool = False) -> bytes:
    if batch is None:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
    else:
        entry = tf.TensorSpec((batch, *model.input_shape[1:]))
        call = tf.function(lambda x: model(x), autograph=False)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function(entry)], model)
    converter.optimizations = list(options)
    if calibrate:
        x = examples(model)
        converter.representative_dataset = lambda: ([one[None]] for one in x)
    return converter.convert()


def by_converter(model: tf_keras.Model) -> bytes:
    """After training, the deprecated way."""
    return converted(model, tf.lite.Optimize.DEFAULT, calibrate=True)


def by_quantizer(model: tf_keras.Model, *options, batch: int | None = None) -> bytes:
    """After training, today's way: the float file, calibrated with one batch."""
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    content = converted(model, *options, batch=batch)
    ((signature, names),) = Interpreter(model_content=content).get_signature_list().items()
    tool = quantizer.Quantizer(bytearray(content))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = tool.calibrate({signature: [{names["inputs"][0]: examples(model, batch or 16)}]})
    return bytes(tool.quantize(ranges).quantized_model)


def seen(content: bytes) -> dict[str, str]:
    """The operators of a file that compute floats, and the types of its weights."""
    operators = tflite_file.File(content).all_operators()
    work = [o for o in operators if o.name not in MOVES]
    floats = Counter(o.name for o in work if o.outputs and o.outputs[0].dtype == "float32")
    weighty = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    makers = {output.index: o for o in operators for output in o.outputs}
    kinds = sorted({_stored(o.inputs[1], makers) for o in work if o.name in weighty})
    names = [f"{name} × {count}" if count > 1 else name for name, count in sorted(floats.items())]
    return {"float operators": ", ".join(names) or "none", "weights": ", ".join(kinds) or "–"}


def _stored(tensor, makers: dict) -> str:
    """The type of the constant that a tensor is computed from."""
    while not tensor.bytes and tensor.index in makers:
        tensor = makers[tensor.index].inputs[0]
    return tensor.dtype + (", sparse" if tensor.sparse else "")


def sparse() -> tf_keras.Model:
    model = chain((64,), K.Dense(64))
    kernel = np.random.default_rng(0).normal(size=(64, 64))
    kernel[np.abs(kernel) < np.quantile(np.abs(kernel), SPARSITY)] = 0
    model.layers[-1].set_weights([kernel, np.zeros(64)])
    return model


def folded() -> tf_keras.Model:
    """A Dense with the normalization behind it multiplied into its weights."""
    model = with_statistics(chain(VECTOR, K.Dense(8), K.BatchNormalization()))
    dense, norm = model.layers
    gamma, beta, mean, variance = norm.get_weights()
    factor = gamma / np.sqrt(variance + norm.epsilon)
    kernel, bias = dense.get_weights()
    alone = chain(VECTOR, K.Dense(8))
    alone.layers[0].set_weights([kernel * factor, (bias - mean) * factor + beta])
    x = examples(model)
    assert np.allclose(model(x), alone(x), atol=1e-5)
    return alone


def mark(layer, output: bool = True):
    return qat.quantize_annotate_layer(layer, Config(output))


def ways() -> list[tuple[str, str, Callable[[], bytes]]]:
    """(what, way, how)."""
    own, after = "QuantizeConfig", "after training"

    def conv_1d(output: bool = True):
        return mark(K.Conv1D(8, 3), output)

    def norm():
        return K.BatchNormalization(momentum=1.0)  # its statistics stay as they are set

    def swish(kind):
        return lambda: aware(with_statistics(chain(PICTURE, kind(), norm(), K.Activation("swish"))))

    def between(function):
        return lambda: aware(chain(VECTOR, K.Dense(8), K.Lambda(function), K.Dense(8)))

    def plain_1d():
        return with_statistics(chain(SEQUENCE, K.Conv1D(8, 3), norm()))

    def recurrent(kind, **how):
        return chain(SEQUENCE, kind(8, **how))

    return [
        ("LSTM, unroll=True", after, lambda: by_quantizer(recurrent(K.LSTM, unroll=True))),
        ("GRU, unroll=True", after, lambda: by_quantizer(recurrent(K.GRU, unroll=True))),
        ("LSTM, unroll=True, batch of 1", after, lambda: by_quantizer(recurrent(K.LSTM, unroll=True), batch=1)),
        ("LSTM, batch of 1", after, lambda: by_quantizer(recurrent(K.LSTM), batch=1)),
        ("normalization alone", own, lambda: aware(with_statistics(chain(PICTURE, mark(norm()))))),
        ("the same, offset 0", own, lambda: aware(with_statistics(chain(PICTURE, mark(norm())), offset=False))),
        ("normalization alone", after, lambda: by_quantizer(with_statistics(chain(PICTURE, norm())))),
        ("Conv1D → normalization", own, lambda: aware(with_statistics(chain(SEQUENCE, conv_1d(), mark(norm()))))),
        ("the same, not rounded between", own, lambda: aware(with_statistics(chain(SEQUENCE, conv_1d(False), norm())))),
        ("Conv1D → normalization", after, lambda: by_quantizer(plain_1d())),
        ("Rescaling with an offset", own, lambda: aware(chain(PICTURE, mark(K.Rescaling(0.5, offset=0.25))))),
        ("Dense → normalization", "quantize_model", lambda: aware(with_statistics(chain(VECTOR, K.Dense(8), norm())))),
        ("the same, folded before", "quantize_model", lambda: aware(folded())),
        ("Conv2D → ReLU(6.0)", "quantize_model", lambda: aware(chain(PICTURE, K.Conv2D(8, 3), K.ReLU(6.0)))),
        ("Conv2D → normalization → swish", "quantize_model", swish(lambda: K.Conv2D(8, 3))),
        ("DepthwiseConv2D → normalization → swish", "quantize_model", swish(lambda: K.DepthwiseConv2D(3))),
        ("Dense, elu inside", after, lambda: by_quantizer(chain(VECTOR, K.Dense(8, activation="elu")))),
        ("Dense → Lambda, 2 · x → Dense", "quantize_model", between(lambda x: 2 * x)),
        ("Dense → Lambda, sin x → Dense", "quantize_model", between(lambda x: tf.sin(x))),
        ("Dense, stored sparse", after, lambda: by_quantizer(sparse(), tf.lite.Optimize.EXPERIMENTAL_SPARSITY)),
    ]  # fmt: skip


def measure_ways() -> list[dict]:
    """One row for each way: what is still float in its file, or how it was refused."""
    rows = []
    for what, way, make in ways():
        tf_keras.utils.set_random_seed(0)
        try:
            with quiet(tell_on_error=False):
                found = seen(make())
        except Exception as error:  # what it says is the result
            found = {"float operators": f"refused: {shortened(error)}", "weights": "–"}
        rows.append({"layers": what, "way": way, **found})
        print(rows[-1], flush=True)
    return rows


PARTS = {"zeros": measure_zeros, "ways": measure_ways}


def main() -> None:
    measure_parts(
        __doc__,
        "toolkit",
        PARTS,
        command="python course.py bench toolkit_causes",
        seeds={"zeros": SEEDS, "ways": SEEDS[:1]},
        notes="zeros: points of validation accuracy lost, mean ± half the 95 % interval over seeds",
    )


if __name__ == "__main__":
    start(main)
