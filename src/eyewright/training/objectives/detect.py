"""Learning to find: which grid points answer for which object, and what their answers cost."""

__all__ = ["CROWD", "PADDING", "DetectionObjective", "Matches", "box_iou", "match_points", "side_distances"]

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eyewright.nets.detectors import Detections

PADDING = -1
"""The label of a row that holds no object: images of a batch have different numbers of them."""
CROWD = -2
"""The label of an ignore region: what is found in it is neither right nor wrong."""

_TOP = 10
_SCORE_POWER, _IOU_POWER = 0.5, 6.0
_CLASS_WEIGHT, _BOX_WEIGHT, _SIDE_WEIGHT, _MASK_WEIGHT = 1.0, 2.5, 0.5, 2.0
_EPS = 1e-7


@dataclass(frozen=True)
class Matches:
    """Which of A points learns which of M objects: `objects` int64 (A,), -1 for none; `quality` float32 (A,) in [0, 1]
    is the score that a matched point should reach; `ignored` bool (A,) are points that learn nothing."""

    objects: Tensor
    quality: Tensor
    ignored: Tensor


class DetectionObjective:
    """The loss of one-stage detection: varifocal classes, GIoU boxes, distribution of the sides, masks.

    Points are matched to objects by how well they do already, both in class and in place (Feng et al. 2021, "TOOD").
    Targets are float32 (N, M, 5): x0, y0, x1, y1 in prepared pixels and the class id, `PADDING` or `CROWD`; with masks
    they come with int64 (N, H, W), the number of the object (from 1) that each pixel belongs to.
    """

    def __init__(self, points: Tensor, strides: Tensor, *, smoothing: float = 0.0) -> None:
        self.points, self.strides, self.smoothing = points, strides, smoothing

    def __call__(self, found: Detections, targets: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        objects, owners = targets if isinstance(targets, tuple) else (targets, None)
        points, strides = self.points.to(objects.device), self.strides.to(objects.device)
        distances = side_distances(found.sides) * strides[:, None]
        boxes = torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1)
        scores = found.logits.detach().sigmoid()
        aims = torch.zeros_like(found.logits)
        weight = torch.ones_like(found.logits[..., 0])
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        mask_loss, n_masks = found.logits.new_zeros(()), 0
        for i, rows_of in enumerate(objects):
            labels = rows_of[:, 4].long()
            real = labels >= 0
            truth, classes = rows_of[real, :4], labels[real]
            m = match_points(scores[i], boxes[i].detach(), truth, classes, points, strides)
            crowd = rows_of[labels == CROWD, :4]
            ignored = m.ignored
            if len(crowd):
                ignored = ignored | (_inside(points, crowd).any(0) & (m.objects < 0))
            weight[i] = (~ignored).to(weight.dtype)
            mine = torch.nonzero(m.objects >= 0)[:, 0]
            if not len(mine):
                continue
            of = m.objects[mine]
            aims[i, mine, classes[of]] = m.quality[mine]
            rows.append((mine + i * len(points), truth[of], m.quality[mine]))
            if owners is not None:
                loss, n = _mask_loss(found, i, mine, torch.nonzero(real)[:, 0][of], truth[of], owners[i])
                mask_loss, n_masks = mask_loss + loss, n_masks + n
        class_loss = _varifocal(found.logits, aims, weight)
        if not rows:
            return _CLASS_WEIGHT * class_loss.sum() / max(1, len(objects))
        where, wanted, quality = (torch.cat(parts) for parts in zip(*rows, strict=True))
        total = quality.sum().clamp(min=1.0)
        overlap = _generalised_iou(boxes.flatten(0, 1)[where], wanted)
        box_loss = ((1 - overlap) * quality).sum()
        place, unit = points.repeat(len(objects), 1)[where], strides.repeat(len(objects))[where]
        reach = torch.cat([place - wanted[:, :2], wanted[:, 2:] - place], 1) / unit[:, None]
        side_loss = (_side_loss(found.sides.flatten(0, 1)[where], reach) * quality).sum()
        loss = (_CLASS_WEIGHT * class_loss.sum() + _BOX_WEIGHT * box_loss + _SIDE_WEIGHT * side_loss) / total
        return loss if not n_masks else loss + _MASK_WEIGHT * mask_loss / n_masks


def side_distances(sides: Tensor) -> Tensor:
    """Return the mean of each side's distribution in strides, (..., 4), from log weights (..., 4, bins)."""
    bins = torch.arange(sides.shape[-1], dtype=sides.dtype, device=sides.device)
    return (sides.softmax(-1) * bins).sum(-1)


