"""Quantize a .tflite file, without TensorFlow and without the model it came from: LiteRT's own quantizer.

    small = recipes.quantize(artifact, "weight_only_int4")
    mixed = recipes.quantize(artifact, "dynamic_int4", keep="logits")
    recipes.report(small)          # each weight: its type, its scales, its bytes

The package is litert-quantizer (before: ai-edge-quantizer).  It takes a float file and rewrites weights; what a recipe
cannot store it skips without a word, and what is quantized already it takes for float: so only float operators are
given to it, and each result is compared with the file it came from.
Weights of a Keras `Embedding` become a GATHER, which no weight recipe touches; the converter's "dynamic" mode does.
"""

from __future__ import annotations

import numbers
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils import checks, tflite_file
from utils.artifact import Artifact, ArtifactError
from utils.measure import agreement
from utils.optimize.quantization import guard
from utils.quiet import quiet
from utils.tflite_file import File, Operator, Tensor


@dataclass(frozen=True)
class Recipe:
    """What becomes of a file.

    kind: how it computes.  "weight_only": weights are dequantized before use, the arithmetic is float.  "dynamic":
        hybrid, activations are quantized to 8 bits while running and multiplied as integers, results are float.
        "static": integer, the activations' ranges are fixed by calibration.
    weights: bits that are stored; 16-bit weights are floats.  activations: bits between operators.
    only: operators it is kept to.
    """

    kind: str
    weights: int
    activations: int = 32
    only: tuple[str, ...] = ()


#: The recipes by name.  A 2-bit dense layer gives what its rounded weights give, a convolution does not: written with
#: 2 bits, seven of seven sizes had infinite outputs with all kernels of LiteRT 2.3, so they are left in float.
RECIPES = {
    "weight_only_float16": Recipe("weight_only", 16),
    "weight_only_int8": Recipe("weight_only", 8),
    "weight_only_int4": Recipe("weight_only", 4),
    "dynamic_int8": Recipe("dynamic", 8),
    "dynamic_int4": Recipe("dynamic", 4),
    "dynamic_int2": Recipe("dynamic", 2, only=("FULLY_CONNECTED", "EMBEDDING_LOOKUP")),
    "static_int8": Recipe("static", 8, 8),
    "static_int4": Recipe("static", 4, 8),
    "static_int16x8": Recipe("static", 8, 16),
}

#: How the range of a weight is chosen: all of it; a fixed multiple of the channel's root mean square, which suits
#: numbers that are normally distributed, for 8 and 4 bits; or by OCTAV's formula (LiteRT Quantizer's mse.py, octav.py).
RANGES = {"minmax": "MIN_MAX_UNIFORM_QUANT", "mse": "MSE", "octav": "OCTAV"}

#: Times that outputs may grow: rounding weights to 2 bits adds noise of the outputs' own size, no more.
_TOO_LARGE = 10

#: Weights that share a scale within a row of a dense layer.
BLOCKS = (32, 64, 128, 256)


def quantize(
    artifact: Artifact,
    recipe: str,
    *,
    layers: str | None = None,
    keep: str | None = None,
    operators: Sequence[str] | None = None,
    calibration: Any = None,
    ranges: str = "minmax",
    block: int | None = None,
) -> Artifact:
    """A .tflite file whose weights are stored as the recipe says, tried and found to run.

    artifact: a .tflite file.  What is already quantized stays as it is, so recipes can follow one another: int4 for
        some layers, then int8 for the rest.  Labels and other files that are packed behind it stay, too.
    recipe: a name of `RECIPES`.
    layers, keep: regular expressions, searched in the names of an operator's outputs and weights, which contain the
        Keras layers' names: only these, or all but these.  operators: only these kinds, such as ["FULLY_CONNECTED"].
    calibration: inputs as in training, (n, ...) or `{input name: array}`; for static recipes only.  An activation's
        range goes from its smallest to its largest value over all of them: pass a hundred or more.
    ranges: a name of `RANGES`.  block: of `BLOCKS`, for dense layers in the dynamic recipes with 4 bits.
    Warns, ConversionWarning: the outputs of a static recipe for the calibration data are far from the file's.
    Raises ValueError or TypeError that says what was passed and what to pass; ArtifactError if the file cannot be
    read, or if the result does not run, is hopelessly far off, or gives infinite outputs.
    """
    chosen = _check_arguments(artifact, recipe, calibration, ranges, block)
    file = artifact.runner.file  # broken and foreign files end here, in a child process
    _check_weights(file, chosen)
    everything = file.all_operators()
    selected = _selected(everything, chosen, layers, keep, operators)
    if block is not None:
        _check_block(selected, block)
    # With ".*" the quantizer also takes inputs and outputs, which are no operators of the file.
    whole = len(selected) == len(everything)
    scopes = [".*"] if whole else [f"^{re.escape(_scope(operator))}$" for operator in selected]
    content = _run_quantizer(artifact, _as_configured(chosen, scopes, ranges, block), calibration)
    _check_changed(file, File(content), chosen, recipe, selected, block)
    made = Artifact(tflite_file.with_packed(content, tflite_file.packed(artifact.content)), "tflite")
    _check_outputs(artifact, made, recipe, calibration)
    return made


