"""Checks of chapter 12's exercises: bytes of the weights, the bare interpreter, what a delegate leaves."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require
from utils.tflite_file import Tensor

_BITS = {"float32": 32, "int8": 8, "int4": 4, "int32": 32}


@exercise(
    "12-1",
    "how many bytes of a file are weights",
    (
        "Which tensors have bytes in the file at all? An activation has a shape, but where are its values?",
        "tensor.bytes is 0 for what is computed. Two tensors may have the same tensor.buffer: it is stored once.",
        "Collect `{tensor.buffer: tensor.bytes for tensor in tensors}`, which has each buffer once, and return the "
        "`sum(…)` of its `.values()`.",
    ),
)
def weight_bytes(answer, rng: np.random.Generator) -> None:
    """`answer(tensors)`: bytes of all constants, those in a shared buffer once."""
    for _ in range(10):
        tensors = _tensors(rng)
        got = answer(tuple(tensors))
        right = sum({t.buffer: t.bytes for t in tensors}.values())
        require(isinstance(got, (int, np.integer)), f"return a whole number of bytes; you returned {got!r}")
        _check_bytes(int(got), right, tensors)


def _tensors(rng: np.random.Generator) -> list[Tensor]:
    """Activations, constants of several types, two of equal size, and two that share a buffer."""
    made = []

    def add(dtype: str, shape: tuple[int, ...], buffer: int) -> None:
        size = (int(np.prod(shape)) * _BITS[dtype] + 7) // 8 if buffer else 0
        index, plain = len(made), ((), (), 0, False, False)  # without scales, not sparse, no variable
        made.append(Tensor(index, f"t{index}", shape, shape, dtype, size, *plain, buffer=buffer))

    for dtype in rng.permutation(["float32", "int8", "int4", "int32"]):
        add(str(dtype), tuple(int(n) for n in rng.integers(2, 9, 2)), len(made) + 1)
        add("float32", (1, int(rng.integers(2, 50))), 0)
    add("int8", (int(rng.integers(20, 90)), 3), 30)
    add("int8", made[-1].shape, 31)  # equal size, another buffer
    add("float32", (int(rng.integers(20, 90)), 5), 32)
    add("float32", made[-1].shape, 32)  # the same buffer
    return [made[i] for i in rng.permutation(len(made))]


def _check_bytes(got: int, right: int, tensors: list[Tensor]) -> None:
    if got == right:
        return
    count = {t.index: int(np.prod(t.shape)) for t in tensors}
    constants = {t.buffer: t for t in tensors if t.constant}
    require(got != sum(t.bytes for t in tensors), "a buffer that two tensors share is counted twice: it is stored once")
    require(
        got not in (sum(count[t.index] * _BITS[t.dtype] // 8 for t in tensors), 4 * sum(count.values())),
        "you count activations too: they have a shape, but their values are computed; tensor.bytes is 0",
    )
    require(
        got != sum(count[t.index] * max(_BITS[t.dtype] // 8, 1) for t in constants.values()),
        "two int4 values share one byte: take what is stored, tensor.bytes, instead of shape times one byte",
    )
    require(
        got not in (sum(count.values()), sum(count[t.index] for t in constants.values())),
        "that is the number of values; a float32 has four bytes",
    )
    require(
        got != sum({t.bytes for t in tensors}),
        "two constants of equal size are not the same constant: tell them apart by tensor.buffer",
    )
    require(False, f"these tensors have {right:,} bytes of constants; you returned {got:,}")


@exercise(
    "12-2",
    "an int8 file with the bare interpreter",
    (
        "Which two numbers turn a real value into the file's integer, and where does the interpreter keep them?",
        "scale, zero = interpreter.get_input_details()[0]['quantization']. Round, add the zero point, clip; "
        "afterwards the same backwards with the *output's* numbers.",
        "`q = np.clip(np.round(x / scale) + zero, -128, 127).astype(np.int8)`; then "
        '`interpreter.resize_tensor_input(given["index"], q.shape)`, `interpreter.allocate_tensors()`, '
        '`interpreter.set_tensor(given["index"], q)`, `interpreter.invoke()`; last the output\'s numbers, '
        '`scale, zero = wanted["quantization"]`, and `return scale * (stored.astype(np.float32) - zero)`.',
    ),
)
def bare_interpreter(answer, rng: np.random.Generator) -> None:
    """`answer(interpreter, x)`: real outputs (n, classes) for real inputs (n, features) of an int8 file."""
    for trial in range(6):
        little = LittleInterpreter(rng)
        x = _inputs(rng, little, 3 if trial else 1)
        _check_real(answer(little, x.copy()), x, little)


def _inputs(rng: np.random.Generator, little: LittleInterpreter, count: int) -> np.ndarray:
    """Real inputs, 0.3 of a step from a level, so that no rounding is a tie; some beyond the calibrated range."""
    levels = rng.integers(round(little.low / little.scale_in), round(1.15 * little.high / little.scale_in), (count, 6))
    away = 0.3 * rng.choice([-1, 1], levels.shape)
    return (little.scale_in * (levels + away)).astype(np.float32)


class LittleInterpreter:
    """One int8 dense layer behind the methods of LiteRT's Interpreter; refuses what that refuses."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.features, self.classes = 6, 4
        self.zero_in, self.zero_out = int(rng.integers(-90, -40)), int(rng.integers(20, 60))
        self.scale_in, self.scale_out = float(rng.uniform(0.02, 0.06)), float(rng.uniform(0.1, 0.3))
        self.low, self.high = (self.scale_in * (q - self.zero_in) for q in (-128, 127))
        self.kernel = rng.uniform(-1, 1, (self.features, self.classes))
        self._shape, self._allocated, self._input, self._output = (1, self.features), False, None, None

    def get_input_details(self) -> list[dict]:
        return [self._details(0, self.features, self.scale_in, self.zero_in)]

    def get_output_details(self) -> list[dict]:
        return [self._details(9, self.classes, self.scale_out, self.zero_out)]

    def _details(self, index: int, last: int, scale: float, zero: int) -> dict:
        several = {"scales": np.array([scale], np.float32), "zero_points": np.array([zero]), "quantized_dimension": 0}
        return {
            "name": "little",
            "index": index,
            "dtype": np.int8,
            "shape": np.array([self._shape[0], last]),
            "shape_signature": np.array([-1, last]),
            "quantization": (scale, zero),
            "quantization_parameters": several,
        }

    def resize_tensor_input(self, input_index: int, tensor_size, strict: bool = False) -> None:
        self._shape, self._allocated = tuple(int(n) for n in tensor_size), False

    def allocate_tensors(self) -> None:
        self._allocated = True

    def set_tensor(self, tensor_index: int, value) -> None:
        value = np.asarray(value)
        if not self._allocated:
            raise ValueError("Cannot set tensor: Tensor is unallocated. Try calling allocate_tensors() first")
        if value.dtype != np.int8:
            raise ValueError(f"Cannot set tensor: Got value of type {value.dtype} but expected type INT8 for input 0")
        if value.shape != self._shape:
            raise ValueError(f"Cannot set tensor: Dimension mismatch. Got {value.shape} but expected {self._shape}")
        self._input = value.copy()

    def invoke(self) -> None:
        if self._input is None or not self._allocated:
            raise RuntimeError("Invoke called on model that is not ready.")
        self._output = self.stored(self._input)

    def get_tensor(self, tensor_index: int) -> np.ndarray:
        return (self._output if tensor_index == 9 else self._input).copy()

    def stored(self, q: np.ndarray) -> np.ndarray:
        """What the layer gives for stored inputs, as stored."""
        real = (self.scale_in * (q.astype(np.float64) - self.zero_in)) @ self.kernel
        return np.clip(np.round(real / self.scale_out) + self.zero_out, -128, 127).astype(np.int8)


