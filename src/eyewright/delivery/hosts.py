"""Where a bundle is served: a Dockerfile, a systemd unit, with versions pinned to those that it was checked with."""

__all__ = ["write_docker", "write_systemd"]

import shutil
from importlib import metadata
from pathlib import Path

from eyewright.bundle.load import Bundle
from eyewright.core.files import write_text
from eyewright.imaging.preparation import Preparation

_PORT = 8000
# A connection of its own and no library of ours: it must also tell that ours hangs.
_ASK = (
    f"import http.client as h; c = h.HTTPConnection('127.0.0.1', {_PORT}, timeout=4); "
    "c.request('GET', '/v2/health/ready'); raise SystemExit(c.getresponse().status != 200)"
)
# What the server needs, without torch; pinned to what is installed where the target is made.
_NEEDED = (
    "eyewright", "httptools", "jinja2", "msgspec", "numpy", "onnxruntime", "pillow", "prometheus-client",
    "python-multipart", "pyyaml", "rich", "uvicorn", "uvloop",
)  # fmt: skip


def write_docker(bundle: Bundle, source: Path, out: Path) -> None:
    """Write a folder that `docker build` makes a server of: Dockerfile, requirements, the bundle, an ignore file.

    The image runs as a user of its own, holds no torch, and says by itself whether it is well.
    """
    shutil.copytree(source, out / "bundle")
    write_text(out / "requirements.txt", _requirements(bundle))
    write_text(out / ".dockerignore", "*\n!bundle\n!requirements.txt\n!wheels\n")
    (out / "wheels").mkdir()
    write_text(
        out / "wheels" / "README",
        "Wheels in this folder are found too, such as eyewright's own before it is released.\n",
    )
    write_text(out / "Dockerfile", _DOCKERFILE)
    write_text(out / "README.md", _DOCKER_README.format(name=bundle.manifest.name))


def write_systemd(bundle: Bundle, source: Path, out: Path) -> None:
    """Write a folder with a systemd unit and an installer: the bundle served by a user of its own, started at boot."""
    shutil.copytree(source, out / "bundle")
    write_text(out / "requirements.txt", _requirements(bundle))
    write_text(out / "eyewright.service", _UNIT)
    write_text(out / "install.sh", _INSTALL)
    (out / "install.sh").chmod(0o755)
    write_text(out / "README.md", _SYSTEMD_README.format(name=bundle.manifest.name))


def _requirements(bundle: Bundle) -> str:
    has_steps = any(isinstance(one, Preparation) and one.steps for one in bundle.inputs.values())
    steps = ("opencv-contrib-python-headless", "pywavelets", "scikit-image", "scipy") if has_steps else ()
    lines = ["# The versions that this target was made and checked with."]
    for name in (*_NEEDED, *steps):
        try:
            lines.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            # Where it is absent it was not checked; what the others need is then resolved by pip.
            lines.append(name)
    return "\n".join(lines) + "\n"


_DOCKERFILE = f"""# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.txt ./
COPY wheels ./wheels
RUN python -m venv /opt/eyewright \\
 && /opt/eyewright/bin/pip install --no-cache-dir --find-links wheels -r requirements.txt

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/eyewright eyewright
COPY --from=build /opt/eyewright /opt/eyewright
COPY --chown=root:root bundle /opt/bundle
# What is wrong with the bundle is found while the image is built.
RUN /opt/eyewright/bin/eyewright verify /opt/bundle
USER 10001
WORKDIR /var/lib/eyewright
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE {_PORT}
# Beyond this machine only with a token: docker run -e EYEWRIGHT_TOKEN=... -p {_PORT}:{_PORT}
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \\
  CMD ["/opt/eyewright/bin/python", "-c", "{_ASK}"]
ENTRYPOINT ["/opt/eyewright/bin/eyewright", "serve", "/opt/bundle", "--port", "{_PORT}"]
CMD ["--host", "0.0.0.0"]
"""

_DOCKER_README = f"""# {{name}} in a container

    docker build -t eyewright-server .
    docker run --read-only --tmpfs /tmp -v eyewright:/var/lib/eyewright \\
      -e EYEWRIGHT_TOKEN="$(openssl rand -hex 24)" -p 127.0.0.1:{_PORT}:{_PORT} eyewright-server

The image holds no torch, runs as user 10001 and reports its health to Docker. A server that listens beyond its own
machine asks every request for the token; without one it does not start. Versions are pinned in `requirements.txt`; a
wheel that no registry has, such as Eyewright's own before it is released, goes into `wheels/`.
"""

_UNIT = f"""[Unit]
Description=Eyewright server
After=network.target

[Service]
Type=exec
User=eyewright
Group=eyewright
StateDirectory=eyewright
WorkingDirectory=/var/lib/eyewright
# A token here, EYEWRIGHT_TOKEN=..., lets --host be other than this machine.
EnvironmentFile=-/etc/eyewright/environment
ExecStart=/opt/eyewright/bin/eyewright serve /opt/eyewright/bundle --host 127.0.0.1 --port {_PORT}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
TimeoutStopSec=30
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
LockPersonality=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
MemoryMax=1G

[Install]
WantedBy=multi-user.target
"""

_INSTALL = """#!/bin/sh
# Installs the server below /opt/eyewright and starts it now and at every boot. Run it as root, in this folder.
set -eu
id eyewright >/dev/null 2>&1 || useradd --system --home-dir /var/lib/eyewright --shell /usr/sbin/nologin eyewright
python3 -m venv /opt/eyewright
/opt/eyewright/bin/pip install --quiet -r requirements.txt
rm -rf /opt/eyewright/bundle.new && cp -r bundle /opt/eyewright/bundle.new
/opt/eyewright/bin/eyewright verify /opt/eyewright/bundle.new
rm -rf /opt/eyewright/bundle && mv /opt/eyewright/bundle.new /opt/eyewright/bundle
install -d -m 0755 /etc/eyewright
install -m 0644 eyewright.service /etc/systemd/system/eyewright.service
systemctl daemon-reload
systemctl enable --now eyewright.service
systemctl --no-pager status eyewright.service
"""

_SYSTEMD_README = f"""# {{name}} as a service

    sudo ./install.sh

installs Python packages (no torch) below `/opt/eyewright`, and a service that runs as a user of its own, may write to
`/var/lib/eyewright` alone, listens on 127.0.0.1:{_PORT} and starts at boot. To listen beyond this machine, write
`EYEWRIGHT_TOKEN=...` into `/etc/eyewright/environment` and change `--host` in the unit. A new bundle is taken up by
`sudo ./install.sh` or, once it lies in place, by `systemctl reload eyewright`.
"""
