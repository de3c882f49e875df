"""How an interview answer is written.  Rules take its text and return complaints that say what to do."""

from __future__ import annotations

import itertools
import re

import yaml

from tests.course import figure_rules, style_rules
from utils.study import questions, quotes

FIELDS = ("id", "question", "level", "chapter", "claims", "sources")
LEVELS = ("basic", "intermediate", "advanced")
SECTIONS = ("Thirty seconds", "Three minutes", "What they ask next", "Red flags", "Rubric")
WORDS = {"Thirty seconds": (40, 110), "Three minutes": (250, 480)}
LISTED = 2  #: follow-up questions and red flags, at least
#: Figures that nobody can say aloud, beside those of chapters.
UNSPEAKABLE = style_rules.UNSPEAKABLE | {
    r"(?<![\d.,])\d(?:\.\d+)?e[-+]?\d+": "a power of ten: say one in a million, or too little to matter",
    r"(?<![\d.,])0\.\d{3,}": "a fraction of one in three digits: say per cent, or three of 10,000",
}
_QUOTED = re.compile(r"<!--(?P<id>(?:Q\d{1,2}|C\d\d[a-z]?)-[a-z0-9-]+)-->[^<]*<!--/-->")
_COMMON = set(
    """the and that with than from for its has was are not all this one two more less least most same takes have any
    into does where needs what which""".split()  # noqa: SIM905
)
_VERSION = re.compile(r"(?:TensorFlow(?: Lite)?|Keras|Python|NumPy|LiteRT|release) \d+(?:\.\d+)+")
_FIGURE = re.compile(r"(?<![\w.,#–-])\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?(?![\w.,]*\w)")


def front_matter(text: str) -> dict:
    """The fields between the first two lines `---`; ValueError if there are none."""
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    fields = yaml.safe_load(found[1]) if found else None
    if not isinstance(fields, dict):
        raise ValueError(f"the file starts with front matter: lines `---`, then {', '.join(FIELDS)}, then `---`")
    return fields


def fields_right(text: str, name: str) -> list[str]:
    """`interview/qNN.md` begins with front matter: {FIELDS}. The question is worded as in `interview/questions.md`, the
    level is one of {LEVELS}."""
    try:
        fields = front_matter(text)
    except (ValueError, yaml.YAMLError) as error:
        return [str(error)]
    wrong = [f"front matter lacks `{field}`" for field in FIELDS if not fields.get(field)]
    if wrong:
        return wrong
    number = re.fullmatch(r"Q([1-9]|[1-4]\d|50)", str(fields["id"]))
    if not number:
        return [f"id is Q1 to Q50; got {fields['id']!r}"]
    n = int(number[1])
    if not re.match(rf"q0?{n}\b", name):
        wrong.append(f"the answer to {fields['id']} is the file q{n:02d}.md; this is {name}")
    if fields["question"] != questions.texts()[n]:
        wrong.append(f"the question is, word for word: {questions.texts()[n]}")
    if str(fields["chapter"]).zfill(2) != questions.chapter_of(n):
        wrong.append(f"chapter is {questions.chapter_of(n)}; got {fields['chapter']!r}")
    if fields["level"] not in LEVELS:
        wrong.append(f"level is one of {', '.join(LEVELS)}; got {fields['level']!r}")
    if not isinstance(fields["sources"], list) or not all(re.search(r"\S{3}", str(s)) for s in fields["sources"]):
        wrong.append("sources is a list of pages or papers")
    return wrong


