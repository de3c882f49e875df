"""`utils/study/placeholders.py` without `import utils`, for the reason that commands/parts/files.py gives."""

from __future__ import annotations

from importlib import util

from commands.parts.lockfile import ROOT

_spec = util.spec_from_file_location("commands.parts._utils_placeholders", ROOT / "utils/study/placeholders.py")
assert _spec is not None and _spec.loader is not None
_module = util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

found = _module.found
unfinished = _module.unfinished