def _check_real(got, x: np.ndarray, little: LittleInterpreter) -> None:
    require(got is not None, "return the outputs")
    got = np.asarray(got)
    require(
        got.shape != (1, little.classes) or len(x) == 1,
        f"you returned one row for {len(x)} examples: resize_tensor_input(index, x.shape), allocate_tensors(); "
        "or run them one by one and collect the rows",
    )
    require(
        got.shape == (len(x), little.classes),
        f"for inputs of shape {x.shape} the outputs are {(len(x), little.classes)}; yours are {got.shape}",
    )
    require(
        got.dtype.kind == "f",
        f"you return {got.dtype}: what the interpreter gives is stored integers; dequantize them with the output's "
        "scale and zero point",
    )
    ratio = x / little.scale_in

    def real(q: np.ndarray, scale: float | None = None, zero: int | None = None) -> np.ndarray:
        zero = little.zero_out if zero is None else zero
        return (scale or little.scale_out) * (little.stored(q).astype(float) - zero)

    def clipped(q: np.ndarray) -> np.ndarray:
        return np.clip(q, -128, 127).astype(np.int8)

    def close(other: np.ndarray) -> bool:
        return bool(np.allclose(got, other, atol=1e-4))

    q = clipped(np.round(ratio) + little.zero_in)
    if close(real(q)):
        return
    for cut in (np.trunc, np.floor):  # no tie is near, so these are other levels
        require(
            not close(real(clipped(cut(ratio) + little.zero_in))),
            "astype(np.int8) cuts the fraction off: np.round before it, or the values lie half a step too low",
        )
    wrapped = (np.round(ratio) + little.zero_in).astype(np.int64).astype(np.int8)
    require(
        not close(real(x.astype(np.int8))),
        "x.astype(np.int8) has the right type and the wrong meaning: divide by the input's scale, add its zero",
    )
    require(not close(real(clipped(np.round(ratio)))), "the input's zero point is missing: q = round(x / scale) + zero")
    require(not close(real(wrapped)), "values beyond 127 wrapped around to negative ones: clip before astype(np.int8)")
    require(not close(real(q, zero=0)), "the output's zero point is missing: real = scale · (q - zero)")
    require(
        not close(real(q, little.scale_in, little.zero_in)),
        "you dequantize with the input's numbers; the output has a scale and a zero point of its own",
    )
    require(
        not close(little.stored(q).astype(float)),
        "those are stored integers as floats: multiply (q - zero) by the output's scale",
    )
    require(False, f"the first output should be {real(q)[0, 0]:.4f}; you returned {float(got[0, 0]):.4f}")


