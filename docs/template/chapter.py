# %% [markdown]
# # @NN@ · @TITLE@
#
# > *PLACEHOLDER @NN@: what somebody saw, in their words. "I did this and that happened."*
#
# PLACEHOLDER @NN@: two or three sentences on what the surprise is. Which question does it raise?

# %% [markdown]
# ## What you will be able to do
#
# - PLACEHOLDER @NN@: a verb and a thing that can be checked;
# - PLACEHOLDER @NN@: a second ability, with its verb;
# - PLACEHOLDER @NN@: a third ability, with its verb.

# %% [markdown]
# ## What you need first
#
# PLACEHOLDER @NN@: which chapters and which knowledge. The chapter takes @MINUTES@ minutes.
#
# PLACEHOLDER @NN@: say what the core path leaves out, if it leaves out something.

# %%
import utils
from utils import drawings, plots
from utils.claims import claim, show
from utils.study import quiz
from utils.study.exercises import check, hint

# @QUESTIONS@

# %% [markdown]
# ### The public call
#
# PLACEHOLDER @NN@: each technique once, whole, in the public API's own words.
#
# Cells tagged `standalone` are together a program that runs in an empty folder, without
# `utils`. `docs/recipes.md` collects them.

# %% tags=["standalone"]
import numpy as np

bits = np.arange(2, 9)
PLACEHOLDER_@NN@_levels = 2**bits

# @HELPER_CELLS@

# %% [markdown]
# ### A drawing
#
# PLACEHOLDER @NN@: draw the mechanism once, with boxes, arrows, a ruler, a grid.

# %%
alt = "PLACEHOLDER @NN@: a float32 number is divided by the scale and rounded"
with drawings.canvas(height=50, alt=alt) as d:
    d.row(["float32", "÷ scale, round", "int8"], y=25)

# %% [markdown]
# ### A table
#
# PLACEHOLDER @NN@: what varies between machines has a bound, the rest is exact.

# %%
rows = [
    {"PLACEHOLDER @NN@": "8 bits", "levels": 256, "error": 0.0039},
    {"PLACEHOLDER @NN@": "4 bits", "levels": 16, "error": 0.0625},
]
show(rows, bounds={"error": (0, 0.1)})

# %% [markdown]
# ### A picture
#
# PLACEHOLDER @NN@: ask what the reader expects. **Guess** before you run it.

# %%
plots.lines(
    bits,
    {"a grid": PLACEHOLDER_@NN@_levels},
    x_label="bits",
    y_label="levels",
    yscale="log",
    title="PLACEHOLDER @NN@: each bit doubles the number of levels",
    alt="Levels over bits: PLACEHOLDER @NN@: on a logarithmic scale a line grows.",
    says={"grows": "a grid"},
)

# %% [markdown]
# PLACEHOLDER @NN@: what the picture showed, and the answer to the guess.

# %% [markdown]
# ## Exercises

# %% [markdown]
# **@NN@-1 (easy).** PLACEHOLDER @NN@: what to write, with an example of input and output.

# %%
def my_first(x): ...


check("@NN@-1", my_first)

# %% [markdown]
# **@NN@-2 (medium).** PLACEHOLDER @NN@: a step further, with an example.

# %%
def my_second(x): ...


check("@NN@-2", my_second)

# %% [markdown]
# **@NN@-3 (hard).** PLACEHOLDER @NN@: what an interviewer would ask to write on the board.

# %%
def my_third(x): ...


check("@NN@-3", my_third)

# %% [markdown]
# ## Quiz

# %%
quiz.show("@NN@")

# %% [markdown]
# ## Cheat sheet
#
# | idea | rule |
# | --- | --- |
# | PLACEHOLDER @NN@: what to remember | the formula, the function's name, the trap, a line each |
# | PLACEHOLDER @NN@: when to use it | the condition under which it helps, and which claim shows it |
# | PLACEHOLDER @NN@: when not to use it | the condition under which it hurts, what to do instead |

# %% [markdown]
# ## Sources
#
# - PLACEHOLDER @NN@: a formula's paper, authors, title, year, [page](https://arxiv.org/abs/1712.05877).
# - PLACEHOLDER @NN@: the page of the API: [title](https://www.tensorflow.org/model_optimization).
