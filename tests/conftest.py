"""What several test files of the ground floor share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def displayed(monkeypatch) -> list[SimpleNamespace]:
    """What is shown instead of being displayed: `data` and `metadata` of each output."""
    import IPython.display

    shown: list[SimpleNamespace] = []

    def keep(data, raw, metadata):
        shown.append(SimpleNamespace(data=data, metadata=metadata))

    monkeypatch.setattr(IPython.display, "display", keep)
    return shown
