"""Write MOTChallenge: one folder per sequence, frames in `img1`, boxes in `gt/gt.txt` or `det/det.txt`."""

__all__ = ["write_mot"]

import posixpath
from collections import defaultdict

import numpy as np

from eyewright.core.files import write_staged
from eyewright.data.readers.mot import MOT_CLASSES
from eyewright.data.targets.objects import Objects
from eyewright.data.writers.work import Work, part_of, short, whole_image
from eyewright.imaging.encode import encode_image

_RATE = 30


def write_mot(work: Work) -> None:
    """Write every folder of images as a sequence, in the order of their names.

    Boxes whose identity over time is known (those of MOT data) become `gt/gt.txt`. All others are written as
    detections, `det/det.txt`, which trackers read: an invented identity would be taken for the ground truth.
    """
    dataset = work.dataset
    sequences: dict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(dataset.samples):
        folder = posixpath.dirname(sample.id)
        folder = folder.removesuffix("/img1").removesuffix("img1")
        sequences[f"{part_of(sample)}/{folder.replace('/', '_') or 'sequence'}"].append(i)
    names = dataset.labels.names
    numbers = [MOT_CLASSES.index(n) + 1 if n in MOT_CLASSES else None for n in names]
    known = all(dataset.samples[i].marked(Objects).track_ids is not None for own in sequences.values() for i in own)
    for place, own in sequences.items():
        own.sort(key=lambda i: dataset.samples[i].id)
        lines, size, extension = [], (0, 0), ".jpg"
        for frame, i in enumerate(own, 1):
            data = dataset.content(i)
            info = whole_image(data)
            extension = posixpath.splitext(dataset.samples[i].id)[1].lower()
            if info.orientation != 1 or extension not in (".jpg", ".png"):
                data, extension = encode_image(np.ascontiguousarray(dataset.image(i))), ".png"
                work.lost["files as they are: MOT's frames are upright JPEG or PNG"] += 1
            size = info.size_hw
            write_staged(work.root / place / "img1" / f"{frame:06d}{extension}", data)
            objects = work.marks(i, size)
            for k in range(len(objects)):
                x0, y0, x1, y1 = (float(v) for v in objects.boxes_xyxy[k])
                box = ",".join(str(short(v)) for v in (x0 + 1, y0 + 1, x1 - x0, y1 - y0))
                number = numbers[objects.label_ids[k]]
                if known and objects.track_ids is not None:
                    flag = int(not objects.crowd[k])
                    if number is None:
                        work.lost["classes that MOT does not know: written as pedestrian"] += 1
                    lines.append(f"{frame},{objects.track_ids[k]},{box},{flag},{number or 1},1")
                elif objects.crowd[k]:
                    work.lost["ignore regions: detections have none"] += 1
                else:
                    if len(names) > 1:
                        work.lost["classes: MOT's detections have none"] += 1
                    lines.append(f"{frame},-1,{box},1,-1,-1,-1")
        text = "".join(f"{line}\n" for line in lines)
        write_staged(work.root / place / ("gt/gt.txt" if known else "det/det.txt"), text)
        rows = {
            "name": posixpath.basename(place), "imDir": "img1", "frameRate": _RATE, "seqLength": len(own),
            "imWidth": size[1], "imHeight": size[0], "imExt": extension,
        }  # fmt: skip
        write_staged(work.root / place / "seqinfo.ini", "[Sequence]\n" + "".join(f"{k}={v}\n" for k, v in rows.items()))
    work.lost[f"the frame rate: it is not known, and {_RATE} is written"] += len(sequences)
    if not known:
        work.lost["identities: nothing says which boxes are one object, so they are written as detections"] += 1
