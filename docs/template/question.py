# %% [markdown]
# ## @HEADING@
#
# One idea. Name the misconception. Then ask for a guess: **how large will the figure be?**

# %%
claim(
    "Q@N@-first",
    "Eight bits have 256 levels",
    measured=2**8,
    equals=256,
)
