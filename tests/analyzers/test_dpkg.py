from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analyzers import _dpkg_files, _dpkg_status, dpkg
from analyzers._apt_lists import offered, prefix_of, read_origins
from migrate.model import Finding, Package, PackageFiles, Place, Shipped, Unread
from tests.analyzers.fake import Broken, Content, FakeGuest, Link

STATUS = """\
Package: dash
Essential: yes
Status: install ok installed
Priority: required
Section: shells
Architecture: amd64
Version: 0.5.12-2
Pre-Depends: libc6 (>= 2.36)
Depends: debianutils (>= 5.6-0.1), dpkg (>= 1.19.1)
Description: POSIX-compliant shell
 The Debian Almquist Shell (dash) is a POSIX-compliant shell.

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: libc6
Status: install ok installed
Priority: optional
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.36-9+deb12u10
Conffiles:
 /etc/ld.so.conf.d/x86_64-linux-gnu.conf d4e7a7b88a71b5ffd9e2644e71a0cfab
 /etc/gai.conf 28fa76ff5a9e0566eaa1e11f1ce51f09 obsolete
 /etc/new newconffile

Package: mawk
Status: install ok installed
Architecture: amd64
Provides: awk
Version: 1.3.4

Package: tool
Status: hold ok installed
Architecture: all
Version: 2:1.0
Depends: awk | gawk, default-mta | mail-transport-agent, libc6:any
"""
LISTS: dict[str, Content] = {
    "/var/lib/dpkg/info/dash.list": "/.\n/bin\n/bin/sh\n/bin/dash\n/usr\n/usr/share\n/usr/share/man/man1/sh.1.gz\n",
    "/var/lib/dpkg/info/libc6:amd64.list": "/.\n/lib\n/lib/libc.so.6\n",
    "/var/lib/dpkg/info/mawk.list": "/.\n/usr/bin/mawk\n",
    "/var/lib/dpkg/info/tool.list": "/.\n/lib/systemd/system/tool.service\n/var/run/tool\n/gone/dir/x\n",
    "/bin": Link("usr/bin"),
    "/lib": Link("usr/lib"),
    "/var/run": Link("/run"),
    "/usr/bin/dash": "ELF",
    "/usr/lib/libc.so.6": "ELF",
    "/usr/lib/systemd/system/tool.service": "",
    "/run": Link("run-real"),
    "/run-real/x": "",
}


def found(*, extra: dict[str, Content] | None = None) -> list[Finding]:
    return list(dpkg.analyze(FakeGuest({"/var/lib/dpkg/status": STATUS, **LISTS, **(extra or {})})))


def package(findings: list[Finding], name: str) -> Package:
    return next(f for f in findings if isinstance(f, Package) and f.name == name)


def files(findings: list[Finding], name: str) -> PackageFiles:
    return next(f for f in findings if isinstance(f, PackageFiles) and f.package == name)


def test_installed_packages_alone_with_their_line() -> None:
    findings = found()
    assert [f.name for f in findings if isinstance(f, Package)] == ["dash", "libc6", "mawk", "tool"]
    libc = package(findings, "libc6")
    assert (libc.source, libc.version, libc.seen_in) == ("glibc", "2.36-9+deb12u10", Place("/var/lib/dpkg/status", 18))
    assert [f for f in findings if isinstance(f, Unread)] == []


def test_dependencies_in_order_and_what_provides_a_virtual_one() -> None:
    findings = found()
    assert package(findings, "dash").depends == ("libc6", "debianutils", "dpkg")
    assert package(findings, "tool").depends == ("awk", "mawk", "gawk", "default-mta", "mail-transport-agent", "libc6")


def test_paths_are_those_of_the_tree_and_not_of_the_list() -> None:
    findings = found()
    assert files(findings, "tool").paths == (
        "/gone/dir/x",
        "/run-real/tool",
        "/usr/lib/systemd/system/tool.service",
    )
    assert files(findings, "libc6").paths == ("/lib", "/usr/lib/libc.so.6")


