"""Prefect's server, which also counts what it is asked: GET /counts, and by route: GET /routes."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from prefect.server.api.server import create_app as create_prefect

_ID = re.compile(r"/[0-9a-f]{8}-[0-9a-f-]{27}")


def create_app() -> Any:
    """Return Prefect's application with a counter in front of it."""
    prefect = create_prefect()
    counts = {"requests": 0, "websocket_messages": 0}
    routes: Counter[str] = Counter()  # and, for logs, how many there were

    async def application(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path")
        if scope["type"] == "http" and path in ("/counts", "/routes"):
            body = json.dumps(counts if path == "/counts" else routes).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return
        if scope["type"] == "http":
            counts["requests"] += 1
            routes[f"{scope['method']} {_ID.sub('/{id}', path)}"] += 1

        async def counting_receive() -> Any:
            message = await receive()
            if message["type"] == "websocket.receive":
                counts["websocket_messages"] += 1
                routes[f"websocket {path}"] += 1
            elif message["type"] == "http.request" and path == "/api/logs/":
                bodies.append(message["body"])
                if not message.get("more_body"):
                    routes["log messages"] += len(json.loads(b"".join(bodies)))
            return message

        bodies: list[bytes] = []
        await prefect(scope, counting_receive if path is not None else receive, send)

    return application
