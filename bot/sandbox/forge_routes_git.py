"""The sandbox forge's endpoints about repositories, branches, commits and files."""

from __future__ import annotations

import base64
from typing import Any

from bot.sandbox.forge_acts import Acts
from bot.sandbox.forge_http import Handler, Rates, Reply, RepositoryHandler, Request, Router, given, optional, paged
from bot.sandbox.forge_shapes import Json, Shapes
from bot.sandbox.forge_state import Refusal, Repository, State, User, invalid
from bot.sandbox.git import TreeEntry

_REPOSITORY = "/repos/{owner}/{repo}"
_MOST_COMPARED_FILES = 300
_ENCODED_LINE = 60


def on_repository(state: State, needed: str, handler: RepositoryHandler, *, login: bool = False) -> Handler:
    """An endpoint of one repository: 404 where it cannot be seen, 403 where the role is too low."""

    def handle(request: Request) -> Reply:
        if login:
            request.actor()
        repository = state.repository(f"{request.params['owner']}/{request.params['repo']}")
        state.require(repository, request.user, needed)
        return handler(request, repository)

    return handle


class GitRoutes:
    """Reads and writes of Git data."""

    def __init__(self, state: State, shapes: Shapes, acts: Acts, rates: Rates) -> None:
        self.tree_limit = 100_000
        self._state = state
        self._store = state.store
        self._shapes = shapes
        self._acts = acts
        self._rates = rates

    def add_to(self, router: Router) -> None:
        """Register every endpoint; longer ones of the same beginning come first."""

        def add(method: str, tail: str, handler: RepositoryHandler, needed: str = "read") -> None:
            login = method != "GET"
            router.add(method, _REPOSITORY + tail, on_repository(self._state, needed, handler, login=login))

        router.add("GET", "/user", lambda request: Reply(200, self._shapes.me(request.actor())))
        router.add("GET", "/users/{login}", self._user)
        router.add("GET", "/rate_limit", self._rate_limit)
        add("GET", "", self._repository)
        add("GET", "/collaborators/{login}/permission", self._permission, "write")
        add("GET", "/branches", self._branches)
        add("GET", "/branches/{branch:path}", self._branch)
        add("GET", "/git/ref/{ref:path}", self._ref)
        add("GET", "/git/matching-refs/{ref:path}", self._matching_refs)
        add("POST", "/git/refs", self._create_ref, "write")
        add("PATCH", "/git/refs/{ref:path}", self._move_ref, "write")
        add("DELETE", "/git/refs/{ref:path}", self._delete_ref, "write")
        add("GET", "/git/commits/{sha}", self._git_commit)
        add("GET", "/git/trees/{sha:path}", self._tree)
        add("GET", "/git/blobs/{sha}", self._blob)
        add("POST", "/git/blobs", self._make_blob, "write")
        add("POST", "/git/trees", self._make_tree, "write")
        add("POST", "/git/commits", self._make_commit, "write")
        add("GET", "/contents", self._contents)
        add("GET", "/contents/{path:path}", self._contents)
        add("GET", "/compare/{span:path}", self._compare)
        add("GET", "/commits", self._commits)

    def add_commit_to(self, router: Router) -> None:
        """The endpoint of one commit by any name, which has to come after its longer siblings."""
        handler = on_repository(self._state, "read", self._commit)
        router.add("GET", f"{_REPOSITORY}/commits/{{ref:path}}", handler)

    # People and repositories

    def _user(self, request: Request) -> Reply:
        return Reply(200, self._shapes.me(self._state.user(request.params["login"])))

    def _rate_limit(self, request: Request) -> Reply:
        rates = self._rates.show(request.user)
        return Reply(200, {"resources": {"core": rates, "search": rates}, "rate": rates})

    def _repository(self, request: Request, repository: Repository) -> Reply:
        return Reply(200, self._shapes.repository(repository, request.user, rights=True))

    def _permission(self, request: Request, repository: Repository) -> Reply:
        user: User = self._state.user(request.params["login"])
        if user.type != "User":
            raise Refusal(404, f"{user.login} is not a user")
        return Reply(200, self._shapes.permission(repository, user))

    # Branches and refs

    def _short_branch(self, repository: Repository, branch: str, sha: str) -> Json:
        commit = {"sha": sha, "url": self._shapes.link(repository, f"/commits/{sha}")}
        return {"name": branch, "commit": commit, "protected": False}

    def _branches(self, request: Request, repository: Repository) -> Reply:
        found = list(self._store.branches(repository.full_name).items())
        return paged(request, found, lambda item: self._short_branch(repository, *item))

    def _branch(self, request: Request, repository: Repository) -> Reply:
        branch = request.params["branch"]
        sha = self._store.head(repository.full_name, branch)
        if sha is None:
            raise Refusal(404, "Branch not found")
        url, page = self._shapes.link(repository, f"/branches/{branch}"), self._shapes.page(repository)
        checks: Json = {"enforcement_level": "off", "contexts": [], "checks": []}
        return Reply(
            200,
            {
                "name": branch,
                "commit": self._shapes.commit(repository, sha),
                "_links": {"self": url, "html": f"{page}/tree/{branch}"},
                "protected": False,
                "protection": {"enabled": False, "required_status_checks": checks},
                "protection_url": f"{url}/protection",
            },
        )

    def _shown_ref(self, repository: Repository, ref: str, sha: str) -> Json:
        target = {"sha": sha, "type": "commit", "url": self._shapes.link(repository, f"/git/commits/{sha}")}
        url = self._shapes.link(repository, f"/git/{ref}")
        return {"ref": ref, "node_id": base64.b64encode(ref.encode()).decode(), "url": url, "object": target}

    def _ref(self, request: Request, repository: Repository) -> Reply:
        ref = f"refs/{request.params['ref']}"
        sha = self._store.read_ref(repository.full_name, ref)
        if sha is None:
            raise Refusal(404, "Not Found")
        return Reply(200, self._shown_ref(repository, ref, sha))

    def _matching_refs(self, request: Request, repository: Repository) -> Reply:
        prefix = f"refs/{request.params['ref']}"
        every = ((f"refs/heads/{name}", sha) for name, sha in self._store.branches(repository.full_name).items())
        found = [(ref, sha) for ref, sha in every if ref.startswith(prefix)]
        return paged(request, found, lambda item: self._shown_ref(repository, *item))

    def _create_ref(self, request: Request, repository: Repository) -> Reply:
        body = request.json()
        ref, sha = given(body, "Reference", "ref"), given(body, "Reference", "sha")
        if not ref.startswith("refs/heads/"):
            raise Refusal(422, "Reference name must start with 'refs/heads/' in the sandbox.")
        self._acts.create_branch(repository, ref.removeprefix("refs/heads/"), sha, request.actor())
        shown = self._shown_ref(repository, ref, sha)
        return Reply(201, shown, {"Location": shown["url"]})

    def _move_ref(self, request: Request, repository: Repository) -> Reply:
        body, branch = request.json(), self._own_branch(request)
        sha = given(body, "Reference", "sha")
        self._acts.move_branch(repository, branch, sha, request.actor(), force=body.get("force") is True)
        return Reply(200, self._shown_ref(repository, f"refs/heads/{branch}", sha))

    def _delete_ref(self, request: Request, repository: Repository) -> Reply:
        self._acts.delete_branch(repository, self._own_branch(request), request.actor())
        return Reply(204)

    def _own_branch(self, request: Request) -> str:
        kind, _, branch = request.params["ref"].partition("/")
        if kind != "heads" or not branch:
            raise Refusal(422, "Reference does not exist")
        return branch

    # Commits

    def _resolved(self, repository: Repository, name: str, status: int = 422) -> str:
        sha = self._store.resolve(repository.full_name, name)
        if sha is None:
            raise Refusal(status, f"No commit found for SHA: {name}" if status == 422 else "Not Found")
        return sha

    def _commit(self, request: Request, repository: Repository) -> Reply:
        sha = self._resolved(repository, request.params["ref"])
        if "application/vnd.github.sha" in request.headers.get("accept", ""):
            return Reply(200, sha.encode(), {"Content-Type": "application/vnd.github.sha; charset=utf-8"})
        shown = self._shapes.commit(repository, sha)
        parents = self._shapes.info(repository, sha).parents
        files = self._shapes.changes(repository, parents[0] if parents else None, sha)
        return Reply(200, {**shown, "stats": _stats(files), "files": files[:_MOST_COMPARED_FILES]})

    def _commits(self, request: Request, repository: Repository) -> Reply:
        start = self._resolved(repository, request.query.get("sha") or repository.default_branch, 404)
        found = self._store.history(repository.full_name, start)[::-1]
        return paged(request, found, lambda sha: self._shapes.commit(repository, sha))

    def _git_commit(self, request: Request, repository: Repository) -> Reply:
        sha = request.params["sha"]
        if self._store.resolve(repository.full_name, sha) != sha:
            raise Refusal(404, "Not Found")
        return Reply(200, self._shapes.git_commit(repository, sha))

    def _compare(self, request: Request, repository: Repository) -> Reply:
        left, dots, right = request.params["span"].partition("...")
        if not dots:
            raise Refusal(404, "Not Found")
        base, head = self._side(repository, left), self._side(repository, right)
        name, shapes = repository.full_name, self._shapes
        common = self._store.merge_base(name, base, head)
        if common is None:
            raise Refusal(404, f"No common ancestor between {left} and {right}.")
        ahead, behind = self._store.history(name, head, base), self._store.history(name, base, head)
        statuses = {(True, False): "ahead", (False, True): "behind", (False, False): "identical"}
        page = shapes.page(repository, f"/compare/{left}...{right}")
        commits = paged(request, ahead, lambda sha: shapes.commit(repository, sha))
        files = shapes.changes(repository, common, head) if request.query.get("page", "1") == "1" else []
        body = {
            "url": shapes.link(repository, f"/compare/{left}...{right}"),
            "html_url": page,
            "permalink_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "base_commit": shapes.commit(repository, base),
            "merge_base_commit": shapes.commit(repository, common),
            "status": statuses.get((bool(ahead), bool(behind)), "diverged"),
            "ahead_by": len(ahead),
            "behind_by": len(behind),
            "total_commits": len(ahead),
            "commits": commits.body,
            "files": files[:_MOST_COMPARED_FILES],
        }
        return Reply(200, body, commits.headers)

    def _side(self, repository: Repository, name: str) -> str:
        owner, colon, branch = name.partition(":")
        if not colon or owner.lower() == repository.owner.login.lower():
            return self._resolved(repository, branch or name, 404)
        for other in self._state.repositories.values():
            if other.root is repository.root and other.owner.login.lower() == owner.lower():
                sha = self._resolved(other, branch, 404)
                self._store.borrow(other.full_name, sha, repository.full_name)
                return sha
        raise Refusal(404, "Not Found")

    # Trees and files

    def _tree(self, request: Request, repository: Repository) -> Reply:
        name = request.params["sha"]
        sha = self._store.resolve(repository.full_name, name) or name
        entries = self._store.tree(repository.full_name, sha)
        if not request.query.get("recursive"):
            entries = tuple(entry for entry in entries if "/" not in entry.path)
        shown = [self._entry(repository, entry) for entry in entries[: self.tree_limit]]
        url = self._shapes.link(repository, f"/git/trees/{sha}")
        return Reply(200, {"sha": sha, "url": url, "tree": shown, "truncated": len(shown) < len(entries)})

    def _entry(self, repository: Repository, entry: TreeEntry) -> Json:
        result: Json = {"path": entry.path, "mode": entry.mode, "type": entry.type, "sha": entry.oid}
        if entry.size is not None:
            result["size"] = entry.size
        if entry.type != "commit":
            result["url"] = self._shapes.link(repository, f"/git/{entry.type}s/{entry.oid}")
        return result

    def _blob(self, request: Request, repository: Repository) -> Reply:
        sha = request.params["sha"]
        content = self._store.blob(repository.full_name, sha)
        if _wants_raw(request):
            return _raw(content)
        url = self._shapes.link(repository, f"/git/blobs/{sha}")
        own = {"sha": sha, "node_id": sha, "size": len(content), "url": url}
        return Reply(200, {**own, "content": _encoded(content), "encoding": "base64"})

    # Objects that no branch holds yet

    def _make_blob(self, request: Request, repository: Repository) -> Reply:
        body = request.json()
        content = given(body, "Blob", "content")
        encoding = body.get("encoding", "utf-8")
        if encoding not in ("utf-8", "base64"):
            raise invalid("Blob", "encoding", "invalid")
        try:
            raw = base64.b64decode(content, validate=True) if encoding == "base64" else content.encode()
        except ValueError as error:
            raise Refusal(422, "content is not valid Base64") from error
        sha = self._acts.make_blob(repository, raw, request.actor())
        url = self._shapes.link(repository, f"/git/blobs/{sha}")
        return Reply(201, {"sha": sha, "url": url}, {"Location": url})

    def _make_tree(self, request: Request, repository: Repository) -> Reply:
        body = request.json()
        entries = body.get("tree")
        if not isinstance(entries, list) or not entries:
            raise Refusal(422, 'Invalid request.\n\n"tree" wasn\'t supplied.')
        wanted = dict(_wished(self._acts, repository, request.actor(), entry) for entry in entries)
        base = optional(body, "Tree", "base_tree")
        sha = self._acts.make_tree(repository, base, wanted, request.actor())
        shown = [self._entry(repository, entry) for entry in self._top(repository, sha)]
        url = self._shapes.link(repository, f"/git/trees/{sha}")
        return Reply(201, {"sha": sha, "url": url, "tree": shown, "truncated": False}, {"Location": url})

    def _top(self, repository: Repository, tree: str) -> list[TreeEntry]:
        return [entry for entry in self._store.tree(repository.full_name, tree) if "/" not in entry.path]

    def _make_commit(self, request: Request, repository: Repository) -> Reply:
        body = request.json()
        parents = body.get("parents", [])
        if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
            raise invalid("Commit", "parents", "invalid")
        message, tree = given(body, "Commit", "message"), given(body, "Commit", "tree")
        sha = self._acts.make_commit(repository, tree, parents, message, request.actor())
        shown = self._shapes.git_commit(repository, sha)
        return Reply(201, shown, {"Location": shown["url"]})

    def _contents(self, request: Request, repository: Repository) -> Reply:
        path = request.params.get("path", "").strip("/")
        ref = request.query.get("ref") or repository.default_branch
        sha = self._store.resolve(repository.full_name, ref)
        if sha is None:
            raise Refusal(404, f"No commit found for the ref {ref}")
        entries = self._store.tree(repository.full_name, sha)
        below = [e for e in entries if e.path.rpartition("/")[0] == path]
        found = next((entry for entry in entries if entry.path == path), None)
        if found is not None and found.type == "blob":
            return self._file(request, repository, found, ref)
        if found is None and path:
            raise Refusal(404, "Not Found")
        return Reply(200, [self._content(repository, entry, ref) for entry in below])

    def _file(self, request: Request, repository: Repository, entry: TreeEntry, ref: str) -> Reply:
        content = self._store.blob(repository.full_name, entry.oid)
        if _wants_raw(request):
            return _raw(content)
        shown = self._content(repository, entry, ref)
        return Reply(200, {**shown, "content": _encoded(content), "encoding": "base64"})

    def _content(self, repository: Repository, entry: TreeEntry, ref: str) -> Json:
        kind = {"tree": "dir", "commit": "submodule"}.get(entry.type, "file")
        url = self._shapes.link(repository, f"/contents/{entry.path}?ref={ref}")
        git = self._shapes.link(repository, f"/git/{entry.type}s/{entry.oid}")
        page = self._shapes.page(repository, f"/{entry.type}/{ref}/{entry.path}")
        raw = self._shapes.page(repository, f"/raw/{ref}/{entry.path}") if kind == "file" else None
        own = {"type": "symlink" if entry.mode == "120000" else kind, "size": entry.size or 0}
        names = {"name": entry.path.rpartition("/")[2], "path": entry.path, "sha": entry.oid}
        urls = {"url": url, "html_url": page, "git_url": git, "download_url": raw}
        return {**own, **names, **urls, "_links": {"self": url, "git": git, "html": page}}


