"""What a reader made of the annotations of a dataset: how many it read, repaired, shortened and left out, and why."""

__all__ = ["Account", "Reason"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

_KINDS = ("dropped", "repaired", "reduced", "left_out")


@dataclass(frozen=True)
class Reason:
    """One reason for which `n` annotations or images were treated the same way; `path` and `line` are of the first."""

    text: str
    n: int
    path: str = ""
    line: int | None = None

    @property
    def place(self) -> str:
        """The file of the first, with its line where there is one."""
        return self.path + (f":{self.line}" if self.line is not None else "") if self.path else ""

    def __str__(self) -> str:
        where = f"; {self.place}" if self.path else ""
        return f"{self.text} ({self.n:,}{where})"


@dataclass(frozen=True)
class Account:
    """What became of every annotation that a dataset's files hold, and of every image next to them.

    An annotation is what one entry of a file says of one image: a box, an outline, a mask, the row of a table.

    Attributes:
        read: annotations that are used.
        dropped: annotations that are not; `read` and these make up all that the files hold.
        repaired: annotations that were read although they are written in another way than the format has it.
        reduced: annotations that were read without a part, such as key points or one polygon of several.
        left_out: images that are not used.
        counted: what one of them is called: "image" or "clip".
    """

    read: int = 0
    dropped: tuple[Reason, ...] = ()
    repaired: tuple[Reason, ...] = ()
    reduced: tuple[Reason, ...] = ()
    left_out: tuple[Reason, ...] = ()
    counted: str = "image"

    @property
    def n_dropped(self) -> int:
        return sum(r.n for r in self.dropped)

    @property
    def present(self) -> int:
        """The number of annotations that the files hold."""
        return self.read + self.n_dropped

    @property
    def complete(self) -> bool:
        """Whether everything was used."""
        return not (self.dropped or self.reduced or self.left_out)

    def lost(self) -> tuple[str, ...]:
        """Return what was not used, a sentence a reason with the number and the place of the first."""
        return (
            *(f"annotations left out: {r}" for r in self.dropped),
            *(f"parts of annotations left out: {r}" for r in self.reduced),
            *(f"{self.counted}s left out: {r}" for r in self.left_out),
        )

    def summary(self) -> str:
        """Return one line that says how much was left out and the first reason; nothing where all was used."""
        if self.complete:
            return ""
        said = []
        if self.dropped:
            said.append(f"{self.n_dropped:,} of {self.present:,} annotations are left out")
        if self.reduced:
            said.append(f"{sum(r.n for r in self.reduced):,} are used without a part")
        if self.left_out:
            n = sum(r.n for r in self.left_out)
            said.append(f"{n:,} {self.counted}{'s are' if n != 1 else ' is'} left out")
        reasons = [*self.dropped, *self.reduced, *self.left_out]
        first = reasons[0]
        if len(reasons) == 1:
            # The one reason is that of all, whose number was said.
            return f"{said[0]}: {first.text}" + (f", the first {first.place}" if first.place else "")
        more = f" and {len(reasons) - 1} more reason{'s' * (len(reasons) > 2)}"
        return f"{', '.join(said)}: {first}{more}"

    def with_dropped(self, reason: Reason) -> "Account":
        """Return the account with annotations that had been read, and cannot be used after all."""
        return replace(self, read=self.read - reason.n, dropped=(*self.dropped, reason)) if reason.n else self

    def with_left_out(self, reason: Reason) -> "Account":
        """Return the account with images that are not used after all, such as those that cannot be decoded."""
        return replace(self, left_out=(*self.left_out, reason)) if reason.n else self

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Account":
        """Return the account that `to_json` gave.

        >>> account = Account(3, dropped=(Reason("boxes without area", 2, "a.txt", 7),))
        >>> Account.from_json(account.to_json()) == account
        True
        """
        kinds = {
            k: tuple(Reason(r["reason"], r["n"], r["path"], r["line"]) for r in content.get(k, ())) for k in _KINDS
        }
        return cls(content.get("read", 0), **kinds, counted=content.get("counted", "image"))

    def to_json(self) -> dict[str, Any]:
        """Return the account as plain JSON types, for `--json` and for a run's file."""
        kinds: dict[str, Sequence[Reason]] = {
            "dropped": self.dropped,
            "repaired": self.repaired,
            "reduced": self.reduced,
            "left_out": self.left_out,
        }
        rows = {k: [{"reason": r.text, "n": r.n, "path": r.path, "line": r.line} for r in v] for k, v in kinds.items()}
        own = {} if self.counted == "image" else {"counted": self.counted}
        return dict([("read", self.read), *rows.items(), *own.items()])
