"""Numbers of TrackEval for given sequences; run in an environment that holds trackeval 1.3.0.

    python benchmarks/peers/trackeval_numbers.py SCENES.npz > numbers.json

The file holds, for every sequence NAME: `NAME/truth` and `NAME/found`, rows of frame, id, x0, y0, x1, y1, where truth
has two more columns, 1 where a row is not measured and 1 where it is a distractor.
"""

import json
import sys

import numpy as np
from scipy.optimize import linear_sum_assignment
from trackeval.datasets._base_dataset import _BaseDataset
from trackeval.metrics import CLEAR, HOTA, Identity

PLAIN = {
    "HOTA": "hota", "DetA": "det_a", "AssA": "ass_a", "LocA": "loc_a", "DetRe": "det_re", "DetPr": "det_pr",
    "AssRe": "ass_re", "AssPr": "ass_pr", "MOTA": "mota", "MOTP": "motp", "IDF1": "idf1", "IDR": "id_recall",
    "IDP": "id_precision", "IDSW": "id_switches", "Frag": "fragmentations", "CLR_FP": "false_positives",
    "CLR_FN": "false_negatives", "MT": "mostly_tracked", "PT": "partly_tracked", "ML": "mostly_lost",
}  # fmt: skip


def data_of(truth, found):
    """Return what TrackEval's metrics take, by the steps of its MotChallenge2DBox."""
    n = int(max([0, *truth[:, 0], *found[:, 0]]))
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": [], "num_timesteps": n}
    for t in range(1, n + 1):
        a, b = truth[truth[:, 0] == t], found[found[:, 0] == t]
        similar = _BaseDataset._calculate_box_ious(a[:, 2:6], b[:, 2:6], box_format="x0y0x1y1")
        if truth[:, 7].any() and len(a) and len(b):
            scores = similar.copy()
            scores[scores < 0.5 - np.finfo("float").eps] = 0
            rows, columns = linear_sum_assignment(-scores)
            real = scores[rows, columns] > np.finfo("float").eps
            removed = columns[real][a[rows[real], 7] > 0]
            b, similar = np.delete(b, removed, 0), np.delete(similar, removed, 1)
        kept = a[:, 6] == 0
        data["gt_ids"].append(a[kept, 1].astype(int))
        data["tracker_ids"].append(b[:, 1].astype(int))
        data["similarity_scores"].append(similar[kept])
    for key, count in (("gt_ids", "num_gt"), ("tracker_ids", "num_tracker")):
        known = np.unique(np.concatenate([*data[key], np.zeros(0, int)]))
        data[key] = [np.searchsorted(known, x) for x in data[key]]
        data[count + "_ids"], data[count + "_dets"] = len(known), sum(map(len, data[key]))
    return data


def main() -> None:
    file = np.load(sys.argv[1])
    names = sorted({n.rpartition("/")[0] for n in file.files})
    metrics = [HOTA(), CLEAR({"PRINT_CONFIG": False}), Identity({"PRINT_CONFIG": False})]
    whole: list[dict] = [{} for _ in metrics]
    numbers = {}

    def plain(found):
        return {PLAIN[k]: float(np.mean(v)) for part in found for k, v in part.items() if k in PLAIN}

    for name in names:
        data = data_of(file[f"{name}/truth"], file[f"{name}/found"])
        found = [m.eval_sequence(data) for m in metrics]
        for part, one in zip(whole, found, strict=True):
            part[name] = one
        numbers[name] = plain([m.combine_sequences({name: one}) for m, one in zip(metrics, found, strict=True)])
    groups = sorted({n.split("-")[0] for n in names})
    for group in groups:
        numbers[f"{group} combined"] = plain(
            [
                m.combine_sequences({k: v for k, v in part.items() if k.split("-")[0] == group})
                for m, part in zip(metrics, whole, strict=True)
            ]
        )
    json.dump(numbers, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
