"""Begin a chapter: write every file of it from docs/template, to be filled in until no placeholder is left."""

from __future__ import annotations

import argparse
import hashlib
import json
import keyword
import re
from contextlib import suppress
from pathlib import Path

from commands.parts import chapters, files
from commands.parts.environment import ROOT
from commands.parts.errors import Problem
from commands.parts.process_lock import Lock

NEEDS_ENVIRONMENT = True
#: Where helpers live in utils/; without a folder they belong to the ground floor.  study/ is the course's own.
PLACES = ("measure", "optimize", "deploy", "scale", "assist")
#: What is being written, so that the next `new` removes the half of a chapter that a killed one left.
PLAN = ".cache/new.json"
#: No file can have these names on Windows, whatever stands behind the dot: a clone there would fail.
_OF_WINDOWS = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
EXAMPLES = """
  python course.py new 08 weight_sharing --helper optimize/clustering
      notebook, solutions, checks, quiz, helper, benchmark, interview pages, decision, and their tests
  python course.py new 09 all_together --no-helper
      the same without a helper: the chapter extends modules that are there
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="NN", help="the chapter's number in utils/study/questions.py")
    parser.add_argument("topic", help="lower-case words joined by _, for the file names, such as weight_sharing")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--helper", metavar="PLACE/NAME", help="the new module in utils/, such as optimize/clustering")
    place.add_argument("--no-helper", action="store_true", help="the chapter needs no module of its own")


def main(options: argparse.Namespace) -> int:
    for path in create(options.number, options.topic, options.helper):
        print(f"✔ {path.relative_to(ROOT).as_posix()}")
    number = chapters.two_digits(options.number)
    print(
        f"Now replace all that is marked PLACEHOLDER {number}, in the order of CONTRIBUTING.md.\n"
        f"Execute it meanwhile:  python course.py run {number} --solutions\n"
        "What is left:          python course.py test tests/course/test_notebooks.py -k placeholder"
    )
    return 0


def create(number: str, topic: str, helper: str | None = None, root: Path = ROOT) -> list[Path]:
    """Write all files of chapter `number`, or none.

    helper: "optimize/clustering" for utils/optimize/clustering.py; None for a chapter without a module of its own.
    Problem for what cannot be begun: no such chapter, one that is there, a bad name, a folder that cannot be written.
    """
    number = chapters.two_digits(number)
    _check_names(number, topic, helper)
    try:
        files.check_writable(root / "notebooks")
        with Lock(root / ".cache/new.lock", "Another `course.py new` is writing"):
            _remove_half(root)
            _check_free(number, helper, root)
            content = _contents(number, topic, helper, root)
            there = [path for path in content if (root / path).exists()]
            if there:
                raise Problem(f"{there[0]} is there already; nothing was written.{_advice(there[0], topic)}")
            _write_all(content, root)
    except OSError as error:
        where = Path(error.filename or root).parent
        raise Problem(f"Chapter {number} was not begun, in {where}: {error.strerror or error}") from None
    return [root / path for path in content]


def _check_names(number: str, topic: str, helper: str | None) -> None:
    from utils.study import questions

    if number not in questions.CHAPTERS:
        known = list(questions.CHAPTERS)
        raise Problem(f"There is no chapter {number!r}; utils/study/questions.py lists {known[0]} to {known[-1]}.")
    if not _is_name(topic):
        raise Problem(
            f"A topic is lower-case words joined by _, beginning with a letter, such as weight_sharing; got {topic!r}."
        )
    *place, name = (helper or "name").split("/")
    if len(place) > 2 or (place and place[0] not in PLACES) or not all(map(_is_name, [*place, name])):
        raise Problem(
            f"A helper is NAME, PLACE/NAME or PLACE/FAMILY/NAME, such as optimize/clustering, where PLACE is one of "
            f"{', '.join(PLACES)} and the others are lower-case words joined by _; got {helper!r}."
        )


def _is_name(text: str) -> bool:
    """Whether `text` can be the name of a file and of a module."""
    usable = not keyword.iskeyword(text) and not _OF_WINDOWS.fullmatch(text) and len(text) <= 60
    return usable and bool(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", text))


def _check_free(number: str, helper: str | None, root: Path) -> None:
    """Problem if the chapter is there under another topic, or the helper's module would hide a folder or be hidden."""
    there = sorted((root / "notebooks").glob(f"{number}_*.ipynb"))
    if there:
        raise Problem(f"Chapter {number} is there already: notebooks/{there[0].name}. Nothing was written.")
    if helper is None:
        return
    if (root / "utils" / helper).is_dir():
        raise Problem(f"utils/{helper} is a folder of modules; name the module too, such as {helper}/NAME.")
    for folder in [parent.as_posix() for parent in Path(helper).parents if parent.name]:
        if (root / f"utils/{folder}.py").is_file():
            raise Problem(f"utils/{folder}.py is a module, so utils/{folder}/ cannot be; choose another name.")


