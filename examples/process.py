# %% [markdown]
# # Process images without a model
# Steps, classical segmentation, and encoding to a measured quality.

# %%
import numpy as np
from drawing import draw_scene, fresh_folder

import eyewright as ew
from eyewright.imaging.segmentation import draw_regions, measure_regions, segment
from eyewright.processing import Target, encode_files

out = fresh_folder("process")
image, shapes = draw_scene(np.random.default_rng(0), 96)
ew.write_image(out / "scene.png", image)

# %% [markdown]
# A chain of steps; `eyewright steps` lists them, `eyewright process FOLDER --steps "…"` applies them to many files.

# %%
clean = ew.process(image, "denoise | clahe:clip=2")
ew.write_image(out / "clean.png", clean)
print(
    "noise",
    float(np.std(image[:12, :12])).__round__(1),
    "before,",
    float(np.std(clean[:12, :12])).__round__(1),
    "after",
)

# %%
labels = segment(ew.process(image, "denoise"), "otsu")
regions = measure_regions(labels, image)
print(f"{len(shapes)} shapes were drawn, {len(regions)} regions found")
ew.write_image(out / "regions.png", draw_regions(image, labels))

# %% [markdown]
# The smallest JPEG or WebP file in which SSIM stays at 0.95 or more.

# %%
encoded, findings = encode_files([out / "scene.png"], out / "small", to="jpeg,webp", target=Target("ssim", 0.95))
for one in encoded:
    print(one)
