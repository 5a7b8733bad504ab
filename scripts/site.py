"""Build the documentation site: every document as a page that needs no network, and no script to be read.

Three steps. `assemble` copies `docs/` and the documents at the root to `build/docs`: diagrams are drawn, links that leave `docs/`
lead to the page of that document, and a link to a source file leads to a page that shows the file. Zensical makes `build/site`
of it, strictly. `faults` reads what was built: every link, anchor and picture leads somewhere, and nothing is loaded from another
host.

Run it with `make docs`; exit code 1 when there is a fault. `--serve 8001` shows the site at that port of this machine afterwards.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

if __package__ is None or not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import drawing

ROOT = Path(__file__).resolve().parent.parent
PAGES, SITE = ROOT / "build" / "docs", ROOT / "build" / "site"
_AT_THE_ROOT = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/apis/README.md": "apis/index.md",
    "docs/decisions": "decisions/index.md",
}
"""Documents whose pages lie elsewhere than they do below `docs/`. The README is the repository's front; the site has its own."""
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)
_GLUED = re.compile(r"^(?![ >|#-])([^\n]+)\n(?=\| ?[^\n]+\|\n\| ?:?-)", re.MULTILINE)
_GLUED_LIST = re.compile(r"^(?![ >|#]|- |\d+\. )([^\n]+)\n(?=(?:- |1\. ))", re.MULTILINE)
_LANGUAGES = {".py": "python", ".proto": "proto", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".sh": "sh", ".json": "json"}


class BrokenDocument(Exception):
    """A document links to something that is not there, or has a diagram that cannot be drawn; the text names both."""


# ── from documents to pages ──────────────────────────────────────────────────────────────────────────────────────────


def assemble(root: Path = ROOT, pages: Path = PAGES) -> None:
    """Write the pages of all documents anew. Raises `BrokenDocument`."""
    shutil.rmtree(pages, ignore_errors=True)
    wanted: set[Path] = set()
    for file in sorted((root / "docs").rglob("*")):
        if file.is_file() and file.suffix != ".md":
            _copied(file, pages / file.relative_to(root / "docs"))
    for document in documents(root):
        _write(pages / place_of(document, root), page_of(document, root, wanted))
    for source in sorted(wanted):
        _write(pages / place_of(source, root), _source_page(source, root))
    _write(pages / "decisions" / "index.md", _decisions(root))


def documents(root: Path = ROOT) -> list[Path]:
    """Every document that becomes a page."""
    named = [root / name for name in _AT_THE_ROOT if name.endswith(".md") and "/" not in name and name != "README.md"]
    return sorted([*(file for file in named if file.exists()), *(root / "docs").rglob("*.md")])