def test_conffiles_with_the_shipped_digest() -> None:
    assert files(found(), "libc6").conffiles == (
        ("/etc/gai.conf", "28fa76ff5a9e0566eaa1e11f1ce51f09"),
        ("/etc/ld.so.conf.d/x86_64-linux-gnu.conf", "d4e7a7b88a71b5ffd9e2644e71a0cfab"),
    )


def test_a_diverted_path_belongs_to_who_diverts_it() -> None:
    diversions = "/usr/bin/dash\n/usr/bin/dash.orig\ntool\n/bin/sh\n/bin/sh.distrib\ndash\n"
    findings = found(extra={"/var/lib/dpkg/diversions": diversions})
    assert "/usr/bin/dash.orig" in files(findings, "dash").paths
    assert "/usr/bin/dash" not in files(findings, "dash").paths
    assert "/usr/bin/sh" in files(findings, "dash").paths  # dash diverts /bin/sh for itself


def test_what_apt_pulled_in_was_not_chosen() -> None:
    states = "Package: libc6\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    states += "Package: tool\nArchitecture: all\nAuto-Installed: 0\n"
    findings = found(extra={"/var/lib/apt/extended_states": states})
    assert not package(findings, "libc6").chosen
    assert package(findings, "tool").chosen
    assert package(findings, "dash").chosen


def test_a_package_for_all_architectures_is_written_down_under_the_machines_own() -> None:
    status = "Package: nginx-common\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    states = "Package: nginx-common\nArchitecture: amd64\nAuto-Installed: 1\n"
    guest = FakeGuest({"/var/lib/dpkg/status": status, "/var/lib/apt/extended_states": states})
    assert [f.chosen for f in dpkg.analyze(guest) if isinstance(f, Package)] == [False]


def test_a_distroless_image_has_one_status_file_each() -> None:
    guest = FakeGuest(
        {
            "/var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2024a\nArchitecture: all\n",
            "/var/lib/dpkg/status.d/tzdata.md5sums": "d41d8cd98f00b204e9800998ecf8427e  usr/share/zoneinfo/UTC\n",
        }
    )
    assert [(f.name, f.seen_in.path) for f in dpkg.analyze(guest) if isinstance(f, Package)] == [
        ("tzdata", "/var/lib/dpkg/status.d/tzdata")
    ]


def test_a_name_that_is_none_and_a_list_that_cannot_be_read_are_told() -> None:
    installed = "Status: install ok installed\nVersion: 1\n"
    status = f"Package: evil\n{installed} RUN rm -rf /\n\nPackage: ok\n{installed}"
    guest = FakeGuest({"/var/lib/dpkg/status": status, "/var/lib/dpkg/info/ok.list": Broken()})
    findings = list(dpkg.analyze(guest))
    assert [f.name for f in findings if isinstance(f, Package)] == ["ok"]
    assert {str(f.seen_in) for f in findings if isinstance(f, Unread)} == {
        "/var/lib/dpkg/status:1",
        "/var/lib/dpkg/info/ok.list",
    }


# ---------------------------------------------------------------- what is recorded of files

MD5 = "0123456789abcdef0123456789abcdef"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"


def shipped(findings: list[Finding], name: str) -> dict[str, Shipped]:
    return {s.path: s for f in findings if isinstance(f, PackageFiles) and f.package == name for s in f.shipped}


