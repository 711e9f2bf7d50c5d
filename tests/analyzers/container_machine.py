"""A machine with Docker's and podman's files, as engines 20.10 and 5.4 write them, less what nobody reads."""

from __future__ import annotations

import json
from typing import Any

from tests.analyzers.fake import Content, File

ROOT = "/var/lib/docker"
COMPOSE = "/srv/shop/compose.yaml"
COMPOSE_TEXT = """\
services:
  web:
    image: nginx:1.25
    ports: ["8080:80"]
    depends_on: [app]
  app:
    build: .
    restart: unless-stopped
  db:
    image: postgres:16
volumes:
  pgdata: {}
"""
IMAGES = {"nginx": "sha256:" + "1" * 64, "shop-app": "sha256:" + "2" * 64, "postgres": "sha256:" + "3" * 64}
REPOSITORIES = {
    "Repositories": {
        "nginx": {"nginx:1.25": IMAGES["nginx"], f"nginx@sha256:{'a' * 64}": IMAGES["nginx"]},
        "shop-app": {"shop-app:latest": IMAGES["shop-app"]},
        "postgres": {"postgres:16": IMAGES["postgres"], f"postgres@sha256:{'b' * 64}": IMAGES["postgres"]},
    }
}


def container(  # every part of what is made can be said
    name: str,
    image: str,
    *,
    env: tuple[str, ...] = (),
    argv: tuple[str, ...] = ("/entrypoint.sh",),
    mounts: tuple[dict[str, Any], ...] = (),
    ports: dict[str, list[dict[str, str]]] | None = None,
    restart: str = "unless-stopped",
    network: str = "shop_default",
    aliases: tuple[str, ...] = (),
    labels: dict[str, str] | None = None,
    user: str = "",
    host: dict[str, Any] | None = None,
    root: str = ROOT,
    **more: Any,
) -> dict[str, Content]:
    """Return the two files of one container."""
    ident = f"{abs(sum(map(ord, name))):064x}"
    config = {
        "ID": ident,
        "State": {"Running": True, "ExitCode": 0},
        "Path": argv[0],
        "Args": list(argv[1:]),
        "Config": {"Hostname": ident[:12], "User": user, "Env": list(env), "Image": image, "Labels": labels or {},
                   "ExposedPorts": {"80/tcp": {}}},
        "Image": IMAGES.get(image.partition(":")[0], ""),
        "NetworkSettings": {"Networks": {network: {"Aliases": list(aliases), "Gateway": "172.18.0.1"}}, "Ports": {}},
        "Name": f"/{name}",
        "HasBeenManuallyStopped": False,
        "MountPoints": {m["Destination"]: m for m in mounts},
        **more,
    }  # fmt: skip
    kept = {
        "NetworkMode": network, "PortBindings": ports or {}, "RestartPolicy": {"Name": restart, "MaximumRetryCount": 0},
        "Memory": 0, **(host or {}),
    }  # fmt: skip
    folder = f"{root}/containers/{ident}"
    return {
        f"{folder}/config.v2.json": json.dumps(config),
        f"{folder}/hostconfig.json": json.dumps(kept),
    }


def folder_of(name: str, root: str = ROOT) -> str:
    """Return the folder that `container` puts one into."""
    return f"{root}/containers/{abs(sum(map(ord, name))):064x}"


def labels_of(service: str, depends: str = "") -> dict[str, str]:
    """Return the labels that compose gives a container."""
    return {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": service,
        "com.docker.compose.project.working_dir": "/srv/shop",
        "com.docker.compose.project.config_files": COMPOSE,
        "com.docker.compose.depends_on": depends,
    }


def bind(source: str, target: str, writes: bool = True) -> dict[str, Any]:
    """Return a mount point of a path."""
    return {"Type": "bind", "Source": source, "Destination": target, "RW": writes, "Name": "", "Driver": ""}


def volume(name: str, target: str) -> dict[str, Any]:
    """Return a mount point of a volume."""
    return {
        "Type": "volume", "Name": name, "Source": f"{ROOT}/volumes/{name}/_data", "Destination": target,
        "Driver": "local", "RW": True,
    }  # fmt: skip


