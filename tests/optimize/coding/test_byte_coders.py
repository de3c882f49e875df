"""Lossless coders and the entropy that bounds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.optimize.coding import byte_coders


@given(st.binary(max_size=2000), st.sampled_from(sorted(byte_coders.METHODS)))
def test_what_was_compressed_comes_back(content, method):
    packed = byte_coders.pack(content, method)
    assert byte_coders.unpack(packed, method) == content
    assert byte_coders.pack(content, method) == packed


@pytest.mark.parametrize("method", sorted(byte_coders.METHODS))
def test_zeros_shrink_and_noise_does_not(method):
    noise = np.random.default_rng(0).bytes(20_000)
    assert len(byte_coders.pack(bytes(20_000), method)) < 200
    assert len(byte_coders.pack(noise, method)) > 19_900


@pytest.mark.parametrize("method", sorted(byte_coders.METHODS))
def test_damaged_bytes_are_refused_by_name(method):
    packed = byte_coders.pack(b"weights " * 200, method)
    with pytest.raises(ValueError, match=f"no whole {method} stream"):
        byte_coders.unpack(packed[: len(packed) // 2], method)
    for strange in (b"\x07not a stream at all", b"", packed + b"more", packed + packed, packed + bytes(8), packed[:-1]):
        with pytest.raises(ValueError, match=f"no whole {method} stream"):
            byte_coders.unpack(strange, method)


def test_wrong_arguments_say_what_to_pass():
    with pytest.raises(ValueError, match="brotli"):
        byte_coders.pack(b"x", "zip")
    with pytest.raises(TypeError, match="pass bytes"):
        byte_coders.pack("text")


@pytest.mark.parametrize(
    "values, bits",
    [([7, 7, 7, 7], 0), ([0, 1], 1), (list(range(256)), 8), ([0, 0, 0, 1], 0.811278), ([[0.5, 0.25], [0.25, 0.5]], 1)],
)
def test_entropy_of_known_distributions(values, bits):
    assert byte_coders.entropy(np.array(values)) == pytest.approx(bits, abs=1e-6)


def test_no_coder_beats_the_entropy_of_independent_values():
    values = np.random.default_rng(1).choice(4, size=50_000, p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
    least = byte_coders.entropy(values) * values.size / 8
    assert all(len(byte_coders.pack(values.tobytes(), method)) > least for method in byte_coders.METHODS)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")]])
def test_entropy_refuses_what_has_none(values):
    with pytest.raises(ValueError, match="values"):
        byte_coders.entropy(np.array(values))


def test_each_method_makes_the_format_of_its_name():
    import gzip
    import lzma

    content = b"weights " * 50
    packed = {method: byte_coders.pack(content, method) for method in byte_coders.METHODS}
    assert packed["gzip"][4:8] == bytes(4)  # no time of day, so that equal content gives equal bytes
    assert packed["gzip"][:2] == b"\x1f\x8b" and gzip.decompress(packed["gzip"]) == content
    assert packed["xz"][:6] == b"\xfd7zXZ\x00" and lzma.decompress(packed["xz"], lzma.FORMAT_XZ) == content
    for made in packed:
        for read in packed.keys() - {made}:
            with pytest.raises(ValueError, match=f"no whole {read} stream"):
                byte_coders.unpack(packed[made], read)