def place_of(file: Path, root: Path = ROOT) -> str:
    """Where the page of a document, or of a source file, lies below the pages."""
    name = file.relative_to(root).as_posix()
    if name in _AT_THE_ROOT:
        return _AT_THE_ROOT[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    shown = re.sub(r"(^|/)[.]", r"\1dot.", name)  # what begins with a dot is left out of a site
    return f"source/{shown}.md"


def page_of(document: Path, root: Path, wanted: set[Path]) -> str:
    """A document as the site's Markdown; the source files that it links to are added to `wanted`. Raises `BrokenDocument`."""
    try:
        text = drawing.drawn(document.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenDocument(f"{document.relative_to(root)}: {error}") from None
    parts = _FENCE.split(text)
    parts[::2] = [_prose(part, document, root, wanted) for part in parts[::2]]
    return "".join(parts)


def _prose(text: str, document: Path, root: Path, wanted: set[Path]) -> str:
    text = _GLUED_LIST.sub(r"\1\n\n", _GLUED.sub(r"\1\n\n", text))  # our other readers need no blank line there
    return _LINK.sub(lambda found: _led(found[1], document, root, wanted) + (found[2] or ""), text)


def _led(target: str, document: Path, root: Path, wanted: set[Path]) -> str:
    there = Path(os.path.normpath(document.parent / unquote(target)))
    if not there.exists() or not there.is_relative_to(root):
        raise BrokenDocument(f"{document.relative_to(root)} links to {target}, which is not there")
    name = there.relative_to(root).as_posix()
    if there.is_dir() and name not in _AT_THE_ROOT:
        raise BrokenDocument(f"{document.relative_to(root)} links to the folder {target}; link to a file in it")
    if not there.is_dir() and not name.startswith("docs/") and name not in _AT_THE_ROOT:
        wanted.add(there)
    here = Path(place_of(document, root)).parent
    return Path(os.path.relpath(place_of(there, root), here)).as_posix()


def _source_page(source: Path, root: Path) -> str:
    name = source.relative_to(root).as_posix()
    text = source.read_text(encoding="utf-8")
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", text)), 0)
    code = f"{fence}{_LANGUAGES.get(source.suffix, '')}\n{text}{fence}"
    return f"---\nsearch:\n  exclude: true\n---\n\n# `{name}`\n\nAs it is in this version.\n\n{code}\n"


def _decisions(root: Path) -> str:
    listed = [(file.name, file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")) for file in _numbered(root)]
    lines = "\n".join(f"- [{title}]({name})" for name, title in listed)
    about = "One page each: what was the question, what was decided, what follows. None is rewritten; some are succeeded."
    return f"# Decisions\n\n{about}\n\n{lines}\n"


def _numbered(root: Path) -> list[Path]:
    return sorted((root / "docs" / "decisions").glob("[0-9]*.md"))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _copied(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)


# ── from pages to the site ───────────────────────────────────────────────────────────────────────────────────────────


def build(root: Path = ROOT) -> str | None:
    """Make the site of the assembled pages; what Zensical says when it refuses, else None."""
    shutil.rmtree(root / "build" / "site", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return (done.stdout + done.stderr).partition("Traceback")[0] if done.returncode else None


# ── what was built ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Built(HTMLParser):
    """What matters of one built page: its anchors, where it links, what it loads, and which text it shows."""

    file: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    _silent: int = 0

    def __post_init__(self) -> None:
        """Read the file."""
        super().__init__()
        self.feed(self.file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names, links to or loads."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self._silent += tag in {"script", "style"}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        loading = {"href"} if tag == "link" and not {"canonical", "prev", "next"} & set(given.get("rel", "").split()) else set()
        loading |= {"src", "srcset", "poster", "data"} if tag not in {"a", "link"} else set()
        self.loads += [given[name] for name in sorted(loading) if given.get(name)]
        if "mermaid" in given.get("class", "").split():
            self.loads.append("mermaid")

    def handle_endtag(self, tag: str) -> None:
        """See `handle_starttag`."""
        self._silent -= tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        """Keep what a reader sees."""
        if not self._silent:
            self.text.append(data)


def faults(site: Path = SITE) -> list[str]:
    """What is wrong with the built site: links and anchors that lead nowhere, and what would be loaded from elsewhere."""
    pages = {file: Built(file) for file in sorted(site.rglob("*.html"))}
    return [
        f"{file.relative_to(site)}: {fault}"
        for file, page in pages.items()
        if file.name != "404.html"  # it is shown at any depth, so its links begin at the root
        for fault in _faults_of(page, pages, site)
    ]


def _faults_of(page: Built, pages: dict[Path, Built], site: Path) -> Iterator[str]:
    for loaded in page.loads:
        parts = urlsplit(loaded)
        if loaded == "mermaid":
            yield "a diagram that a script from elsewhere would have to draw"
        elif parts.scheme not in {"", "data"} or parts.netloc:
            yield f"loads {loaded} from elsewhere"
        elif parts.path and not parts.scheme and not _there(page, parts.path, site).is_file():
            yield f"loads {loaded}, which is not there"
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        there = _there(page, parts.path, site) if parts.path else page.file
        if not there.exists():
            yield f"links to {link}, which is not there"
        elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].anchors:
            yield f"links to {link}; the page has no such place"


def _there(page: Built, path: str, site: Path) -> Path:
    base = site if path.startswith("/") else page.file.parent
    found = Path(os.path.normpath(base / unquote(path).lstrip("/")))
    return found / "index.html" if found.is_dir() else found


def serve(port: int, site: Path = SITE) -> None:
    """Show the site on loopback until Ctrl-C."""
    handler: Callable[..., http.server.BaseHTTPRequestHandler] = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(site)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{port}/ shows it; Ctrl-C stops it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def main() -> int:
    """Build, and say where it is or what is wrong."""
    arguments = argparse.ArgumentParser(description="Build the documentation site.")
    arguments.add_argument("--serve", type=int, metavar="PORT", help="show it at this port of this machine afterwards")
    given = arguments.parse_args()
    try:
        assemble()
    except BrokenDocument as error:
        print(error, file=sys.stderr)
        return 1
    refused = build()
    if refused is not None:
        print(refused, file=sys.stderr)
        return 1
    wrong = faults()
    for fault in wrong:
        print(fault, file=sys.stderr)
    if not wrong:
        print(f"{SITE.relative_to(ROOT)}/index.html: {len(list(SITE.rglob('*.html')))} pages")
    if given.serve and not wrong:
        serve(given.serve)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
