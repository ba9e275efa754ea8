# %% [markdown]
# # Classify images
# From 1,797 handwritten digits (they ship inside scikit-learn) to a bundle that predicts without torch.

# %%
from drawing import SMALL, fresh_folder

import eyewright as ew
from eyewright.data import write_digits

out = fresh_folder("classify")
digits = write_digits(out / "digits")
if SMALL:
    for i, path in enumerate(sorted(digits.glob("*/*.png"))):
        if i % 4:
            path.unlink()

# %% [markdown]
# The data is read, audited and split; images that belong together stay in one part.

# %%
data = ew.load_dataset(digits)
print(data.describe())

# %%
run = ew.train(data, epochs=1 if SMALL else 12, out=out / "run")
report = ew.evaluate(run, data.test, out=out / "report")
print("accuracy", report.metrics["accuracy"])

# %% [markdown]
# A bundle is checked while it is made: it must predict what the trained net predicts, on every validation image.

# %%
bundle = ew.export(run, out / "digits.bundle")
prediction = bundle.predict(min(digits.glob("3-three/*.png")))
print("predicted", prediction.top1)
print("report   ", out / "report" / "report.html")
