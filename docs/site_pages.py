"""MkDocs hook: files outside docs/ that pages link to become pages of the site.

Pages link to files of the repository by relative paths, as a code host shows them. Each Markdown file so
linked becomes a page under `repository/`, any other file a page that shows its text, and links change.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import relpath
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OUTSIDE = "repository/"
LINK = re.compile(r"(?P<before>\]\()(?P<path>[^)\s#:]+)(?P<after>(#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """The files of the site with those that its pages link to."""
    waiting = [DOCS / file.src_uri for file in files.documentation_pages()]
    waiting += [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")]
    while waiting:
        path = waiting.pop()
        if files.get_file_from_path(_uri(path)) is None:
            files.append(
                File.generated(
                    config, _uri(path), content=_content(path), inclusion=InclusionLevel.NOT_IN_NAV
                )
            )
        if path.suffix == ".md":
            waiting += [target for target in _targets(path) if files.get_file_from_path(_uri(target)) is None]
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page with its links to files of the repository as links inside the site."""
    uri = page.file.src_uri
    origin = ROOT / uri.removeprefix(OUTSIDE) if uri.startswith(OUTSIDE) else DOCS / uri

    def inside(found: re.Match[str]) -> str:
        target = _target(origin, found["path"])
        if target is None:
            return found[0]
        return found["before"] + relpath(_uri(target), str(PurePosixPath(uri).parent)) + found["after"]

    return LINK.sub(inside, markdown)


def _targets(page: Path) -> list[Path]:
    links = LINK.finditer(page.read_text(encoding="utf-8"))
    return [target for found in links if (target := _target(page, found["path"])) is not None]


def _target(page: Path, link: str) -> Path | None:
    """The file of the repository that a link leads to."""
    path = (page.parent / link).resolve()
    return path if path.is_file() and path.is_relative_to(ROOT) else None


def _uri(path: Path) -> str:
    """Where a file stands in the site's sources."""
    if path.is_relative_to(DOCS) and path.suffix != ".py":
        return path.relative_to(DOCS).as_posix()
    return OUTSIDE + path.relative_to(ROOT).as_posix() + ("" if path.suffix == ".md" else ".md")


def _content(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return f"# {path.name}\n\n```{path.suffix.removeprefix('.')}\n{text}```\n"
