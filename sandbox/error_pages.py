"""Error pages that come with status 200 in place of a recording, and tell their reader what was asked: signature and all."""

from __future__ import annotations

import json
from html import escape
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, JSONResponse, Response

from sandbox.faults import Fault, FaultBoard
from sandbox.signatures import P_SIGNATURE

_HTML = (
    "<!doctype html><html><head><title>Service unavailable</title></head><body><h1>Try again later</h1>"
    '<p>Request {number}: <a href="{address}">{address}</a></p></body></html>'
)
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="80"><text y="20">Service unavailable</text>'
    '<text y="50">request {number}, signature {signature}</text></svg>'
)


def error_page(faults: FaultBoard, path: str, query: str, number: int) -> Response | None:
    """Return the page that a fault puts in place of the ``number``-th GET of a recording, or None."""
    address = f"{path}?{query}"
    signature = "".join(parse_qs(query).get(P_SIGNATURE, []))
    if faults.has(Fault.MEDIA_HTML):
        return HTMLResponse(_HTML.format(number=number, address=escape(address)))
    if faults.has(Fault.MEDIA_SVG):
        return Response(_SVG.format(number=number, signature=signature), media_type="image/svg+xml")
    if faults.has(Fault.MEDIA_JSON):
        body = {
            "error": "service unavailable",
            "request": number,
            "signature": signature,
            "question": json.dumps({"url": address}),
        }
        return JSONResponse(body)
    return None