def shop() -> dict[str, Content]:
    """Return a compose project of three services, and an agent that sees the engine's socket."""
    image = {"config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin", "NGINX_VERSION=1.25.3"]}}
    return {
        f"{ROOT}/image/overlay2/repositories.json": json.dumps(REPOSITORIES),
        f"{ROOT}/image/overlay2/imagedb/content/sha256/{'1' * 64}": json.dumps(image),
        COMPOSE: COMPOSE_TEXT,
        "/srv/shop/nginx.conf": "events {}\n",
        f"{ROOT}/volumes/shop_pgdata/_data/PG_VERSION": "16\n",
        **container(
            "shop-web-1", "nginx:1.25", aliases=("web",), labels=labels_of("web", "app:service_started:false"),
            argv=("/docker-entrypoint.sh", "nginx", "-g", "daemon off;"),
            env=("PATH=/usr/local/sbin:/usr/local/bin", "NGINX_VERSION=1.25.3", "TZ=Europe/Berlin"),
            ports={"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
            mounts=(bind("/srv/shop/nginx.conf", "/etc/nginx/nginx.conf", writes=False),), restart="always",
        ),
        **container(
            "shop-app-1", "shop-app", aliases=("app",), labels=labels_of("app", "db:service_healthy:false"),
            env=("DATABASE_URL=postgres://shop:hunter2hunter2@db:5432/shop", "REDIS_URL=redis://host.docker.internal:6379/0",
                 "SMTP_URL=smtp://mail.corp.example", "SELF_URL=http://localhost:3000/", "CACHE_URL=redis://cache:6379"),
            argv=("node", "server.js"), user="1000:1000", host={"Memory": 536870912, "NanoCpus": 1500000000},
        ),
        **container(
            "shop-db-1", "postgres:16", aliases=("db",), labels=labels_of("db"),
            env=("POSTGRES_PASSWORD=correct-horse-battery",),
            mounts=(volume("shop_pgdata", "/var/lib/postgresql/data"),),
            ports={"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5433"}]},
        ),
        **container(
            "agent", "nginx:1.25", network="host", restart="no", argv=("/agent", "--token", "9f8e7d6c5b4a39281706"),
            mounts=(bind("/", "/host", writes=False), bind("/var/run/docker.sock", "/var/run/docker.sock"),
                    bind("/proc", "/host/proc", writes=False)),
        ),
    }  # fmt: skip


GENERATOR = "/usr/lib/systemd/system-generators/podman-system-generator"
QUADLET = """\
[Unit]
Description=The wiki
After=network-online.target db.container

[Container]
Image=docker.io/library/wiki:2.5
ContainerName=wiki
PublishPort=127.0.0.1:3000:3000
PublishPort=8443:443/tcp
Volume=wiki-data.volume:/wiki/data
Volume=/etc/wiki/config.yml:/wiki/config.yml:ro,Z
Volume=%h/uploads:/uploads
Network=wiki.network
Environment=DB_HOST=db DB_PORT=5432 "MOTTO=so it goes"
EnvironmentFile=/etc/wiki/env
Secret=wiki-key,type=env,target=KEY
Exec=node server --port 3000

[Service]
Restart=always

[Install]
WantedBy=multi-user.target
"""
QUADLETS: dict[str, Content] = {
    GENERATOR: File("ELF", mode=0o755),
    "/etc/containers/systemd/wiki.container": QUADLET,
    "/etc/containers/systemd/wiki-data.volume": "[Volume]\nVolumeName=wikidata\n",
    "/etc/containers/systemd/wiki.network": "[Network]\n",
    "/etc/containers/systemd/db.container": (
        "[Container]\nImage=docker.io/library/postgres:16\nContainerName=db\nNetwork=wiki.network\n"
        "PublishPort=127.0.0.1:5434:5432\n[Install]\nWantedBy=multi-user.target\n"
    ),
    "/etc/wiki/env": "# of the wiki\nDB_PASS=correct-horse-battery\n",
    "/etc/wiki/config.yml": "title: wiki\n",
}


def libpod(name: str, **more: Any) -> dict[str, Any]:
    """Return a ContainerConfig of libpod's."""
    return {
        "id": "c" * 64, "name": name, "rootfsImageName": "docker.io/library/redis:7", "restart_policy": "always",
        "networkMode": "bridge", "newNetworks": {"podman": {"aliases": []}}, "user": "",
        "spec": {
            "process": {"args": ["docker-entrypoint.sh", "redis-server"],
                        "env": ["PATH=/usr/bin", "UPSTREAM=tcp://10.0.0.7:6380"]},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/conf", "type": "bind", "source": "/etc/redis-x", "options": ["ro", "rbind"]}],
        },
        "newPortMappings": [{"host_ip": "", "container_port": 6379, "host_port": 6390, "range": 2, "protocol": "tcp"}],
        "namedVolumes": [{"volumeName": "redisdata", "dest": "/data", "options": ["rprivate"]}],
        **more,
    }  # fmt: skip
