# %% [markdown]
# # Segment images
# A class for each pixel. The masks are images of class numbers; `classes.txt` names them.

# %%
import numpy as np
from drawing import SMALL, fresh_folder, write_masks

import eyewright as ew

out = fresh_folder("segment")
counts = {"train": 8, "val": 4, "test": 4} if SMALL else {"train": 160, "val": 30, "test": 30}
folder = write_masks(out / "data", counts)
data = ew.load_dataset(folder, task="segment")
print(data.describe())

# %%
run = ew.train(data, epochs=1 if SMALL else 20, batch=8, out=out / "run")
report = ew.evaluate(run, data.test, out=out / "report")
print("mean IoU", report.metrics["miou"])

# %% [markdown]
# A prediction has the class of every pixel of the source image.

# %%
bundle = ew.export(run, out / "shapes.bundle")
found = bundle.predict(folder / "test" / "images" / "000.png")
ids, pixels = np.unique(found.mask, return_counts=True)
for i, n in zip(ids, pixels, strict=True):
    print(f"{bundle.labels.names[i]:10} {n / found.mask.size:.1%} of the image")
