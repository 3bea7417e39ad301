"""The fields of the operator's policy, `SLUICE_POLICY_FILE`."""

from bot.core.fields import Either, Field, Fields, Many, Named, OneOf, Shared, Text, Whole

ROLES = ("viewer", "deployer", "approver", "admin")
EVERYBODY = "*"

REPOSITORY = Text(
    rules=(
        (
            r"^(?:(?:github|gitlab|gitea):)?[-_.A-Za-z0-9*?]+(?:/[-_.A-Za-z0-9*?]+)*$",
            "must be like acme/shop, acme/* or gitea:acme/** (* stops at /, ** does not)",
        ),
    ),
    longest=500,
)
NAME = Text(rules=((r"^[-.a-z0-9*?]+$", "must be a name, where * and ? stand for others"),))
OBJECT = Text(
    rules=((r"^[-a-z0-9*?]+/[-.a-z0-9*?]+$", "must be NAMESPACE/NAME, where * and ? stand for others"),), longest=317
)
LOGIN = Text(rules=((r"^(?:\*|[A-Za-z0-9][-_.A-Za-z0-9]*)$", "must be a login, or * for everybody else"),), longest=100)

RULE = Fields(
    fields={
        "match": Field(
            kind=Many(REPOSITORY, or_one=True),
            doc="The repositories that this rule is for; the first rule that matches decides",
            example="acme/*",
            required=True,
        ),
        "clusters": Field(
            kind=Many(NAME), doc="Clusters that they may deploy to", default="[default]", example='[default, "edge-*"]'
        ),
        "namespaces": Field(
            kind=Many(NAME),
            doc="Namespaces that they may name; kube-* and flux-system only without wildcards",
            default="none but those that Sluice makes",
            example='["web-*"]',
        ),
        "service_accounts": Field(
            kind=Many(NAME),
            doc="Accounts that they may have Flux apply as",
            default="none but those that Sluice makes",
            example="[web-deployer]",
        ),
        "adopt": Field(
            kind=Many(OBJECT), doc="Flux objects that they may adopt", default="none", example='["flux-system/web-*"]'
        ),
        "highest_role": Field(
            kind=Either(
                OneOf(ROLES),
                Named(name=LOGIN, kind=OneOf(ROLES), noun="login", most=500),
            ),
            doc="The highest role that anybody has there, whatever the forge says; or one for each login, * for others",
            default="admin",
            example='{"*": approver, alice: admin}',
        ),
    }
)
POLICY = Fields(
    fields={
        "version": Field(kind=Whole(1, 1), doc="The version of this format", example="1", required=True),
        "repositories": Field(
            kind=Many(Shared("rule", RULE), most=1_000),
            doc="Rules, of which the first one that matches a repository decides; one that none matches may do nothing",
            example="[{match: acme/*, clusters: [default]}]",
            required=True,
        ),
    }
)
DEFINITIONS = {"rule": RULE}
