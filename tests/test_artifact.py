"""Artifacts: equality, sizes and files."""

from __future__ import annotations

import time

import numpy as np
import pytest

from utils import artifact, formats
from utils.artifact import Artifact, ArtifactError


class Doubling:
    """Stands in for an interpreter and counts how often it is opened."""

    opened = 0

    def __init__(self, content: bytes) -> None:
        Doubling.opened += 1

    def run(self, x):
        return 2 * x


@pytest.fixture
def doubling(monkeypatch):
    monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))
    artifact.register("double", suffix=".double", magic=b"DBL", opener=lambda content, trusted: Doubling(content))
    Doubling.opened = 0
    return Artifact(b"DBL" + bytes(1000), "double")


def test_predicting_twice_opens_once(doubling):
    for _ in range(2):
        assert (doubling.predict(np.ones(3)) == 2).all()
    assert Doubling.opened == 1


def test_what_is_kept_is_no_part_of_equality(doubling):
    other = Artifact(doubling.content, "double", trusted=True)
    doubling.predict(np.ones(3))
    assert doubling == other
    assert hash(doubling) == hash(other)
    assert doubling != Artifact(b"DBL", "double")


def test_gzip_size_depends_on_content_only(doubling, monkeypatch):
    first = doubling.gzip_size
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert Artifact(doubling.content, "double").gzip_size == first < doubling.size


def test_frozen(doubling):
    with pytest.raises(AttributeError):
        doubling.content = b"DBL2"


def test_saved_and_loaded_is_equal(doubling, tmp_path):
    path = doubling.save(tmp_path / "dvojnásobný model.double")
    assert artifact.load(path) == doubling
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_failed_save_leaves_the_old_file(doubling, tmp_path, monkeypatch):
    path = Artifact(b"DBLold", "double").save(tmp_path / "m.double")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("utils.files.os.replace", full)
    with pytest.raises(OSError, match="the disk is full"):
        doubling.save(path)
    assert path.read_bytes() == b"DBLold"
    assert len(list(tmp_path.iterdir())) == 1


def test_saving_under_a_foreign_suffix_is_refused(doubling, tmp_path):
    with pytest.raises(ValueError, match=r"'m.tflite' does not end in '.double'"):
        doubling.save(tmp_path / "m.tflite")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "is empty"), (b"PK\x03\x04zip", r"has b'PK\\x03' instead of b'DBL'"), (b"DB", "instead of b'DBL'")],
)
def test_empty_and_foreign_files(doubling, tmp_path, content, sentence):
    path = tmp_path / "m.double"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=sentence):
        artifact.load(path)


def test_missing_file_folder_and_suffix(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        artifact.load(tmp_path / "m.tflite")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        artifact.load(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no format has the suffix of 'm.onnx'; known formats: .*keras, tflite"):
        artifact.load(tmp_path / "m.onnx")


def test_content_must_be_bytes():
    with pytest.raises(TypeError, match="bytes, not str"):
        Artifact("TFL3", "tflite")


def test_a_format_that_is_named_goes_before_the_suffix(doubling, tmp_path):
    (tmp_path / "model.tflite").write_bytes(doubling.content)
    assert artifact.load(tmp_path / "model.tflite", format="double") == doubling
    (tmp_path / "model").write_bytes(doubling.content)
    assert artifact.load(tmp_path / "model", "double").format == "double"


def test_a_foreign_file_is_shown_with_the_bytes_at_the_formats_place(doubling, tmp_path):
    artifact.register("late", suffix=".late", magic=b"AB", offset=2, opener=lambda content, trusted: None)
    (tmp_path / "it.late").write_bytes(b"..XYZ")
    with pytest.raises(ArtifactError, match=r"is not a late file: at byte 2 it has b'XY' instead of b'AB'"):
        artifact.load(tmp_path / "it.late")
    (tmp_path / "it.late").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"is empty \(0 bytes\); a late file was expected"):
        artifact.load(tmp_path / "it.late")


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; pass the file in it"):
        artifact.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        artifact.load(tmp_path / "absent.tflite")
