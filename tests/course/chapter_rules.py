"""What a chapter is made of; style_rules.py says how it reads.

Each rule takes a Notebook and returns complaints that say what to do.
"""

from __future__ import annotations

import re

from tests.course import code_rules, link_rules
from tests.course.notebooks import Notebook, literal, parsed
from utils.study import exercises, questions, quiz

ORDER = ("What you will be able to do", "What you need first", "Quiz", "Cheat sheet", "Sources")
#: Chapters written before tests/course/style_rules.py, to which those rules do not apply yet.  It only gets shorter.
AWAITING_REWRITE = ()

#: At least so many words below the title, of prerequisites, and in the cheat sheet; so many of the others.
SYMPTOM_WORDS, NEED_WORDS, CHEAT_WORDS = 15, 5, 40
OBJECTIVES, EXERCISES, QUIZ, SOURCES = 3, 3, 3, 2


def opening(nb: Notebook) -> list[str]:
    """One title; below it a symptom in {SYMPTOM_WORDS} words or more, a quotation or a question: what a reader saw and
    wonders about."""
    titles = [text for level, text in nb.headings if level == 1]
    if len(titles) != 1 or not nb.content.cells[0].source.startswith("# "):
        return [f"the first cell starts with the only `# ` heading; found the titles {titles}"]
    before = re.split(r"(?m)^##+ ", nb.prose, maxsplit=1)[0].partition("\n")[2]
    if len(before.split()) < SYMPTOM_WORDS or not re.search(r"\?|^>", before, re.MULTILINE):
        return ["below the title, describe a symptom in a few sentences: what somebody saw, and the question it raises"]
    return []


def minutes(nb: Notebook) -> list[str]:
    """Before its first question the chapter says its time, `80 minutes`, as `utils/study/questions.py` has it."""
    before = re.split(r"(?m)^## (?=Q\d)", nb.prose, maxsplit=1)[0]
    said = re.findall(r"\b(\d+) minutes\b", before)
    expected = str(nb.chapter.minutes)
    return (
        []
        if expected in said
        else [f"before the first question say `{expected} minutes`, as utils/study/questions.py does; found {said}"]
    )


def core_path(nb: Notebook) -> list[str]:
    """A chapter that is partly on the core path says under `{ORDER[1]}` which part."""
    partly = 0 < nb.chapter.core < nb.chapter.minutes
    if not partly or re.search(r"\b(core|without)\b", nb.section(ORDER[1]) or ""):
        return []
    return [f"{nb.chapter.core} of {nb.chapter.minutes} minutes are core: say in `{ORDER[1]}` what that leaves out"]


def parts(nb: Notebook) -> list[str]:
    """It has the headings, in this order, {ORDER}."""
    titles = [text for _, text in nb.headings]
    found = [next((i for i, t in enumerate(titles) if part.lower() in t.lower()), None) for part in ORDER]
    wrong = [f"a heading `## {part}` is missing" for part, at in zip(ORDER, found, strict=True) if at is None]
    there = [at for at in found if at is not None]
    if there != sorted(there):
        wrong.append(f"the parts come in this order: {', '.join(ORDER)}")
    return wrong


def objectives(nb: Notebook) -> list[str]:
    """`{ORDER[0]}` lists {OBJECTIVES} abilities or more."""
    items = re.findall(r"(?m)^\s*(?:[-*]|\d+\.) \S", nb.section(ORDER[0]) or "")
    return (
        [] if len(items) >= OBJECTIVES else [f"`{ORDER[0]}` lists {OBJECTIVES} or more abilities; found {len(items)}"]
    )


def filled(nb: Notebook) -> list[str]:
    """Prerequisites have {NEED_WORDS} words or more, the cheat sheet {CHEAT_WORDS}, the sources {SOURCES} links."""
    wrong = []
    for title, words in (("What you need first", NEED_WORDS), ("Cheat sheet", CHEAT_WORDS)):
        there = len((nb.section(title) or "").split())
        if there < words:
            wrong.append(f"`{title}` has {there} words; write at least {words}")
    links = link_rules.links(nb.section("Sources") or "")
    return (
        wrong
        if len(links) >= SOURCES
        else [*wrong, f"`Sources` names at least {SOURCES} pages or papers; found {len(links)} links"]
    )


def question_headings(nb: Notebook) -> list[str]:
    """One heading `## Q3 · …` for each question of the chapter, word for word, and none of another's."""
    there = [text for level, text in nb.headings if level == 2 and re.match(r"Q\d", text)]
    expected = [questions.heading(n) for n in nb.chapter.questions]
    missing = [f"add the heading `## {text}`" for text in expected if there.count(text) != 1]
    return missing + [
        f"`## {text}` is no question of this chapter, word for word" for text in there if text not in expected
    ]


