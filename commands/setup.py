"""Make the environment, or make it anew; other verbs do this by themselves when it is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

from commands.parts import environment, kernels
from commands.parts.errors import Problem

NEEDS_ENVIRONMENT = False
EXAMPLES = """
  python course.py setup               what `lab` and `test` do first: .venv from requirements/core.txt
  python course.py setup --fresh       throw .venv away and make it with the Python that runs this
  python course.py setup --with tfx    also .venv-tfx for chapter 17
  python course.py setup --here        install into the running environment (conda, Binder, a container)
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fresh", action="store_true", help="start from an empty environment")
    parser.add_argument("--here", action="store_true", help="into the running Python's environment, not .venv")
    environment.with_argument(parser)


def main(options: argparse.Namespace) -> int:
    if options.here and (options.fresh or options.extras):
        raise Problem("--here installs the core lock into an environment that exists; leave out --fresh and --with.")
    for name in options.extras:
        environment.lock_path(name)
    if options.here:
        environment.install_here()
        return 0
    python = environment.ensure(fresh=options.fresh)
    for name in options.extras:
        kernels.register_kernel(environment.folder(), name, environment.ensure(name, fresh=options.fresh))
    print(f"Ready: {python}")
    activate = _shown(python.parent / "activate")
    print(f"To work in it yourself, activate {activate}; `jupyter lab` and `pytest` are then the course's.")
    return 0


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
