"""The HTTP API of one node, version 1.

    app.py        the route table and `build_app`: read this first
    routes.py     what a row is; request -> decoded call -> handler -> JSON
    services.py   what the API needs from the daemon, as protocols; supplied by the daemon, faked by tests
    access.py     host allow-list, origin check, tokens and scopes, where the API may listen
    errors.py     OpenAI's error shape, the refusals only HTTP knows, the supervision boundary
    handlers/     one file a resource
    openai.py     models and chat completions
    events.py     `/v1/events`, as WebSocket and as SSE
    sse.py        server-sent events to a client that may stop reading
    openapi.py    `/openapi.json` from the route table
    server.py     the listening socket

State: the daemon owns everything. The application holds the `Services` it was given, the free question slots and the set of open
event streams. Nothing here reads a clock but through `Services.runtime`.
"""
