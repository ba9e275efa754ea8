"""The table of contents of a page: links to its headings, without a script."""

__all__ = ["with_contents"]

import re
from itertools import count

_HEADING = re.compile(r"<h2(?P<more>[^>]*)>(?P<said>.*?)</h2>", re.DOTALL)
_TAGS = re.compile(r"<[^>]+>")
_FEWEST = 3


def with_contents(html: str) -> str:
    """Return a page with a number for each `<h2>` that has no id, and links to them at the end of its first `<header>`;
    unchanged with fewer than three of them.

    >>> page = with_contents("<header></header>" + "".join(f"<h2>{k}</h2>" for k in "abc"))
    >>> page.startswith('<header><nav class="contents noprint" aria-label="Contents"><a href="#s1">a</a>')
    True
    """
    head, end, body = html.partition("</header>")
    links: list[tuple[str, str]] = []
    numbers = count(1)

    def linked(found: re.Match[str]) -> str:
        own = re.search(r'\bid="([^"]+)"', found["more"])
        name = own[1] if own else f"s{next(numbers)}"
        links.append((name, _TAGS.sub("", found["said"]).strip()))
        return found[0] if own else f'<h2 id="{name}"{found["more"]}>{found["said"]}</h2>'

    # What a script holds is no heading of the page.
    parts = re.split(r"(<script\b.*?</script>)", body, flags=re.DOTALL)
    body = "".join(p if p.startswith("<script") else _HEADING.sub(linked, p) for p in parts)
    if not end or len(links) < _FEWEST:
        return html
    nav = "".join(f'<a href="#{name}">{said}</a>' for name, said in links)
    return f'{head}<nav class="contents noprint" aria-label="Contents">{nav}</nav>{end}{body}'