def test_md5sums_as_dh_md5sums_and_md5sum_write_them() -> None:
    text = (
        f"{MD5}  usr/bin/x\n"
        f"{MD5} *usr/bin/binary\n"
        f"{MD5}  ./usr/bin/dotted\n"
        f"\\{MD5}  usr/share/a\\nb\\\\c\n"
        f"{MD5}  usr/share/back\\slash\n"
        f"{MD5}  ../etc/shadow\n"
        f"{MD5[:-1]}  usr/short\n"
        "no line of it\n"
    )
    assert list(_dpkg_files.parse_md5sums(text)) == [
        ("/usr/bin/x", MD5),
        ("/usr/bin/binary", MD5),
        ("/usr/bin/dotted", MD5),
        ("/usr/share/a\nb\\c", MD5),
        ("/usr/share/back\\slash", MD5),
    ]


def test_digests_are_of_paths_as_the_tree_has_them() -> None:
    sums = f"{MD5}  lib/libc.so.6\n{MD5}  usr/share/taken/over\n"
    described = shipped(found(extra={"/var/lib/dpkg/info/libc6:amd64.md5sums": sums}), "libc6")
    assert described["/usr/lib/libc.so.6"].digest == MD5
    assert described["/usr/lib/libc.so.6"].mode == 0o100000
    assert {"mode", "user", "size"} <= set(described["/usr/lib/libc.so.6"].unchecked)
    # Another package took it over (Replaces): dpkg takes it off the list, and leaves the digest.
    assert "/usr/share/taken/over" not in described


def test_conffiles_are_marked_and_obsolete_ones_may_be_missing() -> None:
    described = shipped(found(), "libc6")
    assert described["/etc/ld.so.conf.d/x86_64-linux-gnu.conf"].flags == ("config",)
    assert described["/etc/gai.conf"].flags == ("config", "missingok")
    assert _dpkg_files.parse_conffiles(f" /etc/a {MD5} remove-on-upgrade\n")[0].kept is False


def test_the_digest_of_a_diverted_file_is_of_where_it_is() -> None:
    extra: dict[str, Content] = {
        "/var/lib/dpkg/diversions": "/usr/bin/dash\n/usr/bin/dash.orig\n:\n",
        "/var/lib/dpkg/info/dash.md5sums": f"{MD5}  bin/dash\n",
    }
    described = shipped(found(extra=extra), "dash")
    assert described["/usr/bin/dash.orig"].digest == MD5
    assert "/usr/bin/dash" not in described


def test_an_override_says_owner_and_mode_of_a_packaged_path_alone() -> None:
    lines = "root messagebus 4754 /bin/dash\n#33 #44 0750 /usr/bin/mawk\nroot root 0700 /nobodys\nbroken\n"
    findings = found(extra={"/var/lib/dpkg/statoverride": lines})
    overrides = [f for f in findings if isinstance(f, PackageFiles) and f.seen_in.path.endswith("statoverride")]
    assert [(f.package, f.seen_in.line) for f in overrides] == [("dash", 1), ("mawk", 2)]
    dash, mawk = (f.shipped[0] for f in overrides)
    assert (dash.path, dash.mode, dash.user, dash.group) == ("/usr/bin/dash", 0o4754, "root", "messagebus")
    assert (mawk.mode, mawk.user, mawk.group) == (0o750, "33", "44")
    assert not {"mode", "user", "group"} & set(dash.unchecked)


def test_what_waits_for_triggers_or_was_never_configured_owns_its_files_too() -> None:
    for state in ("triggers-pending", "triggers-awaited", "unpacked", "half-configured", "half-installed"):
        status = f"Package: xx\nStatus: install ok {state}\nVersion: 1\nArchitecture: all\n"
        guest = FakeGuest({"/var/lib/dpkg/status": status, "/var/lib/dpkg/info/xx.list": "/usr/bin/xx\n"})
        findings = list(dpkg.analyze(guest))
        assert files(findings, "xx").paths == ("/usr/bin/xx",)
        flags = [each.flags for each in files(findings, "xx").shipped]
        assert flags == ([("missingok",)] if state == "half-installed" else [])


def test_a_removed_package_owns_nothing() -> None:
    assert not [f for f in found() if isinstance(f, PackageFiles) and f.package == "gone"]


