# %% [markdown]
# ## @HEADING@
#
# One idea. Name the misconception. Then ask for a guess: **how large will the figure be?**

# %%
claim("Q@N@-first", "A sentence that can be false, without its figure", measured=2**8, equals=256)
