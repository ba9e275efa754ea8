"""How values show themselves in a notebook: a title, a table and pictures, escaped and self-contained."""

__all__ = ["Shown", "html_card", "joined"]

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

_STYLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL = "text-align:left;padding:2px 12px 2px 0;vertical-align:top"


class Shown(Protocol):
    """What a notebook shows as HTML."""

    def _repr_html_(self) -> str: ...


def html_card(
    title: str,
    rows: Iterable[Sequence[object]] = (),
    *,
    head: Sequence[str] = (),
    pictures: Mapping[str, str] | None = None,
) -> str:
    """Return HTML with a title, a table and pictures (`data:` addresses by their captions); every text is escaped.

    >>> html_card("<b>", [("n", 3)])[:31]
    '<div><strong>&lt;b&gt;</strong>'
    """
    parts = [f"<div><strong>{_escaped(title)}</strong>"]
    if pictures:
        shown = "".join(
            f'<figure style="margin:0"><img src="{_escaped(address)}" alt="{_escaped(caption)}" style="max-width:100%">'
            f"<figcaption><small>{_escaped(caption)}</small></figcaption></figure>"
            for caption, address in pictures.items()
        )
        parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:8px;margin:6px 0">{shown}</div>')
    body = [_row(row) for row in rows]
    if body:
        top = f"<thead>{_row(head, 'th')}</thead>" if head else ""
        parts.append(f'<table style="{_STYLE}">{top}<tbody>{"".join(body)}</tbody></table>')
    return "".join(parts) + "</div>"


def _row(cells: Sequence[object], tag: str = "td") -> str:
    return "<tr>" + "".join(f'<{tag} style="{_CELL}">{_escaped(str(c))}</{tag}>' for c in cells) + "</tr>"


def joined(names: Sequence[str], most: int = 5) -> str:
    """Return the first names in words.

    >>> joined(["cat", "dog", "owl"], most=2)
    'cat, dog and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _escaped(text: str) -> str:
    # Imported here: every command loads this module, and none of them shows itself as HTML.
    from html import escape

    return escape(text)
