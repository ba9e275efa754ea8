"""Copies between the given parts of a dataset, as values: what was found, and what was done about it."""

__all__ = ["LEAK_RULES", "Copy", "LeakRule", "Leaks"]

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

LeakRule = Literal["drop", "refuse", "allow"]
LEAK_RULES: tuple[LeakRule, ...] = ("drop", "refuse", "allow")
"""What to do about training images that are copies of validation or test images: leave them out of training, refuse to
train, or train on them."""

_NOUNS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Copy:
    """An image of `part` that is a copy of the image `of` in `of_part`; `how` names what differs."""

    id: str
    part: str
    of: str
    of_part: str
    how: str

    def __str__(self) -> str:
        return f"{self.id!r} of {self.of!r} ({self.how})"


@dataclass(frozen=True)
class Leaks:
    """The copies between the parts of a dataset and the rule that was applied to them.

    `sizes` are the images of each part before anything was left out; `held_out` counts the validation and test images
    that had a copy in a part that is learnt from, `siblings` the test images of a group that training images are of.
    """

    rule: LeakRule
    copies: tuple[Copy, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()
    held_out: tuple[tuple[str, int], ...] = ()
    siblings: int = 0
    sibling_groups: int = 0

    @property
    def dropped(self) -> tuple[Copy, ...]:
        """The copies that were left out."""
        return self.copies if self.rule == "drop" else ()

    def counts(self) -> str:
        """Return how many images of which part are copies of how many of which, with shares.

        >>> one = Copy("train/a.png", "train", "test/b.png", "test", "mirrored")
        >>> Leaks("drop", (one,), (("train", 400), ("test", 50)), (("test", 1),)).counts()
        '1 of 400 training images (0.25 %) is a copy of 1 of 50 test images'
        """
        sizes = dict(self.sizes)
        parts = Counter(c.part for c in self.copies)
        said = [f"{parts[p]:,} of {sizes[p]:,} {_NOUNS[p]} images ({_share(parts[p], sizes[p])})" for p in parts]
        held = [f"{n:,} of {sizes[p]:,} {_NOUNS[p]} images" for p, n in self.held_out]
        verb = "is a copy" if len(self.copies) == 1 else "are copies"
        return f"{' and '.join(said)} {verb} of {' and '.join(held)}"

    def note(self) -> str:
        """Return the sentence that says what was left out; nothing where nothing was."""
        if not self.dropped:
            return ""
        verb = "and is" if len(self.dropped) == 1 else "and are"
        return f"{self.counts()} {verb} left out of training (--leaks drop), such as {self.dropped[0]}"

    def warnings(self) -> tuple[str, ...]:
        """Return what makes the test result too good although it was trained all the same."""
        found = []
        if self.rule == "allow" and self.copies:
            found.append(
                f"Trained with {len(self.copies):,} images on both sides of the split (--leaks allow), so the results "
                f"are too good: {self.counts()}."
            )
        if self.siblings:
            groups = f"{self.sibling_groups:,} group{'s' * (self.sibling_groups != 1)}"
            found.append(
                f"The given split separates related images: {self.siblings:,} of {dict(self.sizes)['test']:,} test "
                f"images belong to {groups} that also contain training images. They are not copies but look similar, "
                f"so the result says less about new groups. “How new the test images are” tells how much."
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers and what is to be said of them."""
        return {
            "rule": self.rule,
            "copies": len(self.copies),
            "left_out": dict(Counter(c.part for c in self.dropped)),
            "siblings": self.siblings,
            "sibling_groups": self.sibling_groups,
            "said": self.note(),
        }

    def listed(self) -> list[dict[str, str]]:
        """Return every copy as plain JSON types, for run.json."""
        return [{"id": c.id, "part": c.part, "of": c.of, "of_part": c.of_part, "how": c.how} for c in self.copies]


def _share(n: int, total: int) -> str:
    percent = 100 * n / max(1, total)
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
