from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analyzers import dpkg
from analyzers._apt_lists import offered, prefix_of, read_origins
from migrate.model import Finding, Package, PackageFiles, Place, Unread
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
    list(dpkg.parse_status(text))
    dpkg.parse_extended_states(text)
    dpkg.parse_diversions(text)
    dpkg.parse_depends(text)
    dpkg.parse_conffiles(text)
    offered(text.encode("utf-8", "surrogateescape"))


def test_a_path_of_thousands_of_parts() -> None:
    deep = "/usr" + "/a" * 3000 + "/x"
    listed = next(path for path in LISTS if path.endswith("/tool.list"))
    assert files(found(extra={listed: f"/.\n{deep}\n"}), "tool").paths == (deep,)
