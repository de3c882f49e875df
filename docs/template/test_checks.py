"""The checks of chapter @NN@ accept right answers and name the misconception of wrong ones."""

from tests.study.checks import answers

RIGHT = [("@NN@-1", lambda x: x + 1), ("@NN@-2", lambda x: x + 2), ("@NN@-3", lambda x: x + 3)]
WRONG = [  # two wrong answers for each exercise
    ("@NN@-1", lambda x: x, "PLACEHOLDER @NN@: .* unchanged"),
    ("@NN@-1", lambda x: x + 2, "the answer is"),
    ("@NN@-2", lambda x: x, "PLACEHOLDER @NN@"),
    ("@NN@-2", lambda x: x + 1, "you returned"),
    ("@NN@-3", lambda x: 0, "PLACEHOLDER @NN@"),
    ("@NN@-3", lambda x: x + 2, "you returned"),
]

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