def _wished(acts: Acts, repository: Repository, by: User, entry: object) -> tuple[str, tuple[int, str] | None]:
    """One entry of a tree to be made: a blob by its id or with its content, or a path to be removed."""
    if not isinstance(entry, dict):
        raise invalid("Tree", "tree", "invalid")
    path, mode = given(entry, "Tree", "path"), given(entry, "Tree", "mode")
    if mode not in ("100644", "100755", "120000"):
        raise invalid("Tree", "mode", "invalid", "the sandbox makes trees of files only")
    if "content" in entry:
        return path, (int(mode, 8), acts.make_blob(repository, given(entry, "Tree", "content").encode(), by))
    return path, None if entry.get("sha") is None else (int(mode, 8), given(entry, "Tree", "sha"))


def _wants_raw(request: Request) -> bool:
    return "raw" in request.headers.get("accept", "")


def _raw(content: bytes) -> Reply:
    return Reply(200, content, {"Content-Type": "application/vnd.github.raw; charset=utf-8"})


def _encoded(content: bytes) -> str:
    text = base64.b64encode(content).decode()
    return "".join(f"{text[at : at + _ENCODED_LINE]}\n" for at in range(0, len(text), _ENCODED_LINE))


def _stats(files: list[dict[str, Any]]) -> Json:
    added, removed = (sum(int(file[name]) for file in files) for name in ("additions", "deletions"))
    return {"additions": added, "deletions": removed, "total": added + removed}
