"""A range coder of bits: each costs -log2 of the probability it was given, and no more.

    writer = Writer()
    writer.code(ones, bits)           # ones: 24-bit probabilities of a 1, one for each bit
    reader = Reader(writer.content())
    reader.code(ones)                 # the same bits, if it is given the same probabilities

`Writer`, `Reader` and `Estimate` have a method `code`, so that one piece of code writes, reads and estimates.
Range coding: G. N. N. Martin 1979.  The stream is that of the package `constriction` (Bamler 2022, arXiv 2201.01741),
which also does the work where it is installed; it has no wheel for Linux on ARM, and `_Slow…` makes the same bytes.
All of it is integer arithmetic, so that a file is the same on every machine.
"""

from __future__ import annotations

import numpy as np

try:
    import constriction
except ImportError:  # no wheel for this machine
    constriction = None

#: A probability is a whole number of 2**-24, from 1 to CERTAIN - 1.
PRECISION = 24
CERTAIN = 1 << PRECISION
_WORDS, _STATES = 1 << 32, 1 << 64  # how many words there are, and how many states of two words


class Damaged(ValueError):
    """These bytes cannot have been written with these probabilities."""


class Writer:
    """Collects bits; `content()` is the shortest string of bytes that says them."""

    def __init__(self) -> None:
        self._encoder = _SlowEncoder() if constriction is None else _FastEncoder()
        self._raw: list[bytes] = []

    def code(self, ones: np.ndarray, bits: np.ndarray, what: str = "") -> np.ndarray:
        """Append `bits`, (n,) of 0 and 1, with the probabilities `ones`, (n,); returns the bits."""
        self._encoder.encode(ones, bits)
        return bits

    def raw(self, count: int, values: np.ndarray) -> np.ndarray:
        """Put `count` bytes beside the coded bits, as they are: what no model could predict costs no time."""
        self._raw.append(values.tobytes())
        return values

    def raw_content(self) -> bytes:
        """All bytes that were put beside."""
        return b"".join(self._raw)

    def content(self) -> bytes:
        """The bytes of the coded bits; zeros at the end are left out, a reader adds them."""
        low, size, length = self._encoder.interval()
        return _shortest(low, size, length)


class Reader:
    """Reads what a `Writer` wrote; `spent` has the bits by what they were for, if `counts`."""

    def __init__(self, content: bytes, raw: bytes = b"", counts: bool = False) -> None:
        self._raw, self._read = raw, 0
        padded = content + bytes(-len(content) % 4 + 8)
        words = np.frombuffer(padded, ">u4").astype(np.uint32)
        self._decoder = _SlowDecoder(words) if constriction is None else _FastDecoder(words)
        self.spent: dict[str, float] | None = {} if counts else None

    def code(self, ones: np.ndarray, bits: np.ndarray | None = None, what: str = "") -> np.ndarray:
        """The next bits, as many as there are probabilities.

        Raises Damaged: no bits with these probabilities give these bytes.
        """
        found = self._decoder.decode(ones)
        if self.spent is not None:
            self.spent[what] = self.spent.get(what, 0.0) + cost(ones, found)
        return found

    def raw(self, count: int, values: np.ndarray | None = None) -> np.ndarray:
        """The next `count` bytes that were put beside the coded bits."""
        found = np.frombuffer(self._raw[self._read : self._read + count], np.uint8)
        if len(found) < count:
            raise Damaged("it ends too early")
        self._read += count
        if self.spent is not None:
            self.spent["floats"] = self.spent.get("floats", 0.0) + 8 * count
        return found


class Estimate:
    """Counts the bits that a `Writer` would need."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, ones: np.ndarray, bits: np.ndarray, what: str = "") -> np.ndarray:
        self.bits += cost(ones, bits)
        return bits


def cost(ones: np.ndarray, bits: np.ndarray) -> float:
    """Bits that `bits` cost at these probabilities: the sum of -log2.  For reports and choices, not for coding."""
    return float(PRECISION * len(ones) - np.log2(np.where(bits, ones, CERTAIN - ones)).sum())


def _zeros(ones: np.ndarray) -> np.ndarray:
    """Width of the interval of a 0, of CERTAIN: constriction's, which keeps both wider than nothing."""
    return ((CERTAIN - ones) * (CERTAIN - 2) >> PRECISION) + 1


