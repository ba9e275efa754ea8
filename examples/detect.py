# %% [markdown]
# # Detect objects
# Crosses, discs and squares with boxes in COCO's format; the task follows from the annotations.

# %%
from drawing import SMALL, fresh_folder, write_coco

import eyewright as ew

out = fresh_folder("detect")
counts = {"train": 24, "val": 8, "test": 8} if SMALL else {"train": 240, "val": 40, "test": 40}
folder = write_coco(out / "data", counts)
data = ew.load_dataset(folder)
print(data.describe())

# %%
run = ew.train(data, epochs=1 if SMALL else 30, batch=8, out=out / "run")
report = ew.evaluate(run, data.test, out=out / "report")
print("average precision at IoU 0.5", report.metrics["ap50"])

# %% [markdown]
# Boxes are in source pixels; each class has an operating point of its own, fitted on validation images.

# %%
bundle = ew.export(run, out / "shapes.bundle")
found = bundle.predict(folder / "test" / "test000.png")
for label, score, box in zip(found.labels, found.scores, found.boxes_xyxy, strict=True):
    print(f"{label:7} {score:.2f}  {box.round(1).tolist()}")
image = ew.read_image(folder / "test" / "test000.png")
ew.write_image(out / "found.png", found.drawn_on(image))
print("drawn    ", out / "found.png")
