"""`avse serve`: the HTTP interface, where the server extra is installed."""

from importlib.util import find_spec
from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve the HTTP interface."""
    if find_spec("uvicorn") is None:
        raise typer.BadParameter("the server is not installed; run ./setup.sh server")
    if find_spec("server.main") is None:
        raise typer.BadParameter("this version has no server yet")
    import uvicorn

    uvicorn.run("server.main:create_app", factory=True, host=host, port=port)
