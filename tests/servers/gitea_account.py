"""What one person does on a Gitea server: its REST interface, as far as the tests speak it."""

from __future__ import annotations

import base64
import itertools
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from tests.servers.waiting import until

Object = dict[str, Any]
Files = Mapping[str, str | bytes | None]
"""Path and new content; None deletes the file."""

PAGE = 20
EVENTS = ("push", "create", "delete", "pull_request", "pull_request_sync", "issue_comment", "pull_request_comment")


class GiteaError(Exception):
    """An answer that is not a success."""

    def __init__(self, response: httpx2.Response) -> None:
        request = response.request
        super().__init__(f"{request.method} {request.url.path}: {response.status_code} {response.text[:500]}")
        self.status = response.status_code


class Account:
    """One user of the server; repositories are named ``owner/name``."""

    def __init__(self, url: str, name: str, password: str, token: str = "") -> None:
        self.url = url
        self.name = name
        self.password = password
        self.token = token
        self._client = httpx2.Client(base_url=f"{url}/api/v1", timeout=90, verify=False)  # it speaks plain HTTP

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def request(self, method: str, path: str, *, ok: Sequence[int] = (), **options: Any) -> Any:
        """What the server answers to any request; GiteaError unless it is a success or one of `ok` (then None).

        By password: for each request with a token the server hashes 10,000 times and writes down when it was used.
        """
        response = self._client.request(method, path, auth=(self.name, self.password), **options)
        if response.status_code in ok:
            return None
        if response.is_error:
            raise GiteaError(response)
        return response.json() if response.content else None

    def pages(self, path: str, **params: Any) -> Iterator[Object]:
        """Every item of a list, page after page."""
        for page in itertools.count(1):
            items = self.request("GET", path, params={**params, "page": page, "limit": PAGE})
            yield from items
            if len(items) < PAGE:
                return

    # Repositories and commits

    def create_repository(self, name: str, files: Files, *, private: bool = True) -> str:
        """Make a repository whose branch `main` has these files in one commit; returns its full name."""
        body = {"name": name, "private": private, "default_branch": "main", "auto_init": False}
        full: str = self.request("POST", "/user/repos", json=body)["full_name"]
        if files:
            self.commit(full, files, message="Start")
        return full

    def fork(self, repository: str, name: str = "") -> str:
        """Fork a repository into this account; returns the fork's full name."""
        answer = self.request("POST", f"/repos/{repository}/forks", json={"name": name} if name else {})
        full: str = answer["full_name"]
        until(lambda: self.head(full, "main"), 20, f"{full} is there")
        return full

    def commit(
        self, repository: str, files: Files, *, message: str = "Change", branch: str = "main", new_branch: str = ""
    ) -> str:
        """Write and delete files in one commit, on the branch or on a new one that starts there; returns its SHA."""
        body: Object = {"branch": branch, "message": message, "files": self._operations(repository, files, branch)}
        if new_branch:
            body["new_branch"] = new_branch
        answer = self.request("POST", f"/repos/{repository}/contents", json=body)
        return str(answer["commit"]["sha"])

    def _operations(self, repository: str, files: Files, branch: str) -> list[Object]:
        operations: list[Object] = []
        for path, content in files.items():
            if content is None:
                old = self.request("GET", f"/repos/{repository}/contents/{quote(path)}", params={"ref": branch})
                operations.append({"operation": "delete", "path": path, "sha": old["sha"]})
            else:
                raw = content.encode() if isinstance(content, str) else content
                encoded = base64.b64encode(raw).decode()
                operations.append({"operation": "upload", "path": path, "content": encoded})
        return operations

    def read(self, repository: str, path: str, ref: str = "main") -> str:
        """The text of one file."""
        answer = self.request("GET", f"/repos/{repository}/contents/{quote(path)}", params={"ref": ref})
        return base64.b64decode(answer["content"]).decode()

    # Branches

    def branches(self, repository: str) -> dict[str, str]:
        """Each branch with its head."""
        return {each["name"]: each["commit"]["id"] for each in self.pages(f"/repos/{repository}/branches")}

    def head(self, repository: str, branch: str = "main") -> str | None:
        """The SHA of a branch's head, or None."""
        answer = self.request("GET", f"/repos/{repository}/branches/{quote(branch)}", ok=[404])
        return answer["commit"]["id"] if answer else None

    def create_branch(self, repository: str, branch: str, at: str = "main") -> None:
        """Make a branch at a commit or another branch."""
        body = {"new_branch_name": branch, "old_ref_name": at}
        self.request("POST", f"/repos/{repository}/branches", json=body)

    def delete_branch(self, repository: str, branch: str) -> None:
        """Delete a branch."""
        self.request("DELETE", f"/repos/{repository}/branches/{quote(branch)}")

    def move_branch(self, repository: str, branch: str, sha: str) -> None:
        """Let a branch point to a commit that the repository has, forwards or not (a force push of an old commit)."""
        body = {"new_commit_id": sha, "force": True}
        self.request("PUT", f"/repos/{repository}/branches/{quote(branch)}", json=body)

    def force_push(self, repository: str, branch: str, files: Files, onto: str, message: str = "Rewrite") -> str:
        """Push, by Git and with force, a new commit on top of `onto`; returns its SHA."""
        with tempfile.TemporaryDirectory(prefix="sluice-push-") as name:
            folder = Path(name)
            place = urlsplit(self.url)
            remote = f"{place.scheme}://{self.name}:{self.token}@{place.netloc}/{repository}.git"
            self._git(folder, "clone", "--quiet", remote, ".")
            self._git(folder, "checkout", "--quiet", "--detach", onto)
            for path, content in files.items():
                target = folder / path
                if content is None:
                    target.unlink()
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.encode() if isinstance(content, str) else content)
            self._git(folder, "add", "--all")
            self._git(folder, "commit", "--quiet", "--allow-empty", "-m", message)
            self._git(folder, "push", "--quiet", "--force", remote, f"HEAD:refs/heads/{branch}")
            return self._git(folder, "rev-parse", "HEAD").strip()

    def _git(self, folder: Path, *words: str) -> str:
        who = ("-c", f"user.name={self.name}", "-c", f"user.email={self.name}@example.com")
        done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"git {words[0]}: {done.stderr.replace(self.token, '***')}")
        return done.stdout

    # Pull requests, comments, statuses

    def open_pull(self, repository: str, head: str, *, base: str = "main", title: str = "A change") -> int:
        """Open a pull request from a branch (``owner:branch`` for a fork's); returns its number."""
        body = {"head": head, "base": base, "title": title}
        return int(self.request("POST", f"/repos/{repository}/pulls", json=body)["number"])

    def pull(self, repository: str, number: int) -> Object:
        """The pull request as the server describes it."""
        return dict(self.request("GET", f"/repos/{repository}/pulls/{number}"))

    def merge_pull(self, repository: str, number: int, style: str = "merge") -> str:
        """Merge (or `squash`, `rebase`) as soon as the server can; returns the SHA of what came of it."""
        path = f"/repos/{repository}/pulls/{number}"
        until(lambda: self.pull(repository, number)["mergeable"], 20, f"{path} can be merged")

        def taken() -> bool:
            try:
                self.request("POST", f"{path}/merge", json={"Do": style})
            except GiteaError as error:
                if error.status != 405:  # "Please try again later": it looks for conflicts
                    raise
                return False
            return True

        until(taken, 20, f"{path} is taken for a merge")
        return str(until(lambda: self.pull(repository, number)["merge_commit_sha"], 10, f"{path} is merged"))

    def close_pull(self, repository: str, number: int) -> None:
        """Close a pull request without merging it."""
        self.request("PATCH", f"/repos/{repository}/pulls/{number}", json={"state": "closed"})

    def reopen_pull(self, repository: str, number: int) -> None:
        """Open it again."""
        self.request("PATCH", f"/repos/{repository}/pulls/{number}", json={"state": "open"})

    def review(self, repository: str, number: int, event: str = "APPROVED", text: str = "") -> None:
        """Review a pull request: APPROVED, REQUEST_CHANGES or COMMENT."""
        path = f"/repos/{repository}/pulls/{number}/reviews"
        self.request("POST", path, json={"event": event, "body": text})

    def comment(self, repository: str, number: int, text: str) -> int:
        """Comment on a pull request; returns the comment's id."""
        path = f"/repos/{repository}/issues/{number}/comments"
        return int(self.request("POST", path, json={"body": text})["id"])

    def edit_comment(self, repository: str, comment: int, text: str) -> None:
        """Change what a comment says."""
        self.request("PATCH", f"/repos/{repository}/issues/comments/{comment}", json={"body": text})

    def delete_comment(self, repository: str, comment: int) -> None:
        """Delete a comment."""
        self.request("DELETE", f"/repos/{repository}/issues/comments/{comment}")

    def comments(self, repository: str, number: int, by: str = "") -> list[Object]:
        """All comments of a pull request, oldest first; only one person's when `by` is given."""
        found = self.request("GET", f"/repos/{repository}/issues/{number}/comments")  # this list has no pages
        return [each for each in found if not by or each["user"]["login"] == by]

    def statuses(self, repository: str, sha: str, context: str = "") -> list[Object]:
        """All statuses of a commit in the order in which they were made; only one context's when that is given."""
        found = sorted(self.pages(f"/repos/{repository}/commits/{sha}/statuses"), key=lambda each: int(each["id"]))
        return [each for each in found if not context or each["context"] == context]

    def set_status(self, repository: str, sha: str, context: str, state: str, description: str = "") -> None:
        """Set a commit's status: pending, success, error, failure, warning or skipped."""
        body = {"context": context, "state": state, "description": description}
        self.request("POST", f"/repos/{repository}/statuses/{sha}", json=body)

    # Hooks, collaborators, tokens

    def create_hook(self, repository: str, url: str, secret: str, events: Sequence[str] = EVENTS) -> int:
        """Let the server call this URL at these events; returns the hook's id."""
        settings = {"url": url, "content_type": "json", "secret": secret}
        body = {"type": "gitea", "config": settings, "events": list(events), "active": True}
        return int(self.request("POST", f"/repos/{repository}/hooks", json=body)["id"])

    def hooks(self, repository: str) -> list[Object]:
        """The repository's hooks."""
        return list(self.pages(f"/repos/{repository}/hooks"))

    def delete_hook(self, repository: str, hook: int) -> None:
        """Remove a hook."""
        self.request("DELETE", f"/repos/{repository}/hooks/{hook}")

    def set_collaborator(self, repository: str, user: str, permission: str) -> None:
        """Give a user `read`, `write` or `admin` access."""
        path = f"/repos/{repository}/collaborators/{user}"
        self.request("PUT", path, json={"permission": permission})

    def remove_collaborator(self, repository: str, user: str) -> None:
        """Take a user's access away."""
        self.request("DELETE", f"/repos/{repository}/collaborators/{user}")

    def create_token(self, name: str, scopes: Sequence[str]) -> str:
        """Make another token for this account, for example with only `read:repository`."""
        answer = self.request("POST", f"/users/{self.name}/tokens", json={"name": name, "scopes": list(scopes)})
        return str(answer["sha1"])

    def revoke_token(self, name: str) -> None:
        """Make a token worthless."""
        self.request("DELETE", f"/users/{self.name}/tokens/{quote(name)}")