def sections_right(text: str) -> list[str]:
    """The sections of a page are, in this order, {SECTIONS}. `Thirty seconds` has {WORDS[Thirty seconds][0]} to
    {WORDS[Thirty seconds][1]} words, `Three minutes` {WORDS[Three minutes][0]} to {WORDS[Three minutes][1]}. There are
    {LISTED} or more follow-ups and red flags, and the rubric says what earns 0, 1, 2, 3 and 4."""
    titles = re.findall(r"(?m)^## (.+)$", text)
    found = [next((i for i, title in enumerate(titles) if title.startswith(part)), None) for part in SECTIONS]
    if None in found or found != sorted(found):
        return [f"the sections are, in this order: {', '.join(SECTIONS)}; found {titles}"]
    wrong = []
    for title, (low, high) in WORDS.items():
        words = len(quotes.plain(section(text, title)).split())
        if not low <= words <= high:
            wrong.append(f"`{title}` has {words} words; spoken aloud it needs {low} to {high}")
    for title in ("What they ask next", "Red flags"):
        if len(re.findall(r"(?m)^\s*(?:[-*]|\d+\.|###) ?\S", section(text, title))) < LISTED:
            wrong.append(f"`{title}` lists at least {LISTED}")
    grades = re.findall(r"(?m)^\W*([0-4])\b", section(text, "Rubric"))
    if sorted(set(grades)) != list("01234"):
        wrong.append(f"the rubric says what earns 0, 1, 2, 3 and 4; found {grades}")
    return wrong


def section(text: str, title: str) -> str:
    """The text below the heading that starts with `title`."""
    found = re.search(rf"(?ms)^## {re.escape(title)}[^\n]*\n(.*?)(?=^## |\Z)", text)
    return found[1] if found else ""


def figures_quoted(text: str, ledger: dict[str, str]) -> list[str]:
    """Measured figures are quoted, `{{Q3-bytes}}`, and not typed; each quote is filled and agrees with the ledger.

    A typed figure of the question's own claims, and of those its front matter names, is one that should be quoted.  Of
    other claims only figures that are no coincidence are: 256 may be a number of levels anywhere, and a published
    figure, with its link in the same paragraph, may be what a claim happens to measure on this processor.
    """
    wrong = [f"{{{{{id}}}}} is not filled: run `python course.py quote`" for id in re.findall(r"\{\{([^}]*)\}\}", text)]
    for quote in quotes.quoted(text):
        try:
            figure = quotes.quoted_figure(quote, ledger)
        except KeyError as error:
            wrong.append(error.args[0])
            continue
        if f"<!--{quote}-->{figure}<!--/-->" not in text and f"{{{{{quote}}}}}" not in text:
            wrong.append(f"its quote of {quote} is not {figure}, as measured; run `python course.py quote`")
    text = re.sub(r"<!--[^>]*-->[^<]*<!--/-->", "", text)
    own = _own_claims(text)
    plain = _VERSION.sub("", text)  # a release is no figure, though a claim may measure 2.20
    typed = set(_FIGURE.findall(plain))
    unlinked = set(_FIGURE.findall("\n".join(line for line in plain.splitlines() if "](" not in line)))
    for id, figure in ledger.items():
        number = figure.split()[0]
        digits = len(re.sub(r"\D", "", number))
        if digits >= 3 and number in (typed if id in own else unlinked) and (id in own or "." in number or digits >= 5):
            wrong.append(f"it types {number}, which {id} measured; write {{{{{id}}}}}")
    return wrong


def figures_claimed(text: str, claims: list[dict]) -> list[str]:
    """A figure that an answer types, "three decibels" too, is said by a claim that it names or quotes, or by one of its
    question: by its sentence or what it measured, and unless it is decibels or points by its bound, too. Or a link to
    its source stands in the same paragraph."""
    own, question = _own_claims(text), re.search(r"(?m)^id: (Q\d+)", text)
    mine = [c for c in claims if c["id"] in own or (question and c["id"].startswith(f"{question[1]}-"))]
    said, measured = ([n for c in mine for n in figure_rules.claimed(c, limits)] for limits in (True, False))
    body = re.sub(r"<!--[^>]*-->[^<]*<!--/-->", " … ", text.split("\n---\n", 1)[-1])
    return [
        f"it types {figure.said!r}, which no claim of this page says: quote the claim that does, or link its source "
        "in this paragraph"
        for figure in figure_rules.figures(body)
        if not figure_rules.stands_in(figure, measured if figure_rules.needs_measure(figure, body) else said)
    ]


