"""The libguestfs reader with a stand-in for the library: starting, failing, reading in bulk, letting go."""

from __future__ import annotations

import contextlib
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate.errors import DiskError, GuestFileError, NoSystemError
from migrate.guest.images.image import ImageInfo
from migrate.guest.libguestfs import appliance
from migrate.guest.libguestfs import reader as libguestfs
from migrate.guest.libguestfs.appliance import Kvm
from migrate.guest.libguestfs.reader import GuestfsGuest, _Machine
from migrate.guest.progress import silent
from tests.guest.handle import FakeHandle
from tests.guest.made import needs, run


def descriptors() -> list[str]:
    return sorted(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists())


@pytest.fixture
def image(tmp_path: Path) -> ImageInfo:
    needs("qemu-img")
    run("qemu-img", "create", "-q", "-f", "raw", tmp_path / "disk", "1M")
    return ImageInfo(path=tmp_path / "disk", given="disk", format="raw", virtual_bytes=1 << 20, notes=("it looks odd",))


# ---------------------------------------------------------------- the guest


@pytest.fixture
def handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHandle:
    needs("find", "tar")
    root = tmp_path / "root"
    for name in ("etc", "usr"):
        (root / name).mkdir(parents=True)
    for number in range(300):
        (root / "etc" / f"file{number}").write_text(f"{number}\n" * 10)
    os.truncate(root / "etc" / "file0", 9 << 20)
    (root / "usr" / "caf\udce9").write_text("odd\n")
    found = FakeHandle(root)
    found.devices = {"/dev/sda1": {"TYPE": "ext4"}}
    found.tops = {"/dev/sda1": root}

    class StandIn:
        def __init__(self, *_args: object) -> None:
            self.handle, self.labels = found, ["diska"]
            self.servers = contextlib.ExitStack()

    monkeypatch.setattr(libguestfs, "_Machine", StandIn)
    return found


def opened(image: ImageInfo) -> GuestfsGuest:
    return GuestfsGuest([image], None, silent)


def test_one_call_for_three_hundred_files(handle: FakeHandle, image: ImageInfo) -> None:
    with opened(image) as guest:
        handle.calls.clear()
        guest.prefetch(["/etc"])
        assert guest.read("/etc/file7") == b"7\n" * 10
        assert guest.read("/etc/file299", 5) == b"299\n2"
        guest.prefetch(["/etc"])
        assert handle.calls == ["tar_out /etc"]
        assert len(guest.read("/etc/file0")) == 9 << 20
        assert handle.calls == ["tar_out /etc", *["pread /etc/file0"] * 5]
        assert guest.read("/usr/caf\udce9") == b"odd\n"
    assert handle.closed == 1


def test_an_archive_that_breaks_off_costs_only_time(handle: FakeHandle, image: ImageInfo) -> None:
    with opened(image) as guest:
        handle.broken.add(("tar_out", "/etc"))
        guest.prefetch(["/etc"])
        assert guest.read("/etc/file7") == b"7\n" * 10


def test_what_changed_in_the_archive_is_read_again(handle: FakeHandle, image: ImageInfo) -> None:
    with opened(image) as guest:
        (handle.root / "etc" / "file7").write_text("longer than it was\n" * 10)
        guest.prefetch(["/etc"])
        assert "/etc/file7" not in guest._fetched
        assert "/etc/file8" in guest._fetched


def test_a_file_that_cannot_be_read_is_one_file(handle: FakeHandle, image: ImageInfo) -> None:
    with opened(image) as guest:
        handle.broken.add(("pread", "/etc/file7"))
        with pytest.raises(GuestFileError) as caught:
            guest.read("/etc/file7")
        assert str(caught.value) == "cannot read /etc/file7: /etc/file7: Input/output error"
        assert guest.read("/etc/file8") == b"8\n" * 10


def test_an_appliance_that_stops_is_no_file_error(handle: FakeHandle, image: ImageInfo) -> None:
    with opened(image) as guest:
        handle.ready = False
        with pytest.raises(DiskError, match="the appliance that reads it stopped"):
            guest.read("/etc/file7")
        with pytest.raises(DiskError, match="the appliance that reads it stopped"):
            guest.prefetch(["/etc"])
    assert handle.closed == 1


