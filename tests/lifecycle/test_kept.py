"""From feedback to samples: what is learnt, what is written for training anew, what is counted as unusable."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.conftest import draw_shape

import eyewright.lifecycle as lifecycle
from eyewright.bundle import bundle_digest, load_bundle
from eyewright.core.errors import InputError
from eyewright.data.formats import open_dataset
from eyewright.imaging import encode_image
from eyewright.imaging.rasters import encode_counts, pack_counts
from eyewright.lifecycle.kept import learnable_feedback, tally
from eyewright.monitoring import Recorder, RecorderSettings, image_path, open_store


class Home:
    """A log with kept images, and feedback on them."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.bundle = folder, load_bundle(bundle)
        self.digest = bundle_digest(bundle)
        self.size = 96 if self.bundle.task_name != "classify" else 24

    def say(self, *said: dict[str, object] | list[dict[str, object]], orphan: bool = False) -> None:
        labels = (self.bundle.task_name, self.bundle.labels.names)
        recorder = Recorder(
            self.folder, settings=RecorderSettings(keep_images=1.0), classes=lambda: {self.digest: labels}
        )
        rng = np.random.default_rng(5)
        for k, contents in enumerate(said):
            image = rng.integers(0, 255, (self.size, self.size, 3), np.uint8)
            image[:24, :24] = draw_shape("disc", rng)[:24, :24]
            seen = SimpleNamespace(
                look=np.zeros(34, "f4").tobytes(), answer=np.zeros(3, "f4").tobytes(), size_hw=image.shape[:2],
                label="disc", score=0.9, unfamiliar=None,
            )  # fmt: skip
            recorder.note(
                SimpleNamespace(
                    id=f"p{k}", time=1e9 + k, model="m", digest=self.digest, seen=seen, total_ms=1.0,
                    picture=encode_image(image), shadow_of="",
                )
            )  # fmt: skip
            for content in contents if isinstance(contents, list) else [contents]:
                assert recorder.feedback(f"p{k}", content)
        recorder.close()
        if orphan:
            store = open_store(self.folder / "monitor.db")
            store.add([], [("o", "nobody", 1.0, {"correct": True})])
            store.close()

    def learnable(self):  # type: ignore[no-untyped-def]
        store = open_store(self.folder / "monitor.db")
        try:
            return learnable_feedback(store, self.bundle, self.folder, {})
        finally:
            store.close()


def test_nothing_that_was_said_is_lost_in_silence(finished, shapes: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", Path(finished.paths["bundle"]))
    ring = {"label": "ring", "new_classes": ["ring"]}
    home.say(
        {"label": "disc"},
        [{"label": "cross"}, {"label": "square"}],
        ring,
        {"correct": False},
        {"label": "disc"},
        orphan=True,
    )
    store = open_store(home.folder / "monitor.db")
    gone = {row.id: row.image for row, _, _ in store.feedback()}["p4"]
    store.close()
    image_path(home.folder, gone).unlink()
    new, left_out = home.learnable()
    assert new.prediction_ids == ("p0", "p1")
    assert [new.dataset.labels.names[s.target] for s in new.dataset.samples] == ["disc", "square"]
    counted = {u.reason: (u.count, u.examples) for u in tally(left_out)}
    assert counted["later feedback on the same prediction replaces it"] == (1, ("p1",))
    assert counted["no prediction of its id is in the log"] == (1, ("nobody",))
    assert counted["it says that the prediction is wrong, and not what is right"] == (1, ("p3",))
    assert counted["the kept image is gone"] == (1, ("p4",))
    (reason,) = [r for r in counted if "new class" in r]
    assert "OUT/new_classes" in reason
    # They are written before anything else can fail, in the layout of the data.
    assert new.declared.labels.names == (*home.bundle.labels.names, "ring")


def test_images_with_a_new_class_are_written_as_a_dataset_that_has_it(found, scenes: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", Path(found.paths["bundle"]))
    home.say({"objects": [{"label": "ring", "box_xyxy": [8, 8, 40, 30]}], "new_classes": ["ring"]})
    with pytest.raises(InputError, match="1: it declares a new class"):
        lifecycle.retrain(
            scenes, out=tmp_path / "again", home=home.folder, bundle=found.paths["bundle"], epochs=1, quiet=True
        )
    written = open_dataset(tmp_path / "again" / "new_classes")
    assert "ring" in written.labels.names
    (sample,) = written.samples
    assert written.labels.names[int(sample.target.label_ids[0])] == "ring"
    assert sample.target.boxes_xyxy.tolist() == [[8.0, 8.0, 40.0, 30.0]]


def test_instances_keep_outlines_and_boxes_without_one_are_ignored(outlined, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", Path(outlined.paths["bundle"]))
    mask = np.zeros((96, 96), bool)
    mask[10:30, 5:25] = True
    shape = {"size": [96, 96], "counts": pack_counts(encode_counts(mask))}
    home.say(
        {"objects": [{"label": "disc", "segmentation": shape, "verdict": "missing"},
                     {"label": "cross", "box_xyxy": [50, 50, 70, 70], "verdict": "wrong_box"}]},
        {"objects": [{"label": "cross", "box_xyxy": [50, 50, 70, 70], "verdict": "missing"}]},
    )  # fmt: skip
    new, left_out = home.learnable()
    (sample,) = new.dataset.samples
    assert sample.target.crowd.tolist() == [False, True]
    assert (sample.target.outlines[0].mask((96, 96)) == mask).all()
    assert [u.reason for u in tally(left_out)] == ["its objects have no outlines, which instances are learnt from"]


def test_masks_hold_what_was_marked_and_ignore_what_was_called_wrong(painted, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", Path(painted.paths["bundle"]))
    names = home.bundle.labels.names
    mask = np.zeros((96, 96), bool)
    mask[:20, :30] = True
    shape = {"size": [96, 96], "counts": pack_counts(encode_counts(mask))}
    home.say({"objects": [{"label": "disc", "segmentation": shape}]}, {"classes": dict.fromkeys(names, False)})
    new, left_out = home.learnable()
    (sample,) = new.dataset.samples
    read = sample.target.read()
    assert (read[mask] == names.index("disc")).all()
    assert len(np.unique(read[~mask])) == 1
    assert tally(left_out)[0].count == 1
