"""`avse serve`: the HTTP interface, where the server extra is installed."""

from importlib.util import find_spec
from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve the HTTP interface; AVSE_... variables of the environment hold the settings."""
    if find_spec("uvicorn") is None or find_spec("fastapi") is None:
        raise typer.BadParameter("the server is not installed; run ./setup.sh server")
    import uvicorn

    uvicorn.run(
        "server.main:create_app",
        factory=True,
        host=host,
        port=port,
        http="server.protocol:PatientProtocol",
        ws="none",
        # The app logs requests itself, as JSON and without paths.
        log_config=None,
        access_log=False,
        server_header=False,
        # The app has drained before uvicorn stops; what is left is idle connections.
        timeout_graceful_shutdown=2,
    )
