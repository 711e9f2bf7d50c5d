from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import portage
from migrate.model import Finding, Package, PackageFiles, Place, Unread
from tests.analyzers.fake import Broken, Content, FakeGuest, Link

MD5 = hashlib.md5(b"set nocp\n").hexdigest()
VIM = "/var/db/pkg/app-editors/vim-9.0.2167-r1"
CONTENTS = f"""\
dir /etc
dir /etc/vim
obj /etc/vim/vimrc {MD5} 1700000000
obj /etc/env.d/99vim {MD5} 1700000000
obj /usr/bin/vim {MD5} 1700000000
obj /usr/share/My Fonts/a b.ttf {MD5} 1700000001
sym /usr/bin/vi -> vim 1700000002
sym /usr/share/a -> b -> c d 1700000002
fif /run/vim
dev /dev/vim
"""
SYSTEM: dict[str, Content] = {
    f"{VIM}/CONTENTS": CONTENTS,
    f"{VIM}/RDEPEND": ">=sys-libs/ncurses-5.2-r2:0= nls? ( virtual/libintl ) !gtk? ( app-misc/no-gtk ) "
    "gtk? ( x11-libs/gtk+:3 ) || ( dev-lang/python:3.11[threads(+)] dev-lang/python:3.12 dev-lang/none ) !app-old/x\n",
    f"{VIM}/PDEPEND": "app-vim/gentoo-syntax\n",
    f"{VIM}/USE": "acl nls amd64\n",
    f"{VIM}/repository": "gentoo\n",
    f"{VIM}/CHOST": "x86_64-pc-linux-gnu\n",
    f"{VIM}/SLOT": "0\n",
    "/var/db/pkg/sys-libs/ncurses-6.4_p20240101/repository": "gentoo\n",
    "/var/db/pkg/sys-libs/ncurses-6.4_p20240101/CONTENTS": f"obj /lib/libncurses.so {MD5} 1\n",
    "/var/db/pkg/virtual/libintl-0-r2/CONTENTS": "",
    "/var/db/pkg/dev-lang/python-3.11.9/repository": "gentoo\n",
    "/var/db/pkg/dev-lang/python-3.12.4/repository": "gentoo\n",
    "/var/db/pkg/app-vim/gentoo-syntax-1/repository": "guru\n",
    "/var/db/pkg/app-misc/no-gtk-1/repository": "localrepo\n",
    "/var/db/pkg/x11-libs/gtk+-3.24/repository": "gentoo\n",
    "/var/db/pkg/app-misc/-MERGING-half-1/repository": "gentoo\n",
    "/var/lib/portage/world": "app-editors/vim\n>=dev-lang/python-3.12:3.12::gentoo\n# no\n",
    "/var/lib/portage/world_sets": "@mine\n@../../etc/x\n",
    "/etc/portage/sets/mine": "x11-libs/gtk+\n",
    "/etc/profile.env": "export CONFIG_PROTECT='/usr/share/gnupg/x'\n"
    "export CONFIG_PROTECT_MASK='/etc/env.d /etc/fonts'\n",
    "/lib": Link("usr/lib"),
    "/usr/lib/x": "",
}


def found(extra: dict[str, Content] | None = None) -> list[Finding]:
    return list(portage.analyze(FakeGuest({**SYSTEM, **(extra or {})})))


def packages(findings: list[Finding]) -> dict[str, Package]:
    return {f"{f.name}-{f.version}": f for f in findings if isinstance(f, Package)}


def unread(findings: list[Finding]) -> list[str]:
    return [f"{f.seen_in}: {f.why}" for f in findings if isinstance(f, Unread)]


