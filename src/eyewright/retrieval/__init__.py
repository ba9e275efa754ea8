"""Search by words and by image: an index of embeddings on disk, exact by default. No torch."""

from eyewright.retrieval.index import GRAPH_FROM, Hit, Hits, Index, create_index, is_index, open_index
from eyewright.retrieval.segments import Row

__all__ = ["GRAPH_FROM", "Hit", "Hits", "Index", "Row", "create_index", "is_index", "open_index"]
