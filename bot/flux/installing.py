"""Installs Flux in a cluster: applies its manifests in order, and waits until its controllers are available."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx2
import yaml

from bot.core import fluxinstall
from bot.core.errors import TemporaryError, UserError
from bot.core.fluxinstall import Limits, Manifest
from bot.flux import gate
from bot.flux.cluster import KubernetesCluster
from bot.flux.connection import KINDS

LOOK_EVERY = 1.0
PATIENCE = 300.0  # seconds until the controllers are to be available
_LARGEST = 16_000_000

Say = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


async def fetch(version: str, transport: httpx2.AsyncBaseTransport | None = None) -> bytes:
    """The published manifests of a version."""
    url = fluxinstall.release_url(version)
    try:
        async with httpx2.AsyncClient(follow_redirects=True, timeout=60.0, transport=transport) as client:
            answer = await client.get(url)
    except httpx2.HTTPError as error:
        raise TemporaryError(f"{url} cannot be had: {type(error).__name__}; or use --from FILE") from error
    if answer.status_code != 200:
        raise UserError("manifest_missing", f"{url} answers {answer.status_code}: is there such a version of Flux?")
    return answer.content


def read(file: Path) -> bytes:
    """Manifests from a file."""
    if not file.is_file():
        raise UserError("manifest_missing", f"there is no file {file}")
    return file.read_bytes()


def parse(data: bytes) -> list[Manifest]:
    """The objects of the manifests."""
    if len(data) > _LARGEST:
        raise UserError("manifest_invalid", "these are not Flux's install manifests: they are too large")
    try:
        return fluxinstall.documents(list(yaml.load_all(data, Loader=yaml.CSafeLoader)))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            "manifest_invalid", f"the manifests are no YAML: {' '.join(str(error).split())[:200]}"
        ) from None


def checksum(data: bytes) -> str:
    """To compare with what others have."""
    return hashlib.sha256(data).hexdigest()


class Installer:
    """One installation; it may be repeated, and then changes only what differs."""

    def __init__(
        self, cluster: KubernetesCluster, say: Say, *, patience: float = PATIENCE, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._cluster, self._say, self._sleep = cluster, say, sleep
        self._looks = int(patience / LOOK_EVERY)
        self.changed = 0

    async def install(self, data: bytes, limits: Limits, *, with_gate: bool, force: bool = False) -> None:
        """Apply everything, then wait."""
        stages = fluxinstall.stages(parse(data), limits)
        for stage in stages:
            await self._apply(stage, force=force)
            if stage[0]["kind"] == "CustomResourceDefinition":
                await self._until_established(stage)
        if with_gate:
            await self._apply([*gate.manifests(gate.RIGHTS), *gate.manifests(gate.POLICIES)], force=force)
        await self._until_available([each for each in stages[-1] if each["kind"] == "Deployment"])
        self._say(f"{self.changed} objects were changed" if self.changed else "nothing differs")

    async def _apply(self, stage: Sequence[Manifest], *, force: bool) -> None:
        for manifest in stage:
            kind, metadata = manifest["kind"], manifest["metadata"]
            if kind not in KINDS:
                raise UserError("manifest_invalid", f"Sluice does not know the kind {kind} of {metadata['name']}")
            before = await self._cluster.get(kind, metadata.get("namespace"), metadata["name"])
            after = await self._cluster.apply(manifest, force=force)
            if before is None or before["metadata"]["resourceVersion"] != after.resource_version:
                self.changed += 1
                self._say(f"{'made' if before is None else 'changed'} {kind} {metadata['name']}")

    async def _until_established(self, definitions: Sequence[Manifest]) -> None:
        async def missing() -> dict[str, str]:
            names = [each["metadata"]["name"] for each in definitions]
            found = [await self._cluster.get("CustomResourceDefinition", None, name) for name in names]
            pairs = zip(names, found, strict=True)
            return {name: "not served" for name, each in pairs if each is None or not fluxinstall.is_established(each)}

        await self._until_none(missing)

    async def _until_available(self, deployments: Sequence[Manifest]) -> None:
        async def missing() -> dict[str, str]:
            lacking = {}
            for each in deployments:
                namespace, name = each["metadata"].get("namespace"), each["metadata"]["name"]
                why = fluxinstall.why_unavailable(await self._cluster.get("Deployment", namespace, name))
                if why is not None:
                    lacking[name] = why
            return lacking

        await self._until_none(missing)

    async def _until_none(self, missing: Callable[[], Awaitable[dict[str, str]]]) -> None:
        """Wait until nothing is missing; what changed is said, and what is missing at the end is named."""
        said: dict[str, str] = {}
        for _ in range(self._looks):
            lacking = await missing()
            for name in [*lacking, *(name for name in said if name not in lacking)]:
                if said.get(name) != lacking.get(name):
                    self._say(f"{name}: {lacking.get(name, 'available')}")
            if not lacking:
                return
            said = lacking
            await self._sleep(LOOK_EVERY)
        listed = "; ".join(f"{name}: {why}" for name, why in said.items())
        raise UserError("flux_not_ready", f"Flux is applied, but not ready in time: {listed}")
