# %% [markdown]
# ## @HEADING@
#
# PLACEHOLDER @NN@: one idea; name the misconception. **Guess**: how large will it be?

# %%
claim(
    "Q@N@-placeholder",
    "PLACEHOLDER @NN@: a grid of eight bits has 256 levels",
    measured=2**8,
    equals=256,
)