def report(artifact: Artifact) -> list[dict[str, Any]]:
    """One row for each weight and bias, in the order of execution: for `claims.show`.

    layer: the name of what it computes.  operator: which uses it.  weight, shape, bytes: as stored.  scales: how
    many (0: float).  activations: type of what comes in.  dequantized: True if a DEQUANTIZE turns the weight into
    float32 first, so that the arithmetic is float.
    """
    rows = []
    operators = _runner(artifact).file.all_operators()
    producers = _producers(operators)
    for operator in operators:
        if operator.name == "DEQUANTIZE":
            continue
        activations = [t.dtype for t in operator.inputs if not _stored(t, producers)[0]]
        for tensor in operator.inputs:
            weight, dequantized = _stored(tensor, producers)
            if weight is not None and _is_parameter(weight):
                rows.append(
                    {
                        "layer": _label(operator),
                        "operator": operator.name,
                        "weight": weight.dtype,
                        "shape": weight.shape,
                        "bytes": weight.bytes,
                        "scales": len(weight.quantization.scales) if weight.quantization else 0,
                        "activations": activations[0] if activations else "",
                        "dequantized": dequantized,
                    }
                )
    return rows


def summary(artifact: Artifact) -> dict[str, int]:
    """Bytes of the weights and biases by type, such as {"int4": 50176, "float32": 552}."""
    total: Counter[str] = Counter()
    tensors = [tensor for graph in _runner(artifact).file.tensors for tensor in graph]
    for tensor in {tensor.buffer: tensor for tensor in tensors if _is_parameter(tensor)}.values():
        total[tensor.dtype] += tensor.bytes
    return dict(total)


# ---------------------------------------------------------------- what stands in the file


def _runner(artifact: Artifact) -> Any:
    if not isinstance(artifact, Artifact) or artifact.format != "tflite":
        raise TypeError(
            f"recipes work on a .tflite Artifact; got {artifact!r:.80}. quantization.convert(model, "
            "'float32') makes one of a Keras model, artifact.load(path) of a file"
        )
    return artifact.runner


def _scope(operator: Operator) -> str:
    """The quantizer's name of an operator: those of its outputs, each followed by a semicolon."""
    return "".join(f"{tensor.name};" for tensor in operator.outputs or operator.inputs if tensor.name)


def _label(operator: Operator) -> str:
    """A name to read: the first output's, or the weight's where the file's outputs have lost the layer's name."""
    names = [tensor.name for tensor in (*operator.outputs, *filter(_is_parameter, operator.inputs))]
    return next((name for name in names if "/" in name), names[0]).partition(";")[0]


def _producers(operators: Sequence[Operator]) -> dict[tuple[int, int], Operator]:
    """(subgraph, tensor) -> the operator that computes it."""
    return {(o.subgraph, out.index): o for o in operators for out in o.outputs}


