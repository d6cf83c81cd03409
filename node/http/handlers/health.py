"""Is it alive, is it ready, what does it count: open to probes and load balancers, save the figures."""

from __future__ import annotations

from aiohttp import web

from node.http.routes import Call, json_response
from protocol.api.faults import Health

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def healthz(_call: Call[None]) -> Health:
    """The process answers."""
    return Health("ok")


async def readyz(call: Call[None]) -> web.StreamResponse:
    """200 once the node can take part, 503 before."""
    ready = call.services.control.ready()
    return json_response(Health("ok" if ready else "starting"), 200 if ready else 503)


async def metrics(call: Call[None]) -> web.StreamResponse:
    """Prometheus text format."""
    return web.Response(body=call.services.control.metrics(), headers={"Content-Type": METRICS_TYPE})
