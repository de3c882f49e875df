"""What is true of all notebooks together: their claims, and the ledger that quotes them."""

from __future__ import annotations

from collections import defaultdict

from commands.parts.ledger import claims
from tests.course.notebooks import Notebook


def ids_are_unique(notebooks: list[Notebook]) -> list[str]:
    """No two cells of the course make a claim of the same id."""
    places = defaultdict(set)
    for nb in notebooks:
        for entry in claims(nb.content, nb.shown):
            places[entry["id"]].add(f"{entry['notebook']} [{entry['cell']}]")
    return [
        f"the claim {id} is made in {' and in '.join(sorted(where))}; give one another id"
        for id, where in places.items()
        if len(where) > 1
    ]


def ledger_agrees(notebooks: list[Notebook], ledger: list[dict]) -> list[str]:
    """The ledger, `data/results/claims.json`, has exactly the claims that the notebooks store."""
    made = {entry["id"]: entry for nb in notebooks for entry in claims(nb.content, nb.shown)}
    kept = {entry["id"]: entry for entry in ledger}
    wrong = [f"{id} is in {entry['notebook']} and not in the ledger" for id, entry in made.items() if id not in kept]
    wrong += [f"{id} is in the ledger and in no notebook" for id in kept if id not in made]
    wrong += [
        f"{id}: the ledger says {kept[id]}, {entry['notebook']} says {entry}"
        for id, entry in made.items()
        if id in kept and kept[id] != entry
    ]
    wrong += ["the ledger names a claim twice"] if len(kept) != len(ledger) else []
    return [f"{text}; run `python course.py run` for that chapter" for text in wrong]


def solutions_exist(chapters: list[str], solutions: list[str]) -> list[str]:
    """Each chapter has a solutions notebook of the same name, and each solutions notebook its chapter."""
    return [f"write solutions/{name}" for name in chapters if name not in solutions] + [
        f"solutions/{name} belongs to no chapter" for name in solutions if name not in chapters
    ]