def _shortest(low: int, size: int, length: int) -> bytes:
    """The fewest bytes that lie in [low, low + size) once zeros fill them up to `length`."""
    for missing in range(min(length, 8), -1, -1):  # the interval is one of the last 64 bits
        point = -(-low >> 8 * missing)  # rounded up
        if point << 8 * missing < low + size:
            return point.to_bytes(length - missing, "big").rstrip(b"\0")
    raise AssertionError("an interval holds its own beginning")


def _number(words: np.ndarray) -> int:
    return int.from_bytes(np.asarray(words, ">u4").tobytes(), "big")


class _FastEncoder:
    """constriction's."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()
        self._model = constriction.stream.model.Bernoulli(perfect=False)

    def encode(self, ones: np.ndarray, bits: np.ndarray) -> None:
        self._coder.encode(np.ascontiguousarray(bits, np.int32), self._model, ones / CERTAIN)

    def interval(self) -> tuple[int, int, int]:
        """Lowest number of the interval, its size, and the bytes of a number: two words more than were given out."""
        count, (low, size) = self._coder.pos()
        words = np.zeros(count + 2, np.uint32)
        sealed = self._coder.get_compressed()[: count + 2]
        words[: len(sealed)] = sealed
        point = _number(words)  # lies in the interval; of its lowest number only the last two words are known
        return point - (point - low) % _STATES, size, 4 * len(words)


class _FastDecoder:
    def __init__(self, words: np.ndarray) -> None:
        self._coder = constriction.stream.queue.RangeDecoder(words)
        self._model = constriction.stream.model.Bernoulli(perfect=False)

    def decode(self, ones: np.ndarray) -> np.ndarray:
        if not len(ones):
            return np.zeros(0, np.int32)
        try:
            return self._coder.decode(self._model, ones / CERTAIN)
        except AssertionError as error:  # so constriction says it
            raise Damaged("the coded part is damaged") from error


class _SlowEncoder:
    """The same in Python: about a microsecond for each bit."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._low, self._size = 0, _STATES - 1

    def encode(self, ones: np.ndarray, bits: np.ndarray) -> None:
        low, size = self._low, self._size
        for bit, zeros in zip(np.asarray(bits).tolist(), _zeros(ones).tolist(), strict=True):
            unit = size >> PRECISION
            if bit:
                low += unit * zeros
                size = unit * (CERTAIN - zeros)
            else:
                size = unit * zeros
            if size < _WORDS:
                self._words.append(low // _WORDS)
                low, size = low % _WORDS * _WORDS, size * _WORDS
                self._carry()
        self._low, self._size = low, size

    def _carry(self) -> None:
        place = len(self._words) - 1
        while self._words[place] >= _WORDS:
            self._words[place] -= _WORDS
            self._words[place - 1] += 1
            place -= 1

    def interval(self) -> tuple[int, int, int]:
        return _number(self._words) * _STATES + self._low, self._size, 4 * (len(self._words) + 2)


class _SlowDecoder:
    def __init__(self, words: np.ndarray) -> None:
        self._words = iter(words.tolist())
        self._size = _STATES - 1
        self._point = next(self._words, 0) * _WORDS + next(self._words, 0)  # counted from the interval's beginning

    def decode(self, ones: np.ndarray) -> np.ndarray:
        found = []
        for zeros in _zeros(ones).tolist():
            unit = self._size >> PRECISION
            if self._point >= unit * CERTAIN:
                raise Damaged("the coded part is damaged")
            bit = int(self._point >= unit * zeros)
            self._point -= unit * zeros * bit
            self._size = unit * (CERTAIN - zeros if bit else zeros)
            if self._size < _WORDS:
                self._point = self._point * _WORDS + next(self._words, 0)
                self._size *= _WORDS
            found.append(bit)
        return np.array(found, np.int32)
