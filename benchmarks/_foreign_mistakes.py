"""Mistakes invented by somebody who did not write the tests: `python course.py bench mutants --only foreign`.

Add one: the file, a text that stands in it exactly once, what is written instead, and the test files that should
notice, best the one that mirrors the module.  Plant what a tired colleague would write, each in another way.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """A mistake.  tests: files of tests, or single tests as pytest names them, relative to the repository."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MISTAKES = (
    Mistake("utils/measure/cost.py", '"float16": 1.1 + 0.4', '"float16": 1.1 + 0.9', ("tests/measure/test_cost.py",)),
    Mistake(
        "utils/optimize/quantization/equalization.py",
        "_K.Flatten,",
        "_K.Flatten, _K.LayerNormalization,",
        ("tests/optimize/quantization/test_equalization.py",),
    ),
    Mistake(
        "CONTRIBUTING.md", "| its solutions | 25 |", "| its solutions | 30 |", ("tests/course/test_contributing.py",)
    ),
    Mistake(
        "utils/data.py",
        "np.lexsort((rng.permutation(len(classes)), take - shares))",
        "np.lexsort((rng.permutation(len(classes)), shares - take))",
        ("tests/test_data.py",),
    ),
    Mistake(
        "utils/checks.py",
        "rebuild it in float32: utils.optimize.keras_graph.in_float32(model)",
        "rebuild it in float32: utils.optimize.keras_3.in_float32(model)",
        ("tests/test_checks.py", "tests/course/test_repository.py"),
    ),
    Mistake(
        "utils/models.py",
        "78,426 parameters (of which 672",
        "77,754 parameters (of which 672",
        ("tests/test_models.py",),
    ),
    Mistake(
        "utils/quantization_parameters.py",
        "tuple(self.zero_points), self.qmin, self.qmax, self.axis",
        "tuple(self.zero_points), self.qmin, self.qmax",
        ("tests/test_quantization_parameters.py",),
    ),
    Mistake(
        "utils/claims.py",
        "<p><em>{html.escape(caption)}</em></p>",
        "<p><em>{caption}</em></p>",
        ("tests/test_claims.py",),
    ),
    Mistake(
        "utils/recorded.py",
        'version.split(".")[:2] != packages[name].split(".")[:2]',
        'version.split(".")[:1] != packages[name].split(".")[:1]',
        ("tests/test_recorded.py",),
    ),
    Mistake(
        "utils/training.py",
        "rng.integers(0, 2 * pixels + 1, size=(2, n, 1))",
        "rng.integers(0, 2 * pixels, size=(2, n, 1))",
        ("tests/test_training.py",),
    ),
    Mistake(
        "utils/measure/statistics.py",
        "np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)",
        "np.clip((confidence * bins).astype(int), 0, bins - 1)",
        ("tests/measure/test_statistics.py",),
    ),
    Mistake(
        "utils/measure/roofline.py",
        "abs(math.log(size / max(working_set, 1)))",
        "abs(size - working_set)",
        ("tests/measure/test_roofline.py",),
    ),
    Mistake(
        "utils/measure/memory.py",
        "int(line.split()[1]) * 1024",
        "int(line.split()[1]) * 1000",
        ("tests/measure/test_memory.py",),
    ),
    Mistake("utils/measure/pareto.py", 'where="post"', 'where="pre"', ("tests/measure/test_pareto.py",)),
    Mistake(
        "utils/optimize/coding/integers.py",
        "np.where(places < 0, layout.inputs, places * layout.channels + channel)",
        "np.where(places < 0, layout.inputs, channel * layout.sizes[_SPACE] + places)",
        ("tests/optimize/coding/test_integers.py",),
    ),
    Mistake(
        "utils/optimize/coding/values.py",
        "places.max(initial=0) >= len(known)",
        "places.max(initial=0) > len(known)",
        ("tests/optimize/coding/test_values.py",),
    ),
    Mistake(
        "utils/optimize/coding/network_file.py",
        'ArrayBits("", "head", 8.0 * HEAD)',
        'ArrayBits("", "head", float(HEAD))',
        ("tests/optimize/coding/test_network_file.py",),
    ),
    Mistake(
        "utils/optimize/coding/dead_units.py",
        '"swish", "softsign"',
        '"swish", "softplus"',
        ("tests/optimize/coding/test_dead_units.py",),
    ),
    Mistake(
        "utils/optimize/coding/mixing.py",
        "np.add.at(self._counts[1], places, 1)\n        np.add.at(self._counts[0], places[:, chosen], 1)",
        "self._counts[1][places] += 1\n        self._counts[0][places[:, chosen]] += 1",
        ("tests/optimize/coding/test_mixing.py",),
    ),
    Mistake(
        "utils/optimize/coding/layouts.py",
        ".transpose(np.argsort(self.axes))",
        ".transpose(self.axes)",
        ("tests/optimize/coding/test_layouts.py",),
    ),
    Mistake(
        "utils/optimize/huffman.py",
        '"0" * (-len(bits) % 8)',
        '"0" * (8 - len(bits) % 8)',
        ("tests/optimize/test_huffman.py",),
    ),
    Mistake(
        "utils/optimize/recovery.py",
        "logits / temperature) * temperature**2",
        "logits / temperature) * temperature",
        ("tests/optimize/test_recovery.py",),
    ),
    Mistake(
        "utils/optimize/toolkit/wrapping.py",
        "for s in (after - before).elements()]",
        "for s in after - before]",
        ("tests/optimize/toolkit/test_wrapping.py",),
    ),
    Mistake(
        "utils/optimize/quantization/grid.py",
        "kernel · gamma / sqrt(moving variance + epsilon), for",
        "kernel · gamma / (moving variance + epsilon), for",
        ("tests/optimize/quantization/test_grid.py",),
    ),
    Mistake(
        "utils/optimize/quantization/rounding.py",
        "np.outer(factor[i, i + 1 :], error)",
        "np.outer(factor[i + 1 :, i], error)",
        ("tests/optimize/quantization/test_rounding.py",),
    ),
    Mistake(
        "utils/optimize/quantization/calibration.py",
        "np.percentile(x, [100 - percentile, percentile])",
        "np.percentile(x, [(100 - percentile) / 2, (100 + percentile) / 2])",
        ("tests/optimize/quantization/test_calibration.py",),
    ),
    Mistake(
        "utils/optimize/quantization/sensitivity.py",
        "-(-whole.size * count // 8) + 4",
        "whole.size * count // 8 + 4",
        ("tests/optimize/quantization/test_sensitivity.py",),
    ),
    Mistake(
        "utils/optimize/quantization/layer_errors.py",
        "float(10 * np.log10(signal / noise))",
        "float(20 * np.log10(signal / noise))",
        ("tests/optimize/quantization/test_layer_errors.py",),
    ),
    Mistake(
        "utils/optimize/quantization/integer_kernels.py",
        "fill=np.iinfo(x.dtype).min",
        "fill=int(x_q.zero_point)",
        ("tests/optimize/quantization/test_integer_kernels.py",),
    ),
    Mistake(
        "utils/deploy/tflite/metadata.py",
        "2: _LABELS_OF_AN_AXIS}",
        "2: _LABELS_OF_VALUES}",
        ("tests/deploy/tflite/test_metadata.py",),
    ),
    Mistake(
        "utils/deploy/tflite/byte_map.py",
        "for operator in reversed(file.all_operators()):",
        "for operator in file.all_operators():",
        ("tests/deploy/tflite/test_byte_map.py",),
    ),
    Mistake(
        "utils/deploy/tflite/io_tensors.py",
        "0.5 * np.count_nonzero(array)",
        "0.5 * array.size",
        ("tests/deploy/tflite/test_io_tensors.py",),
    ),
    Mistake(
        "utils/study/checks/ch12.py",
        "the output's zero point is missing: real = scale · (q - zero)",
        "the output's zero point is missing: real = scale · (q + zero)",
        ("tests/study/checks/test_ch12.py",),
    ),
    Mistake(
        "commands/lab.py",
        "if not 1024 <= wanted <= 65535:",
        "if not 1024 <= wanted <= 65536:",
        ("tests/commands/test_lab.py",),
    ),
    Mistake(
        "commands/parts/seeds.py",
        'float(text.replace(",", "").split()[0])',
        "float(text.split()[0])",
        ("tests/commands/test_run.py",),
    ),
    Mistake(
        "commands/parts/environment.py",
        "so that `python{accepted[-1]}` starts it",
        "so that `python{accepted[0]}` starts it",
        ("tests/commands/parts/test_environment.py",),
    ),
    Mistake(
        "commands/parts/own_copy.py",
        "{datetime.now():%Y-%m-%d %H%M}",
        "{datetime.now():%Y-%m-%d %H%m}",
        ("tests/commands/parts/test_own_copy.py",),
    ),
    Mistake(
        "README.md",
        "(interview/questions.md); ",
        "(interview/questions.md); 1",
        ("tests/study/test_quotes.py", "tests/study/test_questions.py", "tests/course/test_repository.py"),
    ),
    Mistake(
        "interview/q05.md",
        "takes 1 inside of the range and 0 outside",
        "takes 0 inside of the range and 1 outside",
        ("tests/course/test_repository.py",),
    ),
    Mistake("interview/q22.md", "Of 2,000 pictures", "Of 1,000 pictures", ("tests/course/test_repository.py",)),
    Mistake(
        "data/quizzes/03.json",
        "Yes: 50 µs of arithmetic, 100 µs of memory",
        "Yes: 100 µs of arithmetic, 50 µs of memory",
        ("tests/course/test_notebooks.py::test_quizzes",),
    ),
    Mistake(
        "data/quizzes/12.json",
        "Yes: 180 against 141 µs.",
        "Yes: 180 against 114 µs.",
        ("tests/course/test_notebooks.py::test_quizzes",),
    ),
    Mistake(
        "solutions/12_tensorflow_lite.ipynb",
        "between six parts gives eleven nodes",
        "between six parts gives twelve nodes",
        ("tests/course/test_notebooks.py::test_solutions",),
    ),
)