def _quantized(operator: Operator, producers: dict) -> bool:
    """True if a weight is stored in another type than float32, or the operator computes with integers."""
    weights = [weight for weight, _ in (_stored(t, producers) for t in operator.inputs) if weight is not None]
    integers = any(t.quantization is not None for t in (*operator.inputs, *operator.outputs))
    return integers or any(_is_parameter(weight) and weight.dtype != "float32" for weight in weights)


def _stored(tensor: Tensor, producers: dict) -> tuple[Tensor | None, bool]:
    """The constant behind a tensor, and whether a DEQUANTIZE stands between; (None, False) for what is computed."""
    if tensor.constant:
        return tensor, False
    source = producers.get((tensor.subgraph, tensor.index))
    if source is not None and source.name == "DEQUANTIZE" and source.inputs and source.inputs[0].constant:
        return source.inputs[0], True
    return None, False


def _is_parameter(tensor: Tensor) -> bool:
    """Constants that are no shapes, axes or paddings; scales of blocks stand beside the tensor, not in it."""
    known = tensor.dtype.startswith(("float", "bfloat")) or tensor.dtype in ("int2", "int4")
    return tensor.constant and (known or tensor.quantization is not None)


def _has_weights(operator: Operator) -> bool:
    return any(map(_is_parameter, operator.inputs))


def _selected(operators: Sequence[Operator], recipe: Recipe, layers, keep, kinds) -> list[Operator]:
    """The float operators that are named; the recipe need not be able to quantize each."""
    producers = _producers(operators)
    found = [o for o in operators if _named(o, layers, "layers", True) and not _named(o, keep, "keep", False)]
    wanted = _check_kinds(kinds, operators)
    if recipe.only and wanted - {*recipe.only}:
        raise ValueError(
            f"operators={sorted(wanted - {*recipe.only})!r}: with 2 bits LiteRT 2.3 computes "
            f"{' and '.join(recipe.only)} right, and no convolution; take 4 bits for those"
        )
    found = [o for o in found if o.name in (wanted or recipe.only or {o.name})]
    quantized = [o for o in found if _quantized(o, producers)]
    found = [o for o in found if o not in quantized]
    if quantized and not any(_has_weights(o) for o in found):
        there = [_label(o) for o in quantized if o.name != "DEQUANTIZE"]
        raise ValueError(
            f"what was chosen is quantized already and stays as it is: {_some(there)}; "
            "start from the float32 file to store it otherwise"
        )
    if not found:
        with_weights = [_label(o) for o in operators if _has_weights(o)]
        raise ValueError(
            f"no operator fits layers={layers!r}, keep={keep!r}, operators={kinds!r}; "
            f"those with weights are {_some(with_weights)}"
        )
    return found


def _named(operator: Operator, pattern: str | None, argument: str, default: bool) -> bool:
    """True if the pattern is found in the operator's outputs or constants: the last layer's output has another name."""
    if pattern is None:
        return default
    try:
        return any(
            re.search(pattern, tensor.name)
            for tensor in (*operator.outputs, *operator.inputs)
            if tensor in operator.outputs or tensor.constant
        )
    except (re.error, TypeError) as error:
        raise ValueError(
            f"{argument}={pattern!r} is no regular expression ({error}); pass text such as 'dense_1|logits'"
        ) from None


def _check_kinds(kinds: Sequence[str] | None, operators: Sequence[Operator]) -> set[str]:
    if kinds is None:
        return set()
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    there = {operator.name for operator in operators}
    if not kinds:
        raise ValueError(f"operators is empty; name some of {', '.join(sorted(there))}, or leave it out for all")
    if kinds - there:
        raise ValueError(f"operators={sorted(kinds - there)!r}: the file has none; it has {', '.join(sorted(there))}")
    return kinds


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more if names else "none"


# ---------------------------------------------------------------- the quantizer


