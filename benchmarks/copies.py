"""Near copies planted among photographs and look-alikes, found in an index by pixels and by embedding.

    python benchmarks/copies.py [DATA]

DATA is the folder of the shared sets, `../shared/data` by default. Of the photographs of coco_cc and cid22 each gets
four copies: cropped by 2 to 6 % a side, recompressed as JPEG at quality 30, with a caption below, mirrored; 600 images
of sign_digits, many of which look alike, stand between. The index is by the features of FastestDet. It prints precision
and recall over all pairs of copies, and the share of each kind that is found with its original. Target: precision 0.99
at recall 0.95.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import eyewright as ew

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
KINDS = ("crop.png", "jpeg.jpg", "caption.png", "mirror.png")


def plant(data: Path, root: Path) -> int:
    """Write the images; return how many have copies."""
    files = {name: sorted(p for p in (data / name).rglob("*") if p.suffix.lower() in (".jpg", ".png"))
             for name in ("coco_cc", "cid22", "sign_digits")}  # fmt: skip
    photos, rng = files["coco_cc"] + files["cid22"], np.random.default_rng(0)
    for k, path in enumerate(photos + files["sign_digits"][:600]):
        image = Image.open(path).convert("RGB")
        image.save(root / f"{k:04d}_original.png")
        if k >= len(photos):
            continue
        width, height = image.size
        x, y = int(rng.uniform(0.02, 0.06) * width), int(rng.uniform(0.02, 0.06) * height)
        image.crop((x, y, width - x, height - y)).save(root / f"{k:04d}_crop.png")
        image.save(root / f"{k:04d}_jpeg.jpg", quality=30)
        captioned = Image.new("RGB", (width, height + int(0.09 * height)), (255, 255, 255))
        captioned.paste(image, (0, 0))
        ImageDraw.Draw(captioned).text((5, height + 2), "a caption below", fill=(0, 0, 0))
        captioned.save(root / f"{k:04d}_caption.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / f"{k:04d}_mirror.png")
    return len(photos)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    data = Path(parser.parse_args().data)
    with tempfile.TemporaryDirectory() as place:
        root, index = Path(place) / "photos", Path(place) / "photos.index"
        root.mkdir()
        n = plant(data, root)
        names = [c["name"] for c in json.loads((data / "coco_cc/instances.json").read_text())["categories"]]
        model = Path(place) / "fastestdet"
        ew.import_onnx(
            data / "weights/fastestdet_coco_352.onnx", out=model, task="detect", labels=names, contract="fastestdet"
        )
        ew.index_folder(root, model=str(model), out=index)
        paths = sorted(p.name for p in root.iterdir())
        true = {p for p in itertools.combinations(paths, 2) if p[0][:4] == p[1][:4]}
        print(f"{len(paths):,} images, {n} originals with {len(KINDS)} copies each, {len(true):,} pairs of copies")
        for by, least in (("pixels", 0.97), ("embedding", 0.95), ("embedding", 0.97), ("embedding", 0.99)):
            started = time.perf_counter()
            groups, _ = ew.find_duplicates(index, by=by, least=least)  # type: ignore[arg-type]
            taken = time.perf_counter() - started
            found = {
                pair for g in groups for pair in itertools.combinations(sorted(row.path for _, row in g.members), 2)
            }
            right = len(found & true)
            kinds = (
                sum(tuple(sorted((f"{k:04d}_original.png", f"{k:04d}_{kind}"))) in found for k in range(n)) / n
                for kind in KINDS
            )
            told = ", ".join(f"{kind.split('.')[0]} {share:.3f}" for kind, share in zip(KINDS, kinds, strict=True))
            print(f"{by:9} {least:.2f}: precision {right / max(1, len(found)):.4f}, recall {right / len(true):.4f} "
                  f"({told}), {taken:.1f} s")  # fmt: skip


if __name__ == "__main__":
    main()
