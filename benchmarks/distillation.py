"""Does a student that is taught beat the same student alone, by more than chance?

    python benchmarks/distillation.py TEACHER [DATA] [--labelled 10] [--seeds 5] [--epochs 20]

TEACHER is a run or bundle trained on DATA (../shared/data/sign_digits by default). For each seed so many images a
class are drawn from the training part as the only labelled ones. Three students of the same net and the same number of
updates learn: alone from them; from them and the teacher; from them, the teacher, and the rest of the training images
without their labels. All are measured on the test part; the difference has a paired bootstrap over images, all seeds
together.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

import eyewright as ew
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.lifecycle.teaching import teacher_for

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "sign_digits"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("teacher")
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--student", default="quick_net")
    parser.add_argument("--labelled", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=240)
    o = parser.parse_args()
    whole = ew.load_dataset(o.data)
    test = whole.test
    teacher, _ = teacher_for(o.teacher, whole.task, whole.labels)
    said = answers(teacher, whole.train)
    place = Path(tempfile.mkdtemp())
    rights: dict[str, list[np.ndarray]] = {"alone": [], "taught": [], "taught, with unlabelled images": []}
    for seed in range(o.seeds):
        few, rest = draw(whole, o.labelled, seed, said)
        for name in rights:
            data = rest if "unlabelled" in name else few
            n = sum(s.split == "train" for s in data.samples)
            run = ew.train(
                data,
                model=o.student,
                imgsz=64,
                epochs=max(1, o.updates // max(1, n // 32)),
                batch=32,
                seed=seed,
                teacher=None if name == "alone" else o.teacher,
                out=place / f"{seed}-{name}",
            )
            rights[name].append(answers(run.predictor, test) == test.targets)
            print(f"seed {seed}, {name}: accuracy {rights[name][-1].mean():.4f}", flush=True)
    rng = np.random.default_rng(0)
    alone = np.mean(rights["alone"], 0)
    for name, several in rights.items():
        own = np.mean(several, 0)
        apart = own - alone
        drawn = apart[rng.integers(len(apart), size=(4000, len(apart)))].mean(1)
        each = [f"{s.mean():.3f}" for s in several]
        low, high = np.quantile(drawn, [0.025, 0.975])
        line = f"{name}: accuracy {own.mean():.4f} ({', '.join(each)})"
        print(
            line
            + ("" if name == "alone" else f", {100 * apart.mean():+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]")
        )


def answers(predictor: object, data: Dataset) -> np.ndarray:
    rows = []
    for start in range(0, len(data), 64):
        images = [data.image(i) for i in range(start, min(start + 64, len(data)))]
        rows += [int(p.probabilities.argmax()) for p in predictor.predict_images(images)]  # type: ignore[attr-defined]
    return np.array(rows)


def draw(whole: Dataset, labelled: int, seed: int, said: np.ndarray) -> tuple[Dataset, Dataset]:
    """Return the data with few labelled training images, and the same with the rest as the teacher labels them."""
    from dataclasses import replace

    train = whole.train
    rng = generator(seed, "labelled")
    chosen = set()
    for c in range(len(whole.labels)):
        of = np.flatnonzero(train.targets == c)
        chosen |= {train.samples[i].id for i in rng.permutation(of)[:labelled]}
    by_teacher = {s.id: int(t) for s, t in zip(train.samples, said, strict=True)}
    others = [s for s in whole.samples if s.split != "train"]
    few = [s for s in train.samples if s.id in chosen]
    rest = [replace(s, target=by_teacher[s.id]) for s in train.samples if s.id not in chosen]
    return whole.with_samples([*few, *others]), whole.with_samples([*few, *rest, *others])


if __name__ == "__main__":
    main()
