"""Serves the repositories of a Git store over HTTP, for a Flux outside this process."""

import threading
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich.repo import Repo
from dulwich.server import BackendRepo, DictBackend
from dulwich.web import make_wsgi_chain


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class GitServer:
    """From `start` to `stop`, on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self._repos: dict[str, BackendRepo] = {}
        for path in folder.glob("*/*.git"):
            self._repos[f"/{path.relative_to(folder)}"] = Repo(str(path))
        app = make_wsgi_chain(DictBackend(self._repos))
        self._server: WSGIServer = make_server("127.0.0.1", 0, app, handler_class=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for repo in self._repos.values():
            if isinstance(repo, Repo):
                repo.close()
