"""Find an image by what an annotation file calls it, and the part of the dataset by what a path is called."""

__all__ = ["EXTENSIONS", "SPLITS", "Images", "folded", "split_of"]

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from urllib.parse import unquote

from eyewright.data.dataset import SplitName
from eyewright.imaging.headers import FORMATS

EXTENSIONS = frozenset(e for exts in FORMATS.values() for e in exts)

SPLITS: Mapping[str, SplitName] = MappingProxyType(
    {
        **dict.fromkeys(("train", "training", "trn", "train2017", "train2014"), "train"),
        **dict.fromkeys(("val", "valid", "validation", "dev", "val2017", "val2014"), "val"),
        **dict.fromkeys(("test", "testing", "tst", "test2017"), "test"),
    }
)
_IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages", "data", "obj_train_data", "photos"})
# What comes before the path in the addresses that exporters write.
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]{1,15}://")


def folded(name: str) -> str:
    """Return a name in the form in which names that mean the same file are equal: composed (NFC), without case, without
    percent codes.

    >>> folded("My%20Photo.JPG") == folded("my photo.jpg")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(name, errors="replace")).casefold())


class Images:
    """The images of a tree, found by any way in which an annotation may name them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = [n for n in names if posixpath.splitext(n)[1].lower() in EXTENSIONS]

    # Made when a name is looked for: most trees name no image, and of many images each of the three takes long.
    @cached_property
    def _by_base(self) -> Mapping[str, list[str]]:
        return self._by(lambda base: base)

    @cached_property
    def _by_folded(self) -> Mapping[str, list[str]]:
        return self._by(folded)

    @cached_property
    def _by_stem(self) -> Mapping[str, list[str]]:
        return self._by(lambda base: folded(posixpath.splitext(base)[0]))

    def _by(self, key: Callable[[str], str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            found[key(posixpath.basename(name))].append(name)
        return found

    def find(self, called: str, *, near: str = "", split: SplitName | None = None) -> str | None:
        """Return the image that is `called` so by an annotation file in the folder `near`.

        The name as it is written comes first, then the name without regard to case, to how accents are coded and to
        percent codes, then the name with another extension or none. Of several images of that name the one of the
        very path from `near` is meant, then the one whose path has most parts in common with what it is called, with
        the part of the dataset, and with the folder of the annotations. None where two would do as well.
        """
        called = plain_path(called)
        several = self.candidates(called)
        if not several and "?" in posixpath.basename(called):
            # The query of an address of a storage service.
            return self.find(called.partition("?")[0], near=near, split=split)
        return self._best(several, called, near, split)

    def candidates(self, called: str) -> Sequence[str]:
        """Return the images whose names, without their folders, are what an annotation calls its image."""
        base = posixpath.basename(plain_path(called))
        if not base:
            return ()
        stem, extension = posixpath.splitext(base)
        several = self._by_base.get(base) or self._by_folded.get(folded(base)) or self._by_stem.get(folded(base))
        if not several and extension.lower() in EXTENSIONS:
            several = self._by_stem.get(folded(stem))
        return several or ()

    def of_file(self, path: str, called: str = "", *, split: SplitName | None = None) -> tuple[str | None, bool]:
        """Return the image of an annotation file that is for one image, and whether the file calls it otherwise.

        The file's own name counts before the one that it states, which stays as it was when both are renamed; but a
        stated image that lies nearer is the one that is meant.
        """
        near = posixpath.dirname(path)
        stem = posixpath.splitext(posixpath.basename(path))[0]
        stated = self.find(called, near=near, split=split) if called else None
        several = self._by_stem.get(folded(stem), ())
        if stated in several:
            return stated, False
        own = self._best(several, stem, near, split)
        if own is None or (stated is not None and self._near(stated, near, split) > self._near(own, near, split)):
            return stated, False
        return own, stated is not None

    def below(self, folder: str) -> list[str]:
        """Return the images in a folder and below it; case and coding of the folder's name count only if both exist."""
        prefix = folder.rstrip("/") + "/" if folder not in ("", ".") else ""
        found = [n for n in self.names if n.startswith(prefix)]
        if found or not prefix:
            return found
        loose = folded(prefix)
        return [n for n in self.names if folded(n).startswith(loose)]

    def _best(self, several: Sequence[str], called: str, near: str, split: SplitName | None) -> str | None:
        if len(several) < 2:
            return several[0] if several else None
        exact = posixpath.normpath(posixpath.join(near, called))
        if exact in several:
            return exact
        wanted = [folded(p) for p in called.split("/")[::-1]]

        def alike(name: str) -> tuple[int, int, int, int]:
            parts = [folded(p) for p in name.split("/")[::-1]]
            # The file's own name is the same for all that are asked; its folders are compared from the last.
            pairs = list(zip(parts[1:], wanted[1:], strict=False))
            tail = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
            shown = int(bool(set(parts[1:]) & _IMAGE_FOLDERS))
            return (tail, *self._near(name, near, split), shown)

        ranked = sorted(((alike(name), name) for name in several), reverse=True)
        return ranked[0][1] if ranked[0][0] > ranked[1][0] else None

    def _near(self, name: str, near: str, split: SplitName | None) -> tuple[int, int]:
        common = 0
        if near:
            common = len(posixpath.commonprefix([name.split("/")[:-1], near.split("/")]))
        of = split_of(name)
        # An image of another part is meant less than one of no part.
        return (0 if split is None else 2 if of == split else int(of is None)), common


def plain_path(called: str) -> str:
    """Return a path with `/` between its parts and without a scheme, a drive or `./`.

    >>> plain_path("s3://bucket/images\\\\a.jpg"), plain_path(r"C:\\photos\\a.jpg")
    ('bucket/images/a.jpg', 'photos/a.jpg')
    """
    plain = _SCHEME.sub("", called.strip().replace("\\", "/"))
    plain = re.sub(r"^[A-Za-z]:/", "", plain)
    while plain.startswith("./"):
        plain = plain[2:]
    return plain


def split_of(path: str) -> SplitName | None:
    """Return the part of the dataset that a path speaks of, by a folder's name or a word of the file's.

    >>> split_of("valid/labels/a.txt"), split_of("annotations/instances_train2017.json"), split_of("photos/a.json")
    ('val', 'train', None)
    """
    parts = path.lower().split("/")
    for part in reversed(parts[:-1]):
        if part in SPLITS:
            return SPLITS[part]
    words = re.split(r"[^a-z0-9]+", posixpath.splitext(parts[-1])[0])
    return next((SPLITS[w] for w in words if w in SPLITS), None)
