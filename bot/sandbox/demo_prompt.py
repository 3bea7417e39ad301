"""The prompt of `sluice demo --stay`: people's acts on the sandbox forge, typed by hand."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from bot.core import manifests
from bot.core.deployments import commit_of, short
from bot.sandbox.demo_paper import Paper
from bot.sandbox.demo_watcher import Watcher
from bot.sandbox.forge import Refusal
from bot.sandbox.git import GitError
from bot.sandbox.stage import PEOPLE, Object, SandboxStage
from bot.sandbox.story import WORKLOAD, Scene, greeting

LOGINS = tuple(login for login, _ in PEOPLE.values())
GREETING = re.compile(r"deploy/([a-z]+)/greeting\.yaml")


class Misused(Exception):
    """What was typed cannot be read; the text says how it is meant."""


@dataclass(frozen=True)
class Order:
    """One thing that can be typed."""

    usage: str
    summary: str
    words: int  # at least so many; all that follows the last is its text
    do: Callable[..., None]


class Prompt:
    """Reads lines until `quit`; after each it waits for what comes of it."""

    def __init__(self, stage: SandboxStage, scene: Scene, paper: Paper, watcher: Watcher) -> None:
        self._stage, self._forge, self._repository = stage, stage.town.forge, scene.repository
        self._paper, self._watcher = paper, watcher
        self._who = LOGINS[1]
        self.orders = {
            "push": Order("push <branch> <path> <text…>", r"push one file; \n is a new line", 3, self._push),
            "open": Order("open <branch> <title…>", "open a pull request into main", 2, self._open),
            "comment": Order("comment <n> <text…>", "comment on a pull request: /help, /status, …", 2, self._comment),
            "merge": Order("merge <n>", "merge a pull request", 1, self._merge),
            "close": Order("close <n>", "close it without merging", 1, self._close),
            "show": Order("show [n]", "all pull requests, or one with its talk", 0, self._show),
            "objects": Order("objects", "what is in the cluster", 0, self._objects),
            "as": Order("as <user>", f"act as {', '.join(LOGINS)}", 1, self._as),
            "help": Order("help", "this list", 0, self._help),
            "quit": Order("quit", "stop and clean up", 0, self._help),
        }

    def run(self) -> None:
        """Until `quit` or the end of the input."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() a history
        self._help()
        while True:
            try:
                line = input(f"\n{self._who}> ").strip()
            except EOFError:
                return
            if line in ("quit", "exit"):
                return
            if line:
                self.obey(line)

    def obey(self, line: str) -> None:
        """Do what a line says, and show what comes of it."""
        name, *rest = line.split(maxsplit=1)
        order = self.orders.get(name)
        try:
            if order is None:
                raise Misused(f"{name} is nothing to be done here; help lists what is")
            words = "".join(rest).split(maxsplit=max(order.words - 1, 0))
            if len(words) < order.words:
                raise Misused(f"usage: {order.usage}")
            order.do(*words)
        except Misused as error:
            self._paper.say(str(error), "yellow")
        except (Refusal, GitError) as error:
            self._paper.say(f"The forge refuses: {error}", "red")
        self._watcher.catch_up()

    # What people do.

    def _push(self, branch: str, path: str, text: str) -> None:
        content = text.replace("\\n", "\n").rstrip("\n") + "\n"
        found = GREETING.fullmatch(path)
        if found and "kind:" not in content:
            content = greeting(found[1], text)[path] or ""
        self._forge.push(self._repository, branch, {path: content.encode()}, self._who, f"Change {path}")

    def _open(self, branch: str, title: str) -> None:
        number = self._forge.open_pull_request(self._repository, branch, "main", title, self._who)
        self._paper.say(f"This is #{number}.")

    def _comment(self, number: str, text: str) -> None:
        self._forge.comment(self._repository, _number(number), text.replace("\\n", "\n"), self._who)
        self._watcher.catch_up()
        self._paper.conversation(self._stage, self._repository, _number(number))

    def _merge(self, number: str, *_: str) -> None:
        self._forge.merge_pull_request(self._repository, _number(number), self._who)

    def _close(self, number: str, *_: str) -> None:
        self._forge.close_pull_request(self._repository, _number(number), self._who)

    def _as(self, login: str, *_: str) -> None:
        if login not in LOGINS:
            raise Misused(f"there are {', '.join(LOGINS)}")
        self._who = login

    # What they look at.

    def _show(self, *words: str) -> None:
        if words:
            self._request(_number(words[0]))
            return
        for number in range(1, 1000):
            try:
                issue, pull = self._forge.pull_request(self._repository, number)
            except Refusal:
                break
            state = "merged" if pull.merged_at else issue.state
            self._paper.say(f"#{number} {state}: {issue.title} ({pull.head_branch}, {short(pull.head_sha)})")
        head = self._forge.head(self._repository) or ""
        self._paper.say(f"main is at {short(head)}")
        self._statuses(head)

    def _request(self, number: int) -> None:
        _, pull = self._forge.pull_request(self._repository, number)
        self._paper.conversation(self._stage, self._repository, number)
        self._paper.say(f"\nStatuses of its head {short(pull.head_sha)}:")
        self._statuses(pull.head_sha)

    def _statuses(self, sha: str) -> None:
        for status in self._forge.statuses(self._repository, sha):
            self._paper.say(f"  {status.context} {status.state}: {status.description}")

    def _objects(self, *_: str) -> None:
        for kind in ("GitRepository", "Kustomization"):
            for each in self._stage.objects(kind, labels=manifests.SELECTOR):
                status = each.get("status") or {}
                conditions: list[Object] = status.get("conditions") or []
                ready: Object = next((found for found in conditions if found["type"] == "Ready"), {})
                revision = status.get("lastAppliedRevision") or (status.get("artifact") or {}).get("revision")
                where = f"{kind} {each['metadata']['namespace']}/{each['metadata']['name']}"
                commit = short(commit_of(revision) or "nothing")
                self._paper.say(f"{where}: Ready={ready.get('status')} at {commit}: {ready.get('message', '')}")
        for each in self._stage.objects("ConfigMap"):
            if each["metadata"]["name"] == WORKLOAD:
                self._paper.say(f"ConfigMap {each['metadata']['namespace']}/{WORKLOAD}: {each.get('data')}")

    def _help(self, *_: str) -> None:
        self._paper.say()
        self._paper.say(f"The repository is {self._repository}. You can type:", "bold")
        for order in self.orders.values():
            self._paper.say(f"  {order.usage:30} {order.summary}")
        self._paper.say("  For example: push main deploy/staging/greeting.yaml good day")
        self._paper.say("\nFor your own tools:")
        self._paper.to_copy(f"  export KUBECONFIG={self._stage.town.kubeconfig}")
        self._paper.say(f"Forge's API (GitHub's) {self._forge.url} with {LOGINS[0]}'s token", "dim")
        self._paper.say(f"  {self._forge.token(LOGINS[0])}", "dim")
        self._paper.say(f"Sluice {self._stage.url}, cluster {self._stage.town.cluster_url}", "dim")


def _number(text: str) -> int:
    digits = text.removeprefix("#")
    if not digits.isdecimal():
        raise Misused(f"{text} is no number of a pull request")
    return int(digits)
