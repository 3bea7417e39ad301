"""Every forge adapter on a local server that speaks its forge's dialect."""

import dataclasses
from collections.abc import AsyncIterator

import pytest

from bot.core.ports import Forge as Port
from bot.forges.gitea import Gitea
from bot.forges.github import GitHub
from bot.http import Client, Limits
from tests.forges.server import TOKEN, Forge, GiteaForge, GitHubForge

QUICK = Limits(connect=2.0, read=0.2, whole=2.0)


@dataclasses.dataclass
class Bench:
    """One adapter, the forge that it talks to, and how long it would have slept."""

    name: str
    server: Forge
    forge: Port
    client: Client
    slept: list[float]


async def bench_for(name: str) -> Bench:
    """A started server of one dialect with its adapter; the caller closes both."""
    server: Forge = GitHubForge() if name == "github" else GiteaForge()
    await server.start()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    client = Client(server.url + server.prefix, authorization=f"Bearer {TOKEN}", limits=QUICK, sleep=sleep)
    forge: Port = GitHub(client=client) if name == "github" else Gitea(client=client)
    return Bench(name, server, forge, client, slept)


@pytest.fixture(params=["github", "gitea"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """One of the adapters; every test with it runs for each."""
    made = await bench_for(request.param)
    yield made
    await made.forge.close()
    await made.server.close()
