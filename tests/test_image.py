"""The image's install steps, run into an empty prefix, and the program started from there."""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(360)]  # it installs everything once more

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sluice as the first stage makes it: from the files that the Dockerfile copies, and no others."""
    folder = tmp_path_factory.mktemp("image")
    source, made = folder / "src", folder / "sluice"
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        *names, target = line.split()
        for name in names:
            # As COPY has it: a file keeps its name and not its folder, a folder's content goes into the target.
            path = source / target / Path(name).name if target.endswith("/") else source / target
            path.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, path, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, path)
    (step,) = re.findall(r"^RUN (deploy/install\.sh) /opt/sluice$", DOCKERFILE, re.M)
    subprocess.run(["sh", step, str(made)], cwd=source, check=True, timeout=300)
    return made


def test_no_build_tools_are_left(prefix: Path) -> None:
    """Nothing in the prefix can build or install."""
    packages = {path.name.split("-")[0] for path in (prefix / "lib").glob("python3*/site-packages/*.dist-info")}
    assert packages.isdisjoint({"pip", "setuptools", "wheel", "hatchling", "pytest", "mypy"})
    assert "sluice" in packages


def test_the_second_stage_runs_as_a_number_and_builds_nothing() -> None:
    """The user is numeric, so that Kubernetes can see that it is not root."""
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", last, re.M)
    assert re.findall(r"^RUN (.+)$", last, re.M) == ["install -d -o 65532 -g 65532 /data"]
    assert "HEALTHCHECK" in last


def test_it_serves_and_is_healthy(prefix: Path, tmp_path: Path) -> None:
    """The program starts from the prefix, far from the checkout, and writes nowhere but to its data folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SLUICE_PORT": str(port),
        "SLUICE_DATABASE_URL": f"sqlite:///{tmp_path / 'sluice.db'}",
        "SLUICE_GITHUB_WEBHOOK_SECRET": "0123456789abcdef0123456789abcdef",
        "SLUICE_KUBECONFIG": str(_kubeconfig(tmp_path)),
    }
    process = subprocess.Popen([prefix / "bin/sluice", "serve"], cwd=tmp_path, env=environ, stderr=subprocess.PIPE)
    try:
        assert _answers(process, f"http://127.0.0.1:{port}/healthz")
        assert _answers(process, f"http://127.0.0.1:{port}/readyz")
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors.decode()
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} <= {"sluice.db", "kubeconfig"}


def _kubeconfig(folder: Path) -> Path:
    """A cluster that is not there: what is asked of it is tried again."""
    path = folder / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: none\n"
        "contexts: [{name: none, context: {cluster: none, user: none}}]\n"
        "clusters: [{name: none, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "users: [{name: none, user: {token: none}}]\n"
    )
    return path


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.05)
    return False
