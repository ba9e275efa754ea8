"""What `eyewright run DATA` gives without a single option: test accuracy with its interval, and how long it took.

    python benchmarks/accuracy.py [DATA ...] [--seeds 1]

Without DATA, scikit-learn's digits. Training and whole life cycle are timed apart; the peer is a linear support vector
machine on the same prepared pixels (scikit-learn, standard scaling), trained on train and val.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import eyewright as ew
from eyewright.data import write_digits


def pixels(dataset: ew.Dataset, preparation: ew.Preparation) -> np.ndarray:
    found = [preparation.apply(dataset.picture(i))[0] for i in range(len(dataset))]
    return np.stack(found).reshape(len(found), -1).astype(np.float32)


def linear(data: ew.Dataset, preparation: ew.Preparation) -> float:
    """The accuracy of the peer; at most 10,000 images are learnt from, to end in a minute."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    small = ew.Preparation((32, 32), fit=preparation.fit, channels=preparation.channels, fill=preparation.fill)
    learnt = data.select(lambda s: s.split != "test")
    step = max(1, len(learnt) // 10_000)
    learnt = learnt.with_samples(learnt.samples[::step])
    model = make_pipeline(StandardScaler(), LinearSVC(max_iter=300, dual="auto"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(pixels(learnt, small), learnt.targets)
    return float(model.score(pixels(data.test, small), data.test.targets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--model", default="auto")
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(p) for p in o.data] or [write_digits(Path(folder) / "digits")]
        for path in paths:
            for seed in range(o.seeds):
                started = time.monotonic()
                done = ew.run(path, out=Path(folder) / f"{path.name}-{seed}", seed=seed, model=o.model)
                whole = time.monotonic() - started
                about = done.run.about
                print(
                    f"{path.name}, seed {seed}: accuracy {done.report.metrics['accuracy']}, {about['model']}, "
                    f"training {about['training']['seconds']:.0f} s, whole {whole:.0f} s"
                )
            data = ew.load_dataset(path)
            print(f"{path.name}, linear SVM on 32x32 pixels: {linear(data, done.run.preparation):.3f}")


if __name__ == "__main__":
    main()
