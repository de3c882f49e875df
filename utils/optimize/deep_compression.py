"""Train a network that a coder makes small: few weights are kept, and those take few values.

    plan = Plan(kept=5_000)
    small = train(model, plan, batches)       # same shapes as `model`, nearly all weights 0
    content = coding.compress(coding.sort_units(small))

Deep Compression (Han, Mao, Dally 2016, arXiv 1510.00149) prunes, retrains, shares, retrains, codes.  Here both happen
in one training, each step of it small enough that the network can follow:

1. *Prune*: every hundred steps the weights with the largest score stay, fewer each time.  The score is what removing
   a weight would cost, w² v (v: mean squared gradient; the diagonal of optimal brain damage, LeCun, Denker, Solla
   1990, with the empirical Fisher information), divided by the bits that a coder would pay for its position.
   A removed weight still learns, and may come back (dynamic network surgery, Guo, Yao, Chen 2016, arXiv 1608.04493).
   Units that nothing reaches any more, or that reach nothing, are dropped now and then: the network trains faster.
2. *Share*: each kernel gets one step; its weights are put on whole multiples of it, a random part at a time, while
   the others go on learning (incremental network quantization, Zhou et al. 2017, arXiv 1702.03044).
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from utils import SEED, checks
from utils.optimize import keras_weights
from utils.optimize.coding.dead_units import BETWEEN
from utils.optimize.keras_graph import rebuild

__all__ = [
    "Plan", "Training", "best_step", "on_grid", "padded", "position_bits", "soft_targets", "train",
    "without_dead_units",
]  # fmt: skip

#: Steps between two choices of what is kept, and between two rounds of rounding.
_CHOOSE, _ROUND = 100, 25

_WITH_UNITS = (tf_keras.layers.Dense, tf_keras.layers.Conv1D, tf_keras.layers.Conv2D, tf_keras.layers.Conv3D)


@dataclass(frozen=True)
class Plan:
    """How a network is made small.

    kept: weights that remain, all kernels together; biases are not counted.
    levels: largest multiple of a kernel's step: 2 · levels values besides zero.
    steps: batches in all.  The phases are shares of it: pruning from `prune_from` to `prune_until`, rounding from
        `round_from` to `round_until`; in between and afterwards what is left learns.
    learning_rate, rounding_rate: of Adam while pruning, and while rounding; both fall.
    bias_step: biases are multiples of it.
    decay: share by which a removed weight shrinks at each step.
    stages: how many times dead units are dropped while pruning.

    Raises ValueError for what makes no sense.
    """

    kept: int
    levels: int = 7
    steps: int = 24_000
    learning_rate: float = 2e-3
    rounding_rate: float = 1e-3
    prune_from: float = 0.08
    prune_until: float = 0.5
    round_from: float = 0.6
    round_until: float = 0.94
    bias_step: float = 0.125
    decay: float = 0.01
    stages: int = 8

    def __post_init__(self) -> None:
        for name in ("kept", "levels", "steps"):
            _check_whole(name, getattr(self, name), 1)
        _check_whole("stages", self.stages, 0)
        for name in ("learning_rate", "rounding_rate", "bias_step"):
            if not 0 < self._number(name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}; pass a number above 0")
        if not 0 <= self._number("decay") < 1:
            raise ValueError(f"decay is {self.decay!r}; pass a share from 0 to below 1")
        times = tuple(map(self._number, ("prune_from", "prune_until", "round_from", "round_until")))
        if not 0 < times[0] < times[1] <= times[2] < times[3] <= 1:
            raise ValueError(
                f"prune_from, prune_until, round_from and round_until are {times}; pass shares of the steps that rise "
                "from above 0 (before the first step no gradient is known) to 1: each phase ends after it begins, and "
                "before the next one"
            )
        if (self.steps - 1) / self.steps < self.round_from:
            raise ValueError(f"steps is {self.steps}, too few: the last one ends before rounding begins; pass more")

    def kept_at(self, step: int, total: int) -> int:
        """Weights that are kept at this step: from all to `kept`, falling fast first, on a logarithmic scale."""
        done = self._done(step, self.prune_from, self.prune_until)
        return int(self.kept * (total / self.kept) ** ((1 - done) ** 2))

    def rounded_at(self, step: int) -> float:
        """Share of the kept weights that stand on their grid at this step, 0 to 1."""
        return 1 - (1 - self._done(step, self.round_from, self.round_until)) ** 1.5

    def rate_at(self, step: int) -> float:
        """Learning rate: constant while pruning, then a half cosine to a tenth; again one to 0 while rounding."""
        share = step / self.steps
        if share >= self.round_from:
            return self.rounding_rate * _cosine((share - self.round_from) / (1 - self.round_from))
        warm = min(1.0, (step + 1) / 200)
        between = self.round_from - self.prune_until
        later = _cosine(max(0.0, (share - self.prune_until) / between)) if between else 1.0
        return self.learning_rate * warm * (0.1 + 0.9 * later)

    def drops(self) -> set[int]:
        """The steps before which dead units are dropped."""
        length = self.prune_until - self.prune_from
        return {int(self.steps * (self.prune_from + length * n / self.stages)) for n in range(1, self.stages + 1)}

    def _number(self, name: str) -> float:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"{name} is {value!r}; pass a number")
        return value

    def _done(self, step: int, begin: float, end: float) -> float:
        return min(1.0, max(0.0, (step / self.steps - begin) / (end - begin)))


def train(
    model: tf_keras.Model,
    plan: Plan,
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int = SEED,
    report: Callable[[int, Training], None] | None = None,
    every: int = 1000,
) -> tf_keras.Model:
    """A copy of `model` with at most `plan.kept` weights that are not zero, each a multiple of its kernel's step.

    model: a chain of Dense and convolutional layers, and of layers without weights, that gives logits; it stays as
        it is, and is the start: random weights will do.  Fold batch normalization first.
    batches: without end, pairs of inputs and of probabilities of the classes (`soft_targets`).
    seed: of the choice which weights are rounded when.
    report: called as report(steps done, training) after each `every` steps, and at the end.

    Returns a model of the same layers and shapes, not compiled.  A unit that was dropped on the way is there, with
    zeros, so the model has each parameter of `model`.

    Raises TypeError, ValueError: no such model, more weights to keep than there are, batches that do not fit; or
        nothing is left of a layer.
    Raises FloatingPointError: training diverged.
    """
    _check_chain(model)
    _check_logits(model)
    if not isinstance(plan, Plan):
        raise TypeError(f"plan is a {type(plan).__name__}; pass a Plan, such as Plan(kept=5_000)")
    if not isinstance(batches, Iterator):
        raise TypeError(
            f"batches is a {type(batches).__name__}; pass an iterator without end: itertools.cycle(batches)"
        )
    _check_whole("every", every, 1)
    training = Training(rebuild(model), plan, seed)
    if plan.kept > training.total:
        raise ValueError(
            f"kept is {plan.kept:,}, but {model.name} has {training.total:,} weights in kernels; pass less"
        )
    drops = plan.drops()
    for step in range(plan.steps):
        if step in drops:
            training = training.drop_dead()
        x, targets = _pair(batches, step, plan)
        if step == 0:
            _check_batch(model, x, targets)
        training.advance(step, x, targets)
        if report and (step + 1) % every == 0:
            report(step + 1, training)
        if ((step + 1) % 500 == 0 or step + 1 == plan.steps) and not math.isfinite(float(training.loss)):
            raise FloatingPointError(f"the loss is {float(training.loss)} after {step + 1:,} steps: pass a lower rate")
    training.round_some(1.0)
    if not all(training.counts()):
        raise ValueError(
            f"a kernel has no weight left: {training.counts()} of each; keep more than {plan.kept:,} weights"
        )
    if report and plan.steps % every:
        report(plan.steps, training)
    return padded(training.model, model)


def padded(small: tf_keras.Model, model: tf_keras.Model) -> tf_keras.Model:
    """A copy of `model`'s layers and shapes that computes what `small` does: dropped units are back, with zeros.

    small: a chain of the same layers with fewer units, the first ones of each.
    """
    copy = rebuild(model)
    few = many = 1  # units of the layer before, in both
    for number, layer in enumerate(_with_weights(copy)):
        twin = small.get_layer(layer.name)
        kernel = twin.kernel.numpy()
        full = np.zeros(layer.kernel.shape, np.float32)
        inputs = np.arange(full.shape[-2])
        if number:  # behind Flatten a unit has an input for each place
            inputs = inputs.reshape(-1, many)[:, :few].ravel()
        units = np.arange(kernel.shape[-1])
        full[..., inputs[:, None], units] = kernel
        layer.kernel.assign(full)
        if layer.use_bias:
            bias = np.zeros(layer.bias.shape, np.float32)
            bias[units] = twin.bias.numpy()
            layer.bias.assign(bias)
        few, many = len(units), full.shape[-1]
    return copy


def soft_targets(logits: np.ndarray, labels: np.ndarray, soft_share: float = 0.9) -> np.ndarray:
    """Probabilities to learn from: a teacher's, mixed with the labels; (n, classes) float32.

    logits: of the teacher, (n, classes).  labels: whole numbers, (n,).  soft_share: weight of the teacher, 0 to 1.
    The temperature is 1 (Hinton, Vinyals, Dean 2015, arXiv 1503.02531, take higher ones too).
    """
    if not 0 <= soft_share <= 1:
        raise ValueError(f"soft_share is {soft_share!r}; pass a number from 0 to 1")
    logits = np.asarray(logits, np.float32)
    if logits.ndim != 2 or np.shape(labels) != logits.shape[:1]:
        raise ValueError(f"logits have shape {logits.shape}, labels {np.shape(labels)}; pass (n, classes) and (n,)")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or (labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]):
        raise ValueError(
            f"labels are {labels!r:.80}; pass whole numbers from 0 to {logits.shape[1] - 1}, one a picture"
        )
    with np.errstate(invalid="ignore"):
        soft = np.exp(logits - logits.max(axis=1, keepdims=True))
        soft /= soft.sum(axis=1, keepdims=True)
    if np.isnan(soft).any():
        raise ValueError("logits has rows with NaN or infinity, which give no probabilities; pass finite numbers")
    return soft_share * soft + np.float32(1 - soft_share) * np.eye(logits.shape[1], dtype=np.float32)[labels]


class Training:
    """A network on its way to few weights and few values: `advance` changes `model` in place, step by step.

    model: tf_keras model that gives logits; its kernels (see `keras_weights`) are pruned and rounded, its biases
        rounded.  total: weights in kernels, of the network at the start.
    """

    def __init__(self, model: tf_keras.Model, plan: Plan, seed: int = 0) -> None:
        checks.check_model(model)
        self.model, self.plan, self.rng = model, plan, np.random.default_rng(seed)
        roles = {id(w.variable): w.role for w in keras_weights.weights(model)}
        self.variables = model.trainable_variables
        self.is_kernel = [roles[id(v)] in keras_weights.KERNELS for v in self.variables]
        self.values = [tf.Variable(v) for v in self.variables]  # those of removed weights too
        self.kept = [tf.Variable(tf.ones_like(v)) for v in self.variables]
        self.free = [tf.Variable(tf.ones_like(v)) for v in self.variables]  # 0: stands on its grid
        self.mean = [tf.Variable(tf.zeros_like(v)) for v in self.variables]  # Adam's moments of the gradient
        self.square = [tf.Variable(tf.zeros_like(v)) for v in self.variables]
        self.grids: list[float] | None = None  # the step of each variable, once rounding begins
        self.shrinks = tf.Variable(1.0)  # 0 once rounding begins: a weight on its grid must not move
        self.loss = tf.Variable(0.0)
        self.total = sum(int(tf.size(self.values[i])) for i in self._kernels())

    def counts(self) -> list[int]:
        """Weights that are kept, of each kernel."""
        return [int(self.kept[i].numpy().sum()) for i in self._kernels()]

    def advance(self, step: int, x: np.ndarray, targets: np.ndarray) -> None:
        """Step number `step`, from 0: choose what is kept, or round, if it is time; then learn from this batch."""
        plan = self.plan
        share = step / plan.steps
        if plan.prune_from <= share < plan.round_from and step % _CHOOSE == 0:
            self.keep(plan.kept_at(step, self.total))
        if share >= plan.round_from and self.grids is None:
            self.keep(plan.kept)
            self.choose_grids()
        if self.grids is not None and step % _ROUND == 0:
            self.round_some(plan.rounded_at(step))
        moments = float(min(step + 1, 5000))  # Adam's correction is 1 by then
        self._learn(x, targets, tf.constant(plan.rate_at(step)), tf.constant(moments))

    # ------------------------------------------------------------ one step

    @tf.function(reduce_retracing=True)
    def _learn(self, x: tf.Tensor, targets: tf.Tensor, rate: tf.Tensor, step: tf.Tensor) -> None:
        """Adam on the loss of the masked network.  A removed weight has a gradient as if it were there."""
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        gradients = tape.gradient(loss, self.variables)
        first, second = 1 - 0.9**step, 1 - 0.999**step
        for i, gradient in enumerate(gradients):
            gradient *= self.free[i]
            self.mean[i].assign(0.9 * self.mean[i] + 0.1 * gradient)
            self.square[i].assign(0.999 * self.square[i] + 0.001 * gradient * gradient)
            move = rate / first * self.mean[i] / (tf.sqrt(self.square[i] / second) + 1e-7)
            value = self.values[i] - self.free[i] * move
            if self.is_kernel[i]:
                value *= 1 - self.shrinks * (self.plan.decay * (1 - self.kept[i]) + 1e-4 * rate)
            self.values[i].assign(value)
            self.variables[i].assign(value * self.kept[i])
        self.loss.assign(0.998 * self.loss + 0.002 * loss)

    # ------------------------------------------------------------ which weights are kept

    def keep(self, count: int) -> None:
        """Keep the `count` weights with the largest score, and no unit that nothing reaches or that reaches nothing."""
        where = self._kernels()
        scores = []
        for i in where:
            value, square = self.values[i].numpy(), self.square[i].numpy()
            scores.append(value * value * square / position_bits(self.kept[i].numpy()))
        flat = np.concatenate([score.ravel() for score in scores])
        least = np.partition(flat, len(flat) - count)[len(flat) - count] if count < len(flat) else 0.0
        masks = [((score >= least) & (score > 0)).astype(np.float32) for score in scores]
        alive = without_dead_units(masks)
        for i, mask in zip(where, masks, strict=True):
            self.kept[i].assign(mask)
        for number, bias in self._biases():
            self.kept[bias].assign(alive[number].astype(np.float32))
        self._show()

    def drop_dead(self) -> Training:
        """The same training of a smaller network, without the units that nothing reaches or that reach nothing.

        Raises ValueError if a layer would have no unit left.
        """
        where = self._kernels()
        alive = without_dead_units([self.kept[i].numpy() for i in where])
        layers = _with_weights(self.model)
        sizes = {layer.name: int(units.sum()) for layer, units in zip(layers, alive, strict=True)}
        if empty := [name for name, size in sizes.items() if not size]:
            raise ValueError(f"no unit of layer {empty[0]!r} is left; keep more than {self.plan.kept:,} weights")

        def smaller(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
            config = layer.get_config()
            if layer.name in sizes:
                config["units" if "units" in config else "filters"] = sizes[layer.name]
            return type(layer).from_config(config)

        new = Training(tf_keras.models.clone_model(self.model, clone_function=smaller), self.plan)
        new.rng, new.total = self.rng, self.total
        for part in ("values", "kept", "mean", "square"):
            before = None
            for number, (variable, units) in enumerate(zip(where, alive, strict=True)):
                old, target = getattr(self, part), getattr(new, part)
                kernel = old[variable].numpy()
                inputs = np.resize(before, kernel.shape[-2]) if number else np.ones(kernel.shape[-2], bool)
                target[variable].assign(kernel[..., inputs, :][..., units])
                if variable + 1 < len(old) and not self.is_kernel[variable + 1]:
                    target[variable + 1].assign(old[variable + 1].numpy()[units])
                before = units
        new.loss.assign(self.loss)
        new._show()
        return new

    def _kernels(self) -> list[int]:
        return [i for i, kernel in enumerate(self.is_kernel) if kernel]

    def _biases(self) -> Iterator[tuple[int, int]]:
        """(number of the kernel, position of its bias), for kernels that have one: it follows the kernel."""
        for number, i in enumerate(self._kernels()):
            if i + 1 < len(self.variables) and not self.is_kernel[i + 1]:
                yield number, i + 1

    def _show(self) -> None:
        """The network computes with what is kept."""
        for variable, value, kept in zip(self.variables, self.values, self.kept, strict=True):
            variable.assign(value * kept)

    # ------------------------------------------------------------ on the grid

    def choose_grids(self) -> None:
        """For each kernel the step at which its kept weights, rounded, are nearest to themselves."""
        self.grids = [
            best_step((v * k).numpy(), self.plan.levels) if kernel else self.plan.bias_step
            for v, k, kernel in zip(self.values, self.kept, self.is_kernel, strict=True)
        ]
        self.shrinks.assign(0.0)
        for value, kept in zip(self.values, self.kept, strict=True):
            value.assign(value * kept)
        for free, kept in zip(self.free, self.kept, strict=True):
            free.assign(kept)

    def round_some(self, share: float) -> None:
        """Put weights on their grid, at random, until `share` of the kept ones stand there; biases later than those."""
        for value, kept, free, grid, kernel in zip(
            self.values, self.kept, self.free, self.grids, self.is_kernel, strict=True
        ):
            mask, loose = kept.numpy().ravel() > 0, free.numpy().ravel() > 0
            wanted = math.ceil((share if kernel else share * share) * mask.sum())
            missing = wanted - int((mask & ~loose).sum())
            if missing <= 0:
                continue
            chosen = self.rng.choice(np.flatnonzero(mask & loose), missing, replace=False)
            flat = value.numpy().ravel()
            flat[chosen] = on_grid(flat[chosen], grid, self.plan.levels if kernel else None)
            loose[chosen] = False
            value.assign(flat.reshape(value.shape))
            free.assign(loose.astype(np.float32).reshape(free.shape))
        self._show()


# ---------------------------------------------------------------- what is trained


def _with_weights(model: tf_keras.Model) -> list[tf_keras.layers.Layer]:
    """The layers of a chain that have weights, in order."""
    return [layer for layer in model.layers if layer.weights]


def _check_chain(model: object) -> None:
    """Raise unless units can be dropped from `model`: its layers follow one another, and zeros stay zeros."""
    checks.check_model(model, graph=True)
    checks.check_finite(model)
    layers = [layer for layer in model.layers if not isinstance(layer, tf_keras.layers.InputLayer)]
    if any(len(layer.inbound_nodes) != 1 or len(layer.outbound_nodes) > 1 for layer in layers):
        raise ValueError(f"{model.name} is no chain of layers; pass a model without branches and shared layers")
    for layer in layers:
        if not (type(layer) in _WITH_UNITS or (not layer.weights and isinstance(layer, BETWEEN))):
            raise ValueError(
                f"the layer {layer.name!r} is a {type(layer).__name__}; pass a chain of Dense and convolutional layers "
                "with pooling, Flatten and activations between; equalization.fold folds batch normalization into them"
            )
        if layer.weights and not (layer.trainable and model.trainable):
            raise ValueError(
                f"the layer {layer.name!r} is frozen; set its trainable to True: each layer learns its values"
            )
        if getattr(layer, "groups", 1) != 1 or getattr(layer, "data_format", "channels_last") != "channels_last":
            raise ValueError(f"{layer.name!r} has groups, or its channels first; such a layer cannot lose single units")
        activation = getattr(layer, "activation", None)
        if activation and layer is not layers[-1] and float(tf.reshape(activation(tf.zeros((1, 1))), ())) != 0:
            raise ValueError(f"a unit of {layer.name!r} without weights would not give 0; use an activation like relu")
    if not _with_weights(model):
        raise ValueError(f"{model.name} has no weights, so nothing can be made small")


def _check_logits(model: tf_keras.Model) -> None:
    name = getattr(getattr(model.layers[-1], "activation", None), "__name__", "linear")
    if name != "linear":
        raise ValueError(
            f"the last layer, {model.layers[-1].name!r}, has the activation {name!r}, but the loss is one of logits: "
            "leave it out, and put it behind the network that comes back"
        )


def _pair(batches: Iterator, step: int, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """The next inputs and targets."""
    batch = next(batches, None)
    if batch is None:
        raise ValueError(
            f"batches ended after {step:,} of {plan.steps:,} steps; pass an iterator without end: "
            "itertools.cycle(batches)"
        )
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise ValueError(f"a batch is {batch!r:.80}; pass pairs of inputs and probabilities of the classes")
    return batch[0], batch[1]


def _check_batch(model: tf_keras.Model, x: np.ndarray, targets: np.ndarray) -> None:
    checks.check_shape(np.asarray(x), model.input_shape, "the inputs of a batch")
    targets = np.asarray(targets)
    fits = targets.shape == (len(x), model.output_shape[-1])
    if not fits or (targets < 0).any() or not np.allclose(targets.sum(1), 1, atol=1e-3):
        raise ValueError(
            f"the targets of a batch have shape {targets.shape}; pass probabilities, ({len(x)}, "
            f"{model.output_shape[-1]}), none below 0, whose rows sum to 1: soft_targets makes them"
        )


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} is {value!r}; pass a whole number of at least {least}")


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


# ---------------------------------------------------------------- arithmetic of one array


def on_grid(values: np.ndarray, step: float, levels: int | None) -> np.ndarray:
    """Nearest multiple of `step`, kept away from 0 and within `levels` steps; without levels any multiple, 0 too."""
    if levels is None:
        return (np.round(values / step) * step).astype(np.float32)
    return (np.sign(values) * np.clip(np.round(np.abs(values) / step), 1, levels) * step).astype(np.float32)


def best_step(values: np.ndarray, levels: int) -> float:
    """The step that rounds what is not 0 with the least squared error; of 76, up to 1.6 times the mean magnitude."""
    kept = values[values != 0]
    if not len(kept):
        return 1.0
    steps = np.linspace(0.1, 1.6, 76) * np.abs(kept).mean()
    errors = [float(((on_grid(kept, step, levels) - kept) ** 2).mean()) for step in steps]
    best = steps[int(np.argmin(errors))]
    with np.errstate(over="ignore"):
        short = float(np.float16(best))  # 16 bits: fewer in the file
    return short if 0 < short < math.inf else float(np.float32(best))


def position_bits(kept: np.ndarray) -> np.ndarray:
    """Bits that keeping each weight costs a coder that knows the density of its row, column and tap.

    kept: ones and zeros, the last axis the outputs, the one before it the inputs.
    """
    axes = range(kept.ndim)
    dense = kept.mean() + 1e-6
    likely = np.full((1,) * kept.ndim, dense)
    for axis in {kept.ndim - 1, kept.ndim - 2}:
        count = kept.size // kept.shape[axis]
        mean = kept.mean(axis=tuple(a for a in axes if a != axis), keepdims=True)
        likely = likely * (mean * count + 2 * dense) / (count + 2) / dense
    if kept.ndim > 2:
        count = kept.shape[-1] * kept.shape[-2]
        likely = likely * (kept.mean(axis=(-1, -2), keepdims=True) * count + 2 * dense) / (count + 2) / dense
    likely = np.clip(likely, 1e-4, 0.98)
    return np.maximum(np.clip(-np.log2(likely / (1 - likely)), -3, 20) + 1.8, 0.8)


def without_dead_units(masks: list[np.ndarray]) -> list[np.ndarray]:
    """Empty what belongs to a unit that nothing reaches, or that reaches nothing, in place; which units are alive.

    masks: of the kernels of a chain of layers, in order; where the next layer has more inputs than this one outputs,
    they are repeated (Flatten of a picture).
    """
    alive = [np.ones(mask.shape[-1], bool) for mask in masks]
    for _ in masks:  # a dead unit may leave its neighbours dead
        for number, (mask, following) in enumerate(itertools.pairwise(masks)):
            rows = following.reshape(*following.shape[:-2], -1, mask.shape[-1], following.shape[-1])
            reached = mask.reshape(-1, mask.shape[-1]).any(0)
            used = np.moveaxis(rows, -2, 0).reshape(mask.shape[-1], -1).any(1)
            alive[number] = reached & used
            mask *= alive[number]
            rows *= alive[number][:, None]
    return alive
