"""The plain page for browsers: peers, files, search. Works without scripts, and has none.

All that peers say is escaped by the template; the page's policy forbids whatever might get past that.
"""

from collections.abc import Callable

from flask import Flask, Response, make_response, render_template

from shoal.names import printable
from shoal.units import show_size
from tracker.store import Store

ROWS = 200
"""Files on one page."""


def add_page(app: Flask, store: Store) -> Callable[[str, str], Response]:
    """Gives the app what the page needs; returns what shows it: (words to search for, after which path) → page."""
    app.jinja_env.filters["size"] = show_size
    app.jinja_env.filters["printable"] = printable

    def show(q: str, after: str) -> Response:
        page = store.files("", q, ROWS, after)
        peers = store.peers()
        response = make_response(
            render_template(
                "index.html",
                q=q,
                peers=peers,
                names={peer.id: peer.name for peer in peers},
                files=page.files,
                settling=page.settling,
                more=page.files[-1].path if len(page.files) >= ROWS else "",
                totals=store.totals(),
            )
        )
        response.headers["Vary"] = "Accept"
        return response

    return show