def test_a_package() -> None:
    findings = found()
    assert list(packages(findings)) == [
        "app-editors/vim-9.0.2167-r1", "app-misc/no-gtk-1", "app-vim/gentoo-syntax-1", "dev-lang/python-3.11.9",
        "dev-lang/python-3.12.4", "sys-libs/ncurses-6.4_p20240101", "virtual/libintl-0-r2", "x11-libs/gtk+-3.24",
    ]  # fmt: skip
    assert packages(findings)["app-editors/vim-9.0.2167-r1"] == Package(
        seen_in=Place(VIM),
        name="app-editors/vim",
        version="9.0.2167-r1",
        architecture="x86_64",
        manager="portage",
        chosen=True,
        origin="distribution",
        source="app-editors/vim",
        section="app-editors",
        depends=("sys-libs/ncurses", "virtual/libintl", "app-misc/no-gtk", "dev-lang/python", "app-vim/gentoo-syntax"),
    )
    assert unread(findings) == []


def test_who_asked_and_where_it_is_from() -> None:
    of = packages(found())
    assert {p.name for p in of.values() if p.chosen} == {"app-editors/vim", "dev-lang/python", "x11-libs/gtk+"}
    assert {p.name: p.origin for p in of.values() if p.origin != "distribution"} == {
        "app-vim/gentoo-syntax": "third-party", "app-misc/no-gtk": "local", "virtual/libintl": "",
    }  # fmt: skip


def test_paths_and_configuration() -> None:
    files = {f.package: f for f in found() if isinstance(f, PackageFiles)}
    assert files["app-editors/vim"].paths == (
        "/dev/vim", "/etc", "/etc/env.d/99vim", "/etc/vim", "/etc/vim/vimrc", "/run/vim", "/usr/bin/vi",
        "/usr/bin/vim", "/usr/share/My Fonts/a b.ttf", "/usr/share/a",
    )  # fmt: skip
    assert files["app-editors/vim"].conffiles == (("/etc/vim/vimrc", MD5),)  # env.d is masked
    shipped = {each.path: each for each in files["app-editors/vim"].shipped}
    assert (shipped["/etc/vim/vimrc"].digest, shipped["/etc/vim/vimrc"].flags) == (MD5, ("config", "noreplace"))
    assert shipped["/etc/vim/vimrc"].unchecked == (
        "size", "user", "group", "mode", "target", "device", "capabilities",
    )  # fmt: skip
    assert (shipped["/usr/bin/vi"].target, shipped["/usr/bin/vi"].mtime) == ("vim", 1700000002)
    assert files["sys-libs/ncurses"].paths == ("/usr/lib/libncurses.so",)


def test_records() -> None:
    records = {r.path: r for _, r in portage.records(FakeGuest(SYSTEM))}
    assert records["/usr/share/My Fonts/a b.ttf"].digest == f"md5:{MD5}"
    assert (records["/usr/bin/vi"].kind, records["/usr/bin/vi"].target) == ("symlink", "vim")
    assert records["/usr/share/a"].target == "b -> c d"
    assert [r.path for r in records.values() if r.configuration] == ["/etc/vim/vimrc"]
    assert records["/run/vim"].kind == "other"
    assert {r.mode for r in records.values()} == {None}


def test_versions() -> None:
    for text, parts in {
        "gtk+-2.24.33-r3": ("gtk+", "2.24.33-r3"),
        "a-1a_beta2_p3-r4": ("a", "1a_beta2_p3-r4"),
        "font-adobe-100dpi-1.0.4": ("font-adobe-100dpi", "1.0.4"),
        "libstdc++-v3-3.3": ("libstdc++-v3", "3.3"),
        "x-9999": ("x", "9999"),
        "font-adobe-100dpi": None,
        "": None,
        "-1": None,
    }.items():
        assert portage.split_version(text) == parts, text


def test_atoms() -> None:
    atoms = ["=a/b-1*", "~a/b-1", "a/b-1", "a/b:0/1=", "a/b[x,-y]", "!!a/b", "a", "a/", "/b", "a/b/c", "||"]
    assert [portage.parse_atom(atom) for atom in atoms] == [
        "a/b", "a/b", "a/b-1", "a/b", "a/b", None, None, None, None, None, None,
    ]  # fmt: skip