def _own_claims(text: str) -> set[str]:
    """The claims that a page names or quotes."""
    try:
        named = front_matter(text).get("claims") or []
    except (ValueError, yaml.YAMLError):
        named = []
    return {*map(str, named), *quotes.quoted(text)}


def said_aloud(text: str) -> list[str]:
    """The figures of both answers can be said aloud: per cent, "a quarter", "three of 10,000"."""
    wrong = []
    for title in WORDS:
        said = section(text, title)
        sources = {figure: id for id, figure in re.findall(r"<!--([^>/][^>]*)-->([^<]*)<!--/-->", said)}
        plain = re.sub(r"`[^`\n]*`|https?:\S+", " ", quotes.plain(said))
        for form, why in UNSPEAKABLE.items():
            for match in re.finditer(form, plain):
                quoted = next((id for figure, id in sources.items() if match[0].startswith(figure.split()[0])), None)
                mend = f"; {quoted} is quoted: measure it so, with unit=" if quoted else ""
                wrong.append(f"`{title}` says {match[0]!r}, {why}{mend}")
    return wrong


def answers_there(chapter: str, pages: list[str]) -> list[str]:
    """Each question of a chapter that is there has its page, `interview/qNN.md`."""
    wanted = {n: f"q{n:02d}.md" for n in questions.CHAPTERS[chapter].questions}
    return [
        f"write interview/{page}: chapter {chapter} answers question {n}"
        for n, page in wanted.items()
        if page not in pages
    ]


def quotes_in_place(text: str, sentences: dict[str, str], clearly: int = 1) -> list[str]:
    """No two quotes of a page are swapped: the words around each fit its own claim, not better the other's.

    sentences: {claim id: sentence}.  Words around a quote end at its neighbours; they are compared by their first five
    letters.  clearly: how many words better.  Of 102 neighbours on the pages 91 are noticed by one word when they are
    swapped, and 63 by three; of all 354 pairs that stand right, four are worded so that one word is an alarm.
    """
    places = [match for match in _QUOTED.finditer(text) if match["id"] in sentences]
    around = [_stems(_around(text, match)) for match in places]
    meant = [_stems(f"{sentences[match['id']]} {match['id'].partition('-')[2]}") for match in places]
    return [
        f"the words around {a['id']} fit {b['id']}, and the other way round: are the two quotes swapped? If not, say "
        f"beside each what was measured, in words of its claim: {sentences[a['id']]!r}, {sentences[b['id']]!r}"
        for (i, a), (j, b) in itertools.combinations(enumerate(places), 2)
        if a["id"] != b["id"]
        and len(around[i] & meant[j]) + len(around[j] & meant[i])
        >= len(around[i] & meant[i]) + len(around[j] & meant[j]) + clearly
    ]


def _around(text: str, match: re.Match) -> str:
    """Up to 160 characters before and behind a quote, within its paragraph, up to the next quote."""
    before = re.split(r"<!--/-->|\n\n", text[: match.start()])[-1]
    behind = re.split(r"<!--|\n\n", text[match.end() :])[0]
    return f"{before[-160:]} {behind[:160]}"


def _stems(text: str) -> set[str]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {word[:5] for word in words if (len(word) > 2 or word.isdigit()) and word not in _COMMON}


def claims_there(text: str, ledger: dict[str, str]) -> list[str]:
    """The claims that the front matter names are in the ledger, and one is the question's own, `Q3-…`."""
    try:
        fields = front_matter(text)
    except (ValueError, yaml.YAMLError):
        return []  # fields_right says so
    named = fields.get("claims") or []
    wrong = [f"the front matter names {id}, which no claim in the ledger has" for id in named if id not in ledger]
    if not any(str(id).startswith(f"{fields.get('id')}-") for id in named):
        wrong.append(f"claims names at least one of {fields.get('id')}")
    return wrong
