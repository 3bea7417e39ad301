"""`sluice doctor` on a whole Sluice."""

from bot.core.checks import Level
from bot.doctor import examine
from tests.world import World


async def test_a_healthy_sluice(world: World) -> None:
    """Database, forge and cluster are looked at, and nothing is wrong."""
    found = await examine(world.place.settings)
    assert {finding.level for finding in found} == {Level.OK}
    assert {finding.what for finding in found} == {"database", "github", "cluster default"}


async def test_what_is_red_here_only(world: World) -> None:
    """Without --default-service-account a cluster can be enabled, but the operator is to mend it."""
    found = world.cluster.get("Deployment", "flux-system", "kustomize-controller")
    assert found is not None
    [container] = found["spec"]["template"]["spec"]["containers"]
    before = dict(container)
    container["args"] = ["--feature-gates=CancelHealthCheckOnNewRevision=true"]
    world.cluster.patch("Deployment", "flux-system", "kustomize-controller", {"spec": found["spec"]}, "operator")
    try:
        [told] = [each for each in await examine(world.place.settings) if not each.good]
    finally:
        found["spec"]["template"]["spec"]["containers"] = [before]
        world.cluster.patch("Deployment", "flux-system", "kustomize-controller", {"spec": found["spec"]}, "operator")
    assert "(default_account_missing)" in told.found
    assert told.advice.startswith("kubectl -n flux-system patch deployment kustomize-controller ")
