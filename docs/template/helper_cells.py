# %% [markdown]
# ### By hand
#
# PLACEHOLDER @NN@: the lines that compute it, as the course runs them.

# %%
from @PACKAGE@ import @NAME@
from utils.source import show_source

show_source(@NAME@.PLACEHOLDER_@NN@_step)