def _as_configured(recipe: Recipe, scopes: list[str], ranges: str, block: int | None) -> list[dict]:
    """The recipe in the quantizer's own words, for each scope."""
    from litert_quantizer import qtyping, recipe_manager
    from litert_quantizer.algorithm_manager import AlgorithmName

    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    algorithm = AlgorithmName.FLOAT_CASTING if recipe.weights == 16 else AlgorithmName[RANGES[ranges]]
    granularity = qtyping.QuantGranularity["CHANNELWISE" if block is None else f"BLOCKWISE_{block}"]
    manager = recipe_manager.RecipeManager()
    for scope in scopes:
        if recipe.kind == "static":
            manager.add_static_config(scope, everything, recipe.activations, recipe.weights, granularity, algorithm)
        elif recipe.kind == "dynamic":
            manager.add_dynamic_config(scope, everything, recipe.weights, granularity, algorithm)
        else:
            manager.add_weight_only_config(scope, everything, recipe.weights, granularity, algorithm)
    return manager.get_quantization_recipe()


def _run_quantizer(artifact: Artifact, configured: list[dict], calibration: Any) -> bytes:
    from litert_quantizer import quantizer

    samples = None if calibration is None else _samples(artifact.runner, calibration)
    try:
        with quiet(tell_on_error=False):
            work = quantizer.Quantizer(artifact.content)
            work.load_quantization_recipe(configured)
            found = None if samples is None else _ranges(artifact, configured, samples)
            done = work.quantize(found, enable_progress_bar=False, enable_progress_report=False)
            return bytes(done.quantized_model)
    except Exception as error:  # it raises whatever its NumPy and its flatbuffers raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ArtifactError(f"LiteRT's quantizer gives up on this file: {reason:.300}") from error


def _ranges(artifact: Artifact, configured: list[dict], samples: dict[str, list]) -> dict:
    """The activations' ranges over all samples.

    `Quantizer.calibrate` would take a moving average of each sample's extremes: where a sample has a single value,
    such as the one output of a regression, they are equal, and the range becomes nearly 0.
    """
    from litert_quantizer import calibrator, recipe_manager
    from litert_quantizer.utils import qsv_utils

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(configured)
    work = calibrator.Calibrator(
        artifact.content, num_threads=artifact.runner.threads, qsv_update_func=qsv_utils.min_max_update
    )
    work.calibrate(samples, manager)
    found = work.get_model_qsvs()
    for name, limits in found.items():
        ends = np.concatenate([np.ravel(limits["min"]), np.ravel(limits["max"])]).astype(np.float64)
        if not np.ptp(ends) < np.finfo(np.float32).max:  # kernels clamp what overflows; NaN too
            raise ValueError(
                f"the activation {name!r} lies between {ends.min():g} and {ends.max():g} for the calibration data, "
                "which float32 cannot hold; leave out the examples that overflow"
            )
    return found


def _samples(runner: Any, calibration: Any) -> dict[str, list[dict[str, np.ndarray]]]:
    """Calibration in the pieces that the file takes, for its signature."""
    if len(runner.signatures) != 1:
        raise ValueError(f"the file has {len(runner.signatures)} signatures; static recipes need a file with one")
    return {runner.signatures[0]: runner.pieces(calibration)}


# ---------------------------------------------------------------- checks


def _check_arguments(artifact: Artifact, recipe: str, calibration: Any, ranges: str, block: int | None) -> Recipe:
    _runner(artifact)
    checks.check_choice("recipe", recipe, RECIPES)
    checks.check_choice("ranges", ranges, RANGES)
    chosen = RECIPES[recipe]
    if chosen.kind == "static" and calibration is None:
        raise ValueError(
            f"recipe {recipe!r} fixes the activations' ranges in advance, so it needs calibration=: "
            "some hundred inputs of the training set, prepared as in training"
        )
    if chosen.kind != "static" and calibration is not None:
        raise ValueError(f"recipe {recipe!r} does not use calibration data; leave it out, or take 'static_int8'")
    if block is not None and (
        not isinstance(block, numbers.Integral) or block not in BLOCKS or recipe != "dynamic_int4"
    ):
        raise ValueError(
            f"block={block!r} with recipe {recipe!r}: blocks are {', '.join(map(str, BLOCKS))} weights, "
            "and only 'dynamic_int4' has kernels for them"
        )
    if ranges == "mse" and (chosen.weights == 2 or block is not None):
        raise ValueError(
            f"ranges='mse' with {'blocks' if block is not None else '2 bits'}: LiteRT Quantizer cannot; take ranges="
            "'octav', or 'minmax'"
        )
    return chosen


