"""Read a page as a browser would, far enough to check its structure."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote

VOID = {
    "meta",
    "img",
    "input",
    "br",
    "rect",
    "line",
    "circle",
    "polyline",
    "polygon",
    "image",
    "link",
    "hr",
}

Attributes = dict[str, str | None]


@dataclass
class Element:
    """One element: its attributes, its text and where it lies."""

    tag: str
    attributes: Attributes
    path: tuple[str, ...]
    text: str = ""


@dataclass
class Document(HTMLParser):
    """Every element of a page in order; unbalanced tags raise AssertionError."""

    source: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []
        self.feed(self.source)
        self.close()
        assert not self._open, f"never closed: {[e.tag for e in self._open]}"

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return the elements with ``tag`` and these attributes."""
        return [
            e
            for e in self.elements
            if e.tag == tag and all(e.attributes.get(k) == v for k, v in attributes.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        """Return the only such element."""
        (element,) = self.all(tag, **attributes)
        return element

    def download(self, name: str) -> str:
        """Return what the link that downloads ``name`` holds."""
        href = self.one("a", download=name).attributes["href"]
        assert href is not None
        head, _, body = href.partition(",")
        assert head == "data:text/csv;charset=utf-8"
        return unquote(body)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} repeats an attribute: {names}"
        element = Element(tag, dict(attrs), tuple(e.tag for e in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert tag in VOID, f"<{tag}/> does not close an HTML element"

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data