def test_conditions() -> None:
    text = "a? ( x/1 !b? ( x/2 b? ( x/3 ) ) ) c? ( x/4 || ( x/5 ) ) ) ) x/6"
    assert portage.parse_dependencies(text, frozenset("a")) == ["x/1", "x/2", "x/6"]
    assert portage.parse_dependencies(text, frozenset("abc")) == ["x/1", "x/4", "x/5", "x/6"]


def test_a_machine_without_portage() -> None:
    assert list(portage.analyze(FakeGuest({"/etc/hostname": "x"}))) == []


# ---------------------------------------------------------------- hostile input


def test_what_cannot_be_read_is_told() -> None:
    findings = found(
        {
            "/var/db/pkg/app-misc/noversion/SLOT": "0",
            "/var/db/pkg/app mis$c/x-1/SLOT": "0",
            "/var/db/pkg/dev-lang/python-3.11.9/CONTENTS": "rubbish\n" * 50 + f"obj /../x {MD5} 1\nobj /ok {MD5} 1\n",
            "/var/db/pkg/dev-lang/python-3.12.4/CONTENTS": Broken(),
        }
    )
    assert {line.split(": ")[0].partition(":")[0] for line in unread(findings)} == {
        "/var/db/pkg/app-misc", "/var/db/pkg/app mis$c", "/var/db/pkg/dev-lang/python-3.11.9/CONTENTS",
        "/var/db/pkg/dev-lang/python-3.12.4/CONTENTS",
    }  # fmt: skip
    assert len(unread(findings)) == 14
    assert ("/ok",) in [f.paths for f in findings if isinstance(f, PackageFiles)]


def test_so_many_packages_and_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portage, "MAX_PACKAGES", 2)
    monkeypatch.setattr(portage, "MAX_PATHS", 3)
    findings = found()
    assert len(packages(findings)) == 2
    assert sum(len(f.paths) for f in findings if isinstance(f, PackageFiles)) == 3
    assert any("only 2 packages" in line for line in unread(findings))
    assert any("only 3 paths" in line for line in unread(findings))


def test_long_rubbish_takes_no_time() -> None:
    for text in ("a-1" * 100_000, "-" * 100_000, "1." * 100_000, "_p1" * 80, "a-" * 127):
        portage.split_version(text)
        portage.parse_atom(f"=x/{text}")
        list(portage.parse_contents(f"sym {text} -> {text}\nobj {text} {text}\n", lambda why, line: None))
    deep = portage.parse_dependencies("a? ( " * 200_000, frozenset())
    assert deep == []


@given(st.text(max_size=200))
def test_no_text_breaks_the_parsers(text: str) -> None:
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    portage.split_version(text)
    portage.parse_atom(text)
    portage.parse_dependencies(text, frozenset())
    portage.parse_protect(f"export CONFIG_PROTECT='{text}'")
    for each in (text, f"obj {text} {MD5} 1", f"sym {text} -> {text} 1", f"dir {text}"):
        for record in portage.parse_contents(each, lambda why, line: None):
            assert record.path.startswith("/")
            assert ".." not in record.path.split("/")


def test_a_database_changed_at_random() -> None:
    chance = random.Random(4)
    for _ in range(200):
        changed: dict[str, Content] = {}
        for path, content in SYSTEM.items():
            if isinstance(content, str) and content:
                data = bytearray(content.encode())
                data[chance.randrange(len(data))] = chance.randrange(256)
                changed[path] = bytes(data[: chance.randrange(len(data)) + 1])
        guest = FakeGuest({**SYSTEM, **changed})
        assert all(isinstance(f, Package | PackageFiles | Unread) for f in portage.analyze(guest))
        assert all(record.path.startswith("/") for _, record in portage.records(guest))
