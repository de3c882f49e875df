"""LiteRT's profiler names each operator, in order, and fails in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from tests.deploy.tflite.test_tflite_model import converted, of_model, two_by_two
from utils.artifact import ArtifactError
from utils.deploy.tflite import partition, profiler
from utils.deploy.tflite.profiler import ProfilerError

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")
here = pytest.mark.skipif(bool(profiler.missing()), reason=profiler.missing() or "-")


@here
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_each_operator_has_its_kernel_and_a_time(kind):
    content = converted(kind)
    steps = profiler.profile(content, runs=3)
    taken = any(part.delegated for part in partition.parts(content))
    assert any(step.delegated for step in steps) == taken
    assert all(step.kernel and step.microseconds >= 0 for step in steps)


@here
def test_with_other_work_between_the_runs_the_same_kernels_are_named():
    content = converted("float")
    kernels = [[step.kernel for step in profiler.profile(content, runs=2, other_work=n)] for n in (0, 1_000_000)]
    assert kernels[0] == kernels[1]


def test_other_work_touches_as_many_bytes_before_each_run(monkeypatch):
    touched = []

    class Other:
        def __iadd__(self, one):
            touched.append(one)
            return self

    class Library:
        def __getattr__(self, name):
            return lambda *arguments: None

    def zeros(size, dtype):
        assert size * np.dtype(dtype).itemsize == 4_000
        return Other()

    monkeypatch.setattr(profiler.np, "zeros", zeros)
    assert profiler._events(Library(), None, lambda: touched.append("run"), 2, 4_000) == []
    assert touched == ["run"] * profiler._WARMUP + [1, "run"] * 2


@here
def test_several_inputs_and_outputs():
    assert len(profiler.profile(of_model(two_by_two), runs=2)) >= 2


@here
def test_broken_files_do_no_harm():
    with pytest.raises(ProfilerError, match="LiteRT's profiler failed"):
        profiler.profile(converted("float")[:2000], runs=1)
    with pytest.raises(ArtifactError, match="not a tflite file"):
        profiler.profile(b"PK\x03\x04" * 9)


def test_bad_arguments_get_a_sentence(monkeypatch):
    with pytest.raises(ValueError, match="runs=0; pass a whole number from 1"):
        profiler.profile(converted("float"), runs=0)
    with pytest.raises(ValueError, match="other_work=-1; pass a whole number from 0"):
        profiler.profile(converted("float"), other_work=-1)
    with pytest.raises(ValueError, match="threads=0"):
        profiler.profile(converted("float"), threads=0)
    monkeypatch.setattr(profiler.sys, "platform", "darwin")
    with pytest.raises(ProfilerError, match="on Linux only, this is darwin"):
        profiler.profile(converted("float"))


def test_the_median_is_taken_by_place():
    found = [("A", True, 2), ("B", False, 10), ("A", True, 4), ("B", False, 30), ("A", True, 9), ("B", False, 20)]
    assert profiler._in_order(found, 3) == [["A", True, 4.0], ["B", False, 20.0]]
    with pytest.raises(ProfilerError, match="not as many in each"):
        profiler._in_order(found[:5], 3)
    with pytest.raises(ProfilerError, match="0 events"):
        profiler._in_order([], 3)


def test_layers_with_weights_are_told_by_their_names(monkeypatch):
    names = ["Convert (NC, F32, QD8)", "Convolution (NHWC, F32) DWConv", "Fully Connected (NC, F32) GEMM", "MEAN"]
    assert [profiler._has_weights(name) for name in [*names, "CONV_2D"]] == [False, True, True, False, True]
    monkeypatch.setattr(profiler, "missing", lambda: "")
    monkeypatch.setattr(
        profiler, "profile", lambda source, runs, other_work: [profiler.OperatorTime(name, True, 3.0) for name in names]
    )
    assert profiler.weighted(b"") == [3.0, 3.0]
    monkeypatch.setattr(profiler, "missing", lambda: "none here")
    assert profiler.weighted(b"") == []


def test_bars_add_up_to_their_sums():
    figure = profiler.draw({"float32": [20.0, 70.0, 1.0], "int8": [120.0, 60.0, 0.0]}, ["a", "b", "c"], "What it says")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["20", "70", "91 µs", "120", "60", "180 µs"]
    widths = [[bar.get_width() for bar in bars] for bars in figure.axes[0].containers]
    assert widths == [[20.0], [70.0], [1.0], [120.0], [60.0], [0.0]]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="'int8' has 1 times for 2 layers: a, b"):
        profiler.draw({"int8": [1.0]}, ["a", "b"], "What it says")
    for profiles, layers in (({}, ["a"]), ({"int8": []}, [])):
        with pytest.raises(ValueError, match="nothing to draw"):
            profiler.draw(profiles, layers, "What it says")


def test_weighted_hands_on_what_it_is_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(profiler, "missing", lambda: "")
    monkeypatch.setattr(profiler, "profile", lambda source, **options: asked.append((source, options)) or [])
    assert profiler.weighted(b"a") == profiler.weighted(b"b", runs=3, other_work=7) == []
    assert asked == [(b"a", {"runs": 100, "other_work": 0}), (b"b", {"runs": 3, "other_work": 7})]


def test_the_child_is_told_all_that_was_asked(monkeypatch):
    asked = []

    def run(target, content, *, options, timeout):
        asked.append((options, timeout))
        return [["A", True, 2.5], ["B", False, 1.0]]

    monkeypatch.setattr(profiler, "missing", lambda: "")
    monkeypatch.setattr(profiler.child, "run", run)
    steps = profiler.profile(converted("float"), runs=3, threads=2, other_work=5, timeout=7)
    assert steps == (profiler.OperatorTime("A", True, 2.5), profiler.OperatorTime("B", False, 1.0))
    profiler.profile(converted("float"))
    assert asked == [
        ({"runs": 3, "threads": 2, "other_work": 5}, 7),
        ({"runs": 100, "threads": 1, "other_work": 0}, 60.0),
    ]


@pytest.mark.parametrize("wrong", [{"runs": True}, {"runs": 2.0}, {"other_work": True}, {"other_work": 1.5}])
def test_counts_are_whole_numbers(wrong):
    with pytest.raises(ValueError, match="pass a whole number from"):
        profiler.profile(converted("float"), **wrong)


def test_short_times_get_no_number_and_sums_stand_behind_their_bars():
    figure = profiler.draw({"a": [95.0, 5.0], "b": [10.0, 5.1]}, ["x", "y"], "What it says")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["95", "100 µs", "10", "5", "15 µs"]
    assert [text.get_position() for text in axes.texts][:2] == [(47.5, 0), (100 + 100 / 60, 0)]
    assert axes.get_xlim() == (0, pytest.approx(118)) and axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [[bar.get_x() for bar in bars] for bars in axes.containers] == [[0], [95], [0], [10]]
