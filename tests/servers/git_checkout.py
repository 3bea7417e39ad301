"""Fetch a commit from a Git server and pack it, refusing what Flux's source-controller refuses."""

from __future__ import annotations

import base64
import fnmatch
import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

IGNORED = (
    *(".git", ".gitignore", ".gitmodules", ".gitattributes", ".github", ".circleci", ".travis.yml", ".gitlab-ci.yml"),
    *("appveyor.yml", ".drone.yml", "cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml"),
    *(".goreleaser.yml", ".sops.yaml", ".flux.yaml"),
    *("*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip"),
)
"""What source-controller leaves out of every artifact."""


class GitOperationFailed(Exception):
    """The text that the original puts into the conditions."""


@dataclass(frozen=True)
class Checkout:
    """The commit that a reference stands for, and how Flux writes it."""

    commit: str
    revision: str


class Mirror:
    """A bare copy of one remote repository, brought up to date by each checkout."""

    def __init__(self, folder: Path, url: str, credentials: Mapping[str, str], timeout: float = 60.0) -> None:
        self._folder = folder
        self._url = url
        self._timeout = timeout
        self._env = _environment(folder, credentials)
        if not (folder / "HEAD").exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare", ".")

    def checkout(self, ref: Mapping[str, str]) -> Checkout:
        """Find what `spec.ref` says, with the original's order of precedence."""
        branch = ref.get("branch", "")
        if commit := ref.get("commit"):
            return self._commit(commit, branch)
        if name := ref.get("name"):
            return Checkout(head := self._fetch(name), f"{name}@sha1:{head}")
        if tag := ref.get("tag"):
            return Checkout(head := self._fetch(f"refs/tags/{tag}"), f"{tag}@sha1:{head}")
        head = self._fetch(f"refs/heads/{branch or 'master'}")
        return Checkout(head, f"{branch or 'master'}@sha1:{head}")

    def pack(self, commit: str) -> bytes:
        """The commit's files as a tar.gz that is the same for the same commit, without symlinks."""
        packed = io.BytesIO()
        with (
            tarfile.open(fileobj=io.BytesIO(self._git("archive", "--format=tar", commit).stdout)) as found,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as target,
        ):
            for member in found:
                if (member.isreg() or member.isdir()) and not _ignored(member.name):
                    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
                    member.pax_headers = {}
                    target.addfile(member, found.extractfile(member) if member.isreg() else None)
        return gzip.compress(packed.getvalue(), mtime=0)

    def _commit(self, commit: str, branch: str) -> Checkout:
        """A commit counts only when it is reachable from the branch, or from any branch when none is named."""
        if branch:
            self._fetch(f"refs/heads/{branch}")
            tips = [f"refs/heads/{branch}"]
        else:
            self._run_fetch("+refs/heads/*:refs/heads/*", "refs/heads/*")
            tips = self._git("for-each-ref", "--format=%(refname)", "refs/heads").stdout.decode().split()
        if not any(self._git("merge-base", "--is-ancestor", commit, tip).returncode == 0 for tip in tips):
            raise GitOperationFailed(f"unable to resolve commit object for '{commit}': object not found")
        return Checkout(commit, f"{branch}@sha1:{commit}" if branch else f"sha1:{commit}")

    def _fetch(self, ref: str) -> str:
        self._run_fetch(f"+{ref}:{ref}", ref)
        return self._git("rev-parse", f"{ref}^{{commit}}").stdout.decode().strip()

    def _run_fetch(self, refspec: str, ref: str) -> None:
        try:
            done = self._git("fetch", "--quiet", "--no-tags", "--prune", "--no-write-fetch-head", self._url, refspec)
        except subprocess.TimeoutExpired:
            raise GitOperationFailed(f"unable to clone '{self._url}': context deadline exceeded") from None
        if done.returncode:
            raise GitOperationFailed(f"unable to clone '{self._url}': {self._reason(done.stderr.decode(), ref)}")

    def _reason(self, text: str, ref: str) -> str:
        if "couldn't find remote ref" in text:
            return f'couldn\'t find remote ref "{ref}"'
        if "Authentication failed" in text or "could not read Username" in text or "error: 403" in text:
            return "authentication required: Failed to authenticate user"
        if "not found" in text:
            return "repository not found: Not found."
        if "Failed to connect" in text or "Could not connect" in text:
            place = urlsplit(self._url)
            asked = f"{self._url}/info/refs?service=git-upload-pack"
            return f'Get "{asked}": dial tcp {place.hostname}:{place.port}: connect: connection refused'
        return text.strip().removeprefix("fatal: ")

    def _git(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["git", *words], cwd=self._folder, env=self._env, capture_output=True, timeout=self._timeout
        )


def _environment(folder: Path, credentials: Mapping[str, str]) -> dict[str, str]:
    """Git's environment: nobody's settings, no questions, and the credentials where no process list shows them."""
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    env["GIT_TERMINAL_PROMPT"] = "0"
    header = ""
    if token := credentials.get("bearerToken"):
        header = f"Authorization: Bearer {token}"
    elif user := credentials.get("username"):
        pair = f"{user}:{credentials.get('password', '')}".encode()
        header = f"Authorization: Basic {base64.b64encode(pair).decode()}"
    if header:
        env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader", "GIT_CONFIG_VALUE_0": header}
    return env


def _ignored(name: str) -> bool:
    return any(fnmatch.fnmatch(part, pattern) for part in PurePosixPath(name).parts for pattern in IGNORED)