@torch.no_grad()
def match_points(
    scores: Tensor, boxes: Tensor, truth: Tensor, classes: Tensor, points: Tensor, strides: Tensor
) -> Matches:
    """Match points to the objects of one image: `scores` (A, C), `boxes` (A, 4), `truth` (M, 4), `classes` (M,).

    An object takes the 10 points in it with the largest score^0.5 * IoU^6; a point that several take goes to the one
    it overlaps most. An object too small to hold a point takes the nearest.
    """
    a, m = len(points), len(truth)
    none = torch.full((a,), -1, dtype=torch.int64, device=points.device)
    if not m:
        return Matches(none, scores.new_zeros(a), torch.zeros(a, dtype=torch.bool, device=points.device))
    inside = _inside(points, truth)
    homeless = ~inside.any(1)
    if homeless.any():
        centre = (truth[homeless, :2] + truth[homeless, 2:]) / 2
        # The finest grid is the right one for what falls between its points.
        far = torch.cdist(centre, points) + (strides > strides.min()) * 1e6
        inside[torch.nonzero(homeless)[:, 0], far.argmin(1)] = True
    iou = box_iou(truth, boxes) * inside
    fit = scores[:, classes].T.pow(_SCORE_POWER) * iou.pow(_IOU_POWER)
    # Where nothing overlaps yet, nearness decides: else an object could go without any point for ever.
    centre = (truth[:, :2] + truth[:, 2:]) / 2
    near = 1 / (1 + torch.cdist(centre, points) / strides)
    ranked = torch.where(inside, fit + 1e-9 * near, -1.0)
    best = ranked.topk(min(_TOP, a), dim=1)
    chosen = torch.zeros_like(inside).scatter_(1, best.indices, True) & inside
    claims = torch.where(chosen, iou + 1e-6 * near, -1.0)
    owner = claims.argmax(0)
    taken = chosen.any(0)
    objects = torch.where(taken, owner, none)
    at = torch.arange(a, device=points.device)
    own_fit, own_iou = fit[owner, at], iou[owner, at]
    held = torch.zeros_like(chosen).scatter_(0, owner[None], taken[None])
    most_fit = (fit * held).amax(1)
    most_iou = (iou * held).amax(1)
    quality = own_fit / (most_fit[owner] + _EPS) * most_iou[owner]
    # Even the poorest match is told that something is there.
    quality = torch.where(taken, quality.clamp(min=0.0) + 0.02 * (own_iou <= 0), 0.0)
    return Matches(objects, quality.clamp(max=1.0), torch.zeros_like(taken))


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Tell which points lie in which boxes, bool (M, A)."""
    low = points[None] > boxes[:, None, :2]
    high = points[None] < boxes[:, None, 2:]
    return low.all(-1) & high.all(-1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the overlap of every box of `a` (M, 4) with every box of `b` (A, 4), (M, A)."""
    corner = torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])
    both = corner.clamp(min=0).prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(-1) for x in (a, b))
    return both / (area_a[:, None] + area_b[None] - both + _EPS)


def _generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised overlap of pairs (K, 4), in [-1, 1] (Rezatofighi et al. 2019)."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    outer = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(-1) for x in (a, b))
    union = area_a + area_b - inner
    return inner / (union + _EPS) - (outer - union) / (outer + _EPS)


def _varifocal(logits: Tensor, aims: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy to the aimed score; what is nothing counts by its confidence (Zhang et al. 2021)."""
    with torch.no_grad():
        p = logits.sigmoid()
        each = torch.where(aims > 0, aims, 0.75 * p * p) * weight[..., None]
    return functional.binary_cross_entropy_with_logits(logits, aims, reduction="none") * each


def _side_loss(sides: Tensor, reach: Tensor) -> Tensor:
    """Cross-entropy to the two bins around the true distance, (K,)."""
    last = sides.shape[-1] - 1
    reach = reach.clamp(0, last - 0.01)
    low = reach.long()
    share = reach - low
    logs = sides.log_softmax(-1)
    near = logs.gather(-1, low[..., None])[..., 0] * (1 - share)
    far = logs.gather(-1, (low + 1)[..., None])[..., 0] * share
    return -(near + far).mean(-1)


def _mask_loss(
    found: Detections, i: int, mine: Tensor, of: Tensor, truth: Tensor, owners: Tensor
) -> tuple[Tensor, int]:
    """Return the summed loss of the masks of matched points, at most 64 per image, and how many there were."""
    if len(mine) > 64:
        some = torch.linspace(0, len(mine) - 1, 64, device=mine.device).long()
        mine, of, truth = mine[some], of[some], truth[some]
    prototypes = found.prototypes[i]
    shape = prototypes.shape[-2:]
    logits = torch.einsum("pk,khw->phw", found.coefficients[i, mine], prototypes)
    small = functional.interpolate(owners[None, None].float(), size=shape, mode="nearest")[0, 0].long()
    wanted = (small[None] == (of + 1)[:, None, None]).float()
    scale = owners.shape[-1] / shape[-1]
    y = (torch.arange(shape[0], device=mine.device) + 0.5) * scale
    x = (torch.arange(shape[1], device=mine.device) + 0.5) * scale
    window = (
        (y[None, :, None] >= truth[:, 1, None, None] - scale)
        & (y[None, :, None] <= truth[:, 3, None, None] + scale)
        & (x[None, None] >= truth[:, 0, None, None] - scale)
        & (x[None, None] <= truth[:, 2, None, None] + scale)
    ).float()
    area = window.sum((1, 2)).clamp(min=1)
    entropy = (functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * window).sum(
        (1, 2)
    ) / area
    p = logits.sigmoid() * window
    dice = 1 - (2 * (p * wanted).sum((1, 2)) + 1) / (p.sum((1, 2)) + (wanted * window).sum((1, 2)) + 1)
    return (entropy + dice).sum(), len(mine)
