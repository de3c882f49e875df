"""Numbers as sentences say them: "less than 30 %", "one and a half times", "a quarter", "twice", "three of four"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

_ONES = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
)
_UNITS = {word: float(k) for k, word in enumerate(_ONES, 1)} | {"twenty": 20.0, "thirty": 30.0, "dozen": 12.0}
_BIG = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9}
_PARTS = {
    "half": 1 / 2, "halves": 1 / 2, "third": 1 / 3, "quarter": 1 / 4, "fifth": 1 / 5, "sixth": 1 / 6, "seventh": 1 / 7,
    "eighth": 1 / 8, "ninth": 1 / 9, "tenth": 1 / 10, "sixteenth": 1 / 16, "hundredth": 1e-2, "thousandth": 1e-3,
    "millionth": 1e-6,
}  # fmt: skip
_TIMES = {"twice": 2.0, "double": 2.0, "doubles": 2.0, "thrice": 3.0, "halve": 0.5, "halves": 0.5, "a half": 0.5,
          "tenfold": 10.0, "hundredfold": 100.0, "thousandfold": 1000.0}  # fmt: skip

DIGITS = r"[-−]?\d[\d,]*(?:\.\d+)?"
_COUNT = rf"(?:{DIGITS}|{'|'.join(_UNITS)}|an?)(?:[ -](?:{'|'.join(_BIG)}))?|{'|'.join(_BIG)}"
_PART = rf"(?:{'|'.join(_PARTS)})s?"
_NUMBER = re.compile(
    rf"(?<![\w.-])(?:"
    rf"(?P<mixed>{_COUNT}) and "
    rf"(?:a (?P<mixed_part>{_PART})|(?P<mixed_count>{'|'.join(_UNITS)}) (?P<mixed_parts>{_PART}))"
    rf"|(?P<of>(?!an? ){_COUNT}) "
    rf"(?:part |pictures? )?(?:of|in|out of) (?P<whole>(?!an?(?! h| t| m)\b){_COUNT})(?=\W|$)"
    rf"|(?P<parts>{_COUNT})[ -](?P<part>{_PART})"
    rf"|(?P<times>{'|'.join(_TIMES)}|half)"
    rf"|(?P<count>{_COUNT})"
    rf")(?P<percent> ?%| percent)?(?![\w-]|[.,]\d)",
    re.IGNORECASE,
)
_UPPER = r"(?:less|fewer|smaller|shorter|lower) than|at most|(?:no|not|hardly) more than|up to|below|under|within"
_LOWER = r"(?:more|larger|longer|greater|higher|worse|better|older|faster) than|at least|above|over|not less than"
_NEAR = r"about|nearly|around|roughly|exactly|between|to"
_BEFORE = re.compile(
    rf"(?:\b(?P<upper>{_UPPER})|\b(?P<lower>{_LOWER})|\b(?P<near>{_NEAR})) (?:only |as much as |as )?$", re.IGNORECASE
)
_NEGATED = re.compile(r"\b(no|not|none|never|nobody|neither|nor|without|cannot|far from)\b|n't\b", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    """A number in a sentence: its text, value, and what is compared with it.

    side: "upper" (less than …), "lower" (more than …), "near" (about …), or "" where nothing is compared.
    """

    text: str
    value: float
    side: str = ""
    fraction: bool = False  #: a part or a multiple: "30 %", "a quarter", "two of three", "five times"
    numerator: float | None = None  #: 2 of "two of three"
    end: int = 0  #: where it ends in the sentence


def numbers(sentence: str) -> list[Number]:
    """All numbers that `sentence` says, in order; not "a", and "one" only if it is compared: "more than one point"."""
    found = []
    for match in _NUMBER.finditer(sentence):
        before = _BEFORE.search(sentence[: match.start()])
        side = next((name for name in ("upper", "lower", "near") if before and before[name]), "")
        word, after = (match["count"] or "").lower(), sentence[match.end() :].strip(" .")
        if side == "near" and before["near"].lower() == "to" and len(after.split()) > 1:
            side = ""  # "rounding to 8 bits costs …"; but "…, to two points"
        if word in ("a", "an") or (word == "one" and not (side and after)):
            continue
        fraction = not match["count"] or bool(match["percent"]) or after.startswith("times")
        numerator = _count(match["of"]) if match["of"] else None
        found.append(Number(match[0], _value(match), side, fraction, numerator, match.end()))
    return found


def digits_of(text: str) -> float:
    """The value of a number in digits, "10,000" or "−6.5"."""
    return float(text.replace(",", "").replace("−", "-"))


def negated(sentence: str) -> bool:
    """Whether a word turns a comparison round: "none loses more than a point"."""
    return bool(_NEGATED.search(sentence))


def said_by(bound: dict[str, float], number: Number, *, either_side: bool = False) -> bool:
    """Whether a limit of the bound {"below": 0.3} is the number "less than 30 %" of a sentence.

    As it is, in percent or thousandths, or turned round: 97 % that stay are 3 % that change, 4 times as fast a quarter
    of the time.  "About 6" is said of bounds close around it.  either_side: a limit below may be said as "more than".
    """
    upper = [abs(limit) for name, limit in bound.items() if name in ("below", "high")]
    lower = [abs(limit) for name, limit in bound.items() if name in ("above", "low")]
    value = abs(number.value)
    straight = {value, value / 100, 100 * value, 1000 * value, value / 1000}
    straight |= {number.numerator} if number.numerator else set()  # "5 pictures of 10,000" may be counted
    turned = {1 - part for part in (value, value / 100) if part < 1} | {1 + value} | ({1 / value} if value else set())
    if number.side == "near" and upper and lower and not _meet(upper + lower, straight):
        return any(0.7 * form <= min(lower) <= form <= max(upper) <= 1.4 * form for form in straight)
    mine, other = (upper, lower) if number.side == "upper" else (lower, upper)
    if either_side or number.side not in ("upper", "lower"):
        mine = other = upper + lower
    return _meet(mine, straight) or _meet(other, turned)


def _meet(limits, forms) -> bool:
    return any(abs(limit - form) <= 1e-6 * max(1.0, abs(form)) for limit, form in product(limits, forms))


def _value(match: re.Match) -> float:
    if match["mixed"]:
        part = match["mixed_part"] or match["mixed_parts"]
        return _count(match["mixed"]) + (_UNITS[(match["mixed_count"] or "one").lower()]) * _part(part)
    if match["of"]:
        return _count(match["of"]) / _count(match["whole"])
    if match["parts"]:
        return _count(match["parts"]) * _part(match["part"])
    if match["times"]:
        word = match["times"].lower()
        return 0.5 if word == "half" else _TIMES[word]
    return _count(match["count"])


def _count(text: str) -> float:
    """ "ten", "10,000", "a hundred", "two million"."""
    value = 1.0
    for word in re.split(r"[ -](?=\D)", text.lower()):
        if word in _BIG:
            value *= _BIG[word]
        elif word not in ("a", "an"):
            value *= _UNITS[word] if word in _UNITS else digits_of(word)
    return value


def _part(text: str) -> float:
    text = text.lower()
    return _PARTS[text] if text in _PARTS else _PARTS[text.removesuffix("s")]
