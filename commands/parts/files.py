"""`utils/files.py`, the course's one way to write files, without `import utils`.

That import settles how TensorFlow starts, in environment variables: JupyterLab, and with it every kernel of the reader,
would inherit them.
"""

from __future__ import annotations

from importlib import util

from commands.parts.lockfile import ROOT

_spec = util.spec_from_file_location("commands.parts._utils_files", ROOT / "utils/files.py")
assert _spec is not None and _spec.loader is not None
_module = util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

check_writable = _module.check_writable
write_text = _module.write_text
write_json = _module.write_json
