"""The registry of formats: found by module and by suffix, refused in a sentence."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from utils import formats


def opener(content, trusted):
    """Opens nothing."""


@pytest.fixture
def empty(monkeypatch):
    """No format is registered or known, and none is when the test has ended that was not before."""
    monkeypatch.setattr(formats, "_FORMATS", {})
    monkeypatch.setattr(formats, "MODULES", {})


def test_a_format_is_found_by_its_module(empty, monkeypatch):
    from utils.deploy.tflite import tflite_model

    monkeypatch.setattr(formats, "MODULES", {"tflite": tflite_model.__name__})
    importlib.reload(tflite_model)  # what a first import does
    assert formats.format_of("tflite").suffix == ".tflite"


def test_a_format_is_found_by_a_suffix_before_its_module_is_imported(empty, monkeypatch, tmp_path):
    source = "from utils import artifact\nartifact.register('waiting', suffix='.waiting', magic=b'W', opener=print)\n"
    (tmp_path / "waiting.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(formats, "MODULES", {"waiting": "waiting"})
    try:
        assert formats.format_by_suffix(Path("model.waiting")).name == "waiting"
    finally:
        sys.modules.pop("waiting", None)


@pytest.mark.parametrize("name", ["tensorrt", "../tflite", "layout"])
def test_an_unknown_format_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"unknown format '{name}'; known are .*tflite"):
        formats.format_of(name)


def test_a_format_is_a_name():
    with pytest.raises(TypeError, match="a format is a name such as 'tflite', not int"):
        formats.format_of(3)


def test_registering_without_magic_or_dot_is_refused():
    with pytest.raises(ValueError, match="no dot"):
        formats.register("x", suffix="x", magic=b"x", opener=opener)
    with pytest.raises(ValueError, match="no magic"):
        formats.register("x", suffix=".x", magic=b"", opener=opener)


def test_of_formats_with_one_suffix_the_one_named_like_it_is_taken(empty):
    for name in ("bin", "weights"):
        formats.register(name, suffix=".bin", magic=b"x", opener=opener)
    assert formats.format_by_suffix(Path("model.bin")).name == "bin"


def test_magic_bytes_are_looked_for_at_their_offset(empty):
    formats.register("late", suffix=".late", magic=b"AB", offset=2, opener=opener)
    assert formats.format_of("late").matches(b"..AB")
    assert not formats.format_of("late").matches(b"AB..")


def test_an_offset_before_the_end_is_read_as_long_as_the_magic(empty):
    formats.register("late", suffix=".late", magic=b"AB", offset=3, opener=opener)
    kind = formats.format_of("late")
    assert kind.matches(b"...ABC") and not kind.matches(b"...AC") and not kind.matches(b"...A")


def test_what_is_registered_is_kept(empty):
    def constants(content):
        return {}

    formats.register("it", suffix=".it", magic=b"I", offset=1, opener=opener, constants=constants, imports=("json",))
    kind = formats.format_of("it")
    assert (kind.name, kind.suffix, kind.magic, kind.offset) == ("it", ".it", b"I", 1)
    assert (kind.opener, kind.constants, kind.imports) == (opener, constants, ("json",))
    formats.register("it", suffix=".it", magic=b"J", opener=opener)
    kind = formats.format_of("it")
    assert (kind.magic, kind.offset, kind.constants, kind.imports) == (b"J", 0, None, ())


def test_known_formats_are_listed_in_order(empty):
    for name in ("d", "b", "e", "a", "c"):
        formats.register(name, suffix=f".{name}", magic=b"x", opener=opener)
    with pytest.raises(ValueError, match=r"known are a, b, c, d, e$"):
        formats.format_of("z")
    with pytest.raises(ValueError, match=r"no format has the suffix of 'x\.z'; known formats: a, b, c, d, e\. "):
        formats.format_by_suffix(Path("folder.a/x.z"))


def test_of_formats_with_one_suffix_and_other_names_the_first_is_taken(empty):
    for name in ("b", "a", "c"):
        formats.register(name, suffix=".bin", magic=b"x", opener=opener)
    assert formats.format_by_suffix(Path("model.bin")).name == "b"
