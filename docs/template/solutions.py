# %% [markdown]
# # @NN@ · @TITLE@: solutions
#
# The answers to the exercises of the chapter, each with the reason why it is right.

# %%
import utils
from utils.study.exercises import check

# %% [markdown]
# ## @NN@-1
#
# PLACEHOLDER @NN@: why the first answer is right.

# %%
def my_first(x):
    return x + 1


check("@NN@-1", my_first)

# %% [markdown]
# ## @NN@-2
#
# PLACEHOLDER @NN@: why the second answer is right.

# %%
def my_second(x):
    return x + 2


check("@NN@-2", my_second)

# %% [markdown]
# ## @NN@-3
#
# PLACEHOLDER @NN@: why the third answer is right.

# %%
def my_third(x):
    return x + 3


check("@NN@-3", my_third)
