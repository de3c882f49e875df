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
