"""Pruning while training, with the Toolkit: masks grow along a schedule, and the other weights adapt.

    pruned = prune_while_training(model, dataset, 0.9, epochs=2)

stands for wrap, compile, fit with `UpdatePruningStep`, strip, and for a look at whether the zeros are there.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from utils import SEED, checks, training
from utils.optimize import keras_weights
from utils.optimize.keras_graph import opened, rebuild
from utils.optimize.pruning.magnitude import PRUNABLE, check_plain, check_target
from utils.quiet import quiet

__all__ = ["PruningFailed", "prune_while_training", "schedule", "updates"]

#: How many times the masks grow, if nothing else is asked for.
UPDATES = 20


class PruningFailed(RuntimeError):
    """The Toolkit gave back a model that is not what was asked for."""


def schedule(
    target: float,
    steps: int,
    *,
    initial: float = 0.0,
    begin: int = 1,
    end: int | None = None,
    frequency: int | None = None,
    power: int = 3,
) -> tfmot.sparsity.keras.PruningSchedule:
    """The Toolkit's `PolynomialDecay`, made so that the target is reached within `steps` training steps.

    The share of zeros in step t is target + (initial − target) · (1 − (t − begin) / (end − begin))^power, Zhu and Gupta
    2017, arXiv 1710.01878.  Masks are renewed in begin, begin + frequency, …; where the last of these lies before
    `end`, the Toolkit never reaches the target, so `end` is moved onto it.

    target: share of zeros at the end, from 0 to below 1.  initial: in the first step.
    steps: training steps in all: epochs times batches.
    begin: the first step with a mask; the Toolkit counts from 1.  end: the last one; by default three quarters
        of the steps are past then, and the rest serve to adapt.
    frequency: steps between two masks; by default there are about 20.  power: 1 is a straight line.
    Raises ValueError: shares out of range, or a schedule that ends before it begins or after the training.
    """
    check_target(target)
    check_target(initial, "initial")
    if initial > target:
        raise ValueError(f"initial is {initial:g}, target {target:g}: zeros would come back; pass initial <= target")
    begin, steps = _whole("begin", begin), _whole("steps", steps)
    end = max(begin, round(0.75 * steps)) if end is None else _whole("end", end)
    if not begin <= end <= steps:
        raise ValueError(
            f"the schedule begins in step {begin} and ends in step {end} of {steps}; pass 1 <= begin <= end <= steps"
        )
    if isinstance(power, bool) or not isinstance(power, numbers.Real) or not power > 0:
        raise ValueError(f"power is {power!r}; pass a number above 0, such as 3")
    if begin == end:
        return tfmot.sparsity.keras.ConstantSparsity(target, begin, frequency=1)
    frequency = max(1, (end - begin) // UPDATES) if frequency is None else _whole("frequency", frequency)
    if frequency > end - begin:
        raise ValueError(f"frequency is {frequency}, but there are {end - begin} steps from begin to end; pass fewer")
    end -= (end - begin) % frequency
    return tfmot.sparsity.keras.PolynomialDecay(initial, target, begin, end, power=power, frequency=frequency)


def updates(plan: tfmot.sparsity.keras.PruningSchedule, steps: int) -> dict[int, float]:
    """{step: share of zeros} for each of the steps 1, 2, …, `steps` in which the Toolkit renews the masks."""
    asked = ((step, plan(step)) for step in range(1, _whole("steps", steps) + 1))
    return {step: float(share) for step, (renew, share) in asked if bool(renew)}


def prune_while_training(
    model: tf_keras.Model,
    dataset: object,
    target: float | tfmot.sparsity.keras.PruningSchedule,
    epochs: int = 1,
    *,
    only: Sequence[str] | None = None,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    decay: bool = True,
    seed: int = SEED,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> tf_keras.Model:
    """A copy of a classifier, pruned by the Toolkit while it is trained; without wrappers, and `model` stays.

    model: a built Sequential or functional tf_keras classifier; models inside are opened.
    dataset, epochs, batch_size, learning_rate, decay, seed, callbacks: as in `training.fit`.
    target: share of zeros of each weight array, from 0 to below 1, reached by `schedule`; or a schedule of the
        Toolkit, which must prune within these steps.
    only: names of the layers to prune; None for all that have prunable weights (`magnitude.PRUNABLE`).
    Raises TypeError, ValueError: no such model, data, target or layer; a schedule that never prunes; a layer with
        prunable weights for which the Toolkit has no rule.
    Raises FloatingPointError: training diverged.
    Raises PruningFailed: the zeros are not there, or stripping changed the outputs.
    """
    checks.check_model(model, graph=True)
    check_plain(model)
    x, y = training.examples(dataset)["train"]
    training.check_settings(epochs, batch_size, learning_rate, seed)
    training.check_examples(model, x, y, "train")
    steps = epochs * -(-len(x) // batch_size)
    plan = target if isinstance(target, tfmot.sparsity.keras.PruningSchedule) else schedule(target, steps)
    planned = updates(plan, steps)
    _check_plan(plan, planned, steps)
    copy = opened(model)
    chosen = _chosen(copy, only)
    with quiet():
        wrapped = tf_keras.models.clone_model(
            copy, clone_function=lambda layer: _wrapped(layer, plan) if layer.name in chosen else layer
        )
    training.fit(
        wrapped,
        (x, y),
        epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        decay=decay,
        seed=seed,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep(), *callbacks],
    )
    sample = x[:4]
    expected = wrapped.predict(sample, verbose=0)
    with quiet():
        stripped = rebuild(tfmot.sparsity.keras.strip_pruning(wrapped))
    _check_zeros(stripped, chosen, max(planned.values()))
    if not np.array_equal(expected, stripped.predict(sample, verbose=0)):
        raise PruningFailed("the model without wrappers gives other outputs than with them")
    return stripped


def _check_plan(plan: tfmot.sparsity.keras.PruningSchedule, planned: dict[int, float], steps: int) -> None:
    """Raise ValueError unless the schedule prunes within these steps, and all that it was made for."""
    settings = plan.get_config()
    if not planned:
        raise ValueError(
            f"the schedule {settings} renews no mask in the steps 1 to {steps}, so nothing would be pruned; "
            "pass a smaller begin_step or frequency, or train longer"
        )
    own = settings.get("config", settings)
    target = own.get("final_sparsity", own.get("target_sparsity", 0.0))
    reached = max(planned.values())
    if reached < target - 0.005:
        raise ValueError(
            f"the schedule {settings} comes to {reached:.1%} zeros of its {target:.1%} in the steps 1 to {steps}; pass "
            "a smaller end_step or frequency (`schedule` chooses both), or train longer"
        )


def _wrapped(layer: tf_keras.layers.Layer, plan: object) -> tf_keras.layers.Layer:
    try:
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=plan)
    except ValueError as error:
        raise ValueError(
            f"the Toolkit has no rule for layer {layer.name!r} ({type(layer).__name__}): leave it out with only=[…], "
            "make its class a PrunableLayer, or prune it with magnitude.prune_once and recovery.recover(…, "
            "keep_zeros=True)"
        ) from error


def _chosen(model: tf_keras.Model, only: Sequence[str] | None) -> set[str]:
    """The names of the layers to wrap."""
    if isinstance(only, str):
        raise ValueError(f"only is {only!r}; pass a list of layer names, such as [{only!r}]")
    layers = model.layers if only is None else [model.get_layer(name) for name in only]
    found = {layer.name for layer in layers if _kernels(layer)}
    without = {layer.name for layer in layers} - found
    if only is not None and without:
        raise ValueError(f"the layers {sorted(without)} have no prunable weights: {', '.join(PRUNABLE)}")
    if not found:
        raise ValueError(f"the model {model.name!r} has no prunable weights, which are {', '.join(PRUNABLE)}")
    return found


def _kernels(layer: tf_keras.layers.Layer) -> list[keras_weights.Weight]:
    return [weight for weight in keras_weights.weights(layer) if weight.role in PRUNABLE]


def _check_zeros(model: tf_keras.Model, chosen: set[str], target: float) -> None:
    for name in sorted(chosen):
        for weight in _kernels(model.get_layer(name)):
            values = weight.variable.numpy()
            wanted = values.size - max(1, round(values.size * (1 - target)))
            zeros = int(np.count_nonzero(values == 0))
            if zeros < wanted - 1:
                raise PruningFailed(
                    f"{weight.name!r} has {zeros:,} zeros of {values.size:,}, not the {wanted:,} of the schedule"
                )


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; pass a whole number of at least 1")
    return int(value)
