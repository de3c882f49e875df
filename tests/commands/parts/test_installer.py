"""uv gets the settings that pip has."""

from __future__ import annotations

from commands.parts import installer


def test_pips_settings_reach_uv():
    config = (
        ":env:.index-url='https://mirror.example/simple'\nglobal.index-url='https://other.example'\n"
        "global.extra-index-url='https://a.example https://b.example'\nglobal.timeout='60'\n"
    )
    assert installer.uv_settings(config) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert installer.uv_settings("") == {}