@exercise(
    "12-3",
    "which nodes run once XNNPACK has taken its part",
    (
        "Go through the operators in order, and decide for each whether it is taken. What does your list get for one "
        "that is, and what for one that is left?",
        "A taken operator adds a DELEGATE only if the last node of your list is not one already; one that is left adds "
        "its own name. Depthwise wants one type; int4 weights are taken in dense layers only; int16 never.",
        'Begin with `taken = given != "int16"`; for DEPTHWISE_CONV_2D add `taken and given == weights`, for CONV_2D '
        '`taken and weights != "int4"`. Then `nodes.append(name)` if it is left, and if it is taken '
        '`nodes.append("DELEGATE")` where `nodes[-1:] != ["DELEGATE"]`.',
    ),
)
def nodes_that_run(answer, rng: np.random.Generator) -> None:
    """`answer(operators)`: names of the nodes that run, for a chain of (name, type of input, type of weights)."""
    for trial in range(12):
        operators = _chain(rng, trial)
        _check_nodes(answer([tuple(operator) for operator in operators]), operators)


_INPUT_AND_WEIGHTS = {
    "float32": ("float32", "float32"),
    "dynamic int8": ("float32", "int8"),
    "dynamic int4": ("float32", "int4"),
    "int8": ("int8", "int8"),
    "int16x8": ("int16", "int8"),
}


def _chain(rng: np.random.Generator, trial: int) -> list[tuple[str, str, str]]:
    """Two to four blocks, all of one mode or, every other time, each of a mode of its own."""
    modes = list(_INPUT_AND_WEIGHTS)
    one = modes[trial // 2 % len(modes)]
    made = []
    for block in range(int(rng.integers(2, 5))):
        given, weights = _INPUT_AND_WEIGHTS[one if trial % 2 else str(rng.choice(modes))]
        depthwise = "float32" if weights == "int4" else weights  # the recipes of 4 bits leave depthwise weights alone
        made += [("CONV_2D", given, weights), ("DEPTHWISE_CONV_2D", given, depthwise), ("CONV_2D", given, weights)]
        made += [("FULLY_CONNECTED", given, weights)] * (int(rng.integers(1, 3)) if block else 2)  # two side by side
        made += [("MEAN", given, "none")] * int(rng.integers(0, 2))
    return made


def _nodes(operators, wrong: str = "") -> list[str]:
    """What runs; `wrong` names one rule that is left out or a mistake that is made."""
    made: list[str] = []
    for name, given, weights in operators:
        taken = given != "int16" or wrong == "int16"
        if name == "DEPTHWISE_CONV_2D" and wrong != "depthwise":
            taken = taken and given == weights and wrong != "no depthwise"
        if name == "CONV_2D" and wrong != "int4":
            taken = taken and weights != "int4"
        if name == "FULLY_CONNECTED" and wrong == "dense int4":
            taken = taken and weights != "int4"
        if not taken:
            made += [] if wrong == "merged" and made[-1:] == [name] else [name]
        elif made[-1:] != ["DELEGATE"] or wrong == "apart":
            made += [] if wrong == "one" and "DELEGATE" in made else ["DELEGATE"]
    return made


_WRONG_NODES = {
    "apart": "neighbours that are taken become *one* node, DELEGATE",
    "one": "an operator that is left cuts the chain: what is taken behind it is another DELEGATE",
    "merged": "operators that are left do not join: each stays a node of its own",
    "depthwise": "a depthwise convolution wants one type for its input and its weights",
    "no depthwise": "a depthwise convolution is taken where its input and its weights have one type",
    "int4": "with int4 weights a convolution is left; only dense layers are taken",
    "dense int4": "with int4 weights a dense layer is taken",
    "int16": "nothing with int16 inputs is taken",
}


def _check_nodes(got, operators) -> None:
    right = _nodes(operators)
    require(
        isinstance(got, (list, tuple)) and all(isinstance(name, str) for name in got),
        f"return a list of names such as ['DELEGATE', 'CONV_2D']; you returned {got!r}",
    )
    got = list(got)
    if got == right:
        return
    for wrong, message in _WRONG_NODES.items():
        require(got != _nodes(operators, wrong), message)
    require(
        got != [name for name, *_ in operators] + ["DELEGATE"] * right.count("DELEGATE"),
        "operators that a DELEGATE has replaced do not run: leave them out",
    )
    require(False, f"for {operators} these nodes run: {right}; you returned {got}")
