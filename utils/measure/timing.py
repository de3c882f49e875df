"""How long does it take?  Sides are timed in one process, in turns, after a warm-up.

Machines drift: clocks change, other programs run.  Timing one side after the other puts that drift into the
comparison.  Here each round calls every side once, in an order drawn anew, and a ratio is taken round by round.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import utils
from utils.artifact import Artifact
from utils.measure.statistics import Interval, paired_bootstrap

Side = Callable[[], Any] | tuple[Artifact, Any]


@dataclass(frozen=True, eq=False)
class Timing:
    """Times of one side, in seconds.

    seconds: of each round's call, in the order of the rounds.
    examples: in one call.
    load: opening the artifact (libraries are already imported); None for a plain function.
    first: the first call, which may compile, allocate and pack weights.
    """

    name: str
    seconds: np.ndarray = field(repr=False)
    examples: int
    load: float | None
    first: float

    @property
    def median(self) -> float:
        """Seconds a call: half of the calls took at most this."""
        return float(np.quantile(self.seconds, 0.5))

    @property
    def p90(self) -> float:
        return float(np.quantile(self.seconds, 0.9))

    @property
    def p99(self) -> float:
        return float(np.quantile(self.seconds, 0.99))

    @property
    def mean(self) -> float:
        """Seconds a call; one interruption by the system moves it, so prefer the median."""
        return float(self.seconds.mean())

    @property
    def throughput(self) -> float:
        """Examples a second at the median."""
        return self.examples / self.median


class Timings(dict[str, Timing]):
    """Timings of several sides that were measured together, by name."""

    def ratio(self, a: str, b: str, confidence: float = 0.95, seed: int = 0) -> Interval:
        """Median time of side `a` divided by that of `b`: below 1 means that `a` is faster.

        The interval comes from a bootstrap of whole rounds, in which both sides met the same machine.
        """
        for name in (a, b):
            if name not in self:
                raise ValueError(f"there is no side {name!r}; sides are {', '.join(map(repr, self))}")
        return paired_bootstrap(
            self[a].seconds, self[b].seconds, _median_ratio, confidence=confidence, rounds=1000, seed=seed
        )

    def rows(self) -> list[dict[str, Any]]:
        """For `claims.show`: milliseconds, one row a side."""
        return [
            {
                "side": timing.name,
                "median ms": 1e3 * timing.median,
                "p90 ms": 1e3 * timing.p90,
                "p99 ms": 1e3 * timing.p99,
                "first ms": 1e3 * timing.first,
                "load ms": None if timing.load is None else 1e3 * timing.load,
            }
            for timing in self.values()
        ]


def _median_ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.median(a, axis=axis) / np.median(b, axis=axis)


def latency(sides: Mapping[str, Side], *, rounds: int = 100, warmup: int = 10, seed: int | None = None) -> Timings:
    """Time several sides in turns.

    sides: name -> a function without arguments, or (artifact, x): one call predicts the whole batch x.
        An artifact is opened anew; its inputs are set before the clock starts, so the time is the
        interpreter's and not that of copying and checking arrays in Python.  TensorFlow and the interpreter
        use `utils.THREADS` threads.
    rounds: timed calls of each side, at least 2; p99 means little below 100.
    warmup: calls of each side that are not counted, beside the first.
    seed: of the order within the rounds; `utils.SEED` by default.
    Returns Timings, by name, in seconds.
    """
    _check_plan(sides, rounds, warmup)
    prepared = {name: _prepare(name, side) for name, side in sides.items()}
    firsts = {name: _clock(call) for name, (call, _, _) in prepared.items()}
    calls = [call for call, _, _ in prepared.values()]
    for _ in range(warmup):
        for call in calls:
            call()
    seconds = _rounds(calls, rounds, np.random.default_rng(utils.SEED if seed is None else seed))
    return Timings(
        (name, Timing(name, seconds[:, column], examples, load, firsts[name]))
        for column, (name, (_, examples, load)) in enumerate(prepared.items())
    )


def _rounds(calls: list[Callable[[], Any]], rounds: int, generator: np.random.Generator) -> np.ndarray:
    """Seconds (rounds, sides).  The garbage collector waits: its pauses belong to no side."""
    seconds = np.empty((rounds, len(calls)))
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            for column in generator.permutation(len(calls)):
                seconds[number, column] = _clock(calls[column])
    finally:
        if collecting:
            gc.enable()
    return seconds


def _clock(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _prepare(name: str, side: Side) -> tuple[Callable[[], Any], int, float | None]:
    """A function to call, examples in one call, and seconds to open it."""
    if callable(side):
        return side, 1, None
    artifact, x = side
    artifact.runner.run(x)  # refuses bad input, and imports and verifies before the clock runs
    trusted = replace(artifact, trusted=True)
    start = time.perf_counter()
    runner = trusted.open()
    load = time.perf_counter() - start
    prepare = getattr(runner, "prepare", None)
    call = prepare(x) if prepare is not None else (lambda: runner.run(x))
    return call, _count(x), load


def _count(x: Any) -> int:
    return len(next(iter(x.values())) if isinstance(x, Mapping) else x)


def _first(x: Any, size: int) -> Any:
    return {name: values[:size] for name, values in x.items()} if isinstance(x, Mapping) else x[:size]


def _check_plan(sides: Mapping[str, Side], rounds: int, warmup: int) -> None:
    if not isinstance(sides, Mapping) or not sides:
        raise ValueError("pass {name: function or (artifact, x)} with at least one side")
    for name, side in sides.items():
        is_pair = isinstance(side, tuple) and len(side) == 2 and isinstance(side[0], Artifact)
        if not callable(side) and not is_pair:
            raise TypeError(
                f"side {name!r} is {type(side).__name__}; pass a function without arguments or (artifact, x)"
            )
    if not isinstance(rounds, int) or rounds < 2:
        raise ValueError(f"rounds={rounds!r}; pass a whole number from 2")
    if not isinstance(warmup, int) or warmup < 0:
        raise ValueError(f"warmup={warmup!r}; pass a whole number from 0")


def throughput(
    artifact: Artifact, x: Any, batch_sizes: tuple[int, ...] = (1, 8, 64), *, rounds: int = 30
) -> dict[int, float]:
    """Examples a second for each batch size, the sizes timed in turns.

    artifact: what is run.
    x: array (n, …), or `{name: array}`, with at least as many examples as the largest batch.
    """
    sizes = tuple(batch_sizes)
    if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(f"batch_sizes={batch_sizes!r}; pass whole numbers from 1")
    if max(sizes) > _count(x):
        raise ValueError(f"x has {_count(x)} examples, fewer than the largest batch size {max(sizes)}")
    timings = latency({str(size): (artifact, _first(x, size)) for size in sizes}, rounds=rounds, warmup=3)
    return {size: timings[str(size)].throughput for size in sizes}
