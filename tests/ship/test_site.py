"""The documentation site is built whole, leads nowhere wrong, and needs neither a network nor a script."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from scripts import site
from tests import rig
from tests.browser.chromium import launched

VISITED = ("index.html", "flows/checkout.html", "reference/settings.html", "operations.html", "faults.html", "decisions/index.html")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    site.assemble(pages=folder / "build" / "docs")
    shutil.copyfile(rig.ROOT / "zensical.toml", folder / "zensical.toml")
    assert site.build(folder) is None
    return folder / "build" / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


def test_every_document_is_a_page(built: Path) -> None:
    wanted = {site.place_of(document).removesuffix(".md") + ".html" for document in site.documents()}
    assert len(wanted) > 80
    assert {place for place in wanted if not (built / place).is_file()} == set()


def test_every_link_leads_somewhere_and_nothing_comes_from_elsewhere(built: Path) -> None:
    assert site.faults(built) == []


def test_every_table_and_list_of_a_document_is_one_on_its_page(built: Path) -> None:
    """Readers differ in what they need a blank line for; a table that is none shows its bars."""
    for file in built.rglob("*.html"):
        shown = "".join(site.Built(file).text)
        assert "|---" not in shown, file
        assert "| ---" not in shown, file


def test_diagrams_are_drawn(built: Path) -> None:
    page = (built / "flows" / "checkout.html").read_text()
    assert page.count("<svg xmlns") >= 3
    assert "stateDiagram" not in page


def test_source_that_is_linked_to_is_shown(built: Path) -> None:
    assert "RequestPayment" in (built / "source" / "proto" / "payments.proto.html").read_text()


def test_pages_are_read_from_a_disk_without_a_network(built: Path, browser: Browser) -> None:
    asked: list[str] = []
    context = browser.new_context(viewport={"width": 360, "height": 800})
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    for name in VISITED:
        page.goto((built / name).as_uri())
        assert page.locator("h1").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, f"{name} is wider than a phone"
    context.close()
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}


def test_pages_are_read_without_a_script(built: Path, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((built / "flows" / "checkout.html").as_uri())
    assert page.get_by_role("img", name="Moves between states").first.is_visible()
    page.get_by_role("link", name="operations").first.click()
    assert page.url.startswith((built / "operations.html").as_uri())
    assert page.locator("h1").first.is_visible()
    context.close()


# ── what the builder refuses ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "from elsewhere"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "from elsewhere"),
        ('<img src="gone.png">', "which is not there"),
        ('<a href="gone.html">x</a>', "which is not there"),
        ('<a href="other.html#gone">x</a>', "no such place"),
        ('<a href="#gone">x</a>', "no such place"),
        ('<pre class="mermaid">x</pre>', "a diagram"),
        ('<a href="https://example.com/">x</a><a href="other.html#there">y</a><link rel="canonical" href="https://e/">', ""),
    ],
)
def test_faults_of_a_page_are_found(tmp_path: Path, html: str, fault: str) -> None:
    (tmp_path / "index.html").write_text(html)
    (tmp_path / "other.html").write_text('<h1 id="there">There</h1>')
    found = site.faults(tmp_path)
    assert (len(found) == 1 and fault in found[0]) if fault else found == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[x](gone.md)", "gone.md"),
        ("[x](../../outside.md)", "outside.md"),
        ("[x](../src)", "the folder"),
        ("```mermaid\npie\n```\n", "pie"),
    ],
)
def test_a_broken_document_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "docs" / "decisions").mkdir(parents=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "docs" / "page.md").write_text(f"# Page\n\n{text}\n")
    with pytest.raises(site.BrokenDocument, match=r"docs/page\.md") as refused:
        site.assemble(tmp_path, tmp_path / "pages")
    assert named in str(refused.value)


def test_links_out_of_the_documents_lead_to_pages(tmp_path: Path) -> None:
    for folder in ("docs/deep", "docs/decisions", "src"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ARCHITECTURE.md").write_text("# Architecture\n\n[page](docs/deep/page.md)\n")
    (tmp_path / "src" / "a.py").write_text("print('```')\n")
    (tmp_path / ".env.example").write_text("#A=1\n")
    (tmp_path / "docs" / "deep" / "page.md").write_text(
        "# Page\n\nabove\n| a | b |\n|---|---|\n| [up](../../ARCHITECTURE.md#architecture) | [code](../../src/a.py), [hidden](../../.env.example) |\n\n```\n[kept](gone.md)\n```\n"
    )
    site.assemble(tmp_path, tmp_path / "pages")
    page = (tmp_path / "pages" / "deep" / "page.md").read_text()
    assert "[up](../architecture.md#architecture)" in page
    assert "[code](../source/src/a.py.md)" in page
    assert "[hidden](../source/dot.env.example.md)" in page
    assert "above\n\n| a | b |" in page
    assert "[kept](gone.md)" in page
    assert "(deep/page.md)" in (tmp_path / "pages" / "architecture.md").read_text()
    assert "````python\nprint('```')\n````" in (tmp_path / "pages" / "source" / "src" / "a.py.md").read_text()
