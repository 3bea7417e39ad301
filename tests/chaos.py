"""What only many tries show, counted: `python -m tests.chaos [PART…] [--seed N]`, all parts without a word.

`kills`: pushes and comments against a Sluice that is killed again and again. `races`: approvals and pushes at the same
moment. `edits`: commits of Sluice's against people's pushes. `model`: the chain in memory, in 100,000 sequences.
`rotation`: 100,000 sealed values get a new key while others write. `backlog`: 500 deliveries that nobody has opened.
Each figure is one JSON object on a line of its own, printed as soon as its part has ended; the exit code is 1 when an
operation or a commit was lost, or something was said, made or let through that should not have been.
"""

import argparse
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bot.sandbox.forge import Status
from bot.sandbox.town import BOT, Town
from tests import bulk, edit_races
from tests.model.chain import violations
from tests.races import Counts, begin
from tests.races import play as play_races
from tests.world import PEOPLE, Place, World, config_map, files

ROOT = Path(__file__).parents[1]
SEED = 20_240_501
KILLS, PUSHES, COMMENTS = 20, 40, 40
SEQUENCES = 100_000
RACES, RACES_EACH = 1_000, 25  # of one request: the more commits it has, the longer each comparison takes
EDITS = 500
VALUES, DELIVERIES = 100_000, 500
LAST_WAIT = 75.0
TERMINAL = ("success", "failure", "error")


@dataclass(frozen=True)
class Found:
    """What came of a part: `bad` has to be nothing but zeros, `told` says how much was tried."""

    bad: dict[str, int]
    told: dict[str, int]
    why: str = ""  # for a person, where something is bad


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


# The parts.


def kills(seed: int) -> Found:
    """Twenty deaths of the server among pushes and comments."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    try:
        with Town(folder) as town:
            chaos = Chaos(town, seed)
            try:
                chaos.prepare()
                times = chaos.play()
                chaos.redeliver()
                bad = chaos.count()
            finally:
                chaos.process.kill(signal.SIGTERM)
                chaos.process.log.close()
        return Found(
            bad, {"kills": times, "operations": PUSHES + COMMENTS}, (folder / "sluice.log").read_text()[-5000:]
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def races(seed: int, rounds: int = RACES) -> Found:
    """Approvals and pushes at the same moment, in whole Sluices: each gets slower as its requests get longer."""
    wrong: list[str] = []
    told = Counter[str]()
    for first in range(0, rounds, RACES_EACH):
        found = _races(seed + first, min(RACES_EACH, rounds - first))
        wrong += found.wrong
        told.update({"races": found.rounds, "races_released": found.released, "races_voided": found.voided})
    return Found({"wrong_revisions": len(wrong)}, dict(told), "\n".join(wrong[:5]))


def _races(seed: int, rounds: int) -> Counts:
    async def play() -> Counts:
        world = World(place)
        await begin(world)
        return await play_races(world, rounds, seed)

    place = Place()
    place.start()
    try:
        return asyncio.run(play())
    finally:
        place.stop()


def edits(seed: int) -> Found:
    """Commits of Sluice's own, with people's pushes between any two of their requests."""
    found = edit_races.played(EDITS, seed)
    told = {
        "races": EDITS,
        "commits": found["commits"],
        "given_up": found["refused"],
        "pushes_of_people": found["pushes"],
    }
    return Found(_named(edit_races.bad(found)), _named(told))


def _named(figures: dict[str, int]) -> dict[str, int]:
    return {f"edits.{name}": value for name, value in figures.items()}


def model(seed: int) -> Found:
    """The chain in memory, in sequences that the seed decides."""
    broken = violations(seed, SEQUENCES)
    return Found({"model_violations": len(broken)}, {"model_sequences": SEQUENCES}, "\n".join(broken[:5]))


def rotation(seed: int) -> Found:
    """A new key for 100,000 sealed values, while a Sluice writes among them."""
    return _split(bulk.rotation(VALUES))


def backlog(seed: int) -> Found:
    """A start on 500 deliveries that nobody has opened."""
    return _split(bulk.backlog(DELIVERIES))


def _split(figures: dict[str, int]) -> Found:
    """What was lost is bad, all else is told."""
    bad = {name: value for name, value in figures.items() if name.endswith(".lost")}
    return Found(bad, {name: value for name, value in figures.items() if name not in bad})


PARTS = {"kills": kills, "edits": edits, "races": races, "model": model, "rotation": rotation, "backlog": backlog}


def main(words: Sequence[str] | None = None) -> int:
    """Play, count, print; the exit code."""
    asked = _asked(words)
    ends = [_play(name, asked.seed) for name in asked.parts or PARTS]
    return 0 if all(ends) else 1


def _asked(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="What only many tries show, counted.")
    lines = "; ".join(f"{name}: {(part.__doc__ or '').strip('.')}" for name, part in PARTS.items())
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all without a word; {lines}")
    parser.add_argument("--seed", type=int, default=SEED, help="chance's beginning: the same one, the same story")
    asked = parser.parse_args(words)
    unknown = sorted(set(asked.parts) - PARTS.keys())
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return asked


def _play(name: str, seed: int) -> bool:
    """One part; whether all was well."""
    began = time.monotonic()
    found = PARTS[name](seed)
    took = round(time.monotonic() - began, 1)
    for figure, value in (found.bad | found.told).items():
        _print(figure, value, "count")
    _print(f"{name}.seconds", took, "s")
    _print(f"{name}.seed", seed, "")
    if any(found.bad.values()):
        print(found.why, file=sys.stderr)
    return not any(found.bad.values())


def _print(name: str, value: float, unit: str) -> None:
    line = {"name": f"chaos.{name}", "value": value, "unit": unit, "peer": None, "peer_value": None, "ratio": None}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
