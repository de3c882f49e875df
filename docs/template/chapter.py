# %% [markdown]
# # @NN@ · @TITLE@
#
# > *What somebody saw, in their words: "I did … and … happened."*
#
# Say in two or three sentences what the surprise is and which question it raises. Why does it happen?

# %% [markdown]
# ## What you will be able to do
#
# - a verb and a thing that can be checked;
# - a second one;
# - a third one.

# %% [markdown]
# ## What you need first
#
# Which chapters and which knowledge. The chapter takes @MINUTES@ minutes; say what the core path leaves out.

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
# Each technique stands once, whole, in the public API's own words, in cells tagged `standalone`: together they are
# a program that runs in an empty folder, without `utils`. `docs/recipes.md` collects them.

# %% tags=["standalone"]
import numpy as np

bits = np.arange(2, 9)
levels = 2**bits

# %% [markdown]
# ### A drawing
#
# Each mechanism is drawn once: boxes, arrows, a ruler, a grid, messages.

# %%
alt = "A float32 number is divided by the scale, rounded, and stored as int8"
with drawings.canvas(height=50, alt=alt) as d:
    d.row(["float32", "÷ scale, round", "int8"], y=25)

# %% [markdown]
# ### A table
#
# What varies has a bound, the rest is compared to the letter.

# %%
rows = [
    {"bits": 8, "levels": 256, "error": 0.0039},
    {"bits": 4, "levels": 16, "error": 0.0625},
]
show(rows, bounds={"error": (0, 0.1)})

# %% [markdown]
# ### A picture
#
# Say what to see in it. **Guess** before you run it: a straight line?

# %%
plots.lines(
    bits,
    {"a grid": levels},
    x_label="bits",
    y_label="levels",
    yscale="log",
    title="Each bit doubles the levels",
    alt="Levels over bits: on a logarithmic scale their number grows along a line.",
    says={"grows": "a grid"},
)

# %% [markdown]
# ## Exercises

# %% [markdown]
# **@NN@-1 (easy).** What to write, with an example of input and output.

# %%
def my_first(x): ...


check("@NN@-1", my_first)

# %% [markdown]
# **@NN@-2 (medium).** A step further.

# %%
def my_second(x): ...


check("@NN@-2", my_second)

# %% [markdown]
# **@NN@-3 (hard).** What an interviewer would ask to write on the board.

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
# | what to remember | the formula, the name of the function, the trap, in a line each |
# | when to use it | the condition under which it helps, with the claim that shows it |
# | when not | the condition under which it does not help, and what to do instead |

# %% [markdown]
# ## Sources
#
# - The paper that a formula comes from: authors, title, year, [its page](https://arxiv.org/abs/1712.05877).
# - The page of TensorFlow's documentation: [title](https://www.tensorflow.org/model_optimization).
