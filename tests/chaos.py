"""Pushes and comments against a Sluice that is killed again and again: `python -m tests.chaos [SEED]`.

Then the model of the chain, in 100,000 sequences that `make test` does not play; a thousand races between an approval
and a push; and edits of Sluice's that race with people's pushes. One JSON object a line; the exit code is 1 when an
operation or a commit was lost, or something was said or made twice.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx2

from bot.sandbox.forge import Status
from bot.sandbox.town import BOT, Town
from tests import edit_races
from tests.model.chain import violations
from tests.races import Counts, begin
from tests.races import play as play_races
from tests.world import PEOPLE, Place, World, config_map, files

ROOT = Path(__file__).parents[1]
SEED = 20_240_501
KILLS, PUSHES, COMMENTS = 20, 40, 40
SEQUENCES = 100_000
RACES = 1_000
EDITS = 500
LAST_WAIT = 75.0
TERMINAL = ("success", "failure", "error")


class Process:
    """`python -m bot serve` on the town's database, at one address for all its lives."""

    def __init__(self, town: Town) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = (town.folder / "sluice.log").open("ab")
        self._environ = os.environ | town.environ() | {"SLUICE_HOST": "127.0.0.1", "SLUICE_PORT": str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bot", "serve"], cwd=ROOT, env=self._environ, stdout=self.log, stderr=self.log
        )
        wait_for(self._up, 30, "the server did not start")

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _up(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", trust_env=False).is_success
        except httpx2.HTTPError:
            return False


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


class Chaos:
    """The story: pushes and comments at random moments, kills at others; then peace, and the count."""

    def __init__(self, town: Town, seed: int) -> None:
        self.town, self.forge = town, town.forge
        self.random = random.Random(seed)
        self.process = Process(town)
        self.pushed: list[str] = []
        self.asked: list[str] = []
        for login in PEOPLE:
            self.forge.add_user(login)
        given = {path: str(text).encode() for path, text in files("development").items()}
        self.repository = self.forge.create_repository("acme", "web", given)
        for login, role in (*PEOPLE.items(), (BOT, "admin")):
            self.forge.set_permission(self.repository, login, role)

    def prepare(self) -> None:
        """Sluice is up, its hook is there, GitOps is set up."""
        self.process.start()
        config = {
            "url": f"{self.process.url}/webhooks/github",
            "secret": self.town.webhook_secret,
            "content_type": "json",
        }
        body = {"name": "web", "active": True, "events": ["push", "pull_request", "issue_comment"], "config": config}
        headers = {"Authorization": f"Bearer {self.town.token}"}
        hooks = f"{self.forge.url}/repos/{self.repository}/hooks"
        httpx2.post(hooks, json=body, headers=headers, trust_env=False).raise_for_status()
        self.forge.push(self.repository, "topic", {"topic.txt": b"x"}, "alice")
        self.number = self.forge.open_pull_request(self.repository, "topic", "main", "Topic", "alice")
        self.forge.comment(self.repository, self.number, "/enable development", "alice")
        head = self.forge.head(self.repository)
        assert head is not None
        wait_for(lambda: self.ended(head), 30, "/enable did not end")

    def play(self) -> int:
        """All that happens, in an order and with pauses that the seed decides; how often it was killed."""
        acts: list[Callable[[], None]] = [self.push] * PUSHES + [self.comment] * COMMENTS + [self.strike] * KILLS
        self.random.shuffle(acts)
        for act in acts:
            act()
            time.sleep(self.random.uniform(0.0, 0.15))
        return KILLS

    def push(self) -> None:
        text = config_map(f"number {len(self.pushed)}").encode()
        self.pushed.append(self.forge.push(self.repository, "main", {"deploy/development/config.yaml": text}, "dave"))

    def comment(self) -> None:
        self.asked.append(f"/help {len(self.asked)}")
        self.forge.comment(self.repository, self.number, self.asked[-1], "dave")

    def strike(self) -> None:
        time.sleep(self.random.uniform(0.0, 0.6))
        self.process.kill()
        self.process.start()

    def redeliver(self) -> None:
        """GitHub never sends again by itself; a person presses the button for what met a dead server."""
        self.forge.settle()
        for delivery in self.forge.deliveries:
            if delivery.status_code != 202 and delivery.event != "ping" and not delivery.redelivery:
                self.forge.redeliver(delivery.id)
        self.forge.settle()

    def ended(self, sha: str) -> list[str]:
        """The terminal states of a commit."""
        return [status.state for status in self.statuses(sha) if status.state in TERMINAL]

    def statuses(self, sha: str) -> list[Status]:
        """What was said of a commit."""
        return self.forge.statuses(self.repository, sha, "sluice/development")

    def quiet(self) -> bool:
        return all(self.ended(sha) for sha in self.pushed)

    def count(self) -> dict[str, int]:
        """What was lost, and what was done twice."""
        deadline = time.monotonic() + LAST_WAIT
        while time.monotonic() < deadline and not (self.quiet() and self.left() == 0):
            time.sleep(0.2)
        live = self.town.cluster.list("ConfigMap")
        wished = f"number {len(self.pushed) - 1}"
        lost = sum(not self.ended(sha) for sha in self.pushed) + self.left()
        lost += not any(each.get("data", {}).get("said") == wished for each in live)
        made = [one for one in self.forge.effects if (one.actor, one.kind) == (BOT, "comment.created")]
        said = Counter((sha, one.state, one.description) for sha in self.pushed for one in self.statuses(sha))
        return {
            "lost_operations": lost,
            "duplicate_statuses": sum(max(0, len(self.ended(sha)) - 1) for sha in self.pushed),
            "repeated_statuses": sum(times - 1 for times in said.values()),
            "duplicate_comments": max(0, len(made) - 1),
        }

    def left(self) -> int:
        """Commands without an answer, as the database has them: the comment shows the newest only."""
        with sqlite3.connect(self.town.folder / "sluice.db") as connection:
            [[done]] = connection.execute(
                "SELECT count(*) FROM runs WHERE name = 'help' AND finished_at IS NOT NULL AND status != 'failed'"
            )
            [[unsaid]] = connection.execute("SELECT count(*) FROM notifications WHERE status IN ('queued', 'failed')")
        connection.close()
        return len(self.asked) - int(done) + int(unsaid)


def races(seed: int) -> Counts:
    """Approvals and pushes at the same moment, in a whole Sluice."""

    async def play() -> Counts:
        world = World(place)
        await begin(world)
        return await play_races(world, RACES, seed)

    place = Place()
    place.start()
    try:
        return asyncio.run(play())
    finally:
        place.stop()


def main() -> int:
    """Play, count, print; the exit code."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else SEED
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    with Town(folder) as town:
        chaos = Chaos(town, seed)
        try:
            chaos.prepare()
            kills = chaos.play()
            chaos.redeliver()
            found = chaos.count()
        finally:
            chaos.process.kill(signal.SIGTERM)
            chaos.process.log.close()
    raced = races(seed)
    found["wrong_revisions"] = len(raced.wrong)
    edited = edit_races.played(EDITS, seed)
    found |= {f"edits.{name}": value for name, value in edit_races.bad(edited).items()}
    bad = sum(found.values())
    broken = violations(seed, SEQUENCES)
    print("\n".join(broken[:5]), file=sys.stderr)
    if bad:
        print((folder / "sluice.log").read_text()[-5000:], file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    figures = {
        **found,
        "kills": kills,
        "operations": PUSHES + COMMENTS,
        "model_violations": len(broken),
        "model_sequences": SEQUENCES,
        "races": raced.rounds,
        "races_released": raced.released,
        "edits.races": EDITS,
        "edits.commits": edited["commits"],
        "edits.given_up": edited["refused"],
        "edits.pushes_of_people": edited["pushes"],
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
    }
    for name, value in figures.items():
        unit = {"seconds": "s", "seed": ""}.get(name, "count")
        line = {"name": f"chaos.{name}", "value": value, "unit": unit}
        print(json.dumps(line | {"peer": None, "peer_value": None, "ratio": None}))
    return 1 if bad or broken else 0


if __name__ == "__main__":
    sys.exit(main())
