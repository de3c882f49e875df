"""uv gets the settings that pip has."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("global.cert='/etc/ca.pem'", {"SSL_CERT_FILE": "/etc/ca.pem"}),
        ("install.find-links='a  b\\nc'", {"UV_FIND_LINKS": "a,b,c"}),
        ("download.index-url='https://a.example'", {"UV_DEFAULT_INDEX": "https://a.example"}),
        ("wheel.index-url='https://a.example'", {}),
        ("global.index-url='https://a.example'\n:env:.index-url='b'", {"UV_DEFAULT_INDEX": "https://a.example"}),
        ("global.proxy='http://a.example'", {}),
    ],
)
def test_each_setting_has_its_own_variable_and_what_comes_first_wins(config, settings):
    assert installer.uv_settings(config) == settings
