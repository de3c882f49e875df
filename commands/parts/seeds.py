"""How often each claim holds when the seed changes, and how far its figure spreads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from commands.parts import execution, ledger, outputs
from commands.parts.chapters import shown
from commands.parts.errors import Problem


@dataclass
class Record:
    """One claim over all seeds: the figures as printed, and the seeds for which it failed."""

    notebook: str
    figures: list[str] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


def report(paths: list[Path], count: int, cell_limit: int) -> int:
    """Execute each notebook with the seeds 0 … count-1, training anew, and print the table; 0 if all is well."""
    good = True
    for path in paths:
        records, complaints = try_seeds(path, count, cell_limit)
        print(f"\n{shown(path)}, seeds 0 to {count - 1}")
        print("\n".join(table(records, count)))
        for complaint in complaints:
            print(complaint)
        good = good and not complaints and all(held(record) == count for record in records.values())
    return 0 if good else 1


def try_seeds(path: Path, count: int, cell_limit: int) -> tuple[dict[str, Record], list[str]]:
    """({claim id: Record}, complaints about errors and changed outputs) of one notebook."""
    stored = execution.read(path)
    name = shown(path)
    records: dict[str, Record] = {}
    complaints: list[str] = []
    for seed in range(count):
        try:
            done = execution.execute(
                path, seed=seed, fresh=True, keep_going=True, cell_limit=cell_limit, name=f"{name} seed {seed}"
            )
        except Problem as problem:
            complaints.append(f"✘ seed {seed}: {problem}")
            continue
        _count_claims(done.notebook, name, seed, records)
        complaints += _complaints(stored, done.notebook, seed)
    return records, complaints


def held(record: Record) -> int:
    """For how many seeds the claim held."""
    return len(record.figures) - len(record.failed)


def table(records: dict[str, Record], count: int) -> list[str]:
    """Lines: the claim, how often it held, the spread of its figure."""
    if not records:
        return ["  no claims"]
    width = max(map(len, records))
    lines = []
    for id, record in records.items():
        mark = "✔" if held(record) == count else "✘"
        failed = f"   failed with seed {', '.join(map(str, record.failed))}" if record.failed else ""
        lines.append(f"  {mark} {id:{width}}  held {held(record)} of {count}   {spread(record.figures)}{failed}")
    return lines


def spread(figures: list[str]) -> str:
    """'0.251 … 0.262 … 0.270' (lowest, median, highest) of figures as printed; one value if they are all equal."""
    if len(set(figures)) == 1:
        return figures[0]
    try:
        ordered = sorted(figures, key=lambda text: float(text.replace(",", "").split()[0]))
    except ValueError:
        return " / ".join(dict.fromkeys(figures))
    return f"{ordered[0]} … {ordered[len(ordered) // 2]} … {ordered[-1]}"


def _count_claims(notebook, name: str, seed: int, records: dict[str, Record]) -> None:
    for claim in ledger.claims(notebook, name):
        records.setdefault(claim["id"], Record(name)).figures.append(claim["figure"])
    for id, figure in ledger.failures(notebook).items():
        record = records.setdefault(id, Record(name))
        record.figures.append(figure)
        record.failed.append(seed)


def _complaints(stored, notebook, seed: int) -> list[str]:
    """Errors that are no failed claims, and outputs that changed where no bracket allows it."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    broken = {i: o for i, cell in enumerate(code, 1) for o in cell.outputs if o.output_type == "error"}
    said = [
        f"✘ seed {seed}, code cell {i}: {error.ename}: {error.evalue}"
        for i, error in broken.items()
        if error.ename != "ClaimFailed" or "is false here" not in error.evalue
    ]
    if not execution.was_run(stored):
        return said
    for position, lines in outputs.changed_cells(stored, notebook).items():
        if position not in broken:
            said.append(f"✘ seed {seed}, code cell {position} changed outside of brackets:")
            said += [f"    {line}" for line in lines]
    return said
