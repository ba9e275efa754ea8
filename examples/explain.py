# %% [markdown]
# # Explain predictions
# A heatmap shows where a prediction comes from. A verdict says whether it is faithful: whether hiding what it marks
# changes the prediction more than hiding other pixels does.

# %%
from drawing import SMALL, fresh_folder, write_shapes

import eyewright as ew

out = fresh_folder("explain")
folder = write_shapes(out / "data", 16 if SMALL else 120)
run = ew.train(folder, epochs=2 if SMALL else 12, batch=16, out=out / "run")

# %%
images = [folder / kind / "000.png" for kind in ("cross", "disc", "square")]
for method in ("gradcam", "occlusion"):
    for explanation in ew.explain(run, images, method=method, out=out / method):
        print(f"{method:10} {explanation.label:7} {explanation.verdict}")

# %% [markdown]
# Overlays and arrays are in the folders; `explanation.heatmap` has the values.

# %%
print("overlays ", out / "gradcam")
