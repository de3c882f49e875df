"""Codes the few numbers and words that are not weights: kinds, steps, lengths, the text of the structure."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from utils.optimize.coding.range_coder import CERTAIN, Damaged

_EVEN = CERTAIN // 2
_END = ord("\n")
_ORDERS = range(8)  # how many characters before are a context
_LONGEST_TEXT = 1_000_000

#: What structures look like: a text that repeats this costs next to nothing.  A change makes another version of files.
EXAMPLES = (
    '["Sequential",{},[[28,28,1]],[["Flatten"],["Dense",{"units":300,"activation":"relu"}],'
    '["Dense",{"units":100,"activation":"relu"}],["Dense",{"units":10}]]]',
    '["Sequential",{},[[784]],[["Dense",{"units":300,"activation":"relu"}],'
    '["Dense",{"units":100,"activation":"relu"}],["Dense",{"units":10,"activation":"softmax"}]]]',
    '["Functional",{"name":"lenet_300_100"},[[28,28,1,{"name":"pictures"}]],[["Flatten"],'
    '["Dense",{"units":300,"activation":"relu","name":"dense_300"}],'
    '["Dense",{"units":100,"activation":"relu","name":"dense_100"}],["Dense",{"units":10,"name":"logits"}]]]',
    '["Functional",{},[[32,32,3]],[["Conv2D",{"filters":32,"kernel_size":3,"padding":"same","use_bias":false}],'
    '["BatchNormalization"],["ReLU"],["DepthwiseConv2D",{"kernel_size":3,"strides":2,"padding":"same"}],["Add"],'
    '["Conv2D",{"filters":64,"kernel_size":1,"strides":2,"activation":"relu"}],["BatchNormalization",{"epsilon":1e-05}],'
    '["SeparableConv2D",{"filters":128,"kernel_size":3}],["Activation",{"activation":"relu"}],["Concatenate"],'
    '["AveragePooling2D",{"pool_size":2}],["GlobalAveragePooling2D"],["Dropout",{"rate":0.5}],'
    '["Reshape",{"target_shape":[1,1,64]}],["ZeroPadding2D"],["UpSampling2D"],["Multiply"]],'
    '[[0,[{"t":0}],{"d":{}}],[1,[{"t":1}],{"d":{}}],[2,[[{"t":2},{"t":1}]],{"d":{}}],[3,[{"t":3}],{"d":{}}]],'
    '[{"t":0},{"t":1}],[{"t":4}]]',
    '["Sequential",{},[[null,{"dtype":"int32"}]],[["Embedding",{"input_dim":10000,"output_dim":64,"mask_zero":true}],'
    '["Bidirectional",{"layer":{"@":["LSTM",{"units":64,"return_sequences":true}]}}],["GRU",{"units":64}],'
    '["SimpleRNN",{"units":32}],["LayerNormalization"],["Conv1D",{"filters":64,"kernel_size":[5]}],'
    '["GlobalMaxPooling1D"],["MaxPooling1D",{"pool_size":[2]}],["TimeDistributed",{"layer":{"@":["Dense",{"units":1,'
    '"activation":"sigmoid"}]}}],["MultiHeadAttention",{"num_heads":4,"key_dim":16}],'
    '["Dense",{"units":1,"activation":"tanh","trainable":false}]]]',
    '["Functional",{"name":"lenet5"},[[28,28,1,{"name":"pictures"}]],[["Conv2D",{"filters":20,"kernel_size":5,'
    '"name":"conv_20"}],["MaxPooling2D",{"name":"pool_1"}],["Conv2D",{"filters":50,"kernel_size":5,"name":"conv_50"}],'
    '["MaxPooling2D",{"name":"pool_2"}],["Flatten"],["Dense",{"units":500,"activation":"relu","name":"dense_500"}],'
    '["Dense",{"units":10,"name":"logits"}]]]',
    '["Sequential",{},[[28,28,1]],[["Conv2D",{"filters":20,"kernel_size":5,"activation":"relu"}],["MaxPooling2D"],'
    '["Conv2D",{"filters":50,"kernel_size":5,"activation":"relu"}],["MaxPooling2D"],["Flatten"],'
    '["Dense",{"units":500,"activation":"relu"}],["Dense",{"units":10}]]]',
)


class Fields:
    """Small numbers by name; each field learns how its numbers are distributed."""

    def __init__(self, coder: Any) -> None:
        self._coder = coder
        self._counts: dict[tuple[str, int], list[int]] = {}

    def number(self, name: str, width: int, value: int | None, what: str) -> int:
        """A number of `width` binary digits, likelier if it came before."""
        node = 1
        for place in reversed(range(width)):
            zeros, ones = counts = self._counts.setdefault((name, node), [1, 1])
            bit = self._bit(CERTAIN * ones // (zeros + ones), None if value is None else value >> place & 1, what)
            counts[bit] += 2
            node = 2 * node + bit
        return node - (1 << width)

    def digits(self, width: int, value: int | None, what: str) -> int:
        """A number of `width` binary digits of which nothing is known."""
        true = None if value is None else np.array([value >> place & 1 for place in reversed(range(width))], np.int32)
        bits = self._coder.code(np.full(width, _EVEN), true, what)
        return int("".join(map(str, bits.tolist())) or "0", 2)

    def count(self, name: str, value: int | None, what: str) -> int:
        """A number from 0 on, below 2**31."""
        length = self.number(name, 5, None if value is None else value.bit_length(), what)
        if length < 2:
            return length
        first = 1 << length - 1
        return first + self.digits(length - 1, None if value is None else value - first, what)

    def text(self, value: str | None, what: str) -> str:
        """A text without line breaks."""
        true = None if value is None else value.encode() + b"\n"
        model = _TextModel(_learned())
        found = bytearray()
        while len(found) <= _LONGEST_TEXT:
            byte = self._byte(model, bytes(found[-max(_ORDERS) :]), None if true is None else true[len(found)], what)
            if byte == _END:
                return _decoded(bytes(found))
            if byte < ord(" "):  # JSON has none; where a file is cut off, the rest reads as an endless row of them
                raise Damaged("its structure is no text")
            found.append(byte)
        raise Damaged(f"its structure is longer than {_LONGEST_TEXT:,} characters")

    def _byte(self, model: _TextModel, before: bytes, true: int | None, what: str) -> int:
        node = 1
        for place in reversed(range(8)):
            bit = None if true is None else true >> place & 1
            bit = self._bit(model.probability(before, node), bit, what)
            model.learn(before, node, bit)
            node = 2 * node + bit
        return node - 256

    def _bit(self, ones: int, bit: int | None, what: str) -> int:
        true = None if bit is None else np.array([bit], np.int32)
        return int(self._coder.code(np.array([ones]), true, what)[0])


class _TextModel:
    """Predicts the bits of characters from what followed the same characters before.

    The share of ones behind the last k characters counts as a guess for those behind the last k + 1: the longest
    context that was seen decides, if it was seen often (as in prediction by partial matching, Cleary and Witten
    1984).
    """

    def __init__(self, known: dict[tuple[bytes, int], tuple[int, int]]) -> None:
        self._known = known
        self._new: dict[tuple[bytes, int], tuple[int, int]] = {}

    def probability(self, before: bytes, node: int) -> int:
        ones = _EVEN
        for order in _ORDERS:
            counted = self._seen((before[len(before) - order :], node))
            if order > len(before) or counted is None:
                break
            yes, bits = counted
            ones = (8 * yes * CERTAIN + 3 * ones) // (8 * bits + 3)
        return min(max(ones, CERTAIN >> 12), CERTAIN - (CERTAIN >> 12))

    def learn(self, before: bytes, node: int, bit: int) -> None:
        for order in _ORDERS:
            if order <= len(before):
                key = (before[len(before) - order :], node)
                yes, bits = self._seen(key) or (0, 0)
                self._new[key] = (yes + bit, bits + 1)

    def _seen(self, key: tuple[bytes, int]) -> tuple[int, int] | None:
        return self._new.get(key) or self._known.get(key)

    def read(self, text: bytes) -> None:
        """Learn from a text."""
        for at, byte in enumerate(text):
            for place in range(8):
                node = (256 | byte) >> 8 - place
                self.learn(text[max(0, at - max(_ORDERS)) : at], node, byte >> 7 - place & 1)


@cache
def _learned() -> dict[tuple[bytes, int], tuple[int, int]]:
    model = _TextModel({})
    for example in EXAMPLES:
        model.read(example.encode() + b"\n")
    return model._new


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Damaged("its structure is no text") from None
