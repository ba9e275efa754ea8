"""Parts of pages among a dataset's files: each sample is a quadrilateral of an image, cut out and laid straight."""

__all__ = ["Crop", "CropTree"]

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from eyewright.data.tree import Encoded, Tree
from eyewright.imaging.encode import encode_image
from eyewright.imaging.text_lines import cut_quad

_PAGES = 4


@dataclass(frozen=True)
class Crop:
    """A part of an image file: its corners in pixels, clockwise from the top left, x0 y0 to x3 y3."""

    file: str
    quad: tuple[float, ...]


class CropTree:
    """A tree in which some names are parts of images; their content is a PNG of the part."""

    def __init__(self, tree: Tree, crops: Mapping[str, Crop]) -> None:
        self.root: Path = tree.root
        self._tree, self._crops = tree, dict(crops)
        self._pages: OrderedDict[str, Image.Image] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        return self._tree.names()

    def content(self, name: str) -> bytes:
        if name not in self._crops:
            return self._tree.content(name)
        return encode_image(np.asarray(self.picture(name)), png_level=1)

    def picture(self, name: str) -> Image.Image:
        crop = self._crops.get(name)
        return self._tree.picture(name) if crop is None else cut_quad(self._page(crop.file), crop.quad)

    def encoded(self, name: str) -> Encoded | None:
        return None if name in self._crops else self._tree.encoded(name)

    def folders(self) -> tuple[str, ...]:
        return self._tree.folders()

    def _page(self, file: str) -> Image.Image:
        """Return the page, of which a few are kept: its lines are asked for one after the other."""
        with self._lock:
            if file in self._pages:
                self._pages.move_to_end(file)
                return self._pages[file]
        page = self._tree.picture(file)
        page.load()
        with self._lock:
            self._pages[file] = page
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        return page
