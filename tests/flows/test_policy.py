"""The operator's policy narrows what repositories and people may do."""

import pytest

from bot.core import policy
from tests.world import World, says

NAMED = "version: 1\nenvironments:\n  development: {{path: deploy/development, {0}}}\n"


async def enable(world: World, by: str = "alice") -> tuple[str, str | None]:
    """Have somebody say it on a pull request; (outcome, reason code)."""
    if not world.number:
        world.open_pull_request({"topic.txt": "x"}, "alice")
    await world.comment("/enable", by=by)
    return (await world.results("enable"))[-1]


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("namespace: elsewhere", "namespace_not_allowed"),
        ("service_account: root", "service_account_not_allowed"),
        ('service_account: ""', "service_account_required"),
    ],
)
async def test_without_a_policy(world: World, field: str, code: str) -> None:
    """Only what Sluice itself makes may be used; nothing is made of the rest."""
    world.push({".sluice.yaml": NAMED.format(field)})

    assert await enable(world) == ("refused", code)

    assert "the operator does not allow this repository" in world.comment_text()
    assert world.cluster.get("Namespace", "", "elsewhere") is None


class TestPolicy:
    """With a policy."""

    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {
            "SLUICE_POLICY": """
version: 1
repositories:
  - match: acme/*
    namespaces: ["web-*"]
    highest_role: { "*": approver, alice: admin, dave: viewer }
""",
            "SLUICE_ALLOW_CLUSTER_ADMIN": "true",
        }

    async def test_an_allowed_namespace(self, world: World) -> None:
        """The workloads go where the policy allows it, and the deployment is bound to what it says."""
        name = f"web-{world.repository[5:]}"
        world.push({".sluice.yaml": NAMED.format(f"namespace: {name}")})

        assert await enable(world) == ("done", None)

        assert world.cluster.get("ConfigMap", name, "config") is not None
        [deployment] = await world.deployments()
        limits = world.place.settings.policy
        assert deployment.policy_digest == policy.digest(limits, f"github:{world.repository}")

    async def test_another_namespace(self, world: World) -> None:
        world.push({".sluice.yaml": NAMED.format("namespace: elsewhere")})

        assert await enable(world) == ("refused", "namespace_not_allowed")

    async def test_another_cluster(self, world: World) -> None:
        world.push({".sluice.yaml": NAMED.format("cluster: edge")})

        assert await enable(world) == ("refused", "cluster_not_allowed")

    async def test_no_impersonation(self, world: World) -> None:
        """The operator allowed it: Flux applies as itself."""
        world.push({".sluice.yaml": NAMED.format('service_account: ""')})

        assert await enable(world) == ("done", None)

        found = world.object("Kustomization", "development")
        assert found is not None
        assert "serviceAccountName" not in found["spec"]
        assert world.live() == "development"

    async def test_roles_are_capped(self, world: World) -> None:
        """The forge lets dave deploy, the operator does not."""
        await world.enabled("development")
        world.open_pull_request(says("topic"))

        await world.comment("/deploy development", by="dave")

        assert await world.results("deploy") == [("refused", "not_permitted")]
        assert "this needs the role deployer; you have viewer; the operator allows no more here" in world.comment_text()
