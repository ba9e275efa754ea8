# %% [markdown]
# # Compress a model
# 8-bit weights and activations, if the accuracy on held-out images stays within a budget. Where nothing fits, Eyewright
# says so and writes no bundle.

# %%
from drawing import SMALL, fresh_folder, write_shapes

import eyewright as ew

out = fresh_folder("compress")
folder = write_shapes(out / "data", 24 if SMALL else 150)
run = ew.train(folder, epochs=2 if SMALL else 12, batch=16, out=out / "run")

# %%
result = ew.compress(
    run,
    max_drop=["accuracy=50%" if SMALL else "accuracy=2%"],
    max_bytes="1G",
    methods=["int8"],
    out=out / "compressed",
)
print("chosen   ", result.winner.name)
print("process  ", result.process)

# %% [markdown]
# The report is of test images, which the search never saw.

# %%
print("accuracy ", result.report.metrics["accuracy"])
print("bundle   ", result.paths["bundle"])
