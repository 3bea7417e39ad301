"""Run the tests in a cluster that the user hands in (kind, k3s, …) instead of one of our own."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.certificates import client_config, new_key, openssl, write_kubeconfig
from tests.servers.objects import Objects
from tests.servers.processes import StartError
from tests.servers.waiting import until


def kubeconfig() -> Path | None:
    """The user's own kubeconfig, if the tests are told to use it: a KUBECONFIG alone is not enough to write there."""
    if os.environ.get("E2E_KUBECONFIG") != "1":
        return None
    named = os.environ.get("KUBECONFIG")
    if not named or not Path(named).is_file():
        raise StartError("E2E_KUBECONFIG=1 wants KUBECONFIG to name the kubeconfig of the cluster to use")
    return Path(named)


def check(admin: Objects) -> None:
    """Raise when the cluster has no Flux that the tests could work with."""
    for kind in ("gitrepositories.source", "kustomizations.kustomize"):
        name = f"{kind}.toolkit.fluxcd.io"
        if admin.get("CustomResourceDefinition", name) is None:
            raise StartError(f"the cluster that KUBECONFIG names has no {name}: run `flux install` there first")


def account_kubeconfig(admin: Objects, folder: Path, namespace: str, name: str) -> Path:
    """A kubeconfig of a service account, with a token for a day."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}
    resource = admin.resource("ServiceAccount").subresources["token"]
    token = resource.create(body=body, name=name, namespace=namespace).status.token
    config = client_config(_url(admin), _authority(admin), name, "", "")
    config["users"][0]["user"] = {"token": token}
    return write_kubeconfig(folder / f"{name}.kubeconfig", config)


def user_config(admin: Objects, folder: Path, user: str, groups: Sequence[str]) -> dict[str, Any]:
    """A kubeconfig of any user, with a certificate that the cluster itself signs."""
    name = f"sluice-tests-{uuid.uuid4().hex[:8]}"
    key = folder / f"{name}.key"
    new_key(key)
    subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
    request = openssl("req", "-new", "-key", key, "-subj", subject)
    spec = {
        "request": base64.b64encode(request.encode()).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
        "expirationSeconds": 86400,
    }
    version = "certificates.k8s.io/v1"
    made = admin.create(
        {"apiVersion": version, "kind": "CertificateSigningRequest", "metadata": {"name": name}, "spec": spec}
    )
    approved = {"type": "Approved", "status": "True", "reason": "Tests", "message": "asked for by the tests"}
    made["status"] = {"conditions": [approved]}
    admin.resource("CertificateSigningRequest").subresources["approval"].replace(body=made, name=name)

    def signed() -> str | None:
        status = (admin.get("CertificateSigningRequest", name) or {}).get("status") or {}
        return status.get("certificate")

    certificate = base64.b64decode(until(signed, 20, f"the cluster signs a certificate for {user}")).decode()
    admin.delete("CertificateSigningRequest", name)
    return client_config(_url(admin), _authority(admin), user, key.read_text(), certificate)


def _url(admin: Objects) -> str:
    return str(admin.api.configuration.host)


def _authority(admin: Objects) -> str:
    file = admin.api.configuration.ssl_ca_cert
    return Path(file).read_text() if file else ""