def test_a_distroless_image_has_its_digests_beside_the_status() -> None:
    guest = FakeGuest(
        {
            "/var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 12\nArchitecture: amd64\n",
            "/var/lib/dpkg/status.d/base.md5sums": f"{EMPTY}  usr/share/zoneinfo/UTC\n",
        }
    )
    (owned,) = [f for f in dpkg.analyze(guest) if isinstance(f, PackageFiles)]
    assert owned.paths == ("/usr/share/zoneinfo/UTC",)
    assert owned.shipped[0].digest == EMPTY
    assert owned.seen_in == Place("/var/lib/dpkg/status.d/base.md5sums")


# ---------------------------------------------------------------- where packages come from

DEBIAN = b"Package: nginx\nArchitecture: amd64\nVersion: 1.22.1-9\nDescription: x\n\nPackage: redis\nVersion: 5:7\n"
OTHER = b"Package: kubectl\nVersion: 1.30\n\nPackage: nginx\nVersion: 1.25\n"
NAMES = {
    "deb.debian.org_debian_dists_bookworm_InRelease": b"-----BEGIN PGP SIGNED MESSAGE-----\n\nOrigin: Debian\n",
    "deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages": DEBIAN,
    "pkgs.k8s.io_Release": b"Origin: obs://build\n",
    "pkgs.k8s.io_Packages": OTHER,
}


def test_origins() -> None:
    origins = read_origins(sorted(NAMES), NAMES.__getitem__, "debian")
    assert origins.of("nginx", "1.22.1-9") == "distribution"
    assert origins.of("nginx", "1.25") == "third-party"
    assert origins.of("nginx", "1.22.1-8") == "distribution"  # an older one: lists hold the newest alone
    assert origins.of("kubectl", "1.29") == "third-party"
    assert origins.of("mine", "1") == "local"


def test_without_all_lists_nothing_is_called_local() -> None:
    names = {name: data for name, data in NAMES.items() if name != "pkgs.k8s.io_Packages"}
    assert read_origins(sorted(names), names.__getitem__, "debian").of("kubectl", "1.30") == ""
    assert read_origins([], NAMES.__getitem__, "debian").of("kubectl", "1.30") == ""


def test_names_of_lists() -> None:
    assert prefix_of("a_dists_bookworm-security_main_binary-arm64_Packages") == "a_dists_bookworm-security"
    assert prefix_of("host_dists_stable_non-free-firmware_binary-amd64_Packages") == "host_dists_stable"
    assert prefix_of("pkgs.k8s.io_core_Packages") == "pkgs.k8s.io_core"


# ---------------------------------------------------------------- hostile input

LINES = st.sampled_from(
    ["Package: a", "Version: 1", "Status: install ok installed", " x", "", "-----BEGIN PGP SIGNED MESSAGE-----",
     "-----BEGIN PGP SIGNATURE-----", "# c", ":", "\udc80: \udc80", "Conffiles:", " /etc/x 0123", "\t", "\x1e0"]
)  # fmt: skip


@given(st.lists(LINES | st.text()).map("\n".join))
def test_no_text_breaks_the_parsers(text: str) -> None:
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    list(_dpkg_status.parse_status(text))
    _dpkg_status.parse_extended_states(text)
    _dpkg_files.parse_diversions(text)
    list(_dpkg_files.parse_md5sums(text))
    list(_dpkg_files.parse_overrides(text))
    _dpkg_status.parse_depends(text)
    _dpkg_files.parse_conffiles(text)
    offered(text.encode("utf-8", "surrogateescape"))


def test_a_path_that_no_system_can_have_is_left_out() -> None:
    deep = "/usr" + "/a" * 3000 + "/x"
    listed = next(path for path in LISTS if path.endswith("/tool.list"))
    assert files(found(extra={listed: f"/.\n{deep}\n/usr/../etc/x\n/ok\n"}), "tool").paths == ("/ok",)
