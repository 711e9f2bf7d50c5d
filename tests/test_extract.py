"""Secrets and data leave the disk for one private folder, whole and right."""

from __future__ import annotations

import base64
import os
import stat
import tarfile
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from migrate.engine import read_env_file
from migrate.errors import PlanError, UsageError
from migrate.extract import component_secrets, extract, kubernetes_secrets
from migrate.generate.context import make_context
from migrate.plan.model import Rewrite, SecretRef
from tests.analyzers.fake import Content, File, Link, Node
from tests.generate import shop

ROOT = os.geteuid() == 0


def files(folder: Path) -> list[str]:
    every = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(str(p) for p in every if p.parts[0] != ".vm2c")


def test_the_shops_secrets_and_data(tmp_path: Path) -> None:
    into = tmp_path / "secrets"
    done = extract(shop.plan(), shop.guest(), shop.SECRETS, into)
    assert files(into) == sorted([*done.secrets, *done.data, ".gitignore"])
    assert done.data == ("data/orders-reports.tar", "data/postgresql-main.tar", "data/redis-server.tar")
    assert read_env_file(into / "orders/env") == {
        "DATABASE_URL": f"postgresql://orders:{shop.DB_PASSWORD}@postgresql:5432/orders",
        "REDIS_URL": "redis://redis-server:6379/0",
        "SECRET_KEY": shop.FLASK_KEY,
        "SMTP_URL": "smtp://smtp.corp.example:25",
        "LOG_LEVEL": "info",
    }
    report = (into / "orders-report/files/etc/orders/env").read_text()
    assert "@postgresql:5432" in report
    assert report.splitlines()[2:] == shop.ENV.splitlines()[2:]
    assert (into / "nginx/files/etc/ssl/private/shop.key").read_text() == shop.TLS_KEY


def test_everything_is_private(tmp_path: Path) -> None:
    into = tmp_path / "secrets"
    into.mkdir(mode=0o755)
    into.chmod(0o755)
    done = extract(shop.plan(), shop.guest(), shop.SECRETS, into)
    assert stat.S_IMODE(into.stat().st_mode) == 0o700
    assert any("private now" in n for n in done.notices)
    for name in (*done.secrets, *done.data):
        assert stat.S_IMODE((into / name).stat().st_mode) & 0o077 == 0
    if ROOT:
        assert (into / "nginx/files/etc/ssl/private/shop.key").stat().st_uid == 33
        assert done.notices == (f"{into} was open to others; it is private now (mode 0700)",)
    else:
        assert any("sudo chown 33:33" in n for n in done.notices)
    again = extract(shop.plan(), shop.guest(), shop.SECRETS, into)
    assert not any("private now" in n for n in again.notices)


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "secrets").symlink_to("elsewhere")
    with pytest.raises(UsageError, match="it is a link"):
        extract(shop.plan(), shop.guest(), shop.SECRETS, tmp_path / "secrets")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.skipif(not ROOT, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    os.chown(tmp_path / "secrets", 1234, 1234)
    with pytest.raises(UsageError, match="another user"):
        extract(shop.plan(), shop.guest(), shop.SECRETS, tmp_path / "secrets")


@pytest.mark.skipif(not ROOT, reason="only root runs under sudo's numbers")
def test_who_called_through_sudo_can_read_what_docker_reads_as_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "1235")
    into = tmp_path / "secrets"
    for _ in range(2):
        extract(shop.plan(), shop.guest(), shop.SECRETS, into)
        owners = {name: (into / name).stat().st_uid for name in ("orders/env", "data/redis-server.tar", "nginx/files")}
        assert set(owners.values()) == {1234}
        assert into.stat().st_gid == 1235
        assert (into / "nginx/files/etc/ssl/private/shop.key").stat().st_uid == 33


def test_only_what_was_asked_for_is_replaced(tmp_path: Path) -> None:
    into = tmp_path / "secrets"
    extract(shop.plan(), shop.guest(), shop.SECRETS, into)
    (into / "nginx/files/etc/ssl/private/shop.key").unlink()
    done = extract(shop.plan(), shop.guest(), shop.SECRETS, into, ["orders"])
    assert (done.secrets, done.data) == (("orders/env",), ("data/orders-reports.tar",))
    assert not (into / "nginx/files/etc/ssl/private/shop.key").exists()
    assert (into / "postgresql").exists()
    with pytest.raises(PlanError, match="no component of that id"):
        extract(shop.plan(), shop.guest(), shop.SECRETS, into, ["order"])


def test_what_a_person_changed_is_kept_beside(tmp_path: Path) -> None:
    into = tmp_path / "secrets"
    extract(shop.plan(), shop.guest(), shop.SECRETS, into)
    (into / "orders/env").write_text("SECRET_KEY=mine\n")
    extract(shop.plan(), shop.guest(), shop.SECRETS, into)
    assert (into / "orders/env.yours").read_text() == "SECRET_KEY=mine\n"