def deepens(nb: Notebook) -> list[str]:
    """A second notebook of a chapter, such as 04b, answers no question of its own: `{ORDER[1]}` names those of which it
    says more, `Q40`."""
    said = nb.section(ORDER[1]) or ""
    missing = [f"Q{n}" for n in nb.chapter.deepens if not re.search(rf"\bQ{n}\b", said)]
    return [f"name the questions that it deepens in `{ORDER[1]}`: {', '.join(missing)}"] if missing else []


def exercises_there(nb: Notebook) -> list[str]:
    """{EXERCISES} exercises or more, each with its check in `utils/study/checks/chNN.py` and a `check("NN-1", …)`."""
    asked = [literal(call.args[0]) for _, call in nb.calls("check") if call.args]
    try:
        registered = list(exercises.exercises_of(nb.number))
    except ValueError as error:
        return [f"{error}; write utils/study/checks/ch{nb.number}.py"]
    wrong = [
        f"exercise {id} has a check in utils and no `check({id!r}, …)` in the chapter"
        for id in registered
        if id not in asked
    ]
    wrong += [
        f"`check({id!r}, …)`: utils/study/checks/ch{nb.number}.py knows {registered}"
        for id in asked
        if id not in registered
    ]
    return (
        wrong
        if len(set(asked)) >= EXERCISES
        else [*wrong, f"a chapter has {EXERCISES} exercises or more; found {len(set(asked))}"]
    )


def stubs(nb: Notebook) -> list[str]:
    """The chapter asks and the solutions answer: each exercise is a stub, `...`, and its check says `not attempted`."""
    wrong = []
    for cell, call in nb.calls("check"):
        id = literal(call.args[0]) if call.args else None
        said = "".join(o.get("text", "") for o in cell.outputs)
        if f"○ {id}" not in said:
            wrong.append(
                f"exercise {id}: leave a stub (`...`) in the chapter, so that its check says `not attempted yet`"
            )
    return wrong


def quiz_there(nb: Notebook) -> list[str]:
    """One `quiz.show("NN")`, with {QUIZ} questions or more in `data/quizzes`, and feedback for each answer."""
    shown = [literal(call.args[0]) for _, call in nb.calls("quiz.show") if call.args]
    if shown != [nb.number]:
        return [f"show the quiz once: `quiz.show({nb.number!r})`; found {shown}"]
    try:
        there = len(quiz.load(nb.number))
    except ValueError as error:
        return [str(error)]
    return [] if there >= QUIZ else [f"data/quizzes/{nb.number}.json has {there} questions; write at least {QUIZ}"]


def questions_have_claims(nb: Notebook) -> list[str]:
    """Each question rests on a claim of this chapter, `Q3-…`; other claims of it are called `C03-…`."""
    made = [literal(call.args[0]) for _, call in nb.calls("claim") if call.args]
    allowed = {f"Q{n}" for n in nb.chapter.questions} | {f"C{nb.number}"}
    wrong = [
        f'Q{n} has no claim: compute its answer and `claim("Q{n}-…", …)` it'
        for n in nb.chapter.questions
        if not any(str(id).startswith(f"Q{n}-") for id in made)
    ]
    return wrong + [
        f"the claim {id} is for none of {sorted(allowed)}" for id in made if str(id).partition("-")[0] not in allowed
    ]


def solved(nb: Notebook) -> list[str]:
    """The solutions answer each exercise of their chapter so that its check says right."""
    answers = {}
    for cell, call in nb.calls("check"):
        id = literal(call.args[0]) if call.args else None
        answers[id] = any(f"✔ {id}" in o.get("text", "") for o in cell.outputs)
    try:
        asked = list(exercises.exercises_of(nb.number))
    except ValueError as error:
        return [str(error)]
    return [f"exercise {id} has no answer that its check calls right" for id in asked if not answers.get(id)]


def imports_first(nb: Notebook) -> list[str]:
    """`import utils` comes before TensorFlow and its relatives: it decides for Keras 2."""
    for cell in nb.code:
        for name in code_rules.imported(parsed(cell.source)):
            if name.split(".")[0] == "utils":
                return []
            if name.split(".")[0] in (*code_rules.HEAVY, "keras"):
                return [f"`import utils` comes before `import {name}`"]
    return []


CHAPTER_RULES = (
    opening,
    minutes,
    core_path,
    parts,
    objectives,
    filled,
    question_headings,
    deepens,
    exercises_there,
    stubs,
    quiz_there,
    questions_have_claims,
    imports_first,
)
SOLUTION_RULES = (solved, imports_first)
