"""How long each part of the tests may take.  docs/decisions/0004-time-budget.md has the reasoning.

Seconds are those of one of two slow cores with two notebooks side by side, the start of the kernel and
the import of TensorFlow (up to 20 s) included.
"""

from __future__ import annotations

WALL = 30 * 60  #: seconds in which all tests end
WORKERS = 2  #: notebooks and test modules run side by side
RESERVE = 0.1  #: share of the time for collecting tests and for the last notebook that runs alone

CHAPTER = 85
SOLUTIONS = 25
UNIT_TESTS = 950  #: all test modules together, of both workers

#: Chapters that need more or less than CHAPTER.  What one gets, others give: the sum is tested.
OTHERS: dict[str, int] = {
    "00": 45,  # trains nothing
    "02": 105,  # one network through every API of the Toolkit, and through Keras 3
    "03": 65,  # integer arithmetic in numpy
    "04": 105,  # five questions, each answered on converted files
    "05": 110,  # quantization-aware training, several times
    "06": 105,  # networks wrapped, pruned and converted, one after the other
    "06b": 60,  # one convolutional network, scored and pruned
    "09": 105,  # pruned, clustered, quantized while training, each several times; and a network made small
    "10": 100,  # students of several kinds, alone and taught, in both Keras
    "11": 100,  # EfficientNet, traced, trained and converted
    "12": 60,  # small files, run often
    "15": 110,  # starts worker processes that import TensorFlow again
    "16": 100,  # thirty rounds of federated training
}

#: Solutions that need more than SOLUTIONS.
DEARER_SOLUTIONS: dict[str, int] = {"02": 40, "05": 30}

#: Notebooks that have an environment of their own, and time beyond WALL.
OWN_ENVIRONMENT: dict[str, int] = {"16b": 300, "17": 300}


def of_notebook(folder: str, stem: str) -> int:
    """Seconds that the notebook `notebooks/NN_topic.ipynb` or its solutions may take."""
    chapter = stem.split("_")[0]
    if chapter in OWN_ENVIRONMENT:
        return OWN_ENVIRONMENT[chapter]
    if folder == "solutions":
        return DEARER_SOLUTIONS.get(chapter, SOLUTIONS)
    return OTHERS.get(chapter, CHAPTER)


def planned(chapters: list[str]) -> int:
    """Seconds of all workers together for the unit tests and these chapters with their solutions, but for those
    that have an environment, and time, of their own."""
    core = [chapter for chapter in chapters if chapter not in OWN_ENVIRONMENT]
    return UNIT_TESTS + sum(of_notebook("notebooks", c) + of_notebook("solutions", c) for c in core)
