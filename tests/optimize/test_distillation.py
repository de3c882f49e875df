"""Distillation: the loss is Hinton's, the teacher stays as it is, and what does not fit is refused with a sentence."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.optimize import distillation as kd
from utils.optimize import recovery
from utils.optimize.distillation import Distiller, distil

K = tf_keras.layers


def problem(n=240, seed=3):
    """Three classes, told by which of three groups of numbers is largest."""
    x = np.random.default_rng(seed).normal(size=(n, 4, 4, 3)).astype(np.float32)
    return x, x.mean((1, 2)).argmax(axis=1).astype(np.int32)


def dense(seed, units=8, classes=3, softmax=False, name=None):
    tf_keras.utils.set_random_seed(seed)
    return tf_keras.Sequential(
        [
            tf_keras.Input((4, 4, 3)),
            K.Flatten(),
            K.Dense(units, "relu", name="hidden"),
            K.Dense(classes, "softmax" if softmax else None, name="last"),
        ],
        name=name,
    )


def convolutional(seed, channels=6):
    """Branched, with batch normalization and dropout."""
    tf_keras.utils.set_random_seed(seed)
    inputs = tf_keras.Input((4, 4, 3))
    x = K.Conv2D(channels, 3, padding="same", name="conv")(inputs)
    x = K.ReLU(name="relu")(K.BatchNormalization()(x))
    x = K.Add()([x, K.Conv2D(channels, 1)(inputs)])
    x = K.Dropout(0.3)(K.GlobalAveragePooling2D()(x))
    return tf_keras.Model(inputs, K.Dense(3)(x))


def taught(model, x, y, epochs=25):
    model.compile(tf_keras.optimizers.Adam(1e-2), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def teacher():
    return taught(dense(0, 24, name="teacher"), *problem())


@pytest.fixture(scope="module")
def convolutional_teacher():
    return taught(convolutional(0), *problem(), 10)


def compiled(distiller, rate=1e-2):
    distiller.compile(tf_keras.optimizers.Adam(rate), metrics=["accuracy"])
    return distiller


def softmax(z):
    powers = np.exp(z - z.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


# ---------------------------------------------------------------- the loss


def by_hand(label, given, z, temperature, share):
    soft = -(softmax(given / temperature) * np.log(softmax(z / temperature))).sum(-1)
    hard = -np.log(softmax(z))[np.arange(len(label)), label]
    return share * temperature**2 * soft + (1 - share) * hard


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1, 2, 4, 20]), st.sampled_from([0, 0.3, 1]))
def test_the_loss_is_hintons_and_its_gradient_the_numerical_one(seed, temperature, share):
    rng = np.random.default_rng(seed)
    given, z = rng.normal(0, 4, (2, 5, 4))
    label = rng.integers(0, 4, 5)
    one_hot = np.eye(4)[label]
    variable = tf.Variable(z)
    with tf.GradientTape() as tape:
        loss = kd.distillation_loss(one_hot, tf.constant(given), variable, temperature, share)
    assert np.allclose(loss, by_hand(label, given, z, temperature, share))
    gradient, step = tape.gradient(loss, variable).numpy(), 1e-5
    for column in range(4):
        moved = step * np.eye(4)[column]
        slope = by_hand(label, given, z + moved, temperature, share)
        slope = (slope - by_hand(label, given, z - moved, temperature, share)) / (2 * step)
        assert np.allclose(gradient[:, column], slope, atol=1e-6)
    soft = temperature * (softmax(z / temperature) - softmax(given / temperature))
    assert np.allclose(gradient, share * soft + (1 - share) * (softmax(z) - one_hot))


def test_at_a_high_temperature_the_gradient_is_that_of_matching_logits():
    given, z = np.random.default_rng(0).normal(size=(2, 6, 10))
    given, z = (a - a.mean(-1, keepdims=True) for a in (given, z))
    variable = tf.Variable(z)
    with tf.GradientTape() as tape:
        loss = kd.distillation_loss(np.eye(10)[:6], tf.constant(given), variable, 1e4, 1.0)
    assert np.allclose(tape.gradient(loss, variable), (z - given) / 10, atol=1e-4)


@given(st.floats(0.5, 50), st.integers(0, 1000))  # colder, two largest of 1 would be equal after rounding
def test_softening_keeps_the_order_and_lowers_the_largest(temperature, seed):
    z = np.random.default_rng(seed).normal(0, 3, (4, 6))
    soft = kd.soften(z, temperature)
    assert np.allclose(soft.sum(-1), 1) and np.array_equal(soft.argsort(-1), z.argsort(-1))
    assert (kd.soften(z, 2 * temperature).max(-1) < soft.max(-1)).all()


def test_an_average_is_of_probabilities_whatever_scale_the_logits_have():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 4))
    b = 10 * b
    mean = (softmax(a) + softmax(b)) / 2
    assert np.allclose(softmax(kd.averaged([a, b])), mean, atol=1e-6)
    assert np.allclose(softmax(kd.averaged([softmax(a), b])), mean, atol=1e-6)
    assert not np.allclose(softmax((a + b) / 2), mean, atol=0.05)


def test_an_average_of_16_bits_is_made_in_64():
    wide = np.random.default_rng(0).normal(0, 2, (2, 4, 2000)).astype(np.float16)
    mean = softmax(wide.astype(np.float64)).mean(0)
    assert np.abs(softmax(kd.averaged(list(wide)).astype(np.float64)) / mean - 1).max() < 1e-5
    large = np.array([[60000, -60000, 0]], np.float16)
    assert np.isfinite(kd.averaged([large, large])).all()


@pytest.mark.parametrize(
    "outputs, words",
    [
        ([], "or empty"),
        ({"a": np.zeros((2, 3)) - 1}, "outputs is a dict"),
        ((each for each in [np.zeros((2, 3)) - 1]), "outputs is a generator"),
        (np.zeros((5, 3)) - 1, r"pass \(n, classes\) of each"),  # one network's, not a list of them
        ([np.zeros((2, 3)) - 1, np.zeros((3, 3)) - 1], "same examples"),
        ([np.array([[51, 204]], np.uint8)], "integers of a quantized file"),
        ([np.array([[-100, 27]], np.int8)], r"int8, the integers of a quantized file; pass real numbers: scale"),
        ([np.array([[0.2, 0.81]])], "probabilities that were rounded"),  # as logits they would be 0.35 and 0.65
    ],
)
def test_what_is_no_list_of_outputs(outputs, words):
    with pytest.raises(ValueError, match=words):
        kd.averaged(outputs)


@given(st.integers(0, 1000), st.sampled_from([0.01, 0.1, 0.5, 0.97]))
def test_what_is_added_to_a_class_gives_it_its_frequency(seed, share):
    z = np.random.default_rng(seed).normal(0, 3, (30, 4))
    z[:, 2] -= 8
    z[:, 2] += kd.logit_to_add(z, 2, share)
    assert kd.soften(z)[:, 2].mean() == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("column, share, words", [(4, 0.1, "no column 4"), (0, 0, "share is 0"), (0, 1, "share is 1")])
def test_a_class_or_frequency_that_cannot_be(column, share, words):
    with pytest.raises(ValueError, match=words):
        kd.logit_to_add(np.zeros((3, 4)) - 1, column, share)


def test_an_attention_map_is_where_the_layer_is_active():
    activations = np.zeros((2, 2, 2, 3), np.float32)
    activations[0, 1, 0] = 3, 0, 4
    activations[1, :, 0, 0] = 1
    found = kd.attention_map(activations).numpy()
    assert np.allclose(found, [[0, 0, 1, 0], [0.5**0.5, 0, 0.5**0.5, 0]])
    half = kd.attention_map((300 * activations).astype(np.float16))  # 300² is infinite in float16
    assert np.allclose(half, found) and np.allclose(kd.attention_map(activations.astype(int)), found)
    for factor in (1e-20, 1e-4, 1e10):  # whose fourth powers are 0 or infinite in float32
        assert np.allclose(kd.attention_map(factor * activations), found)
    assert (
        kd.attention_map(np.zeros((0, 2, 2, 3))).shape == (0, 4) and not kd.attention_map(0 * activations).numpy().any()
    )
    with pytest.raises(ValueError, match="shape"):
        kd.attention_map(activations[0, 0])


# ---------------------------------------------------------------- what is trained


def test_a_student_comes_nearer_to_its_teacher_which_stays_equal_to_the_bit(teacher):
    x, y = problem()
    before = teacher.get_weights()
    student = dense(1, 5)
    apart = np.abs(student.predict(x, verbose=0) - teacher.predict(x, verbose=0)).mean()
    history = distil(student, (x, y), 20, teacher=teacher, learning_rate=1e-2, batch_size=32)
    assert history["loss"][-1] < history["loss"][0]
    assert np.abs(student.predict(x, verbose=0) - teacher.predict(x, verbose=0)).mean() < apart / 2
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))


def test_logits_in_the_teachers_place_give_the_same_student(teacher):
    x, y = problem()
    one, other = dense(1, 5), dense(1, 5)
    distil(one, (x, y), 2, teacher=teacher, seed=4)
    distil(other, (x, y), 2, teacher=kd.logits(teacher, x), seed=4)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-6)


def test_without_labels_only_the_teacher_is_learnt(teacher):
    x, _ = problem()
    student = dense(1, 5)
    distil(student, (x, None), 20, teacher=teacher, soft_share=1, learning_rate=1e-2, batch_size=32)
    agree = student.predict(x, verbose=0).argmax(1) == teacher.predict(x, verbose=0).argmax(1)
    assert agree.mean() > 0.8
    with pytest.raises(ValueError, match="no labels"):
        distil(student, (x, None), teacher=teacher)


def test_logits_of_zero_are_label_smoothing(teacher):
    x, y = problem()
    one, other = dense(1, 5), dense(1, 5)
    distil(one, (x, y), 3, teacher=np.zeros((len(x), 3)), temperature=1, soft_share=0.3, decay=False, seed=4)
    other.compile(
        tf_keras.optimizers.Adam(1e-3), tf_keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3)
    )
    tf_keras.utils.set_random_seed(4)
    other.fit(x, np.eye(3, dtype=np.float32)[y], batch_size=128, epochs=3, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("softmax_student", [False, True])
def test_probabilities_are_detected_and_teach_the_same(teacher, softmax_student):
    x, y = problem()
    ends_in_softmax = tf_keras.Sequential([teacher, K.Softmax()])
    students = [dense(1, 5, softmax=softmax_student) for _ in range(2)]
    for student, each in zip(students, (teacher, ends_in_softmax), strict=True):
        distil(student, (x, y), 3, teacher=each, seed=1)
    for a, b in zip(*(student.get_weights() for student in students), strict=True):
        assert np.allclose(a, b, atol=1e-3)


def test_a_softmax_student_learns_as_one_of_logits(teacher):
    x, y = problem()
    plain, ending = dense(1, 5), dense(1, 5, softmax=True)
    for student in (plain, ending):
        distil(student, (x, y), 3, teacher=teacher, seed=1)
    assert np.allclose(softmax(plain.predict(x, verbose=0)), ending.predict(x, verbose=0), atol=1e-3)


def test_the_distiller_does_what_distil_does(teacher):
    x, y = problem()
    one, other = dense(1, 5), dense(1, 5)
    distil(one, (x, y), 2, teacher=teacher, learning_rate=1e-2, decay=False, batch_size=32, seed=4)
    distiller = compiled(Distiller(teacher=teacher, student=other))
    tf_keras.utils.set_random_seed(4)
    distiller.fit(x, y, batch_size=32, epochs=2, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_fine_tuning_with_a_teacher_has_the_same_loss(teacher):
    x, y = problem()
    one, other = dense(1, 5), dense(1, 5)
    settings = {"temperature": 3.0, "soft_share": 0.8, "batch_size": 32, "learning_rate": 1e-2, "seed": 4}
    distil(one, (x, y), 2, teacher=teacher, **settings)
    recovery.recover(other, (x, y), 2, teacher=teacher, **settings)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_a_pipeline_asks_the_teacher_batch_by_batch_and_learns_the_same(teacher):
    x, y = problem()
    students = [dense(1, 5), dense(1, 5)]
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(40)
    compiled(Distiller(teacher=teacher, student=students[0])).fit(batches, epochs=2, verbose=0)
    compiled(Distiller(teacher=teacher, student=students[1])).fit(
        x, y, batch_size=40, epochs=2, shuffle=False, verbose=0
    )
    for a, b in zip(*(student.get_weights() for student in students), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_normalization_and_dropout_train_in_the_student_and_rest_in_the_teacher(convolutional_teacher):
    x, y = problem()
    teacher, student = convolutional_teacher, convolutional(1, 3)
    before, mine = teacher.get_weights(), student.get_weights()
    compiled(Distiller(teacher=teacher, student=student)).fit(x, y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(mine, student.get_weights(), strict=True))


@pytest.mark.parametrize("how", ["features", "attention"])
def test_layers_are_matched_and_channels_translated(convolutional_teacher, how):
    x, y = problem()
    student, match = convolutional(1, 3), {how: {"relu": "relu"}}
    distiller = compiled(Distiller(teacher=convolutional_teacher, student=student, match_weight=10, **match))
    losses = distiller.fit(x, y, epochs=12, verbose=0).history["match"]
    assert losses[-1] < 0.8 * losses[0]
    assert len(distiller.trainable_weights) == len(student.trainable_weights) + (2 if how == "features" else 0)


def test_where_a_layer_of_a_sequence_is_active_is_matched():
    def of_steps(width):
        layers = [tf_keras.Input((6, 2)), K.Conv1D(width, 3, activation="relu", name="conv"), K.Flatten(), K.Dense(3)]
        return tf_keras.Sequential(layers)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6, 2)).astype(np.float32), rng.integers(0, 3, 64)
    distiller = Distiller(teacher=of_steps(8), student=of_steps(2), attention={"conv": "conv"}, match_weight=10)
    losses = compiled(distiller).fit(x, y, epochs=12, verbose=0).history["match"]
    assert losses[-1] < 0.8 * losses[0]


def test_evaluate_and_predict_are_the_students(teacher):
    x, y = problem()
    student = dense(1, 5)
    distiller = compiled(Distiller(teacher=teacher, student=student, soft_share=0.7))
    history = distiller.fit(x, y, validation_data=(x, y), verbose=0).history
    found = distiller.evaluate(x, y, verbose=0, return_dict=True)
    assert np.array_equal(distiller.predict(x, verbose=0), student.predict(x, verbose=0))
    assert found["accuracy"] == pytest.approx(np.mean(student.predict(x, verbose=0).argmax(1) == y))
    want = by_hand(y, teacher.predict(x, verbose=0), student.predict(x, verbose=0), 4.0, 0.7).mean()
    assert found["loss"] == pytest.approx(want, rel=1e-4) == history["val_loss"][-1]
    assert found["loss"] == pytest.approx(0.7 * found["soft"] + 0.3 * found["hard"], rel=1e-5)


@pytest.mark.parametrize("features", [None, {"relu": "relu"}])
def test_a_saved_distiller_goes_on_where_it_was(convolutional_teacher, tmp_path, features):
    x, y = problem()
    distiller = compiled(Distiller(teacher=convolutional_teacher, student=convolutional(1, 3), features=features))
    distiller.fit(x, y, epochs=1, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    loaded = tf_keras.models.load_model(tmp_path / "distiller.keras")
    assert np.allclose(loaded.predict(x, verbose=0), distiller.predict(x, verbose=0), atol=1e-6)
    assert np.array_equal(loaded.teacher.get_weights()[0], distiller.teacher.get_weights()[0])
    assert loaded.get_config()["temperature"] == 4.0 and int(loaded.optimizer.iterations) == 8
    assert loaded.fit(x, y, verbose=0).history["loss"][0] < 100


def test_a_weighted_example_counts_as_often(teacher):
    x, y = problem(60)
    distiller = compiled(Distiller(teacher=teacher, student=dense(1, 5)))
    weights = np.repeat([2.0, 0.0], 30).astype(np.float32)
    weighted = distiller.evaluate(x, y, sample_weight=weights, batch_size=60, verbose=0, return_dict=True)
    assert weighted["loss"] == pytest.approx(
        distiller.evaluate(x[:30], y[:30], verbose=0, return_dict=True)["loss"], rel=1e-5
    )


def test_sequences_and_several_inputs():
    rng = np.random.default_rng(0)

    def recurrent(units, seed):
        tf_keras.utils.set_random_seed(seed)
        words, extra = tf_keras.Input((6,), dtype="int32", name="words"), tf_keras.Input((6, 2), name="extra")
        joined = K.Concatenate()([K.Embedding(9, 4)(words), extra])
        return tf_keras.Model([words, extra], K.Dense(5)(K.GRU(units, return_sequences=True)(joined)))

    x = [rng.integers(0, 9, (40, 6)).astype(np.int32), rng.normal(size=(40, 6, 2)).astype(np.float32)]
    y = rng.integers(0, 5, (40, 6)).astype(np.int32)
    distiller = compiled(Distiller(teacher=recurrent(8, 0), student=recurrent(3, 1)))
    losses = distiller.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("policies", [("mixed_float16", "float32"), ("float64", "mixed_float16")])
def test_the_loss_is_the_same_whatever_both_models_compute_in(teacher, policies):
    x, y = problem(60)

    def of(policy, twin):
        layers = [K.Flatten(), K.Dense(twin.layers[1].units, "relu", dtype=policy), K.Dense(3, dtype=policy)]
        made = tf_keras.Sequential([tf_keras.Input((4, 4, 3)), *layers])
        made.set_weights(twin.get_weights())
        return made

    student = dense(1, 5)
    distiller = compiled(Distiller(teacher=of(policies[1], teacher), student=of(policies[0], student)))
    want = by_hand(y, teacher.predict(x, verbose=0), student.predict(x, verbose=0), 4.0, 0.9).mean()
    assert distiller.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(want, rel=0.02)


# ---------------------------------------------------------------- what is refused


def test_swapped_roles_and_a_teacher_that_would_be_trained(teacher):
    x, y = problem()
    with pytest.raises(ValueError, match="are they swapped"):
        distil(teacher, (x, y), teacher=dense(1))
    with pytest.raises(ValueError, match="are they swapped"):
        compiled(Distiller(teacher=dense(1), student=teacher)).fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="shares weights"):
        Distiller(teacher=teacher, student=teacher)
    with pytest.raises(TypeError):
        Distiller(teacher, dense(1))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"soft_share": 1.5}, "soft_share is 1.5"),
        ({"soft_share": -0.1}, "soft_share is -0.1"),
        ({"student_outputs": "logit"}, "did you mean 'logits'"),
        ({"teacher_outputs": "probabilities"}, "gives no probabilities"),
        ({"match_weight": -1}, "match_weight is -1"),
        ({"features": {"hiden": "hidden"}}, "did you mean 'hidden'"),
        ({"features": ["hidden"]}, "pass {student's layer: teacher's layer}"),
        ({"attention": "hidden"}, "pass {student's layer: teacher's layer}"),
        ({"attention": {"hidden": "hidden"}}, "active in no places"),
        ({"teacher": None, "features": {"hidden": "hidden"}}, "need a teacher"),
    ],
)
def test_settings_out_of_range(teacher, options, words):
    with pytest.raises(ValueError, match=words):
        Distiller(**{"teacher": teacher, "student": dense(1), **options})


def test_a_loss_that_is_no_number_is_no_history(teacher, monkeypatch):
    monkeypatch.setattr(kd, "distillation_loss", lambda labels, given, z, *settings: tf.reduce_sum(z, -1) * np.nan)
    with pytest.raises(FloatingPointError, match=r"the loss became nan; take a learning rate below 0\.01"):
        distil(dense(1), problem(40), teacher=teacher, learning_rate=0.01)


def test_models_that_do_not_fit(teacher):
    with pytest.raises(ValueError, match="same outputs"):
        Distiller(teacher=dense(0, classes=4), student=dense(1))
    with pytest.raises(ValueError, match="2 or more classes"):
        Distiller(teacher=dense(0, classes=1), student=dense(1, classes=1))
    with pytest.raises(ValueError, match="takes"):
        Distiller(teacher=tf_keras.Sequential([tf_keras.Input((9,)), K.Dense(3)]), student=dense(1))
    with pytest.raises(ValueError, match="not built"):
        Distiller(teacher=teacher, student=tf_keras.Sequential([K.Dense(3)]))
    with pytest.raises(TypeError, match=r"teacher is a .*pass a tf_keras model"):
        distil(dense(1), problem(), teacher="lenet5")
    with pytest.raises(ValueError, match="differ in channels only"):
        Distiller(teacher=convolutional(0), student=dense(1), features={"hidden": "relu"})


def test_probabilities_that_are_said_to_be_logits(teacher):
    x, y = problem(60)
    with pytest.raises(ValueError, match=r"the student .* gives probabilities"):
        distil(dense(1, softmax=True), (x, y), teacher=teacher, outputs="logits")
    with pytest.raises(ValueError, match=r"the teacher .* gives probabilities"):
        Distiller(teacher=dense(0, softmax=True), student=dense(1), teacher_outputs="logits")
    with pytest.raises(ValueError, match="are probabilities"):
        distil(dense(1), (x, y), teacher=softmax(teacher.predict(x, verbose=0)))
    with pytest.raises(ValueError, match="are probabilities"):
        kd.soften([[0.2, 0.8]], 3)
    rounded = tf_keras.Sequential([dense(0, softmax=True), K.Lambda(lambda p: tf.round(p * 64) / 64 + 0.003)])
    with pytest.raises(ValueError, match="rounded"):
        distil(dense(1), (x, y), teacher=rounded)


def test_labels_and_logits_that_do_not_fit(teacher):
    x, y = problem(60)
    one_hot = np.eye(3, dtype=np.float32)[y]
    for labels, words in (
        (one_hot, "argmax"),
        (y + 1, "reach from"),
        (y[:5], "60"),
        (y.astype(float), "whole numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            compiled(Distiller(teacher=teacher, student=dense(1))).fit(x, labels, verbose=0)
        with pytest.raises(ValueError, match=words):
            distil(dense(1), (x, labels), teacher=teacher)
    dataset = tf.data.Dataset.from_tensor_slices((x, one_hot)).batch(20)
    with pytest.raises(ValueError, match="one-hot"):
        compiled(Distiller(teacher=teacher, student=dense(1))).fit(dataset, verbose=0)
    alone = compiled(Distiller(teacher=None, student=dense(1)))
    with pytest.raises(ValueError, match="no teacher and no logits"):
        alone.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="shape"):
        alone.fit(x, {"labels": y, "teacher": one_hot[:, :2] - 1}, verbose=0)
    assert alone.fit(x, {"labels": y, "teacher": teacher.predict(x, verbose=0)}, verbose=0).history["soft"][0] > 0


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_of_a_pipeline_beyond_the_last_class_is_no_zero_loss(teacher, label):
    x, y = problem(40)
    distiller = compiled(Distiller(teacher=teacher, student=dense(1)))
    batches = tf.data.Dataset.from_tensor_slices((x, np.where(np.arange(40) == 30, label, y))).batch(20)
    with pytest.raises(tf.errors.InvalidArgumentError, match="pass labels from 0 to 2"):
        distiller.fit(batches, verbose=0)
    with pytest.raises(ValueError, match="reach from"):
        distiller.fit(tf.constant(x), tf.constant(np.where(np.arange(40) == 30, label, y)), verbose=0)
    with pytest.raises(ValueError, match="whole numbers"):  # of three examples a 3 × 3 array would fit the logits
        distiller.evaluate(x[:3], np.eye(3, dtype=int)[y[:3]], verbose=0)


@pytest.mark.parametrize(("bad", "match"), [(np.nan, {"features": {"hidden": "hidden"}}), (np.inf, {})])
def test_an_input_that_is_not_finite(teacher, bad, match):
    x, y = problem(20)
    x[7, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        compiled(Distiller(teacher=teacher, student=dense(1), **match)).fit(x, y, verbose=0)


def test_pictures_of_0_to_255_and_a_loss_of_ones_own(teacher):
    x, y = problem(60)
    for large in (255 * x, (255 * np.abs(x)).astype(np.int32), np.clip(99 * np.abs(x), 0, 255).astype(np.uint8)):
        with pytest.raises(ValueError, match="divide by"):
            compiled(Distiller(teacher=teacher, student=dense(1))).fit(large, y, verbose=0)
    distiller = Distiller(teacher=teacher, student=dense(1))
    distiller.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="loss of its own"):
        distiller.fit(x, y, verbose=0)


# ---------------------------------------------------------------- sequences, pipelines, models of one's own


def recurrent(seed, units=4, masked=False, steps=6):
    tf_keras.utils.set_random_seed(seed)
    words = tf_keras.Input((steps,), dtype="int32")
    x = K.LSTM(units, return_sequences=True)(K.Embedding(9, 4, mask_zero=masked)(words))
    return tf_keras.Model(words, K.Dense(5)(x))


def sentences(n=6, steps=6):
    rng = np.random.default_rng(0)
    return rng.integers(1, 9, (n, steps)).astype(np.int32), rng.integers(0, 5, (n, steps)).astype(np.int32)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weights", [None, "(n,)", "(n, 1)", "(n, steps)"])
def test_each_sentence_has_its_weight_and_padding_none(weights, masked):
    x, y = sentences()  # as many sentences as steps, which hides a wrong axis
    if masked:
        x[:, 4:] = 0
    teacher, student = recurrent(0, masked=masked), recurrent(1, masked=masked)
    weight = np.arange(36.0).reshape(6, 6).astype(np.float32) if weights == "(n, steps)" else np.arange(6.0)
    given = None if weights is None else weight[:, None] if weights == "(n, 1)" else weight
    found = compiled(Distiller(teacher=teacher, student=student, temperature=2)).evaluate(
        x, y, sample_weight=given, batch_size=6, verbose=0, return_dict=True
    )
    z = [model.predict(x, verbose=0) for model in (teacher, student)]
    each = by_hand(y.ravel(), z[0].reshape(36, 5), z[1].reshape(36, 5), 2.0, 0.9).reshape(6, 6)
    if weights is not None:
        each = each * (weight if weight.ndim == 2 else weight[:, None])
    assert found["loss"] == pytest.approx(each[:, : 4 if masked else 6].mean(), rel=1e-4)


def test_a_column_of_weights_is_one_weight_an_example(teacher):
    x, y = problem(60)
    weight = np.repeat([2.0, 0.5], 30)
    losses = [
        compiled(Distiller(teacher=teacher, student=dense(1))).evaluate(x, y, sample_weight=given, verbose=0)
        for given in (weight, weight[:, None])
    ]
    assert losses[0] == losses[1]
    with pytest.raises(ValueError, match=r"the weights have shape .*pass \(batch,\)"):
        kd._mean(tf.zeros(3), tf.zeros((3, 2)))


def in_batches(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(20)


@pytest.mark.parametrize(
    "of, error, words",
    [
        (softmax, tf.errors.InvalidArgumentError, "logits are probabilities"),
        (lambda z: z[:, :1], ValueError, r"logits are float32 of shape .*pass floats of shape \(None, 3\)"),
        (lambda z: (40 * z).astype(np.int32), ValueError, "logits are int32"),
    ],
)
def test_logits_of_a_pipeline_are_those_of_the_classes(teacher, of, error, words):
    x, y = problem(40)
    refusing, learning = (compiled(Distiller(teacher=None, student=dense(1))) for _ in range(2))
    z = teacher.predict(x, verbose=0)
    with pytest.raises(error, match=words):
        refusing.fit(in_batches(x, {"labels": y, "teacher": of(z)}), verbose=0)
    assert np.isfinite(learning.fit(in_batches(x, {"labels": y, "teacher": z}), verbose=0).history["loss"][0])


def test_integers_of_a_quantized_file_are_no_logits(teacher):
    x, y = problem(40)
    alone = compiled(Distiller(teacher=None, student=dense(1)))
    for dtype in (np.int8, np.uint8):
        with pytest.raises(ValueError, match=f"{np.dtype(dtype)}, the integers of a quantized file"):
            alone.fit(x, {"labels": y, "teacher": np.ones((40, 3), dtype)}, verbose=0)


def test_a_key_that_is_misspelt_is_not_passed_over(teacher):
    x, y = problem(40)
    with pytest.raises(ValueError, match=r"y has the keys 'label'; pass {\"labels\": y, \"teacher\": logits}"):
        compiled(Distiller(teacher=teacher, student=dense(1), soft_share=1)).fit(x, {"label": y}, verbose=0)


def test_labels_in_a_column_are_not_to_be_made_zeros(teacher):
    x, y = problem(40)
    distiller = compiled(Distiller(teacher=teacher, student=dense(1)))
    with pytest.raises(ValueError, match=r"for a column of labels y\[\.\.\., 0\]"):
        distiller.fit(x, y[:, None], verbose=0)
    with pytest.raises(ValueError, match=r"for a column of labels dataset\.map\(lambda x, y: \(x, y\[\.\.\., 0\]\)"):
        distiller.fit(in_batches(x, y[:, None]), verbose=0)
    with pytest.raises(ValueError, match=r"for a dataset without batches dataset\.batch\(32\)"):
        distiller.fit(tf.data.Dataset.from_tensor_slices((x, y)), verbose=0)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda x, y: (x[:0], y[:0]), "x is empty"),
        (lambda x, y: (x[:, :2], y), r"x takes shape \(n, 4, 4, 3\)"),
        (lambda x, y: ([x, x], y), "x has 2 arrays, the models have 1 inputs"),
    ],
)
def test_arrays_that_do_not_fit_the_inputs(teacher, change, words):
    with pytest.raises(ValueError, match=words):
        compiled(Distiller(teacher=teacher, student=dense(1))).fit(*change(*problem(40)), verbose=0)


def test_one_number_an_example_needs_no_second_axis():
    def of_one(seed):
        tf_keras.utils.set_random_seed(seed)
        return tf_keras.Sequential([tf_keras.Input((1,)), K.Dense(3)])

    x = np.linspace(-1, 1, 30).astype(np.float32)
    distiller = compiled(Distiller(teacher=of_one(0), student=of_one(1)))
    assert distiller.fit(x, np.arange(30) % 3, verbose=0).history["loss"][0] > 0


def test_weights_of_classes_are_asked_for_as_weights_of_examples(teacher):
    x, y = problem(40)
    with pytest.raises(ValueError, match="pass sample_weight"):
        compiled(Distiller(teacher=teacher, student=dense(1))).fit(
            x, y, class_weight={0: 2.0, 1: 1.0, 2: 1.0}, verbose=0
        )


class Subclassed(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.flat, self.last = K.Flatten(), K.Dense(3)

    def call(self, inputs):
        return self.last(self.flat(inputs))


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_subclassed_model_is_wrapped_as_the_sentence_says(teacher, role):
    x, y = problem(40)
    own = Subclassed()
    own(x[:1])
    models = {"teacher": teacher, "student": dense(1)}
    words = rf"the {role} .* inputs = tf_keras.Input\(\(4, 4, 3\)\); tf_keras.Model\(inputs, model\(inputs\)\)"
    with pytest.raises(ValueError, match=words):
        Distiller(**{**models, role: own})
    inputs = tf_keras.Input((4, 4, 3))
    wrapped = Distiller(**{**models, role: tf_keras.Model(inputs, own(inputs))})
    assert compiled(wrapped).fit(in_batches(x, y), verbose=0).history["loss"][0] > 0


def with_outputs(kind):
    plain = dense(1)
    hidden = plain.get_layer("hidden").output
    ends = {
        "two": [plain.output, plain.output],
        "dict": {"a": plain.output},
        "one sigmoid": K.Dense(1, "sigmoid")(hidden),
        "sigmoids": K.Dense(3, "sigmoid")(hidden),
        "sigmoids in a layer": K.Activation("sigmoid")(plain.output),
        "sigmoids inside": tf_keras.Sequential([tf_keras.Input((8,)), K.Dense(3, tf.nn.sigmoid)])(hidden),
    }
    return tf_keras.Model(plain.input, ends[kind])


@pytest.mark.parametrize("kind", ["two", "dict", "one sigmoid", "sigmoids", "sigmoids in a layer", "sigmoids inside"])
def test_outputs_that_are_no_classes(teacher, kind):
    words = "several may be true" if kind.startswith("sigmoids") else "one output of"
    for roles in (
        {"teacher": None, "student": with_outputs(kind)},
        {"teacher": with_outputs(kind), "student": dense(2)},
    ):
        with pytest.raises(ValueError, match=words):
            Distiller(**roles)


def test_a_layer_that_was_called_elsewhere_before_is_matched_here():
    def model(seed):
        tf_keras.utils.set_random_seed(seed)
        layer = K.Conv2D(3, 3, name="conv")
        layer(tf_keras.Input((9, 9, 3)))
        inputs = tf_keras.Input((4, 4, 3))
        return tf_keras.Model(inputs, K.Dense(3)(K.GlobalAveragePooling2D()(layer(inputs))))

    x, y = problem(40)
    distiller = compiled(Distiller(teacher=model(0), student=model(1), features={"conv": "conv"}))
    assert distiller.fit(x, y, verbose=0).history["match"][0] > 0


def test_a_layer_of_several_outputs_is_no_feature():
    def model(seed):
        inputs = tf_keras.Input((6, 2))
        last, *_ = K.LSTM(4, return_state=True, name="lstm")(inputs)
        return tf_keras.Model(inputs, K.Dense(3)(last))

    with pytest.raises(ValueError, match="layer 'lstm' of the student gives 3 outputs; pass a layer that gives one"):
        Distiller(teacher=model(0), student=model(1), features={"lstm": "lstm"})


@pytest.mark.parametrize("kind", ["two", "dict", "one sigmoid"])
def test_only_one_output_of_classes_has_logits(kind):
    with pytest.raises(ValueError, match=r"pass a model with one output, \(n, …, classes\)"):
        kd.logits(with_outputs(kind), problem(20)[0])


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_sigmoids_are_no_logits_to_distil_either(teacher, role):
    models = {"student": dense(1), "teacher": teacher, role: with_outputs("sigmoids")}
    with pytest.raises(ValueError, match="several may be true"):
        distil(models["student"], problem(20), teacher=models["teacher"])


def test_a_teacher_of_other_inputs_is_asked_for_its_logits():
    other = tf_keras.Sequential([tf_keras.Input((8, 8, 3)), K.Flatten(), K.Dense(3)], name="large")
    with pytest.raises(ValueError, match=r"got \(20, 4, 4, 3\), of the teacher 'large'; or pass its logits"):
        distil(dense(1), problem(20), teacher=other)


def test_logits_may_be_a_list_and_not_integers_of_a_file(teacher):
    x, y = problem(40)
    z = teacher.predict(x, verbose=0)
    one, other = dense(1), dense(1)
    distil(one, (x, y), teacher=z)
    distil(other, (x, y), teacher=z.tolist())
    assert np.array_equal(one.get_weights()[0], other.get_weights()[0])
    with pytest.raises(ValueError, match="int8, the integers of a quantized file"):
        distil(dense(1), (x, y), teacher=np.ones((40, 3), np.int8))


def test_a_high_temperature_is_no_infinite_loss_in_float16(teacher):
    student = tf_keras.Sequential([tf_keras.Input((4, 4, 3)), K.Flatten(), K.Dense(3, dtype="mixed_float16")])
    history = distil(student, problem(60), teacher=teacher, temperature=200, seed=np.int64(1))
    assert np.isfinite(history["loss"]).all()
