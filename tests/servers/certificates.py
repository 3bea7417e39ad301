"""The certificates of a test cluster, made with the openssl program: one authority, one key for all its users."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.servers.processes import StartError


class Authority:
    """A certificate authority in a folder, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "ca.key"
        self.certificate = folder / "ca.crt"
        self.user_key = folder / "user.key"
        self.accounts_key = folder / "accounts.key"
        self.accounts_public_key = folder / "accounts.pub"
        self.server_key = self.user_key
        self.server_certificate = folder / "server.crt"

    def create(self) -> None:
        """Make the authority, the key that service account tokens are signed with, and the server's certificate."""
        for key in (self.key, self.user_key, self.accounts_key):
            new_key(key)
        openssl("pkey", "-in", self.accounts_key, "-pubout", "-out", self.accounts_public_key)
        openssl("req", "-x509", "-new", "-key", self.key, "-subj", "/CN=tests", "-days", "2", "-out", self.certificate)
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:kubernetes.default.svc"
        self.server_certificate.write_text(self._sign("/CN=localhost", "-addext", names))

    def kubeconfig(self, server: str, user: str, groups: Sequence[str]) -> dict[str, Any]:
        """A kubeconfig for a user of this name in these groups."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        certificate = self._sign(subject, "-addext", "extendedKeyUsage=clientAuth")
        return client_config(server, self.certificate.read_text(), user, self.user_key.read_text(), certificate)

    def _sign(self, subject: str, *more: str) -> str:
        authority = ("-CA", self.certificate, "-CAkey", self.key)
        return openssl("req", "-x509", "-new", "-key", self.user_key, *authority, "-subj", subject, "-days", "2", *more)


def new_key(path: Path) -> None:
    """Write a new private key."""
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    path.chmod(0o600)


def openssl(*words: str | Path) -> str:
    """Run openssl and return what it prints."""
    program = shutil.which("openssl")
    if program is None:
        raise StartError("the openssl program (version 3) is missing; on Debian: apt-get install openssl")
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise StartError(f"openssl {words[0]} failed: {done.stderr}")
    return done.stdout


def client_config(server: str, authority: str, user: str, key: str, certificate: str) -> dict[str, Any]:
    """A kubeconfig with everything in it."""
    identity = {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "tests", "cluster": {"server": server, "certificate-authority-data": _encoded(authority)}}
        ],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
        "current-context": "tests",
    }


def write_kubeconfig(path: Path, config: dict[str, Any]) -> Path:
    """Write it for the owner's eyes only."""
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