def _advice(path: str, topic: str) -> str:
    if path.startswith(("utils/", "tests/")) and "study" not in path and "benchmarks" not in path:
        return " Choose another helper, or pass --no-helper if the chapter extends this one."
    return f" Choose another topic than {topic}." if "benchmarks/" in path else ""


def _contents(number: str, topic: str, helper: str | None, root: Path) -> dict[str, str]:
    """{path: text} of all files of the chapter."""
    from utils.study import questions

    chapter = questions.CHAPTERS[number]
    package, _, name = f"utils/{helper}".replace("/", ".").rpartition(".")
    decision = _next_decision(root)
    values = {
        "NN": number,
        "TITLE": chapter.title,
        "MINUTES": str(chapter.minutes),
        "TOPIC": topic,
        "PACKAGE": package,
        "NAME": name,
        "DECISION": str(decision),
    }
    asked = [
        _filled("question.py", {**values, "N": str(n), "HEADING": questions.heading(n)}) for n in chapter.questions
    ]
    values["QUESTIONS"] = "\n".join(asked)
    values["HELPER_CELLS"] = _filled("helper_cells.py", values) if helper else ""
    made = {
        f"notebooks/{number}_{topic}.ipynb": _notebook(_filled("chapter.py", values)),
        f"solutions/{number}_{topic}.ipynb": _notebook(_filled("solutions.py", values)),
        f"utils/study/checks/ch{number}.py": _filled("checks.py", values),
        f"tests/study/checks/test_ch{number}.py": _filled("test_checks.py", values),
        f"data/quizzes/{number}.json": _filled("quiz.json", values),
        f"benchmarks/{topic}.py": _filled("benchmark.py", values),
        f"tests/benchmarks/test_{topic}.py": _filled("test_benchmark.py", values),
        f"docs/decisions/{decision:04d}-{topic.replace('_', '-')}.md": _filled("decision.md", values),
    }
    for n in chapter.questions:
        question = {"N": str(n), "QUESTION": _yaml(questions.texts()[n])}
        made[f"interview/q{n:02d}.md"] = _filled("answer.md", {**values, **question})
    return made | (_helper_files(helper, values, root) if helper else {})


def _helper_files(helper: str, values: dict[str, str], root: Path) -> dict[str, str]:
    """The module, its test, and `__init__.py` of the packages above it that are not there yet."""
    path = Path(helper)
    packages = [f"utils/{parent.as_posix()}/__init__.py" for parent in path.parents if parent.name]
    return {
        **{init: _filled("package.py", values) for init in packages if not (root / init).exists()},
        f"utils/{helper}.py": _filled("helper.py", values),
        f"tests/{path.with_name(f'test_{path.name}').as_posix()}.py": _filled("test_helper.py", values),
    }


def _filled(name: str, values: dict[str, str]) -> str:
    """A file of the template, each `@KEY@` replaced; `# @KEY@` in a line of its own stands for whole cells."""
    text = (ROOT / "docs/template" / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = re.sub(rf"(?m)^# @{key}@\n", lambda _, value=value: value, text).replace(f"@{key}@", value)
    return text


def _notebook(script: str) -> str:
    import jupytext
    import nbformat

    from commands.parts.normalize import normalize

    return nbformat.writes(normalize(jupytext.reads(script, "py:percent"))) + "\n"


def _yaml(text: str) -> str:
    """`text` as one value of YAML, in quotes where it needs them."""
    import yaml

    with suppress(yaml.YAMLError):
        if yaml.safe_load(f"question: {text}") == {"question": text}:
            return text
    return json.dumps(text, ensure_ascii=False)


def _next_decision(root: Path) -> int:
    numbers = [int(path.name[:4]) for path in (root / "docs/decisions").glob("[0-9][0-9][0-9][0-9]-*.md")]
    return max(numbers, default=0) + 1


def _write_all(content: dict[str, str], root: Path) -> None:
    """Write all files; on failure or Ctrl-C remove what was made.  After a kill the next `new` does."""
    above = {parent.as_posix() for path in content for parent in Path(path).parents}
    plan = {
        "files": {path: _digest(text.encode("utf-8")) for path, text in content.items()},
        "folders": sorted((folder for folder in above if not (root / folder).exists()), reverse=True),
    }
    try:
        files.write_json(root / PLAN, plan)
        for path, text in content.items():
            files.write_text(root / path, text)
    except BaseException:
        _remove_half(root)
        raise
    (root / PLAN).unlink()


def _remove_half(root: Path) -> None:
    """Remove what the plan names, if it is the half of a chapter and nobody has written into it since."""
    try:
        plan = json.loads((root / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    there = {root / path: digest for path, digest in plan["files"].items() if (root / path).exists()}
    untouched = all(_digest(path.read_bytes()) == digest for path, digest in there.items())
    if untouched and len(there) < len(plan["files"]):
        for path in there:
            path.unlink()
    for path in (root / file for file in plan["files"]):
        for beside in path.parent.glob(f".{path.name[:80]}.*.new"):
            beside.unlink()
    for folder in plan["folders"]:
        with suppress(OSError):  # it is gone, or somebody put something into it
            (root / folder).rmdir()
    (root / PLAN).unlink()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
