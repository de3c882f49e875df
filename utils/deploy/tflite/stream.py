"""A .tflite file that remembers from one step to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from utils.deploy.tflite.session import Session


class Stream:
    """A file run step by step: what one step leaves in its variables, the next one starts from.

    Made by `TFLiteModel.stream`, with an interpreter of its own.  A file without variables gives what `run` gives.

    session: where the state lives.
    stored: the model's way from real values to stored ones, by name of the input.
    real: the way back.
    """

    def __init__(
        self,
        session: Session,
        stored: Callable[[Any], dict[str, np.ndarray]],
        real: Callable[[Mapping[str, np.ndarray]], Any],
    ) -> None:
        self._session, self._stored, self._real = session, stored, real
        self._shapes: dict[str, tuple[int, ...]] = {}

    def step(self, x: Any) -> Any:
        """Outputs for x, starting from the state that the step before has left; real values, as `TFLiteModel.run`.

        x: the file's whole input, with its batch axis.
        Raises ValueError if the batch differs from that of the steps before: each example has a state of its own.
        """
        values = self._stored(x)
        for tensor in self._session.inputs:
            declared = tensor.shape[0] if tensor.shape else -1
            if declared >= 0 and len(values[tensor.name]) != declared:
                raise ValueError(
                    f"input {tensor.name!r} takes {declared} examples a step, got {len(values[tensor.name])}: "
                    "a state belongs to each of them"
                )
        shapes = {name: array.shape for name, array in values.items()}
        if self._shapes and shapes != self._shapes:
            raise ValueError(f"the state belongs to inputs of shape {self._shapes}, got {shapes}; call reset() first")
        results = self._real(self._session.invoke(values))
        self._shapes = shapes
        return results

    def reset(self) -> None:
        """Forget: the next step starts as the first one did."""
        self._shapes = {}
        self._session.open()
