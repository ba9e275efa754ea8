"""Learning to embed images and texts: contrastive losses over pairs, over images of one caption, or over two views."""

__all__ = ["LEARNER"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import DatasetError, UsageError
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.data.targets.captions import Captions
from eyewright.imaging.preparation import Preparation
from eyewright.learners.pair_data import PairAugmentation, PairTargets
from eyewright.learners.pair_ridge import fit_ridge
from eyewright.metrics.retrieval import AT, Ranks, ranks_of
from eyewright.nets.hub import HubBuilder
from eyewright.nets.hub_kinds import PAIRS
from eyewright.nets.hub_pairs import HubPairBody
from eyewright.nets.pairs import PairBody, PairOutputs
from eyewright.nets.pixels import PixelNet
from eyewright.training.augment import plan_augmentation
from eyewright.training.defaults import choose_preparation
from eyewright.training.learner import Baseline, Learner, TextSide
from eyewright.training.loop import FitData, run_through
from eyewright.training.objectives.contrastive import drawn_together, pair_loss
from eyewright.training.recipe import Recipe, unknown_loss
from eyewright.training.soft_answers import Parts, SoftAnswers

_SIDE, _LARGE_SIDE, _STEP = 48, 96, 8
_SHOWN = 60_000
_MOST_MEASURED = 2000
# Recall below so many times that of a random order is no better than it.
_UNLEARNT = 2.0
_AT_ONCE = 32
_CUT = 0.12
_TUNED_SHOWN, _TUNED_BATCH, _TUNED_RATE = 12_000, 64, 3e-5


class PairAnswers(nn.Module):
    """The image side as a bundle runs it: the embedding (N, D), and how typical the image is (N, 1)."""

    names: tuple[str, ...] = ("embedding", "typicality")

    def __init__(self, net: PixelNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        body: Any = self.net.body
        fixed, learnt, near = body.parts(self.net.scale(image))
        return body.join(fixed, learnt), near


class TextAnswers(nn.Module):
    """The text side as a bundle runs it: bucket numbers (N, L) to embeddings (N, D)."""

    names: tuple[str, ...] = ("embedding",)

    def __init__(self, net: PixelNet) -> None:
        super().__init__()
        self.body: Any = net.body

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.body.join(*self.body.text_parts(text))
        return found


def check(dataset: Dataset) -> None:
    """Refuse captions that are all the same, and captions of which training has none.

    Raises:
        DatasetError: it is so.
    """
    every = [s.marked(Captions).plain for s in dataset.train.samples]
    if any(s.marked(Captions).texts for s in dataset.samples) and not any(every):
        raise DatasetError("expected captions of training images, found none", fix="add some to the train part")
    told = {text for own in every for text in own}
    if len(told) == 1:
        raise DatasetError(
            f"every caption is {next(iter(told))[:60]!r}: there is nothing to distinguish",
            fix="write what is different in each image, or remove the captions to learn from the images alone",
        )


def preparation(dataset: Dataset, scan: Scan, recipe: Recipe, published: HubBuilder | None) -> Preparation:
    """Choose how images become pixels: squares of 48 pixels, of 96 where the images are large, or of `imgsz`."""
    if published is not None:
        if not any(s.marked(Captions).texts for s in dataset.samples):
            raise UsageError(
                f"expected captions with {recipe.model!r}, which learns from pairs, found images alone",
                fix="use --model pair_net, which learns from images alone",
            )
        return choose_preparation(scan, recipe, published)
    usual = float(np.median(scan.sizes_hw.min(1)))
    side = recipe.imgsz or (_SIDE if usual <= 128 else _LARGE_SIDE)
    if side % _STEP or side < 16:
        raise UsageError(f"expected imgsz of 16 or more in steps of {_STEP}, found {side}", fix="change --imgsz")
    return choose_preparation(scan, replace(recipe, imgsz=side), published)


def resolve(recipe: Recipe, n_train: int, preparation: Preparation) -> Recipe:
    """Fill in what the recipe leaves open: epochs, batch, optimiser and rate."""
    model = "pair_net" if recipe.model == "auto" else recipe.model
    tuned = model.startswith("hf:")
    epochs = recipe.epochs
    if model == "pair_ridge":
        # Solved in closed form: more time would change nothing.
        epochs = epochs or 1
    elif epochs is None and recipe.budget_s is None:
        shown, least, most = (_TUNED_SHOWN, 3, 12) if tuned else (_SHOWN, 4, 60)
        epochs = int(np.clip(round(shown / max(n_train, 1)), least, most))
    return replace(
        recipe,
        model=model,
        budget_s=None if epochs else recipe.budget_s,
        preview=recipe.preview or 0.0,
        optimizer=recipe.optimizer or "adamw",
        freeze=recipe.freeze or 0.0,
        layer_decay=recipe.layer_decay if recipe.layer_decay is not None else 1.0,
        imgsz=min(preparation.size_hw),
        epochs=epochs,
        # Every other image of a batch is a wrong answer to learn from.
        batch=min(recipe.batch or (_TUNED_BATCH if tuned else 128), max(1, n_train)),
        lr=recipe.lr if recipe.lr is not None else _TUNED_RATE if tuned else 2e-3,
        loss=recipe.loss or "infonce",
        label_smoothing=0.0,
        ema=recipe.ema if recipe.ema is not None else 0.98,
        clip_norm=recipe.clip_norm or 1.0,
        dropout=recipe.dropout or (0.0 if tuned else 0.3),
    )


def targets(part: Dataset, sizes: Sequence[tuple[int, int]], preparation: Preparation, key: str) -> PairTargets:
    """Return the captions of each image."""
    return PairTargets([s.marked(Captions) for s in part.samples], {})


def answers(net: PixelNet, *, temperature: float = 1.0) -> PairAnswers:
    """Return the net with its embeddings for outputs."""
    return PairAnswers(net)


def learn(net: PixelNet, data: FitData, recipe: Recipe, dataset: Dataset, preparation: Preparation) -> "PairLearning":
    """Fit what has a closed form, and return what the loop asks while the rest is learnt."""
    train: Any = data.train_targets
    val: Any = data.val_targets
    about = {}
    body: Any = net.body
    for part in (train, val):
        part.prepare(body.texts)
    if not net.has_learnt and recipe.model in ("pair_ridge", "pair_net"):
        about = fit_ridge(net, data.train_pixels, train.numbers, data.val_pixels, val.numbers, seed=recipe.seed)
    learning = PairLearning(net, train, recipe, preparation, about)
    if isinstance(body, HubPairBody):
        chosen = np.unique(np.linspace(0, len(train) - 1, min(len(train), body.most_centres)).round().astype(np.int64))
        learning.seen = np.ascontiguousarray(data.train_pixels[chosen])
        # A net that has not been trained yet: how well it does as it was published.
        if net.training and not net.has_learnt:
            kept = run_through(net.eval(), data.val_pixels, val, learning.condense, torch.device("cpu"))
            recall = learning.about["published_recall"] = learning.measure(kept, val)["recall"]
            learning.notes = (f"before training, the published model has a validation recall of {recall:.1%}",)
            net.train()
        if cut := train.cut + val.cut:
            several = "1 caption is" if cut == 1 else f"{cut:,} captions are"
            said = f"{several} longer than the {body.texts.length} tokens that are read: the beginning counts"
            learning.notes = (*learning.notes, said)
    return learning


def _by_chance(right: Sequence[int], n: int) -> float:
    """Return the mean recall of a random order of `n` images, over queries with so many right ones each.

    By the hypergeometric distribution, the mean over the ranks that recall is measured at.

    >>> round(_by_chance([1], 100), 4)
    0.0533
    """
    counts = np.asarray(right, np.float64)
    missed = [np.prod([np.maximum(n - counts - i, 0) / max(n - i, 1) for i in range(min(k, n))], axis=0) for k in AT]
    return float(1 - np.mean(missed)) if len(counts) else 0.0


class PairLearning:
    """How pairs are learnt.

    The losses are those of `training.objectives.contrastive`; the bias of "sigmoid" starts at log(1 / (B - 1)), that of
    a published model where it is. The same caption twice in a batch is no wrong answer. Where captions name classes,
    images of one are drawn together as well; where there are none, the two views of an image are (SimCLR, Chen et al.
    2020).
    """

    main_metric = "recall"

    def __init__(
        self, net: PixelNet, train: PairTargets, recipe: Recipe, preparation: Preparation, about: Mapping[str, Any]
    ) -> None:
        self.body: PairBody | HubPairBody = net.body  # type: ignore[assignment]
        self.loss, self.about = recipe.loss or "infonce", dict(about)
        if self.loss not in ("infonce", "sigmoid"):
            raise unknown_loss(self.loss)
        said = [i for own in train.ids for i in own]
        self.captioned = bool(said)
        # Classes: captions that several images share.
        self.classes = self.captioned and len(set(said)) * 2 <= len(said)
        plan = plan_augmentation(recipe, grey=preparation.channels == 1, n_train=len(train))
        views = 2 if self.body.sees_views and (self.classes or not self.captioned) else 1
        if views == 2 and recipe.augment == "auto":
            plan = replace(plan, zoom=0.25, light=0.0 if preparation.channels == 1 else 0.4, shift=_CUT)
        self.augmentation = PairAugmentation(plan, views)
        self.most = train.most
        self.seen: NDArray[np.uint8] | None = None
        self.notes: tuple[str, ...] = ()
        self.unlearnt = ""
        self._net = net
        self._looked: PairBody | HubPairBody | None = None
        self._floor = self._best = 0.0
        fresh = not net.has_learnt and (net.training or isinstance(self.body, PairBody))
        self.body.begin(self.loss, max(2, recipe.batch or 128), fresh=fresh, whole=(recipe.layer_decay or 1.0) < 1)

    def objective(self, outputs: PairOutputs, targets: Any) -> Tensor:
        ids = targets[1]
        found = outputs.learnt
        total: Tensor = found.new_zeros(())
        same = ids[:, None] == ids[None]
        if self.captioned:
            assert outputs.scores is not None
            told = ids >= 0
            total = total + pair_loss(outputs.scores[told][:, told], same[told][:, told], self.loss)
        if outputs.views is not None:
            total = total + drawn_together(found, outputs.views, same)
        # The floor alone has nothing to learn where there is no caption.
        total = total + 0.0 * (outputs.body.log_scale + outputs.body.bias)
        return total

    def condense(self, outputs: PairOutputs, targets: Any) -> NDArray[np.float32]:
        """Keep both parts of each image, of its captions, and where there are none of another view of it."""
        body = self._looked = outputs.body
        numbers, ids = targets
        rows = [outputs.fixed, outputs.learnt]
        if self.captioned:
            for j in range(numbers.shape[1]):
                fixed, learnt = body.text_parts(numbers[:, j])
                gone = (ids[:, j] < 0)[:, None]
                rows += [fixed.masked_fill(gone, float("nan")), learnt.masked_fill(gone, float("nan"))]
        else:
            rows += list(body.parts(other_view(outputs.pixels))[:2])
        kept: NDArray[np.float32] = torch.cat(rows, 1).float().cpu().numpy()
        return kept

    def measure(self, kept: NDArray[np.float32], targets: Any) -> Mapping[str, float]:
        """Measure recall for every weight of the learnt part, and set the best; of equals the smallest."""
        kept = kept[:_MOST_MEASURED]
        widths = self.body.widths
        blocks = kept.reshape(len(kept), -1, sum(widths))
        found = []
        queries = np.concatenate([blocks[:, j] for j in range(1, blocks.shape[1])])
        items = np.tile(np.arange(len(kept)), blocks.shape[1] - 1)
        there = np.isfinite(queries).all(1)
        queries, items = queries[there], items[there]
        right = self._right(targets, items, len(kept))
        for share in self.body.shares:
            weights = np.sqrt(np.repeat([1 - share, share], widths)).astype(np.float32)
            measured = Ranks(ranks_of(queries * weights, blocks[:, 0] * weights, right), items, len(kept))
            values = measured(np.ones((1, len(kept))))
            found.append(float(np.mean([float(values[f"recall_at_{k}"][0]) for k in AT])) if len(items) else 0.0)
        best = int(np.argmax(found))
        if self._looked is not None:
            self._looked.choose(best)
            if self.seen is not None:
                with torch.no_grad():
                    seen = [
                        self._net.scale(torch.from_numpy(self.seen[i : i + _AT_ONCE]).to(self._net.mean.device))
                        for i in range(0, len(self.seen), _AT_ONCE)
                    ]
                    self._looked.settle(seen)
        self._floor, self._best = found[0], found[best]
        chance = _by_chance([len(one) for one in right], len(kept))
        self.unlearnt = ""
        if len(items) and found[best] < _UNLEARNT * chance < _UNLEARNT / 2:
            self.unlearnt = (
                f"the model has not learnt to match: its validation recall is {found[best]:.1%} on {len(kept):,} "
                f"images, and that of a random order {chance:.1%}"
            )
        floor = {"floor": found[0]} if len(self.body.shares) > 1 or not self.body.learns else {}
        return {"recall": found[best], **floor, "loss": 1 - found[best]}

    def _right(self, targets: Any, items: NDArray[np.int64], n: int) -> list[NDArray[np.int64]]:
        """Return which images are right for each query: those that share its caption, or the one it is a view of."""
        if not self.captioned:
            return [np.array([i]) for i in items]
        _, ids = targets[np.arange(n)]
        holders: dict[int, list[int]] = {}
        for i, own in enumerate(ids):
            for name in own[own >= 0].tolist():
                holders.setdefault(name, []).append(i)
        columns = [(i, j) for j in range(ids.shape[1]) for i in range(n) if ids[i, j] >= 0]
        assert [i for i, _ in columns] == items.tolist()
        return [np.array(holders[int(ids[i, j])]) for i, j in columns]

    def conclude(
        self, kept: NDArray[np.float32], targets: Any, *, groups: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, dict[str, Any]]:
        """Say which parts were chosen on the validation images, and how much better than the floor they are."""
        looked = self._looked
        weight = 0.0 if looked is None else float(looked.weight)
        scale = 1.0 if looked is None else float(looked.scale.detach())
        self.measure(kept, targets)
        return {
            "calibration": {
                "method": "validation",
                "n": len(kept),
                "groups": len(np.unique(groups)),
                "learnt_weight": weight,
                "recall": self._best,
                **({} if self.seen is not None else {"floor_recall": self._floor}),
                "scale": scale,
                "chosen": "fixed part alone" if weight == 0 else "both parts" if weight < 1 else "learnt part alone",
                **self.about,
            },
            "thresholds": {},
        }


def other_view(x: Tensor) -> Tensor:
    """Return each image, (N, C, H, W), without its border and mirrored, enlarged to the same size."""
    height, width = x.shape[-2:]
    top, left = round(height * _CUT), round(width * _CUT)
    inner = x[..., top : height - top, left : width - left].flip(-1)
    return functional.interpolate(inner, (height, width), mode="bilinear", align_corners=False)


def _of_net(outputs: PairOutputs) -> Parts:
    return outputs.body.join(outputs.fixed, outputs.learnt), None


def _of_raw(raw: Mapping[str, NDArray[np.float32]], order: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return torch.from_numpy(raw["embedding"])


def _apart(found: Parts, wanted: Parts, softness: float) -> Tensor:
    return (1 - (found[0] * wanted[0]).sum(1)).mean()


def text_side(net: PixelNet) -> TextSide:
    """Return how texts are embedded by this net, and what its scores are multiplied by to be logits."""
    body: Any = net.body
    # Buckets that no caption of training has are rows of zeros.
    texts = body.texts.with_seen(body.table.any(1).numpy()) if isinstance(body, PairBody) else body.texts
    return TextSide(texts, TextAnswers(net).eval(), float(body.scale.detach()), float(body.bias.detach()))


def baseline(recipe: Recipe) -> Baseline | None:
    """Return the floor that a net must be above: the ridge alone."""
    if recipe.model == "pair_ridge":
        return None
    return Baseline("pair_ridge", _same_floor, "learn more than fixed features", epochs=1, time=0.1)


def _same_floor(trained: PixelNet, new: PixelNet) -> None:
    """Take over the ridge of a net that was fitted with one; a published net has none."""
    if not isinstance(trained.body, PairBody):
        return
    have = trained.body.state_dict()
    new.body.load_state_dict({k: have[k] for k in new.body.state_dict()})
    new.body.choose(0)  # type: ignore[operator]
    new.has_learnt = True


LEARNER = Learner(
    task="embed",
    check=check,
    preparation=preparation,
    resolve=resolve,
    targets=targets,
    learn=learn,
    answers=answers,
    soft=SoftAnswers(_of_net, _of_raw, _apart),
    hub=PAIRS,
    baseline=baseline,
    text=text_side,
)
