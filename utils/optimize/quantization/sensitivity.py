"""Which kernels need their bits?  The error that each causes by itself, and the best bits for a size.

    rows = sensitivity.measure(model, x)                  # each kernel alone on 4 bits, on 8 bits
    bits = sensitivity.choose_bits(rows, budget=60_000)        # {kernel: bits}, the least error in 60,000 bytes
    mixed = sensitivity.rounded(model, bits)              # a copy to measure; the file is made by `recipes`

Errors of kernels that are rounded apart are added up, as if they were independent: a guess, which the copy tests.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from utils import checks
from utils.optimize import keras_weights
from utils.optimize.keras_graph import rebuild
from utils.optimize.quantization import grid

__all__ = ["choose_bits", "measure", "rounded"]


def _told_apart(function: Callable) -> Callable:
    """Refuse a model in which two kernels have one name, by which rows and bits are told apart."""

    @functools.wraps(function)
    def checked(model: Any, *arguments: Any, **named: Any) -> Any:
        checks.check_model(model, graph=True)
        names = Counter(kernel.name for kernel in keras_weights.kernels(model))
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(
                f"{model.name!r} has several kernels of the name {', '.join(map(repr, twice))}, in models inside; pass "
                "utils.optimize.keras_graph.opened(model), which gives each layer a name of its own"
            )
        return function(model, *arguments, **named)

    return checked


@_told_apart
def measure(model: Any, x: Any, bits: Sequence[int] = (4, 8)) -> list[dict[str, Any]]:
    """One row for each kernel and number of bits: {"kernel", "bits", "bytes", "loss"}.

    model: a built tf_keras model, Sequential or functional.  x: inputs as in training, some hundred; no labels.
    bits: 2 to 16 each.  Kernels are rounded to nearest, one scale an output channel, one kernel at a time.
    bytes: of the kernel at so many bits and of its scales, 4 each.  loss: squared error of the model's outputs, in per
    cent of their variance; of several outputs all together, so scale them alike.
    Raises ValueError as `checks.check_model`; if two kernels have one name; if the outputs are the same for all of x.
    """
    checks.check_model(model, graph=True)
    inputs = checks.fitting_inputs(model, x, "x")
    copy = rebuild(model)
    reference = _outputs(copy, inputs)
    power = float(np.mean([np.var(output) for output in reference]))
    if not power:
        raise ValueError(f"the outputs of {model.name!r} are the same for all of x; pass inputs that differ")
    rows = []
    for kernel in keras_weights.kernels(copy):
        whole = kernel.variable.numpy()
        for count in bits:
            kernel.variable.assign(_on_levels(kernel, count))
            pairs = zip(_outputs(copy, inputs), reference, strict=True)
            noise = float(np.mean([np.mean((a - b) ** 2) for a, b in pairs]))
            size = -(-whole.size * count // 8) + 4 * _channels(kernel)
            rows.append({"kernel": kernel.name, "bits": count, "bytes": size, "loss": 100 * noise / power})
            kernel.variable.assign(whole)
    return rows


def choose_bits(rows: Sequence[Mapping[str, Any]], budget: float) -> dict[str, int]:
    """{kernel: bits} with the least sum of losses in `budget` bytes: exact, whatever the order of the rows.

    Goes through the kernels and keeps, of all choices so far, those that no other beats in both bytes and loss.
    Raises ValueError if even the fewest bits need more than the budget.
    """
    options: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        options.setdefault(row["kernel"], []).append(row)
    if not options:
        raise ValueError("rows is empty; pass what measure(model, x) returns")
    least = sum(min(row["bytes"] for row in some) for some in options.values())
    if least > budget:
        raise ValueError(f"the fewest bits need {least:,} bytes; the budget is {budget:,}")
    best: list[tuple[int, float, dict[str, int]]] = [(0, 0.0, {})]
    for kernel, some in options.items():
        tried = [
            (size + row["bytes"], loss + row["loss"], {**chosen, kernel: row["bits"]})
            for size, loss, chosen in best
            for row in some
        ]
        best = _unbeaten([each for each in tried if each[0] <= budget])
    return best[-1][2]


@_told_apart
def rounded(model: Any, bits: Mapping[str, int]) -> Any:
    """A copy of a tf_keras model whose kernels lie on the levels of so many bits; kernels that are not named stay.

    Arithmetic stays float32.  Raises ValueError for a name that is no kernel of the model.
    """
    checks.check_model(model, graph=True)
    copy = rebuild(model)
    kernels = {kernel.name: kernel for kernel in keras_weights.kernels(copy)}
    unknown = sorted(set(bits) - set(kernels))
    if unknown:
        raise ValueError(f"{unknown} are no kernels of {model.name!r}; it has {', '.join(kernels)}")
    for name, count in bits.items():
        kernels[name].variable.assign(_on_levels(kernels[name], count))
    return copy


def _unbeaten(tried: list[tuple[int, float, dict[str, int]]]) -> list[tuple[int, float, dict[str, int]]]:
    """By bytes; each with less loss than all before it.  ValueError if nothing is left or a loss is not finite."""
    losses = [choice[1] for choice in tried]
    if not losses or not np.isfinite(losses).all():
        raise ValueError(f"the losses within the budget are {losses[:4]}; pass finite losses and a budget in bytes")
    kept: list[tuple[int, float, dict[str, int]]] = []
    for each in sorted(tried, key=lambda choice: choice[:2]):
        if not kept or each[1] < kept[-1][1]:
            kept.append(each)
    return kept


def _outputs(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    import tensorflow as tf

    given = inputs if len(inputs) > 1 else inputs[0]
    return [np.asarray(output, np.float64) for output in tf.nest.flatten(model(given, training=False))]


def _channels(kernel: keras_weights.Weight) -> int:
    return int(np.prod([kernel.variable.shape[axis] for axis in kernel.channels or ()]))


def _on_levels(kernel: keras_weights.Weight, bits: int) -> np.ndarray:
    """The kernel rounded to nearest, with a step for each combination of its channels."""
    whole = kernel.variable.numpy()
    if not kernel.channels:
        return grid.round_trip(whole, grid.choose(whole, bits, symmetric=True))
    behind = tuple(range(-len(kernel.channels), 0))
    moved = np.moveaxis(whole, kernel.channels, behind)
    table = moved.reshape(-1, _channels(kernel))
    table = grid.round_trip(table, grid.choose(table, bits, symmetric=True, axis=1))
    return np.moveaxis(table.reshape(moved.shape), behind, kernel.channels)
