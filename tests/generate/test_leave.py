"""What is left to the base, and above all what is not."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import msgspec
import pytest

from migrate.bases.model import Base, LeftToBase, digest
from migrate.bases.store import inventory_of, keep
from migrate.errors import PlanError
from migrate.generate import generate
from migrate.generate.context import make_context
from migrate.generate.dockerfile import dockerfile
from migrate.generate.leave import Remainder, leave
from migrate.generate.lift import parse_status
from migrate.guest.open import open_guest
from migrate.output import File as Output
from migrate.plan.model import Component, Data, Image, Plan, Rewrite, RunUser
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link
from tests.bases import made
from tests.generate import shop
from tests.guest.made import CORPUS

MACHINE: dict[str, Content] = made.TREE | {
    "/etc/group": "root:x:0:\n",
    "/etc/ssl/openssl.cnf": "the machine's\n",
    "/usr/share/app": Dir(mode=0o755),
    "/usr/share/app/three": "only here\n",
    "/usr/share/app/four": "a line\n",
}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def app(base: Base | None, **fields: object) -> Component:
    """Return a component that copies files and installs nothing; `base` is kept in the store and named."""
    if base is not None:
        keep(base)
    image: dict[str, object] = {
        "strategy": "app", "base": made.REFERENCE, "files": ["/usr/share/app", "/etc/ssl"],
        "base_inventory": digest(base) if base is not None else "",
    }  # fmt: skip
    image |= {k: fields.pop(k) for k in ("strategy", "packages", "files", "remove") if k in fields}
    return shop.component(
        "app", "/x:1", **{"image": msgspec.convert(image, Image), "user": RunUser(name="root", uid=0, gid=0),
                          "command": ["/usr/bin/sh"], "timezone": None, **fields},
    )  # fmt: skip


def remainder(component: Component, machine: dict[str, Content] | None = None) -> Remainder:
    context = make_context(shop.plan(component), FakeGuest(machine or MACHINE), ())
    found = leave(context.moving[0], context)
    assert found is not None
    return found


def left(found: Remainder) -> list[str]:
    return [file.path for file in found.left.files]


def copied(found: Remainder) -> list[str]:
    return [member.path for member in found.members]


def test_what_is_equal_is_left_and_the_rest_is_copied() -> None:
    found = remainder(app(made.inventory()))
    assert left(found) == ["/etc/ssl", "/usr/share/app", "/usr/share/app/one", "/usr/share/app/two"]
    assert copied(found) == ["/etc/ssl/openssl.cnf", "/usr/share/app/four", "/usr/share/app/three"]
    assert (found.left.base, found.left.bytes, found.left.why) == (made.REFERENCE, 10, "")
    assert found.left.inventory == digest(made.inventory())


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/usr/share/app/one", "SAME\n"),
        ("/usr/share/app/one", "longer than it was\n"),
        ("/usr/share/app/one", File("same\n", mode=0o600)),
        ("/usr/share/app/one", File("same\n", mode=0o4644)),
        ("/usr/share/app/one", File("same\n", uid=5)),
        ("/usr/share/app/one", File("same\n", gid=5)),
        ("/usr/share/app/one", File("same\n", xattrs={"security.capability": made.CAPABILITY})),
        ("/usr/share/app/one", Link("two")),
        ("/usr/share/app", Dir(mode=0o700)),
        ("/usr/share/app", Dir(uid=5)),
    ],
)
def test_what_differs_in_anything_is_copied(path: str, content: Content) -> None:
    found = remainder(app(made.inventory()), MACHINE | {path: content})
    assert path in copied(found)
    assert path not in left(found)
    assert "/usr/share/app/two" in left(found)


def test_times_do_not_count() -> None:
    found = remainder(app(made.inventory()), MACHINE | {"/usr/share/app/one": File("same\n", mtime=1_700_000_000)})
    assert "/usr/share/app/one" in left(found)


def test_without_an_inventory_everything_is_copied_and_there_is_no_base_json() -> None:
    plan = shop.plan(app(None))
    context = make_context(plan, FakeGuest(MACHINE), ())
    assert leave(context.moving[0], context) is None
    files = generate(plan, FakeGuest(MACHINE), ()).files
    assert "images/app/base.json" not in files
    assert "usr/share/app/one" in names(files["images/app/rootfs.tar"])


def test_a_rewritten_file_is_compared_as_it_becomes() -> None:
    rewrite = Rewrite(path="/usr/share/app/four", line=1, from_="line", to="word")
    base = made.inventory(made.TREE | {"/usr/share/app/four": "a line\n"})
    assert "/usr/share/app/four" in left(remainder(app(base)))
    assert "/usr/share/app/four" in copied(remainder(app(base, rewrites=[rewrite])))


def test_names_of_one_file_are_left_together_or_not_at_all() -> None:
    linked: dict[str, Content] = {
        f"/usr/share/app/{n}": File("same\n", inode=77, links=3) for n in ("one", "two", "three")
    }
    found = remainder(app(made.inventory()), MACHINE | linked)
    assert [m.kind for m in found.members if m.path in linked] == ["file", "hardlink", "hardlink"]
    base = made.inventory(made.TREE | linked)
    assert set(left(remainder(app(base), MACHINE | linked))) > set(linked)


def test_what_is_removed_from_the_base_is_copied() -> None:
    found = remainder(app(made.inventory(), remove=["/usr/share/app"]))
    assert left(found) == ["/etc/ssl"]
    data = Data(path="/usr/share/app", claim="app", mode="0755")
    found = remainder(app(made.inventory(), data=[data]))
    assert "/usr/share/app" in copied(found)


def test_accounts_that_the_dockerfile_writes_are_copied() -> None:
    assert "/etc/passwd" in copied(remainder(app(made.inventory(), files=["/etc/passwd"])))


# ---------------------------------------------------------------- packages


def steps(component: Component) -> str:
    context = make_context(shop.plan(component), FakeGuest(MACHINE), ())
    return dockerfile(context.moving[0], context)


def test_where_packages_are_installed_nothing_is_left() -> None:
    component = app(made.inventory(), packages=["libc6=2.36-9", "nginx=1.22.1-9"])
    found = remainder(component)
    assert found.left.files == ()
    assert found.left.packages == ("libc6=2.36-9",)
    assert found.left.installs
    assert "cannot be known" in found.left.why
    assert copied(found) == [m.path for m in make_context(shop.plan(component), FakeGuest(MACHINE), ()).moving[0].payload.members]  # fmt: skip  # noqa: E501
    text = steps(component)
    assert "libc6=2.36-9 \\\n        nginx=1.22.1-9" in text  # the version stays asked for
    assert found.left.relied_on() == ()


def test_packages_that_the_base_has_are_not_installed_and_its_record_of_them_is_relied_on() -> None:
    component = app(made.inventory(), packages=["libc6:amd64=2.36-9", "tzdata"])
    found = remainder(component)
    assert found.left.packages == ("libc6:amd64=2.36-9", "tzdata")
    assert not found.left.installs
    assert "/usr/share/app/one" in left(found)
    assert found.left.database is not None
    assert found.left.database in found.left.relied_on()
    assert found.left.database.path == "/var/lib/dpkg/status"
    assert "apt-get" not in steps(component)


@pytest.mark.parametrize("package", ["libc6=2.36-8", "libc6:arm64=2.36-9", "libc", "libc6-dev"])
def test_another_version_processor_or_name_is_installed(package: str) -> None:
    assert remainder(app(made.inventory(), packages=[package])).left.installs


# ---------------------------------------------------------------- lifted


def lifted(base: Base | None, **fields: object) -> Component:
    return app(base, strategy="lift", packages=["libc6=2.36-9"], files=["/usr/share/app"], **fields)


def test_a_lifted_image_leaves_the_bases_own_to_it_and_runs_nothing() -> None:
    found = remainder(lifted(made.inventory()))
    assert "/usr/lib/libc.so.6" in left(found)
    assert "/etc/passwd" in left(found)  # nothing writes to it: the machine's own goes over the base's
    assert "/usr/share/app/three" in copied(found)
    assert found.left.database is None
    assert "\nRUN " not in steps(lifted(made.inventory()))
    assert f"\nFROM {made.REFERENCE}\n" in steps(lifted(made.inventory()))


def test_the_bases_other_packages_are_told_in_the_record_of_packages() -> None:
    base = made.inventory()
    other = msgspec.structs.replace(base.packages[0], name="base-only", version="1")
    found = remainder(lifted(msgspec.structs.replace(base, packages=(*base.packages, other))))
    status = next(m for m in found.members if m.path == "/var/lib/dpkg/status")
    assert status.content is not None
    packages = parse_status(status.content.decode())
    assert list(packages) == ["libc6", "tzdata", "base-only"]
    assert "time zones" in packages["tzdata"].stanza  # as the machine has it, in that version
    assert f"of the base image {made.REFERENCE}" in packages["base-only"].stanza
    assert status.size == len(status.content)


@pytest.mark.parametrize(
    ("release", "why"),
    [
        ('ID=debian\nVERSION_ID="11"\n', "debian 12, and the machine debian 11"),
        ('ID=ubuntu\nVERSION_ID="12"\n', "the machine ubuntu 12"),
        ("", "says nothing of itself"),
    ],
)
def test_another_release_is_no_base(release: str, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        remainder(lifted(made.inventory()), MACHINE | {"/etc/os-release": release})


def test_a_base_laid_out_otherwise_is_refused_and_a_link_that_it_has_not_is_copied() -> None:
    tree = {p: c for p, c in made.TREE.items() if p != "/bin"}
    with pytest.raises(PlanError, match="/bin is a symlink on the machine and a directory in the base"):
        remainder(lifted(made.inventory(tree | {"/bin": Dir()})))
    assert "/bin" in copied(remainder(lifted(made.inventory(tree))))


# ---------------------------------------------------------------- the inventory that is named


def test_an_inventory_that_is_not_here_stops_it() -> None:
    component = app(None)
    assert component.image is not None
    component.image.base_inventory = f"sha256:{'0' * 64}"
    with pytest.raises(PlanError, match="is not here; run vm2c bases --refresh corp/base:1 and analyze again"):
        remainder(component)
    keep(made.inventory())
    with pytest.raises(PlanError, match="is not here"):
        remainder(component)


@pytest.mark.parametrize("text", ["sha256:", "sha256:12345", "latest", "sha256:" + "g" * 64, "sha256:000000000000\n"])
def test_what_is_no_digest_is_refused(text: str) -> None:
    component = app(made.inventory())
    assert component.image is not None
    component.image.base_inventory = text
    with pytest.raises(PlanError, match="is no digest of an inventory; write base_inventory as vm2c bases prints it"):
        remainder(component)


def test_a_digest_as_it_is_listed_is_enough() -> None:
    component = app(made.inventory())
    assert component.image is not None
    component.image.base_inventory = component.image.base_inventory[:19]
    assert remainder(component).left.inventory == digest(made.inventory())


def test_the_plan_is_for_one_processor() -> None:
    component = app(made.inventory())
    plan: Plan = msgspec.structs.replace(shop.plan(component))
    plan.source.architecture = "arm64"
    context = make_context(plan, FakeGuest(MACHINE), ())
    with pytest.raises(PlanError, match="for arm64 processors is not here"):
        leave(context.moving[0], context)


def names(file: Output) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(file.pieces()))) as tar:
        return {member.name for member in tar}


def test_files_that_are_written_say_the_same_and_are_the_same_again() -> None:
    plan = shop.plan(app(made.inventory(), packages=["tzdata=2024a-0"]))
    files = generate(plan, FakeGuest(MACHINE), ()).files
    text = b"".join(files["images/app/base.json"].pieces())
    said = msgspec.json.decode(text, type=LeftToBase)
    archived = names(files["images/app/rootfs.tar"])
    assert not {f.path.lstrip("/") for f in said.files} & archived
    table = b"".join(files["images/app/files.tsv"].pieces()).decode()
    assert {line.rpartition("\t")[2].lstrip("/") for line in table.splitlines()[1:]} == archived
    assert text.count(b'\n  ["/') == len(said.files) == 4
    again = generate(plan, FakeGuest(MACHINE), ()).files
    assert {n: b"".join(f.pieces()) for n, f in files.items()} == {n: b"".join(f.pieces()) for n, f in again.items()}


def test_a_whole_system_on_the_image_it_was_made_from_is_left_to_it() -> None:
    """The machine is the official minirootfs, and the base the inventory that vm2c brings of it."""
    archive = CORPUS.parent / "rootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz"
    if not archive.exists():
        pytest.skip("the corpus has no Alpine root")
    known = inventory_of("alpine:3.20.3", "amd64")
    assert known is not None
    assert not known.own
    component = app(None, strategy="lift", files=[])
    assert component.image is not None
    component.image.base, component.image.base_inventory = known.base.reference, known.digest
    with open_guest([archive]) as guest:
        context = make_context(shop.plan(component), guest, ())
        found = leave(context.moving[0], context)
    assert found is not None
    assert copied(found) == ["/run", "/tmp", "/var/run", "/var/tmp"]  # made anew in every lifted image
    assert len(found.left.files) > 400
    assert found.left.bytes == sum(m.size for m in context.moving[0].payload.members) > 7_000_000
    assert {f.path for f in known.base.files if f.kind == "file"} <= set(left(found))
