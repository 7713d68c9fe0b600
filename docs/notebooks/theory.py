# %% [markdown]
# # The theory, computed
#
# Which latents does a mask ask for? `probekit.latents` answers for any graph, by the rule of Theorem 1, before anything is trained.

# %%
from probekit.latents import LatentGraph, expected_levels

graph = LatentGraph.quadtree(height=3)
graph.shared(hidden={("x", 0, 0)})

# %% [markdown]
# Hide one leaf of the 4 x 4, and its parent is all that hidden and visible parts share. Hide a whole quarter, and the answer is the root:

# %%
quarter = {("x", row, column) for row in range(2) for column in range(2)}
graph.shared(hidden=quarter)

# %% [markdown]
# Random masks of a given ratio and unit: the mean height of the shared latents (`mean_height`), and the height at which a hidden patch is bound to the
# visible part (`binding_level`).

# %%
found = expected_levels(graph, mask_ratio=[0.25, 0.75], patch_size=[1, 2])
found["mean_height"].values.round(2).tolist(), found["binding_level"].values.round(2).tolist()

# %% [markdown]
# Theorem 1 alone gives the mean height of the shared latents no dependence on the ratio here, only on the unit. What moves with the ratio is the binding level.
