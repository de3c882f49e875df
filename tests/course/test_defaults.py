"""Defaults are what the list says, and `__all__` names what is public."""

from __future__ import annotations

import pytest

from tests.course import code_rules, defaults


def test_defaults_are_those_of_the_list():
    """A default of a public function is the one in `tests/course/defaults.txt`, which is renewed by a decision."""
    assert len(defaults.listed()) > 50
    assert defaults.differences(defaults.there(), defaults.listed()) == []


SOURCE = """
def f(a, b=1, *, c=True, d=None, e="x", **rest): ...
def _own(a=1): ...
class C:
    bits: int = 8
    name: str
    def m(self, x=-0.5): ...
"""


def test_defaults_are_found():
    assert dict(defaults.of(SOURCE, "m.py")) == {
        "m.py f b": "1", "m.py f c": "True", "m.py f e": "'x'", "m.py C bits": "8", "m.py C.m x": "-0.5",
    }  # fmt: skip


def test_another_and_a_lost_default_are_noticed_and_a_new_one_is_not():
    kept = dict(defaults.of(SOURCE, "m.py"))
    now = dict(defaults.of(SOURCE.replace("bits: int = 8", "bits: int = 9").replace("c=True, ", ""), "m.py"))
    assert [text[:15] for text in defaults.differences(now, kept)] == ["m.py f c is gon", "m.py C bits is "]
    assert defaults.differences(kept | {"m.py f g": "2"}, kept) == []


@pytest.mark.parametrize(
    "source, count",
    [
        ('__all__ = ["f", "C", "N"]\ndef f(): ...\nclass C: ...\nN = 1\ndef _own(): ...', 0),
        ('__all__ = ["f"]\ndef f(): ...\ndef g(): ...', 1),
        ('__all__ = ["f", "g"]\ndef f(): ...', 1),
        ("def f(): ...", 0),
        ('from a import b\n__all__ = ["b"]', 0),
    ],
)
def test_what_all_leaves_out(source, count):
    assert len(code_rules.all_is_public(source)) == count
