# %% [markdown]
# # Read a number from an image
# The level of a tank in millimetres, from a table of `path,level [mm]`.

# %%
from drawing import SMALL, fresh_folder, write_gauges

import eyewright as ew

out = fresh_folder("regress")
folder = write_gauges(out / "data", 60 if SMALL else 400)
data = ew.load_dataset(folder / "levels.csv", task="regress")
print(data.describe())

# %%
run = ew.train(data, epochs=2 if SMALL else 20, out=out / "run")
report = ew.evaluate(run, data.test, out=out / "report")
print("mean absolute error", report.metrics["mae"])

# %% [markdown]
# A prediction has its unit, and an interval that holds the true value for 90 % of images like the validation images.

# %%
bundle = ew.export(run, out / "levels.bundle")
level = bundle.predict(folder / "000.png").to_json()["values"]["level"]
print(f"level {level['value']:.0f} {level['unit']}, interval {level['interval']}")
