"""Reads what there is to know of a cluster before something is set up in it; `core.checks` judges it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from bot.core import checks, manifests
from bot.core.checks import Check, Facts, Read, Right, Unreadable, Wanted
from bot.core.errors import BotError, UserError
from bot.core.ports import Cluster

_AT_ONCE = 8


async def check(cluster: Cluster, wanted: Wanted) -> list[Check]:
    """Whether the cluster has what is needed: each check with its reason code and its remedy."""
    try:
        return checks.judge(await _facts(cluster, wanted), wanted)
    except BotError as error:
        return checks.unreachable(cluster.name, str(error))


async def _facts(cluster: Cluster, wanted: Wanted) -> Facts:
    kubernetes = await cluster.version()
    controllers = dict.fromkeys(checks.CONTROLLER_OF[kind] for kind in wanted.kinds)
    return Facts(
        cluster=cluster.name,
        kubernetes=kubernetes,
        definitions={kind: await _definition(cluster, kind) for kind in wanted.kinds},
        controllers={name: await _read(cluster, "Deployment", checks.FLUX_NAMESPACE, name) for name in controllers},
        policies={
            name: (
                await _read(cluster, "ValidatingAdmissionPolicy", None, name),
                await _read(cluster, "ValidatingAdmissionPolicyBinding", None, name),
            )
            for name in checks.POLICIES
        },
        deployer=await _read(cluster, "ClusterRole", None, manifests.DEPLOYER_ROLE),
        missing=await _missing(cluster, checks.rights(wanted), wanted),
    )


async def _definition(cluster: Cluster, kind: str) -> Read:
    """The kind's definition; who may not read it still learns whether the kind is there."""
    found = await _read(cluster, "CustomResourceDefinition", None, manifests.KINDS[kind].definition)
    if not isinstance(found, Unreadable):
        return found
    return found if await cluster.has_kind(kind) else None


async def _read(cluster: Cluster, kind: str, namespace: str | None, name: str) -> Read:
    try:
        return await cluster.get(kind, namespace, name)
    except UserError as error:
        return Unreadable(error.message)


# Rights.


async def _missing(cluster: Cluster, rights: Iterable[Right], wanted: Wanted) -> tuple[tuple[Right, str], ...]:
    """Everywhere first; only what is not granted everywhere is asked for in each namespace."""
    found = await _at_once(rights, lambda right: _lacking(cluster, right, wanted))
    return tuple((right, place) for right, lacking in found for place in lacking)


async def _lacking(cluster: Cluster, right: Right, wanted: Wanted) -> list[str]:
    """The namespaces where the right is missing; "" is everywhere."""
    if await cluster.may(right.verb, right.group, right.resource, name=right.name):
        return []
    places = {"project": wanted.namespaces, "target": wanted.targets}.get(right.place, ())
    if not places:
        return [""]
    return [
        place
        for place in places
        if not await cluster.may(right.verb, right.group, right.resource, namespace=place, name=right.name)
    ]


async def _at_once(
    rights: Iterable[Right], ask: Callable[[Right], Awaitable[list[str]]]
) -> list[tuple[Right, list[str]]]:
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(right: Right) -> tuple[Right, list[str]]:
        async with free:
            return right, await ask(right)

    return await asyncio.gather(*(one(right) for right in rights))
