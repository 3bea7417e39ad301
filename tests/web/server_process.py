"""A server of its own, to be killed: `python -m tests.web.server_process DATABASE_URL` prints its port."""

import socket
import sys

import uvicorn

from bot import log
from bot.asgi import config
from bot.store.database import Database
from bot.store.deliveries import Intake
from tests.web.receiving import app


def main() -> None:
    """Serve until killed."""
    log.configure(level="ERROR")  # nobody reads the pipes
    url = sys.argv[1]
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def make() -> object:
        return app(Intake(url), ready=Database(url).ready)

    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config(make, factory=True, lifespan="on")).run([listener])


if __name__ == "__main__":
    main()
