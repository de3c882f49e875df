"""Finds the verb, parses its arguments, sees to the environment, runs it."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from types import ModuleType

import commands
from commands.parts import environment
from commands.parts.errors import Problem, closest_name, explain_os_error

USAGE = "python course.py VERB [ARGUMENTS]"


def main(arguments: list[str]) -> int:
    """Run the verb that `arguments` name; give the exit code."""
    _speak_utf8()
    try:
        return _dispatch(arguments)
    except Problem as problem:
        print(f"✘ {problem}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"✘ {explain_os_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def verbs() -> dict[str, ModuleType]:
    """Every verb by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__) if not module.ispkg)
    return {name: importlib.import_module(f"commands.{name}") for name in names}


def summary(verb: ModuleType) -> str:
    """The first line of a verb's docstring."""
    return (verb.__doc__ or "").strip().splitlines()[0]


def overview() -> str:
    """The list of verbs that a bare `python course.py` prints."""
    known = verbs()
    width = max(map(len, known))
    lines = [f"usage: {USAGE}", "", *(f"  {name:{width}}  {summary(verb)}" for name, verb in known.items())]
    return "\n".join([*lines, "", "More, with examples: python course.py VERB --help"])


def parser_of(name: str, verb: ModuleType) -> argparse.ArgumentParser:
    """The argument parser of one verb."""
    parser = argparse.ArgumentParser(
        prog=f"python course.py {name}",
        description=verb.__doc__,
        epilog=f"examples:\n{verb.EXAMPLES.rstrip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.arguments(parser)
    return parser


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name, *rest = arguments
    known = verbs()
    if name not in known:
        match = closest_name(name, known)
        hint = f"Did you mean:  python course.py {match}\n" if match else ""
        raise Problem(f"course.py has no verb {name!r}. {hint}\n{overview()}")
    verb = known[name]
    options = _parse(name, verb, rest)
    if verb.NEEDS_ENVIRONMENT and not environment.running_inside():
        return environment.enter(arguments)
    return verb.main(options)


def _parse(name: str, verb: ModuleType, rest: list[str]) -> argparse.Namespace:
    parser = parser_of(name, verb)
    if not getattr(verb, "PASSES_ON", False):
        return parser.parse_args(rest)
    options, options.rest = parser.parse_known_args(rest)
    return options


def _speak_utf8() -> None:
    """A Windows console or LANG=C must not turn ✔ into an exception."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
