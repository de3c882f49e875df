"""Train a network that a coder makes small: few weights are kept, and those take few values.

Deep Compression (Han, Mao, Dally 2016, arXiv 1510.00149) prunes, retrains, shares, retrains, codes.  Here both happen
in one training, each step of it small enough that the network can follow:

1. *Prune*: every hundred steps the weights with the largest score stay, fewer each time.  The score is what removing
   a weight would cost, w² v (v: mean squared gradient; the diagonal of optimal brain damage, LeCun, Denker, Solla
   1990, with the empirical Fisher information), divided by the bits that a coder would pay for its position.
   A removed weight still learns, and may come back (dynamic network surgery, Guo, Yao, Chen 2016, arXiv 1608.04493).
2. *Share*: each kernel gets one step; its weights are put on whole multiples of it, a random part at a time, while
   the others go on learning (incremental network quantization, Zhou et al. 2017, arXiv 1702.03044).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from utils import checks
from utils.optimize import keras_weights

#: Steps between two choices of what is kept, and between two rounds of rounding.
_CHOOSE, _ROUND = 100, 25


@dataclass(frozen=True)
class Plan:
    """How a network is made small.

    kept: weights that remain, all kernels together; biases are not counted.
    levels: largest multiple of a kernel's step: 2 · levels values besides zero.
    steps: batches in all.  The phases are shares of it: pruning from `prune_from` to `prune_until`, rounding from
        `round_from` to `round_until`; in between and afterwards what is left learns.
    bias_step: biases are multiples of it.
    """

    kept: int
    levels: int = 3
    steps: int = 12_000
    learning_rate: float = 2e-3
    rounding_rate: float = 1e-3
    prune_from: float = 0.08
    prune_until: float = 0.5
    round_from: float = 0.6
    round_until: float = 0.94
    bias_step: float = 0.125
    decay: float = 0.01  #: share by which a removed weight shrinks at each step

    def kept_at(self, step: int, total: int) -> int:
        """Weights that are kept at this step: from all to `kept`, falling fast first, on a logarithmic scale."""
        done = min(1.0, max(0.0, (step / self.steps - self.prune_from) / (self.prune_until - self.prune_from)))
        return int(self.kept * (total / self.kept) ** ((1 - done) ** 2))

    def rounded_at(self, step: int) -> float:
        """Share of the kept weights that stand on their grid at this step, 0 to 1."""
        done = min(1.0, max(0.0, (step / self.steps - self.round_from) / (self.round_until - self.round_from)))
        return 1 - (1 - done) ** 1.5

    def rate_at(self, step: int) -> float:
        """Learning rate: constant while pruning, then a half cosine to a tenth; again one to 0 while rounding."""
        share = step / self.steps
        if share >= self.round_from:
            return self.rounding_rate * _cosine((share - self.round_from) / (1 - self.round_from))
        warm = min(1.0, (step + 1) / 200)
        later = _cosine(max(0.0, (share - self.prune_until) / (self.round_from - self.prune_until)))
        return self.learning_rate * warm * (0.1 + 0.9 * later)


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


class Training:
    """A network on its way to few weights and few values: `run` changes `model` in place.

    model: tf_keras model that gives logits; its kernels (see `keras_weights`) are pruned and rounded, its biases
        rounded.  Normalization is not supported: fold it first.
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
        where = [i for i, kernel in enumerate(self.is_kernel) if kernel]
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
        for i, bias in self._biases(where):
            self.kept[bias].assign(alive[i].astype(np.float32))
        self._show()

    def drop_dead(self) -> Training:
        """The same training of a smaller network, without the units that nothing reaches or that reach nothing."""
        where = [i for i, kernel in enumerate(self.is_kernel) if kernel]
        alive = without_dead_units([self.kept[i].numpy() for i in where])
        layers = [layer for layer in self.model.layers if layer.trainable_variables]
        sizes = {layer.name: int(units.sum()) for layer, units in zip(layers, alive, strict=True)}

        def smaller(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
            config = layer.get_config()
            if layer.name in sizes:
                config["units" if "units" in config else "filters"] = sizes[layer.name]
            return type(layer).from_config(config)

        new = Training(tf_keras.models.clone_model(self.model, clone_function=smaller), self.plan)
        new.rng = self.rng
        for part in ("values", "kept", "mean", "square"):
            before = np.array([True])
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

    def _biases(self, where: list[int]) -> Iterator[tuple[int, int]]:
        """(number of the kernel, position of its bias), for kernels that have one: it follows the kernel."""
        for number, i in enumerate(where):
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

    # ------------------------------------------------------------ all of it

    def run(self, batches: Iterator, report: Callable[[int, Training], None] | None = None, every: int = 1000, start=0, stop=None, total=None) -> None:
        """Train on (pictures, probabilities of the classes) until the network is small; `report` is called now and then."""
        plan = self.plan
        total = total or sum(int(tf.size(v)) for v, kernel in zip(self.values, self.is_kernel, strict=True) if kernel)
        for step in range(start, stop or plan.steps):
            share = step / plan.steps
            if plan.prune_from <= share < plan.round_from and step % _CHOOSE == 0:
                self.keep(plan.kept_at(step, total))
            if share >= plan.round_from and self.grids is None:
                self.keep(plan.kept)
                self.choose_grids()
            if self.grids is not None and step % _ROUND == 0:
                self.round_some(plan.rounded_at(step))
            x, targets = next(batches)
            self._learn(x, targets, tf.constant(plan.rate_at(step)), tf.constant(float(min(step + 1, 5000))))
            if report and (step + 1) % every == 0:
                report(step + 1, self)
        if stop is None:
            self.round_some(1.0)


# ---------------------------------------------------------------- arithmetic of one array


def on_grid(values: np.ndarray, step: float, levels: int | None) -> np.ndarray:
    """Nearest multiple of `step`, kept away from 0 and within `levels` steps; without levels any multiple, 0 too."""
    if levels is None:
        return (np.round(values / step) * step).astype(np.float32)
    return (np.sign(values) * np.clip(np.round(np.abs(values) / step), 1, levels) * step).astype(np.float32)


def best_step(values: np.ndarray, levels: int) -> float:
    """The step that rounds what is not 0 with the least squared error; one of 76, up to 1.6 times the mean magnitude."""
    kept = values[values != 0]
    if not len(kept):
        return 1.0
    steps = np.linspace(0.1, 1.6, 76) * np.abs(kept).mean()
    errors = [float(((on_grid(kept, step, levels) - kept) ** 2).mean()) for step in steps]
    return float(np.float16(steps[int(np.argmin(errors))]))


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
        for number, (mask, following) in enumerate(zip(masks, masks[1:])):
            rows = following.reshape(*following.shape[:-2], -1, mask.shape[-1], following.shape[-1])
            reached = mask.reshape(-1, mask.shape[-1]).any(0)
            used = np.moveaxis(rows, -2, 0).reshape(mask.shape[-1], -1).any(1)
            alive[number] = reached & used
            mask *= alive[number]
            rows *= alive[number][:, None]
    return alive
