"""What goes over HTTP when images are searched, as msgspec structs."""

__all__ = ["IndexList", "IndexShown", "SearchBody", "SearchHit", "SearchOptions", "Searched", "ThumbnailQuery"]

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

MOST_HITS = 500
MOST_REFINED = 32

_Id = Annotated[int, Meta(ge=0, lt=2**53)]
_Ids = Annotated[list[_Id], Meta(max_length=MOST_REFINED)]
_Words = Annotated[str, Meta(max_length=2000, description="What to look for, in words")]
_Name = Annotated[str, Meta(max_length=200, description="The index; may be left out where there is one")]
_N = Annotated[int, Meta(ge=1, le=MOST_HITS, description="Largest number of hits (default 20)")]
_Folder = Annotated[str, Meta(max_length=1000, description="Only images below this folder")]
_P = Annotated[float, Meta(ge=0, le=1, description="Only hits with at most this p-value")]
_Listed = Annotated[
    str,
    Meta(
        max_length=600,
        description="Ids of indexed images, separated by commas",
        # Not a pattern that msgspec checks: it would say so without the value.
        extra_json_schema={"pattern": "^([0-9]{1,15}(,[0-9]{1,15}){0,31})?$"},
    ),
]


class SearchOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What is sought in addition to the image of the body, in a query or a form."""

    index: _Name | None = None
    words: _Words | None = None
    unlike_words: Annotated[str, Meta(max_length=2000, description="And unlike these words")] | None = None
    like: _Listed | None = None
    unlike: _Listed | None = None
    n: _N | None = None
    folder: _Folder | None = None
    max_p: _P | None = None


class SearchBody(Struct, forbid_unknown_fields=True):
    """What is sought: words, an image in base64, indexed images, or several of them (their mean)."""

    index: _Name | None = None
    words: _Words | None = None
    image: Annotated[Raw, Meta(extra_json_schema={"type": "string", "contentEncoding": "base64"})] | UnsetType = UNSET
    unlike_words: Annotated[str, Meta(max_length=2000, description="And unlike these words")] | None = None
    like: Annotated[_Ids, Meta(description="And like these indexed images")] | None = None
    unlike: Annotated[_Ids, Meta(description="And unlike these indexed images")] | None = None
    n: _N | None = None
    folder: _Folder | None = None
    max_p: _P | None = None


class ThumbnailQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How large the image of a hit is shown."""

    side: (
        Annotated[int, Meta(ge=16, le=1024, description="The longer side in pixels, at most (default 256)")] | None
    ) = None


class SearchHit(Struct):
    """An image that was found: its cosine, and the probability that the best of unrelated images scores as high (null:
    the index is too small to tell). `image` is the address of its thumbnail."""

    id: int
    path: str
    score: float
    p: float | None
    width: int
    height: int
    image: str


class Searched(Struct):
    """Hits sorted by score. `fits` says whether the best is above chance; null: that cannot be said, because
    the index is too small, because a group of images scores far above all others and none of them stands out, or
    because the model was not trained on queries like this one (`familiar` is false). `notes` says where the model read
    only the beginning of the words, which words it does not know, and that an image is unlike its training images."""

    index: str
    model: str
    searched: int
    fits: bool | None
    familiar: bool
    hits: list[SearchHit]
    notes: list[str]
    total_ms: float


class IndexShown(Struct):
    """An index: how many images it has, and the served model that searches it."""

    name: str
    model: str
    digest: str
    images: int
    dimensions: int
    exact: bool


class IndexList(Struct):
    """The indexes that are searched."""

    indexes: list[IndexShown]