def test_everything_is_let_go(
    handle: FakeHandle, image: ImageInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setenv("TMPDIR", str(spools))
    before = descriptors()
    guest = opened(image)
    guest.prefetch(["/etc"])
    assert descriptors() != before
    guest.close()
    guest.close()
    assert (descriptors(), handle.closed, list(spools.iterdir())) == (before, 1, [])
    guest.prefetch(["/etc"])
    with pytest.raises(GuestFileError, match="closed"):
        guest.read("/etc/file7")


@pytest.mark.parametrize("call", ["mount_options", "find0", "lxattrlist", "tar_out", "statvfs"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_leaves_nothing(
    handle: FakeHandle, image: ImageInfo, monkeypatch: pytest.MonkeyPatch, call: str, error: type[BaseException]
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(handle, call, interrupt)
    before = descriptors()
    with pytest.raises(error):
        opened(image)
    assert (descriptors(), handle.closed) == (before, 1)


def test_no_root_leaves_nothing_either(handle: FakeHandle, image: ImageInfo) -> None:
    (handle.root / "etc").rename(handle.root / "cte")
    with pytest.raises(NoSystemError):
        opened(image)
    assert handle.closed == 1


def test_what_is_odd_about_the_image_is_a_problem(handle: FakeHandle, image: ImageInfo) -> None:
    with opened(image) as guest:
        assert (guest.problems[0].path, guest.problems[0].why) == ("disk", "it looks odd")


# ---------------------------------------------------------------- starting


class Library(types.ModuleType):
    """A module `guestfs` whose handles launch as `launch` says; it is told whether KVM is kept out."""

    EVENT_LIBRARY = EVENT_APPLIANCE = EVENT_WARNING = 1

    def __init__(self, launch: Callable[[bool], str]) -> None:
        super().__init__("guestfs")
        self.drives: list[str] = []
        self.launches: list[bool] = []
        self.open = 0
        library = self

        class GuestFS:
            def __init__(self, python_return_dict: bool) -> None:
                library.open += 1
                self.emulated = False
                self.log: Callable[[int, int, str, list[int]], object] | None = None

            def __getattr__(self, name: str) -> Callable[..., None]:
                return lambda *args, **options: None

            def set_backend_setting(self, name: str, value: str) -> None:
                self.emulated = (name, value) == ("force_tcg", "1")

            def set_event_callback(self, log: Callable[[int, int, str, list[int]], object], events: int) -> None:
                self.log = log

            def add_drive_opts(self, name: str, **options: object) -> None:
                info = run("qemu-img", "info", "-f", "qcow2", name)
                library.drives.append(info)
                assert options["format"] == "qcow2"

            def launch(self) -> None:
                library.launches.append(self.emulated)
                if words := launch(self.emulated):
                    if self.log is not None:
                        self.log(1, 1, f"supermin: version: 5.2\nlibguestfs: launch\n{words}\n", [])
                    raise RuntimeError("guestfs_launch failed.\nThis usually means …")

            def close(self) -> None:
                library.open -= 1

        self.GuestFS = GuestFS


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch, image: ImageInfo, tmp_path: Path
) -> Callable[[Callable[[bool], str], Kvm], tuple[Library, list[str], Kvm]]:
    """Start a machine on a host with such a library and such a KVM; returns both and what was said."""

    def begin(launch: Callable[[bool], str], kvm: Kvm) -> tuple[Library, list[str], Kvm]:
        library = Library(launch)
        monkeypatch.setitem(sys.modules, "guestfs", library)
        monkeypatch.delenv("LIBGUESTFS_BACKEND_SETTINGS", raising=False)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        known = [kvm]
        monkeypatch.setattr(appliance, "known_kvm", lambda: known[-1])
        monkeypatch.setattr(appliance, "remember", known.append)
        monkeypatch.setattr(appliance, "readable_kernel", lambda: "/boot/vmlinuz")
        monkeypatch.setattr(appliance, "qemu_version", lambda: "9.9")
        said: list[str] = []
        try:
            _Machine([image], said.append, silent)
        finally:
            assert [path.name for path in tmp_path.iterdir()] == ["disk"]
        return library, said, known[-1]

    return begin


def test_it_starts_under_kvm(start: Callable[..., tuple[Library, list[str], Kvm]], image: ImageInfo) -> None:
    library, said, _ = start(lambda _emulated: "", Kvm("usable"))
    assert (library.launches, said, library.open) == ([False], [], 1)
    backing = library.drives[0].partition("\nbacking file: ")[2].partition("\n")[0]
    assert str(image.path) in backing
    assert "raw" in backing


def test_kvm_that_fails_only_now_is_remembered(start: Callable[..., tuple[Library, list[str], Kvm]]) -> None:
    library, said, kvm = start(lambda emulated: "" if emulated else "qemu-system-x86_64: crashed", Kvm("usable"))
    assert (library.launches, library.open) == ([False, True], 1)
    assert said == ["the appliance does not start under KVM; trying once more under emulation"]
    assert kvm.state == "broken"


def test_broken_kvm_is_not_tried(start: Callable[..., tuple[Library, list[str], Kvm]]) -> None:
    library, said, _ = start(lambda _emulated: "", Kvm("broken", "it hangs"))
    assert library.launches == [True]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("supermin: failed to find a suitable kernel", "supermin: failed to find a suitable kernel"),
        (
            "qemu-system-x86_64: warning: old\nqemu-system-x86_64: cannot set up guest memory\nrun: rm",
            "cannot set up guest",
        ),
        ("nothing useful", "guestfs_launch failed."),
    ],
)
def test_why_it_does_not_start(start: Callable[..., object], words: str, told: str) -> None:
    with pytest.raises(DiskError) as caught:
        start(lambda _emulated: words, Kvm("broken"))
    assert str(caught.value).startswith("cannot start libguestfs' appliance: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_host_without_the_bindings(image: ImageInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "guestfs", None)
    monkeypatch.setattr(appliance, "needs_emulation", lambda _notify: False)
    with pytest.raises(DiskError, match=r"Python finds no libguestfs here .*(apt-get install|--system-site-packages)"):
        opened(image)
    assert libguestfs.version() is None


def test_a_kernel_only_root_may_read(
    start: Callable[..., object], image: ImageInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appliance, "_kernels", lambda: ["/boot/vmlinuz-6.8"])

    def unreadable(_emulated: bool) -> str:
        monkeypatch.setattr(appliance, "readable_kernel", lambda: None)
        return "supermin: error"

    with pytest.raises(DiskError, match=r"no kernel that may be read; .*: sudo chmod 0644 /boot/vmlinuz-\*"):
        start(unreadable, Kvm("broken"))


def test_labels_are_letters() -> None:
    assert [libguestfs._label(n) for n in (0, 25, 26, 701, 702)] == ["diska", "diskz", "diskaa", "diskzz", "diskaaa"]