def test_data_keeps_owners_links_and_attributes(tmp_path: Path) -> None:
    data = "/var/lib/redis"
    tree: dict[str, Content] = {
        f"{data}/link": Link("dump.rdb"),
        f"{data}/a": File("same", inode=77, links=2, uid=108),
        f"{data}/b": File("same", inode=77, links=2, uid=108),
        f"{data}/sock": Node("socket"),
        f"{data}/holes": File(b"x" + b"\0" * (1 << 20)),
        f"{data}/marked": File("m", xattrs={"user.origin": b"\xff\0"}),
    }
    guest = shop.guest(**tree)
    extract(shop.plan(), guest, shop.SECRETS, tmp_path / "s", ["redis-server"])
    with tarfile.open(tmp_path / "s/data/redis-server.tar", errors="surrogateescape") as tar:
        found = {m.name: m for m in tar}
    assert list(found) == [".", "./a", "./b", "./dump.rdb", "./holes", "./link", "./marked"]
    assert (found["."].uid, found["."].gid, found["."].mode) == (108, 111, 0o750)
    assert (found["./b"].linkname, found["./link"].linkname) == ("./a", "dump.rdb")
    assert "SCHILY.xattr.user.origin" in found["./marked"].pax_headers


def test_configuration_among_the_data_is_rewritten(tmp_path: Path) -> None:
    component = shop.redis()
    component.rewrites.append(Rewrite(path="/var/lib/redis/pg_hba.conf", line=1, from_="127.0.0.1", to="samenet"))
    guest = shop.guest(**{"/var/lib/redis/pg_hba.conf": "host 127.0.0.1\n"})
    extract(shop.plan(component), guest, (), tmp_path / "s")
    with tarfile.open(tmp_path / "s/data/redis-server.tar") as tar:
        file = tar.extractfile("./pg_hba.conf")
        assert file is not None
        assert file.read() == b"host samenet\n"


def test_data_that_is_not_there_starts_empty_as_the_plan_says(tmp_path: Path) -> None:
    component = shop.redis()
    component.data[0].path = "/var/lib/elsewhere"
    done = extract(shop.plan(component), shop.guest(), (), tmp_path / "s")
    assert done.notices == ("/var/lib/elsewhere is not on the disk: redis-server starts empty",)
    with tarfile.open(tmp_path / "s/data/redis-server.tar") as tar:
        assert [(m.name, m.uid, m.mode) for m in tar] == [(".", 108, 0o750)]


def test_secrets_as_kubernetes_objects() -> None:
    text = kubernetes_secrets(shop.plan(), shop.guest(), shop.SECRETS)
    objects = {d["metadata"]["name"]: d for d in yaml.safe_load_all(text)}
    assert sorted(objects) == [
        "nginx-files", "orders-cleanup-env", "orders-env", "orders-report-files", "postgresql-files",
    ]  # fmt: skip
    for document in objects.values():
        kubernetes_validate.validate(document, "1.31", strict=True)
    data = objects["orders-env"]["data"]
    assert base64.b64decode(data["SECRET_KEY"]).decode() == shop.FLASK_KEY
    assert base64.b64decode(objects["nginx-files"]["data"]["etc_ssl_private_shop.key"]).decode() == shop.TLS_KEY
    assert kubernetes_secrets(shop.plan(), shop.guest(), shop.SECRETS, ["redis-server"]) == ""


def test_variables_that_units_and_crontabs_carry_themselves() -> None:
    component = shop.redis()
    component.environment = {"PLAIN": "1"}
    unit, cron = "/etc/systemd/system/app.service", "/etc/cron.d/app"
    component.secrets = [
        SecretRef(id="a", kind="token", seen_in=f"{unit}:2", variable="TOKEN"),
        SecretRef(id="b", kind="password", seen_in=f"{cron}:1", variable="PGPASSWORD"),
    ]
    guest = shop.guest(**{
        unit: '[Service]\nEnvironment="TOKEN=two words" PLAIN=1\n',
        cron: "PGPASSWORD = 'with space'\n* * * * * root true\n",
    })  # fmt: skip
    context = make_context(shop.plan(component), guest, ())
    assert context.moving[0].variables.plain == {"PLAIN": "1"}
    found = component_secrets(context.moving[0], guest)
    assert found.variables == {"TOKEN": "two words", "PGPASSWORD": "with space"}
    assert "two words" not in repr(found)


def test_a_place_that_no_longer_sets_its_variable_is_told() -> None:
    component = shop.redis()
    component.secrets = [SecretRef(id="a", kind="token", seen_in="/etc/cron.d/orders-report:1", variable="TOKEN")]
    context = make_context(shop.plan(component), shop.guest(), ())
    with pytest.raises(PlanError, match="does not set it"):
        component_secrets(context.moving[0], shop.guest())
