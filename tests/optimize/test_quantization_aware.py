"""Fake quantization, the Toolkit's rewriting and the file that comes out, on models small enough to check by hand."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

import utils
from utils import models
from utils.optimize import quantization
from utils.optimize import quantization_aware as qa

L = tf_keras.layers


def inputs(model, n=60, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, *t.shape[1:])).astype(np.float32) for t in model.inputs]


def stacked(*layers, shape=(8, 8, 3)):
    return tf_keras.Sequential([tf_keras.Input(shape), *layers])


@pytest.fixture(scope="module")
def small():
    """Convolution, batch normalization, ReLU, dense; moving statistics away from their start."""
    tf_keras.utils.set_random_seed(1)
    model = stacked(L.Conv2D(6, 3, use_bias=False, name="conv"), L.BatchNormalization(name="bn"), L.ReLU(name="relu"),
                    L.Flatten(name="flat"), L.Dense(4, name="logits"))
    rng = np.random.default_rng(2)
    gamma = np.array([1.5, -0.7, 0.3, 2.0, -1.1, 0.9], np.float32)
    model.get_layer("bn").set_weights([gamma, *(rng.normal(size=6) for _ in range(2)), rng.uniform(0.5, 2, 6)])
    return model


@pytest.fixture(scope="module")
def aware(small):
    return qa.quantize_aware(small, calibration=inputs(small)[0])


@pytest.fixture(scope="module")
def file(aware):
    return qa.to_tflite(aware)


# ---------------------------------------------------------------- fake quantization


@pytest.mark.parametrize("bits, low, high, narrow", [
    (8, -1.3, 2.1, False), (8, -1.0, 1.0, True), (4, -1.3, 2.1, False), (3, 0.0, 3.0, False), (2, -1.0, 1.0, True),
    (5, -2.5, 0.0, False), (16, -0.2, 7.9, False)])
def test_fake_quantize_equals_tensorflows_forwards_and_backwards(bits, low, high, narrow):
    x = np.random.default_rng(bits).normal(0, 2, 2000).astype(np.float32)
    theirs = tf.quantization.fake_quant_with_min_max_vars
    results = [qa.value_and_gradients(lambda x, lo, hi, b, f=f, k=k: f(x, lo, hi, b, **{k: narrow}), x, low, high, bits)
               for f, k in ((qa.fake_quantize, "narrow"), (theirs, "narrow_range"))]
    step = (high - low) / (2**bits - 1)
    for ours, tensorflows in zip(*results, strict=True):
        assert np.allclose(ours, tensorflows, rtol=1e-4, atol=1e-6 + 0.01 * step * (np.ndim(ours) > 0))


def test_the_range_gradients_are_sums_over_what_was_clipped():
    low, high = tf.constant(-1.0), tf.constant(1.0)
    with tf.GradientTape() as tape:
        tape.watch([low, high])
        y = qa.fake_quantize([-3.0, -2.0, 0.1, 5.0], low, high, 8, narrow=True)
        loss = tf.reduce_sum(y * [1.0, 10.0, 100.0, 1000.0])
    assert [float(g) for g in tape.gradient(loss, [low, high])] == [11.0, 1000.0]


@pytest.mark.parametrize("low, high", [(0.5, 2.0), (-2.0, -1.0), (0.0, 0.0), (1.0, -1.0)])
def test_fake_quantize_refuses_a_range_without_zero(low, high):
    with pytest.raises(ValueError, match="must contain 0"):
        qa.fake_quantize([0.1], low, high)


@pytest.mark.parametrize("bits", [1, 17, 8.0, True, "8", None])
def test_fake_quantize_refuses_bad_bits(bits):
    with pytest.raises(ValueError, match="from 2 to 16"):
        qa.fake_quantize([0.1], -1.0, 1.0, bits)


# ---------------------------------------------------------------- calibrated, untrained


def test_the_models_weights_and_the_model_itself_stay(small, aware):
    assert not any("quant" in layer.name for layer in small.layers)
    kernel = next(w for w in aware.weights if w.name.split("/")[-1].startswith("kernel:"))
    assert np.array_equal(kernel.numpy(), small.get_layer("conv").kernel.numpy())


def test_calibrated_eight_bits_are_near_the_float_model(small, aware):
    x = inputs(small)[0]
    want = small.predict(x, verbose=0)
    assert np.abs(aware.predict(x, verbose=0) - want).max() < 0.05 * np.abs(want).max()


def test_without_calibration_the_ranges_start_at_six(small):
    assert qa.ranges(qa.quantize_aware(small))["relu"] == (-6.0, 6.0)


def test_calibration_covers_exactly_what_it_saw(small, aware):
    x = inputs(small)[0]
    found = qa.ranges(aware)
    start = next(name for name in found if name.startswith("quantize_layer"))
    assert found[start] == (x.min(), x.max())
    assert found["relu"][0] == 0.0 < found["relu"][1]


def test_calibrating_again_forgets_the_first_ranges(small):
    model = qa.quantize_aware(small, calibration=10 * inputs(small)[0])
    qa.calibrate(model, inputs(small)[0])
    fresh = qa.quantize_aware(small, calibration=inputs(small)[0])
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), fresh.get_weights(), strict=True))


def test_calibration_leaves_the_toolkits_functions_as_they_were(small):
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    before = quant_ops.MovingAvgQuantize
    with pytest.raises(ValueError, match="the model takes"):
        qa.calibrate(qa.quantize_aware(small), np.zeros((3, 5), np.float32))
    assert quant_ops.MovingAvgQuantize is before and before.__name__ == "MovingAvgQuantize"


def test_the_mse_range_is_narrower_with_few_bits(small):
    def width(clip):
        return qa.ranges(qa.quantize_aware(small, 2, calibration=inputs(small)[0], clip=clip))["relu"][1]

    assert width("mse") < width("minmax")


def test_few_bits_leave_few_distinct_weights(small):
    for bits, most in ((2, 3), (3, 7), (4, 15)):
        model = qa.quantize_aware(small, (bits, 8), calibration=inputs(small)[0])
        integers, scales = qa.integer_kernel(model, "conv")
        assert integers.min() == -(most // 2) and integers.max() == most // 2 and scales.shape == (6,)


@pytest.mark.parametrize("per_channel, conv, dense", [(None, "channel", "tensor"), (True, "channel", "channel"),
                                                      (False, "tensor", "tensor")])
def test_granularity(small, per_channel, conv, dense):
    rows = {row["layer"]: row for row in qa.precision(qa.quantize_aware(small, (4, 8), per_channel=per_channel))}
    assert rows["conv"]["weights"] == f"4 bits per {conv}" and rows["logits"]["weights"] == f"4 bits per {dense}"
    assert rows["relu"]["output"] == "8 bits" and rows["conv"]["output"] == "float"


# ---------------------------------------------------------------- which layers


@pytest.mark.parametrize("only", ["logits", ["logits"], lambda layer: isinstance(layer, L.Dense)])
def test_only_some_layers(small, only):
    rows = {row["layer"]: row["weights"] for row in qa.precision(qa.quantize_aware(small, only=only))}
    assert rows["logits"] == "8 bits per tensor" and rows["conv"] == "float"


REFUSED = {
    "conv1d": lambda: stacked(L.Conv1D(4, 3, name="no"), L.Flatten(), L.Dense(3), shape=(12, 2)),
    "elu": lambda: stacked(L.Conv2D(4, 3, activation="elu", name="no"), L.Flatten(), L.Dense(3)),
    "bn first": lambda: stacked(L.BatchNormalization(name="no"), L.Conv2D(4, 3), L.Flatten(), L.Dense(3)),
    "prelu": lambda: stacked(L.Dense(4), L.PReLU(name="no"), L.Dense(3), shape=(5,)),
    "distributed": lambda: stacked(L.TimeDistributed(L.Dense(4), name="no"), L.Flatten(), L.Dense(3), shape=(5, 2)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_layer_stays_float_and_the_next_one_is_integer_all_the_same(kind):
    model = REFUSED[kind]()
    assert list(qa.refused_layers(model)) == ["no"]
    with pytest.warns(UserWarning, match=r"left float: no \("):
        made = qa.quantize_aware(model, calibration=inputs(model)[0])
    assert {r["layer"]: r["weights"] for r in qa.precision(made)}["no"] == "float"
    last = [op for op in qa.to_tflite(made).runner.summary() if op.name == "FULLY_CONNECTED"][-1]
    assert last.outputs[0].dtype == "int8"


def test_refusal_can_be_an_error_that_names_the_way_out():
    with pytest.raises(ValueError, match=r"refuses no \(Conv1D\).*configs="):
        qa.quantize_aware(REFUSED["conv1d"](), refused="raise")


def test_operator_layers_attention_and_own_layers_are_refused_by_name():
    class Mine(L.Layer):
        def call(self, x):
            return x * 2.0

    start = tf_keras.Input((6, 8))
    x = L.MultiHeadAttention(2, 4, name="attention")(start, start)
    x = Mine(name="mine")(L.LayerNormalization(name="norm")(L.Add()([start, x])))
    model = tf_keras.Model(start, L.Dense(2)(L.GlobalAveragePooling1D()(x * 3.0)))
    refusals = qa.refused_layers(model)
    assert {"attention", "norm", "mine"} <= set(refusals) and len(refusals) == 4
    assert "BatchNormalization" in refusals["norm"].way_out
    made = qa.quantize_aware(model, refused="float", calibration=inputs(model)[0])
    want, got = (m.predict(inputs(model)[0], verbose=0) for m in (model, made))
    assert np.abs(got - want).max() < 0.1 * np.abs(want).max()


def test_own_configuration_for_a_refused_layer():
    model = REFUSED["conv1d"]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left float, so nothing is said
        made = qa.quantize_aware(model, configs={"no": qa.layer_config(["kernel"])}, calibration=inputs(model)[0])
    assert {r["layer"]: r["weights"] for r in qa.precision(made)}["no"] == "8 bits per tensor"
    assert {op.outputs[0].dtype for op in qa.to_tflite(made).runner.summary()[1:-1]} == {"int8"}


def test_two_inputs_a_shared_layer_and_two_outputs():
    a, b, shared = tf_keras.Input((6,)), tf_keras.Input((6,)), L.Dense(5, activation="relu", name="shared")
    joined = L.Concatenate()([shared(a), shared(b)])
    model = tf_keras.Model([a, b], [L.Dense(2)(joined), L.Dense(1, activation="sigmoid")(joined)])
    x = inputs(model)
    made = qa.quantize_aware(model, calibration=x)
    for want, got in zip(model.predict(x, verbose=0), made.predict(x, verbose=0), strict=True):
        assert np.abs(got - want).max() < 0.05 * np.abs(want).max()


# ---------------------------------------------------------------- the file


def test_folded_batch_normalization_keeps_the_integers_and_scales_the_scales(small, aware, file):
    integers, scales = qa.integer_kernel(aware, "conv")
    names = [op.name for op in file.runner.summary()]
    assert names == ["QUANTIZE", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "DEQUANTIZE"]
    stored, stored_scales = qa.stored_kernel(file, 0)
    gamma, _, _, variance = small.get_layer("bn").get_weights()
    factor = gamma / np.sqrt(variance + small.get_layer("bn").epsilon)
    assert np.array_equal(stored * np.sign(factor), integers)
    assert np.allclose(stored_scales, scales * np.abs(factor), rtol=1e-5)


def test_a_stored_dense_kernel_has_its_units_last(aware, file):
    integers, scale = qa.integer_kernel(aware, "logits")
    stored, stored_scale = qa.stored_kernel(file, 1)
    assert np.array_equal(stored, integers) and np.allclose(stored_scale, scale)
    with pytest.raises(ValueError, match="got 2"):
        qa.stored_kernel(file, 2)


def test_agreement_with_the_file(aware, small, file):
    result = qa.agreement(aware, file, inputs(small, 500, seed=3)[0])
    assert result.share >= 0.995 and result.near_ties == 1.0 and result.largest < 1.5
    assert len(result.margins) == len(result.disagreements) == round(500 * (1 - result.share))


def test_agreement_measures_margins_in_output_steps(aware, small, file):
    class Shifted:
        format, runner = file.format, file.runner

        def predict(self, x):
            return np.roll(file.predict(x), 1, axis=1)

    result = qa.agreement(aware, Shifted(), inputs(small, 200, seed=4)[0])
    assert result.share < 0.7 and result.near_ties < 0.5 and result.largest > 10
    assert (result.margins >= 0).all()


def test_four_bit_weights_are_stored_in_four_bits(small, file):
    four = qa.to_tflite(qa.quantize_aware(small, (4, 8), calibration=inputs(small)[0]))
    assert {op.inputs[1].dtype for op in four.runner.summary() if op.name in ("CONV_2D", "FULLY_CONNECTED")} == {"int4"}
    assert four.size < file.size


@pytest.mark.parametrize("options, text", [
    ({"bits": 4}, "4-bit activations"), ({"bits": (8, 6)}, "6-bit activations"),
    ({"per_channel": True}, "one scale for each unit"), ({"per_channel": False}, "batch normalization behind")])
def test_what_exists_only_in_simulation_is_not_converted(small, options, text):
    with pytest.raises(ValueError, match=text):
        qa.to_tflite(qa.quantize_aware(small, **options))


def test_a_plain_model_is_no_quantized_one(small):
    for call in (qa.to_tflite, lambda m: qa.calibrate(m, inputs(m)[0])):
        with pytest.raises(ValueError, match="no fake quantization"):
            call(small)


def test_agreement_needs_a_quantized_output(aware, small):
    with pytest.raises(ValueError, match="no output step"):
        qa.agreement(aware, quantization.convert(small, "float32"), inputs(small)[0])


# ---------------------------------------------------------------- training, saving


def problem(n=600):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 8, 8, 3)).astype(np.float32)
    return x, x.mean((1, 2)).argmax(axis=1).astype(np.int32)


def test_recover_learns_on_the_grid(small):
    x, y = problem()
    model = qa.quantize_aware(small, 4, calibration=x[:100])
    before = np.mean(model.predict(x, verbose=0).argmax(1) == y)
    history = qa.recover(model, (x, y), 8, learning_rate=3e-3, batch_size=16, seed=1)
    assert history["loss"][-1] < history["loss"][0]
    assert np.mean(model.predict(x, verbose=0).argmax(1) == y) > before + 0.15
    assert len(np.unique(qa.integer_kernel(model, "conv")[0])) <= 15


def test_recover_from_a_teacher_comes_nearer_to_it(small):
    x, y = problem(400)
    model = qa.quantize_aware(small, 3, calibration=x[:100])
    teacher = small.predict(x, verbose=0)
    before = np.mean(np.abs(model.predict(x, verbose=0) - teacher))
    qa.recover(model, (x, np.zeros_like(y)), 4, teacher=small, soft_share=1.0, batch_size=16,
               freeze_statistics=True, seed=1)
    assert np.mean(np.abs(model.predict(x, verbose=0) - teacher)) < before


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_stay_and_the_weights_move(small, frozen):
    model = qa.quantize_aware(small, calibration=problem()[0][:50])
    statistics = [w for w in model.weights if "moving_" in w.name]
    kernel = next(w for w in model.weights if w.name.endswith("kernel:0"))
    before, weights = [w.numpy() for w in statistics], kernel.numpy()
    qa.recover(model, problem(200), freeze_statistics=frozen, seed=1)
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, statistics, strict=True)) == frozen
    assert not np.array_equal(weights, kernel.numpy())
    assert all(layer.layer.trainable for layer in model.layers if hasattr(layer, "layer"))


@pytest.mark.parametrize("keep", [True, False])
def test_zeros_are_kept_when_asked(keep):
    model = models.mlp((8, 8, 3), 4, seed=0, hidden=(6,))
    kernel = model.get_layer("dense_1").kernel
    kernel.assign(kernel * (np.random.default_rng(0).random(kernel.shape) < 0.3))
    zeros = kernel.numpy() == 0
    qa.recover(model, problem(200), keep_zeros=keep, seed=1)
    assert (np.count_nonzero(kernel.numpy()[zeros]) == 0) == keep and np.count_nonzero(kernel.numpy()[~zeros])


def test_a_teacher_must_fit(small):
    with pytest.raises(ValueError, match="same outputs"):
        qa.recover(qa.quantize_aware(small), problem(50), teacher=models.mlp((8, 8, 3), 3, seed=0))
    for option in ({"temperature": 0}, {"soft_share": 1.5}):
        with pytest.raises(ValueError, match=next(iter(option))):
            qa.recover(qa.quantize_aware(small), problem(50), teacher=small, **option)


def test_h5_gives_the_model_back_and_keras_does_not(small, aware, tmp_path):
    qa.save(aware, tmp_path / "model.h5")
    again = qa.load(tmp_path / "model.h5")
    x = inputs(small)[0]
    assert np.array_equal(again.predict(x, verbose=0), aware.predict(x, verbose=0))
    with pytest.raises(ValueError, match=r"must end in \.h5"):
        qa.save(aware, tmp_path / "model.keras")
    aware.save(tmp_path / "model.keras")
    with tfmot.quantization.keras.quantize_scope(), pytest.raises(ValueError, match="expected 5 variables"):
        tf_keras.models.load_model(tmp_path / "model.keras")


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("bits", [1, 9, 4.0, "8", True, (4,), (8, 1), (4, 8, 8), None])
def test_bad_bits(small, bits):
    with pytest.raises(ValueError, match="bits is"):
        qa.quantize_aware(small, bits)


@pytest.mark.parametrize("options, error, text", [
    ({"only": "logit"}, ValueError, "did you mean 'logits'"), ({"only": lambda layer: False}, ValueError, "nothing"),
    ({"refused": "skip"}, ValueError, "'warn', 'float' or 'raise'"),
    ({"configs": {"logits": 8}}, TypeError, "QuantizeConfig"),
    ({"configs": {"logit": None}}, ValueError, "no layer 'logit'"),
    ({"calibration": np.zeros((0, 8, 8, 3), np.float32)}, ValueError, "empty"),
    ({"calibration": np.full((2, 8, 8, 3), np.nan, np.float32)}, ValueError, "NaN"),
    ({"calibration": np.zeros((2, 8, 8), np.float32)}, ValueError, r"takes \(n, 8, 8, 3\)")])
def test_bad_options(small, options, error, text):
    with pytest.raises(error, match=text):
        qa.quantize_aware(small, **options)


def test_models_that_the_toolkit_cannot_rewrite(small, aware):
    class Subclassed(tf_keras.Model):
        def call(self, x):
            return x

    cases = [(stacked(small, L.Dense(2)), ValueError, "flattened"), (Subclassed(), ValueError, "subclassed"),
             (aware, ValueError, "already has fake quantization"), ("model", TypeError, "tf_keras"),
             (tf_keras.Sequential([L.Dense(2)]), ValueError, "no weights yet")]
    for model, error, text in cases:
        with pytest.raises(error, match=text):
            qa.quantize_aware(model)
        with pytest.raises(error, match=text):
            qa.refused_layers(model)


def test_a_configuration_that_quantizes_nothing():
    with pytest.raises(ValueError, match="quantizes nothing"):
        qa.layer_config(activations=())


def test_a_keras_3_model_is_named():
    import keras

    with pytest.raises(TypeError, match="Keras 3"):
        qa.quantize_aware(keras.Sequential())


def test_tensorflow_with_keras_3_came_first():
    code = ("import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow'); "
            "import utils.optimize.quantization_aware")
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=utils.ROOT, env=environment)
    assert done.returncode == 1 and "put `import utils` above `import tensorflow`" in done.stderr
