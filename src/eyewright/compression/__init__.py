"""Smaller and faster models, within a budget of what they may lose."""

from eyewright.compression.budget import Budget, parse_budget
from eyewright.compression.rows import Row
from eyewright.compression.search import METHODS, Search, SearchResult
from eyewright.compression.trials import Parent, Structure

__all__ = ["METHODS", "Budget", "Parent", "Row", "Search", "SearchResult", "Structure", "parse_budget"]
