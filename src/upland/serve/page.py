"""The page at /docs, which asks no other host for anything."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI, Response

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def add_page(app: FastAPI) -> None:
    """Add the page, which reads the description of the addresses, at `/docs` and `/`.

    Args:
        app: the application.
    """
    text = files("upland.serve").joinpath("page.html").read_text("utf-8")

    async def page() -> Response:
        return Response(text, headers=HEADERS, media_type="text/html; charset=utf-8")

    for path in ("/", "/docs"):
        app.add_api_route(path, page, include_in_schema=False)