def _check_block(selected: list[Operator], block: int) -> None:
    """The rows of a dense layer must be whole blocks."""
    broken = [
        f"{_label(o)} ({o.inputs[1].shape[-1]})"
        for o in selected
        if o.name == "FULLY_CONNECTED" and o.inputs[1].constant and o.inputs[1].shape[-1] % block
    ]
    if broken:
        raise ValueError(
            f"block={block} does not divide the inputs of {_some(broken)}; "
            "leave these layers out with keep=, or leave out block="
        )


def _check_changed(before: File, after: File, recipe: Recipe, name: str, selected: list[Operator], block) -> None:
    """The quantizer rewrites a file even when it has quantized nothing in it."""

    def types(file: File) -> Counter:
        return Counter(
            t.dtype
            for tensors in file.tensors
            for t in tensors
            if (recipe.kind == "static" or t.constant) and t.dtype != "float32"
        )

    if types(before) == types(after):
        there = sorted({o.name for o in selected if _has_weights(o)})
        extra = "" if block is None else f" in blocks of {block}"
        raise ValueError(
            f"recipe {name!r}{extra} changed nothing: it can store no float weight of "
            f"{', '.join(there) or 'this file'}. Depthwise convolutions take 8 bits, blocks are for dense layers"
        )


def _check_weights(file: File, recipe: Recipe) -> None:
    """Integers have no NaN, and float16 ends at 65,504: what would become another number is refused."""
    for tensor, values in file.constants():
        if values.dtype.kind != "f":
            continue
        if not np.isfinite(values).all():
            raise ValueError(f"the weights {tensor.name!r} hold NaN or infinity; no recipe can store them")
        if recipe.weights == 16 and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise ValueError(
                f"the weights {tensor.name!r} reach {np.abs(values).max():,.0f}, and float16 ends at 65,504; "
                "leave the layer out with keep=, or take a recipe with integers"
            )


def _check_outputs(before: Artifact, after: Artifact, name: str, calibration: Any) -> None:
    """Compare with the file it came from: on the calibration data, else on made-up inputs.

    Made-up inputs show what kernels read wrongly (infinite outputs, outputs of another size), not what is lost.
    """
    if calibration is not None:
        x = agreement.evenly_chosen(calibration) if before.runner.batched else calibration
        want, got = _renamed(before.runner.run(x), after.runner.run(x))
        steps = guard.output_steps(after.runner, after.runner.signatures[0]).values()
        found = agreement.compare(want, got, dict(zip(want, steps, strict=True)))
        advice = "pass more inputs, of all kinds; keep the worst layers float with keep=; or take a dynamic recipe"
        far = agreement.complaint(found, f"the file of recipe {name!r}", advice, ArtifactError)
        if far:
            warnings.warn(far, guard.ConversionWarning, stacklevel=3)
        return
    for old, new in zip(before.runner.graphs(), after.runner.graphs(), strict=True):
        x = old.sample(16, np.random.default_rng(0), real=True)
        try:
            want = old.run(x)
        except ArtifactError:  # made-up whole numbers may be no valid index
            continue
        want, found = _renamed(want, new.run(x))
        for output in want:
            _check_size(want[output], found[output], name)


def _renamed(first: Any, second: Any) -> tuple[dict, dict]:
    """Both as {name: array} with the first one's names: the quantizer may rename outputs, their order stays."""
    first, second = (y if isinstance(y, dict) else {"": y} for y in (first, second))
    return first, dict(zip(first, second.values(), strict=True))


def _check_size(want: np.ndarray, found: np.ndarray, name: str) -> None:
    if want.dtype.kind != "f" or not want.size or not np.isfinite(want).all():
        return
    largest = float(np.abs(want).max())
    if not np.isfinite(found).all():
        what = "infinite outputs"
    elif np.abs(found).max() > _TOO_LARGE * largest:
        what = f"outputs up to {np.abs(found).max():.3g} where the float file's end at {largest:.3g}"
    else:
        return
    raise ArtifactError(
        f"the file of recipe {name!r} runs, but gives {what}: the kernels cannot compute with these weights; "
        "take more bits, or leave layers out with keep="
    )
