"""Prefect's server, which also counts what it is asked: GET /counts."""

from __future__ import annotations

import json
from typing import Any

from prefect.server.api.server import create_app as create_prefect


def create_app() -> Any:
    """Return Prefect's application with a counter in front of it."""
    prefect = create_prefect()
    counts = {"requests": 0, "websocket_messages": 0}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/counts":
            body = json.dumps(counts).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return
        if scope["type"] == "http":
            counts["requests"] += 1

        async def counting_receive() -> Any:
            message = await receive()
            counts["websocket_messages"] += message["type"] == "websocket.receive"
            return message

        is_websocket = scope["type"] == "websocket"
        await prefect(scope, counting_receive if is_websocket else receive, send)

    return application
