from __future__ import annotations

import hashlib

from migrate.facts import Facts
from migrate.model import Package, PackageFiles, Place, Secret, Shipped
from migrate.plan.changed import RULE, add_changed, closure
from migrate.plan.model import Image
from tests.analyzers.fake import Dir, FakeGuest, File

HERE = Place("/var/lib/rpm/rpmdb.sqlite")
TRUE = hashlib.md5(b"true").hexdigest()


def _package(name: str, *depends: str) -> Package:
    return Package(
        seen_in=HERE, name=name, version="1", architecture="x86_64", manager="rpm", chosen=True, depends=depends
    )


def _files(package: str, *shipped: Shipped) -> PackageFiles:
    return PackageFiles(seen_in=HERE, package=package, paths=tuple(each.path for each in shipped), shipped=shipped)


def _shipped(path: str, mode: int = 0o100644, **more: object) -> Shipped:
    unchecked = ("size", "mtime", "device", "capabilities")
    return Shipped(path=path, mode=mode, user="root", group="root", digest=TRUE, unchecked=unchecked)


def _facts(*more: Secret, quick: bool = False) -> Facts:
    guest = FakeGuest(
        {
            "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
            "/usr/sbin/daemon": File("FALSE", mode=0o755),
            "/usr/share/daemon/one": "true",
            "/usr/lib/libdaemon.so": "patched",
            "/usr/share/daemon/tree": Dir(mode=0o777),
            "/usr/bin/other": "changed too",
            "/usr/share/many/1": "a", "/usr/share/many/2": "a", "/usr/share/many/3": "a", "/usr/share/many/4": "a",
        }
    )  # fmt: skip
    return Facts(
        [
            _package("daemon", "libdaemon", "many", "not-installed"),
            _package("libdaemon", "daemon"),
            _package("many"),
            _package("other"),
            _files(
                "daemon",
                _shipped("/usr/sbin/daemon", 0o100755),
                _shipped("/usr/share/daemon/one"),
                _shipped("/usr/share/daemon/gone"),
                _shipped("/usr/share/doc/daemon/README"),
                Shipped(path="/usr/share/daemon/tree", mode=0o040755, user="root", group="root"),
            ),
            _files("libdaemon", _shipped("/usr/lib/libdaemon.so")),
            _files("many", *(_shipped(f"/usr/share/many/{n}") for n in range(1, 5))),
            _files("other", _shipped("/usr/bin/other")),
            *more,
        ],
        guest,
        quick=quick,
    )


def _image(strategy: str = "packages") -> Image:
    return Image(strategy=strategy, base="x", packages=["daemon=1"], files=["/etc/daemon"], remove=["/etc/x"])  # type: ignore[arg-type]


def test_dependencies_of_dependencies_and_no_other() -> None:
    assert closure(_facts(), ["daemon", "unheard-of"]) == {"daemon", "libdaemon", "many"}


def test_what_was_changed_goes_into_the_image_and_what_is_gone_is_removed() -> None:
    image = _image()
    reasons = add_changed(_facts(), image)
    many = [f"/usr/share/many/{n}" for n in range(1, 5)]
    assert image.files == sorted(
        ["/etc/daemon", "/usr/lib/libdaemon.so", "/usr/sbin/daemon", "/usr/share/daemon/tree/", *many]
    )
    assert image.remove == ["/etc/x", "/usr/share/daemon/gone"]
    assert {reason.rule for reason in reasons} == {RULE}
    said = [reason.says for reason in reasons]
    assert "/usr/lib/libdaemon.so of libdaemon was changed on the machine (content): the image has it so" in said
    assert "/usr/share/daemon/tree of daemon was changed on the machine (mode): the image has it so" in said
    assert [says for says in said if "many" in says] == [
        "4 files of many were changed on the machine, /usr/share/many/1 first: the image has them so"
    ]
    assert all(reason.seen_in.startswith(HERE.path) for reason in reasons)


def test_a_secret_a_lifted_image_and_a_quick_run_take_nothing() -> None:
    secret = Secret(id="s", kind="token", value="x" * 9, seen_in=Place("/usr/lib/libdaemon.so", 1))
    image = _image()
    add_changed(_facts(secret), image)
    assert "/usr/lib/libdaemon.so" not in image.files
    for strategy, quick in (("lift", False), ("packages", True)):
        image = _image(strategy)
        assert add_changed(_facts(quick=quick), image) == []
        assert image == _image(strategy)
