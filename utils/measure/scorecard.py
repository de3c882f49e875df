"""Measure an artifact: one `Scorecard` a side, made on the bytes that are shipped.

card = scorecard.scorecard(artifact, data.x_test, data.y_test, model=model)
claims.show([card.row()])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.artifact import Artifact
from utils.measure import macs
from utils.measure.statistics import Interval, accuracy

__all__ = ["ParameterCounts", "Scorecard", "scorecard", "stored"]


@dataclass(frozen=True)
class ParameterCounts:
    """What the parameters are like.

    parameters: stored numbers.
    nonzero: share that is not 0, in [0, 1]; a quantized number is 0 at its zero point.
    distinct: the largest number of different values in one weight tensor (of two axes or more).
    """

    parameters: int
    nonzero: float
    distinct: int


@dataclass(frozen=True)
class Scorecard:
    """One row of the course's table: sizes, parameters and accuracy of one artifact.

    bytes, gzip_bytes: of the file as it is and after gzip -9; compare only equal formats.
    parameters, nonzero, distinct: see `ParameterCounts`; None if the format cannot tell.
    macs: multiply-accumulates for one example, of the Keras model; None without one.
    examples, accuracy: measured with the artifact; the accuracy with its Wilson interval.
    """

    name: str
    format: str
    bytes: int
    gzip_bytes: int
    parameters: int | None
    nonzero: float | None
    distinct: int | None
    macs: int | None
    examples: int
    accuracy: Interval

    def row(self) -> dict[str, Any]:
        """For `claims.show`."""
        return {
            "name": self.name,
            "format": self.format,
            "bytes": self.bytes,
            "gzip bytes": self.gzip_bytes,
            "parameters": self.parameters,
            "nonzero": self.nonzero,
            "distinct": self.distinct,
            "MACs": self.macs,
            "accuracy": self.accuracy.value,
            "low": self.accuracy.low,
            "high": self.accuracy.high,
        }


def scorecard(
    artifact: Artifact, x: Any, y: Any, model: Any = None, *, name: str = "", confidence: float = 0.95
) -> Scorecard:
    """Measure an artifact on labelled examples.

    artifact: what is shipped; its own predictions are scored, not the model's.
    x: examples (n, …) as the model takes them.
    y: labels, whole numbers (n,).
    model: the tf_keras model it was made from: gives the multiply-accumulates, and the parameters where
        the format cannot tell them.
    name: of the row; the format's name by default.
    Raises ValueError, TypeError: empty, NaN or mismatched data, several outputs, labels that are not classes, labels of
        a single class (a constant answer would score 100 %).
    Raises ArtifactError: if the artifact cannot be run.
    """
    if not isinstance(artifact, Artifact):
        raise TypeError(f"scorecard takes an Artifact, not {type(artifact).__name__}; see artifact.from_keras")
    _check_labels(x, y)
    outputs = artifact.predict(x)
    if isinstance(outputs, Mapping):
        raise ValueError(f"the artifact has the outputs {list(outputs)}; a scorecard needs one, (n, classes)")
    constants = artifact.constants()
    numbers = _stored_in(constants) if constants is not None else stored(model) if model is not None else None
    return Scorecard(
        name=name or artifact.format,
        format=artifact.format,
        bytes=artifact.size,
        gzip_bytes=artifact.gzip_size,
        parameters=numbers and numbers.parameters,
        nonzero=numbers and numbers.nonzero,
        distinct=numbers and numbers.distinct,
        macs=None if model is None else macs.count(model),
        examples=len(np.asarray(y)),
        accuracy=accuracy(outputs, y, confidence),
    )


def _check_labels(x: Any, y: Any) -> None:
    labels, count = np.asarray(y), len(next(iter(x.values())) if isinstance(x, Mapping) else x)
    if len(labels) != count:
        raise ValueError(f"{count} examples and {len(labels)} labels; pass one label for each example")
    if not count:
        raise ValueError("there are no examples; pass at least two, of different classes")
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"all {count} labels are {labels.flat[0]}: a constant answer would score 100 %; mix the classes"
        )


def stored(source: Any) -> ParameterCounts | None:
    """Numbers on the parameters of an artifact or a tf_keras model; None if the format cannot tell.

    In a .tflite file batch normalization is folded into convolutions, so it may hold fewer than its model.
    """
    if isinstance(source, Artifact):
        constants = source.constants()
        return None if constants is None else _stored_in(constants)
    weights = getattr(source, "weights", None)
    if weights is None:
        raise TypeError(f"pass an Artifact or a tf_keras model, not {type(source).__name__}")
    return _stored_in({str(number): weight.numpy() for number, weight in enumerate(weights)})


def _stored_in(constants: Mapping[str, np.ndarray]) -> ParameterCounts:
    arrays = list(constants.values())
    total = sum(array.size for array in arrays)
    if not total:
        return ParameterCounts(0, 0.0, 0)
    nonzero = sum(int(np.count_nonzero(array)) for array in arrays)
    distinct = max((len(np.unique(array)) for array in arrays if array.ndim >= 2), default=0)
    return ParameterCounts(total, nonzero / total, distinct)
