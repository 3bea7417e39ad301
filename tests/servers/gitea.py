"""A Gitea server for one test run, with a few people on it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.servers import build
from tests.servers.gitea_account import Account, Files
from tests.servers.processes import GO, Process, StartError, free_port
from tests.servers.waiting import until

ADMIN = "site-admin"
PEOPLE = {"owner": "olivia", "writer": "wendy", "writer2": "walter", "reader": "rita", "forker": "frank"}
BOT = "sluice-bot"
SETTINGS = """
APP_NAME = Tests
RUN_MODE = prod
RUN_USER = {run_user}
WORK_PATH = {folder}
[database]
DB_TYPE = sqlite3
SQLITE_JOURNAL_MODE = WAL
SQLITE_TIMEOUT = 60000
PATH = {folder}/gitea.db
[repository]
SCRIPT_TYPE = sh
ROOT = {folder}/repositories
DEFAULT_BRANCH = main
[server]
PROTOCOL = http
HTTP_ADDR = {host}
HTTP_PORT = {port}
ROOT_URL = http://{host}:{port}/
LOCAL_ROOT_URL = http://{host}:{port}/
APP_DATA_PATH = {folder}/data
{static}
OFFLINE_MODE = true
{ssh}
LFS_START_SERVER = false
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
INTERNAL_TOKEN = {secret}
PASSWORD_HASH_ALGO = pbkdf2$1$8
[oauth2]
{oauth}
[service]
DISABLE_REGISTRATION = true
ENABLE_NOTIFY_MAIL = false
[webhook]
ALLOWED_HOST_LIST = *
DELIVER_TIMEOUT = 30
[api]
DEFAULT_PAGING_NUM = 30
MAX_RESPONSE_ITEMS = 50
[queue]
TYPE = channel
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = false
[packages]
ENABLED = false
[cron]
ENABLED = false
[cron.update_checker]
ENABLED = false
[log]
MODE = console
LEVEL = Info
"""

NO_SSH, NO_OAUTH = "DISABLE_SSH = true", "ENABLED = false"
SSH = """START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_DOMAIN = {host}
SSH_LISTEN_HOST = {host}
SSH_LISTEN_PORT = {port}
SSH_PORT = {port}
SSH_SERVER_HOST_KEYS = ssh/host.key"""
HOOK = """#!/bin/sh
[ "$3" = update ] && exit 0
GOGC=off GOMAXPROCS=1 exec {program} "$@"
"""
"""What Git runs before a push, after it, and for each branch (`update`), where Gitea has nothing to do but start."""

OAUTH = """ENABLED = true
JWT_SIGNING_ALGORITHM = HS256
JWT_SECRET = {secret}
INVALIDATE_REFRESH_TOKENS = true"""


class Gitea:
    """One server: ``owner``, ``writer``, ``writer2``, ``reader``, ``forker`` and ``bot`` are the people on it."""

    def __init__(self, host: str = "", *, all_doors: bool = False) -> None:
        """`all_doors` opens SSH and OAuth as well, which most tests need not wait for."""
        self.all_doors = all_doors
        self.ssh_port = 0
        self.host_key = ""
        self.host = host or os.environ.get("E2E_HOST", "127.0.0.1")
        self.url = ""
        self.folder = Path()
        self.git_token = ""
        """The bot's token that can only read repositories: the one that Flux fetches with."""
        self.accounts: dict[str, Account] = {}
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def owner(self) -> Account:
        """Owns the repositories."""
        return self.accounts["owner"]

    @property
    def writer(self) -> Account:
        """May push to the owner's repositories."""
        return self.accounts["writer"]

    @property
    def writer2(self) -> Account:
        """May push, too; the second pair of eyes."""
        return self.accounts["writer2"]

    @property
    def reader(self) -> Account:
        """May read the owner's repositories."""
        return self.accounts["reader"]

    @property
    def forker(self) -> Account:
        """Comes from outside and has forks."""
        return self.accounts["forker"]

    @property
    def bot(self) -> Account:
        """Sluice's own account, an administrator of the owner's repositories."""
        return self.accounts["bot"]

    def start(self) -> None:
        """Start the server and make its people."""
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-gitea-"))
        try:
            self._start()
        except BaseException as error:
            tail = self._process.tail() if self._process else ""
            if self._process:
                self._process.stop()
            if isinstance(error, StartError | TimeoutError):
                raise StartError(f"{error}\n{tail}\n(the log stays in {self.folder})") from error
            raise

    def stop(self) -> None:
        """Stop the server and remove its folder (E2E_SERVERS_KEEP=1 keeps it, with the log)."""
        for account in self.accounts.values():
            account.close()
        if self._process:
            self._process.stop()
        if not os.environ.get("E2E_SERVERS_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def pause(self) -> None:
        """Stop the server, keeping everything; `resume` brings it back at the same address."""
        assert self._process, "not started"
        self._process.stop(grace=5)

    def resume(self) -> None:
        """Start the server again."""
        assert self._process, "not started"
        self._process.start()
        self._wait()

    def create_repository(self, name: str, files: Files, *, private: bool = True) -> str:
        """A repository of the owner that the writers may push to, the reader may read and the bot administers."""
        full = self.owner.create_repository(name, files, private=private)
        for role, permission in (("writer", "write"), ("writer2", "write"), ("reader", "read"), ("bot", "admin")):
            self.owner.set_collaborator(full, self.accounts[role].name, permission)
        return full

    def clone_url(self, repository: str) -> str:
        """Where Flux fetches a repository."""
        return f"{self.url}/{repository}.git"

    def deliveries(self, hook: int) -> list[dict[str, Any]]:
        """What the server has sent to a hook so far: event, uuid, delivered, succeeded, request and response."""
        query = (
            "SELECT event_type, uuid, is_delivered, is_succeed, request_content, response_content, payload_content"
            " FROM hook_task WHERE hook_id = ? ORDER BY id"
        )
        rows = self._rows(query, hook)
        return [
            {
                "event": event,
                "uuid": uuid,
                "delivered": bool(delivered),
                "succeeded": bool(succeeded),
                "request": json.loads(request or "null"),
                "response": json.loads(response or "null"),
                "payload": json.loads(payload or "null"),
            }
            for event, uuid, delivered, succeeded, request, response, payload in rows
        ]

    def said(self, commit: str) -> list[tuple[Any, ...]]:
        """The statuses of a commit, as good as for nothing: whoever waits for one need not ask the server again."""
        return self._rows("SELECT id FROM commit_status WHERE sha = ? ORDER BY id", commit)

    def written(self, repository: str, number: int) -> list[tuple[Any, ...]]:
        """The comments of a pull request, in the same way."""
        query = """SELECT comment.id, comment.content FROM comment JOIN issue ON issue.id = comment.issue_id
            JOIN repository ON repository.id = issue.repo_id
            WHERE repository.owner_name || '/' || repository.name = ? AND issue."index" = ? ORDER BY comment.id"""
        return self._rows(query, repository, number)

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/gitea.db?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    def errors(self, count: int = 20) -> list[str]:
        """The last lines of its log that are warnings or worse."""
        lines = self._process.log.read_text(errors="replace").splitlines() if self._process else []
        return [line for line in lines if re.search(r" \[[WEF]\] ", line)][-count:]

    def _start(self) -> None:
        found = build.ensure(("gitea",), lambda text: print(text, file=sys.stderr))["gitea"]
        port = free_port(self.host)
        self.url = f"http://{self.host}:{port}"
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        program = self._place(found)
        self._write_settings(port, user.pw_name)
        account = -1
        if os.geteuid() == 0:
            account = user.pw_uid
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, user.pw_uid, user.pw_uid, follow_symlinks=False)
        env = {**GO, "HOME": str(self.folder), "USER": user.pw_name, "GITEA_WORK_DIR": str(self.folder)}
        settings = ["--config", str(self.folder / "app.ini")]
        self._process = Process("gitea", [*self._named(program), "web", *settings], self.folder, env, account)
        self._process.start()
        self._wait()
        self._make_people([str(program), "admin", "user", "create", *settings], env, account)

    def _place(self, found: Path) -> Path:
        """Bring the program where a user without rights can run it; the cache may lie in somebody's home."""
        program = self.folder / "gitea"
        _link(found, program)
        script = self.folder / "hook"
        script.write_text(HOOK.format(program=program))
        script.chmod(0o755)
        static = build.static_root("gitea")
        if static:
            shutil.copytree(static, self.folder / "static", copy_function=_link)
        return program

    def _named(self, program: Path) -> list[str]:
        """The program under the name of a script: that is what it has Git's hooks run."""
        return ["/bin/bash", "-c", 'exec -a "$0" "$@"', str(self.folder / "hook"), str(program)]

    def _write_settings(self, port: int, run_user: str) -> None:
        static = self.folder / "static"
        values = {"folder": self.folder, "host": self.host, "port": port, "run_user": run_user}
        root = f"STATIC_ROOT_PATH = {static}" if static.exists() else ""
        ssh, oauth = self._doors() if self.all_doors else (NO_SSH, NO_OAUTH)
        text = SETTINGS.format(**values, static=root, secret=secrets.token_hex(32), ssh=ssh, oauth=oauth)
        (self.folder / "app.ini").write_text(text)

    def _doors(self) -> tuple[str, str]:
        """The settings of SSH, with a host key that is known, and of OAuth."""
        self.ssh_port = free_port(self.host)
        key = Ed25519PrivateKey.generate()
        self.host_key = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        path = self.folder / "data/ssh/host.key"
        path.parent.mkdir(parents=True)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        path.chmod(0o600)
        return SSH.format(host=self.host, port=self.ssh_port), OAUTH.format(secret=secrets.token_urlsafe(32))

    def _wait(self) -> None:
        def answers() -> bool:
            assert self._process
            self._process.expect_running()
            with contextlib.suppress(httpx2.TransportError):  # to read all certificates takes longer than to ask
                return httpx2.get(f"{self.url}/api/healthz", timeout=2, verify=False).status_code == 200
            return False

        until(answers, 60, "Gitea answers")

    def _make_people(self, command: list[str], env: dict[str, str], account: int) -> None:
        password = secrets.token_urlsafe(16)
        words = ["--username", ADMIN, "--password", password, "--email", f"{ADMIN}@example.com", "--admin"]
        identity: dict[str, Any] = {} if account < 0 else {"user": account, "group": account, "extra_groups": []}
        made = subprocess.run(
            [*command, *words, "--must-change-password=false"],
            env={**os.environ, **env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            **identity,
        )
        if made.returncode:
            raise StartError(f"gitea admin user create: {made.stderr}{made.stdout}")
        self.accounts[ADMIN] = Account(self.url, ADMIN, password)
        with ThreadPoolExecutor(6) as pool:
            everybody = {**PEOPLE, "bot": BOT}
            accounts = pool.map(self._make_person, everybody.values())
            self.accounts.update(zip(everybody, accounts, strict=True))
        self.git_token = self.bot.create_token("flux", ["read:repository"])

    def _make_person(self, name: str) -> Account:
        password = secrets.token_urlsafe(16)
        body = {"username": name, "email": f"{name}@example.com", "password": password, "must_change_password": False}
        self.accounts[ADMIN].request("POST", "/admin/users", json=body)
        account = Account(self.url, name, password)
        account.token = account.create_token("tests", ["all"])
        return account


def _link(source: str | Path, target: str | Path) -> None:
    """The same file at another place: a link where the file system allows it, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
