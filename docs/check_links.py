"""Follow all links inside the built pages: `.venv/bin/python docs/check_links.py docs/_build/html`.

Sphinx warns of some links that lead nowhere; this looks at what browsers get: pages, anchors and pictures.
Nothing is fetched from elsewhere.
"""

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINKS = {"a": "href", "link": "href", "img": "src", "script": "src"}


@dataclass
class Page:
    """What a page has: places to link to, and links."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the identifiers and links of an element."""
        given = dict(attrs)
        self.page.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        link = given.get(_LINKS.get(tag, ""))
        if link is not None:
            self.page.links.append(link)


def read_page(path: Path) -> Page:
    """Read one HTML file."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page


def broken_links(folder: Path) -> list[str]:
    """Links of all pages of a folder that lead to no file or no anchor in it, each with the page it is on."""
    pages = {
        path.resolve(): read_page(path)
        for path in sorted(folder.rglob("*.html"))
        if "_static" not in path.parts
    }
    broken = []
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            found = target.is_file()
            if found and anchor and target in pages:
                found = anchor in pages[target].anchors
            if not found:
                broken.append(f"{path.relative_to(folder.resolve())}: {link}")
    return broken


if __name__ == "__main__":
    html = Path(sys.argv[1])
    problems = broken_links(html)
    if problems:
        sys.exit("Links that lead nowhere:\n" + "\n".join(problems))
    sys.stdout.write(f"All links inside {html} lead somewhere.\n")
