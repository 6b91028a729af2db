"""``GET /docs``: Swagger UI, with a content policy that lets it run and nothing else."""

import base64
import hashlib
import re

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response

router = APIRouter()

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_ASSETS = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"
_ICON = "data:,"


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Show what can be asked, with the loaded model's fields, and let people try it."""
    root = request.scope.get("root_path", "").rstrip("/")
    reply = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title=request.app.title,
        swagger_js_url=f"{_ASSETS}swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}swagger-ui.css",
        swagger_favicon_url=_ICON,
    )
    reply.headers["Content-Security-Policy"] = content_policy(bytes(reply.body).decode())
    return reply


def content_policy(html: str) -> str:
    """Return a policy under which this page's own inline scripts run, by their digests, and no others."""
    digests = [
        "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
        for script in _SCRIPT.findall(html)
    ]
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src", _ASSETS, *digests]),
            # Swagger UI writes styles into elements.
            f"style-src {_ASSETS} 'unsafe-inline'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
