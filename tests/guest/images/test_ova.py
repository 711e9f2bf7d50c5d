"""OVA and OVF: other people's, and the odd ones."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError
from migrate.guest.images import ovafiles
from migrate.guest.images.ova import Ova, is_ova, open_ova
from migrate.guest.images.ovf import Described, Digest, OvfError, read_manifest, read_ovf
from migrate.guest.images.parts import Part, Stored
from tests.guest.made import needs, run

NAMESPACES = (
    'xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"'
)
FIRST, SECOND = b"first disk" * 100, b"second" * 100


def item(number: int, kind: int, more: str = "", attributes: str = "") -> str:
    return (
        f"<Item{attributes}><rasd:InstanceID>{number}</rasd:InstanceID>"
        f"<rasd:ElementName>part {number}</rasd:ElementName><rasd:ResourceType>{kind}</rasd:ResourceType>{more}</Item>"
    )


def disk_item(number: int, disk: str, parent: int | str = "", place: int | str = "", attributes: str = "") -> str:
    more = f"<rasd:HostResource>ovf:/disk/{disk}</rasd:HostResource>"
    more += f"<rasd:Parent>{parent}</rasd:Parent><rasd:AddressOnParent>{place}</rasd:AddressOnParent>"
    return item(number, 17, more, attributes)


def system(name: str, items: str) -> str:
    hardware = f"<VirtualHardwareSection>{items}</VirtualHardwareSection>"
    return f'<VirtualSystem ovf:id="{name}"><Name>{name}</Name>{hardware}</VirtualSystem>'


def envelope(files: str, disks: str, systems: str, more: str = "") -> bytes:
    sections = f"<References>{files}</References><DiskSection><Info/>{disks}</DiskSection>{more}{systems}"
    return f'<?xml version="1.0"?>\n<Envelope {NAMESPACES}>{sections}</Envelope>'.encode()


def file(name: str, more: str = "") -> str:
    return f'<File ovf:id="file-{name}" ovf:href="{name}" {more}/>'


def disk(name: str, more: str = "") -> str:
    return f'<Disk ovf:diskId="disk-{name}" ovf:fileRef="file-{name}" {more}/>'


SIMPLE = envelope(file("a.vmdk"), disk("a.vmdk"), system("shop", disk_item(9, "disk-a.vmdk")))
TWO = envelope(
    file("a.vmdk") + file("b.vmdk"),
    disk("a.vmdk", 'ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^30"') + disk("b.vmdk", 'ovf:capacity="512"'),
    system("shop", item(3, 6) + disk_item(8, "disk-b.vmdk", 3, 1) + disk_item(9, "disk-a.vmdk", 3, 0)),
)


def manifest(files: Mapping[str, bytes], line: str = "SHA256({})= {}\n") -> bytes:
    return "".join(line.format(name, hashlib.sha256(content).hexdigest()) for name, content in files.items()).encode()


def make_ova(path: Path, files: Mapping[str, bytes], mode: str = "w", form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def content(stored: Stored) -> bytes:
    return b"".join(part.path.read_bytes()[part.offset : part.offset + part.size] for part in stored.parts)


def opened(path: Path) -> tuple[Ova, list[bytes]]:
    assert is_ova(path)
    with contextlib.ExitStack() as stack:
        ova = open_ova(path, stack)
        return ova, [content(each) for each in ova.disks]


def refusal(path: Path) -> str:
    with contextlib.ExitStack() as stack, pytest.raises(DiskError) as caught:
        open_ova(path, stack)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------ other people's


def test_one_of_vcenter_with_a_chunked_disk(corpus: Path) -> None:
    path = corpus / "tty_tiny.ova"
    assert is_ova(path)
    told: list[tuple[str, float | None, float | None]] = []

    def progress(text: str, done: float | None = None, total: float | None = None) -> None:
        told.append((text, done, total))

    with contextlib.ExitStack() as stack:
        ova = open_ova(path, stack, progress)
    assert ova.name == "3a7e652a-d861-4cef-bfd4-f1e944df978a"
    assert ova.problems == ()
    (stored,) = ova.disks
    assert (stored.name, stored.packed, stored.capacity) == ("from_out_tty-disk1.vmdk", "", 15 << 20)
    assert stored.parts == (Part(path.resolve(), 8704, 6429696),)
    assert content(stored).startswith(b"KDMV")
    assert told[-1] == ("checking against the manifest", 6429696, 6429696)


def test_one_of_ganeti_that_is_compressed(corpus: Path) -> None:
    with contextlib.ExitStack() as stack:
        ova = open_ova(corpus / "ova.ova", stack)
        assert is_ova(corpus / "ova.ova")
        assert ova.name == "ganeti-test-xen"
        (stored,) = ova.disks
        raw = content(stored)
        place = stored.parts[0].path
    assert len(raw) == 1114624
    assert raw.startswith(b"KDMV")
    assert not place.exists()


def test_two_that_are_broken(corpus: Path) -> None:
    assert is_ova(corpus / "no_ovf.ova")
    assert "it has no OVF descriptor (a file named *.ovf), only wrong_ova.ova" in refusal(corpus / "no_ovf.ova")
    assert is_ova(corpus / "wrong_ova.ova")
    found = "its descriptor names AyertiennaSUSE.x86_64-0.0.2-disk1.vmdk, and that is not beside it"
    assert found in refusal(corpus / "wrong_ova.ova")


def test_what_is_none(corpus: Path, tmp_path: Path, tree_tar: Path) -> None:
    others = [corpus / "gpt.raw.zst", corpus / "tw_sparse.vmdk", corpus / "compressed_stream_opt.vmdk", tree_tar]
    for name, raw in {"empty": b"", "html": b"<html></html>", "zeros": bytes(4096), "cut.gz": b"\x1f\x8b\x08"}.items():
        (tmp_path / name).write_bytes(raw)
        others.append(tmp_path / name)
    with tarfile.open(tmp_path / "root.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("etc/hostname"))
        archive.addfile(tarfile.TarInfo("machine.ovf"))
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "old.ovf").write_bytes(SIMPLE)
    others += [tmp_path / "root.tar.gz", tmp_path / "root", tmp_path]
    assert [other for other in others if is_ova(other)] == []


# ------------------------------------------------------------------ archives and folders


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_disks_come_in_the_machines_order(tmp_path: Path, form: int) -> None:
    files = {"shop.ovf": TWO, "b.vmdk": SECOND, "a.vmdk": FIRST}
    path = make_ova(tmp_path / "shop.ova", files | {"shop.mf": manifest(files)}, form=form)
    ova, contents = opened(path)
    assert contents == [FIRST, SECOND]
    assert [(stored.name, stored.capacity) for stored in ova.disks] == [("a.vmdk", 3 << 30), ("b.vmdk", 512)]
    assert (ova.name, ova.problems) == ("shop", ())


@pytest.mark.parametrize(
    "line", ["SHA256({})= {}\n", "SHA256 ({}) = {}\r\n", "  sha256({})={}  \n\n", "SHA-256({})= {}\n"]
)
def test_manifests_are_written_in_several_ways(tmp_path: Path, line: str) -> None:
    files = {"shop.ovf": SIMPLE, "a.vmdk": FIRST}
    ova, _ = opened(make_ova(tmp_path / "x.tar", files | {"shop.mf": manifest(files, line), "shop.cert": b"x"}))
    assert ova.problems == ()
    bad = manifest(files | {"a.vmdk": SECOND}, line)
    text = refusal(make_ova(tmp_path / "bad.ova", files | {"shop.mf": bad}))
    wanted, found = (hashlib.sha256(each).hexdigest() for each in (SECOND, FIRST))
    assert f"a.vmdk is damaged: its SHA256 is {found}, and its manifest shop.mf says {wanted}; copy it again" in text


def test_manifest_that_does_not_fit(tmp_path: Path) -> None:
    files = {"shop.ovf": SIMPLE, "a.vmdk": FIRST}
    missing = manifest(files | {"gone.iso": b""})
    assert "lists gone.iso, and that is not in it" in refusal(
        make_ova(tmp_path / "x.ova", files | {"shop.mf": missing})
    )
    twice = manifest(files) + manifest({"a.vmdk": SECOND})
    assert "a.vmdk is damaged" in refusal(make_ova(tmp_path / "x.ova", files | {"shop.mf": twice}))
    short = manifest({"shop.ovf": SIMPLE}) + b"nonsense\nCRC32(a.vmdk)= 12\n"
    ova, _ = opened(make_ova(tmp_path / "x.ova", files | {"shop.mf": short}))
    assert ova.problems == (
        "line 2 of its manifest is not understood: nonsense",
        "line 3 of its manifest is not understood: CRC32(a.vmdk)= 12",
        "its manifest shop.mf does not list a.vmdk",
    )


def test_chunks_are_joined_and_checked(tmp_path: Path) -> None:
    chunks = [FIRST[at : at + 400] for at in range(0, 1000, 400)]
    files = {f"a.vmdk.{number:09}": chunk for number, chunk in enumerate(chunks)}
    described = file("a.vmdk", 'ovf:chunkSize="400" ovf:size="1000"')
    ovf = {"shop.ovf": envelope(described, disk("a.vmdk"), system("shop", disk_item(9, "disk-a.vmdk")))}
    listed = manifest({**ovf, **files, "a.vmdk": FIRST})
    shuffled = {"a.vmdk.000000002": chunks[2], **files}
    ova, contents = opened(make_ova(tmp_path / "x.ova", ovf | {"shop.mf": listed} | shuffled))
    assert contents == [FIRST]
    assert [len(stored.parts) for stored in ova.disks] == [3]
    assert ova.problems == ()
    wrong = manifest({**ovf, **files, "a.vmdk": SECOND})
    assert "a.vmdk is damaged" in refusal(make_ova(tmp_path / "x.ova", ovf | {"shop.mf": wrong} | files))
    last = {name: raw for name, raw in files.items() if not name.endswith("2")}
    assert "a.vmdk.000000002 is missing" in refusal(make_ova(tmp_path / "x.ova", ovf | last))
    middle = {name: raw for name, raw in files.items() if not name.endswith("1")}
    assert "a.vmdk.000000001 is missing" in refusal(make_ova(tmp_path / "x.ova", ovf | middle))
    short = files | {"a.vmdk.000000001": b"x"}
    assert "a.vmdk.000000001 has 1 bytes, and the chunks have 400" in refusal(make_ova(tmp_path / "x.ova", ovf | short))


def test_compressed_disk_and_wrong_size(tmp_path: Path) -> None:
    packed = gzip.compress(FIRST)
    described = file("a.vmdk", f'ovf:compression="gzip" ovf:size="{len(packed) + 1}"')
    ovf = envelope(described, disk("a.vmdk"), system("shop", disk_item(9, "disk-a.vmdk")))
    ova, contents = opened(make_ova(tmp_path / "x.ova", {"shop.ovf": ovf, "a.vmdk": packed}))
    assert contents == [packed]
    assert ova.disks[0].packed == "gzip"
    assert ova.problems == (f"its descriptor says that a.vmdk has {len(packed) + 1} bytes, and it has {len(packed)}",)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_box_of_vagrant(tmp_path: Path, mode: str) -> None:
    files = {"./Vagrantfile": b"", "./a.vmdk": FIRST, "./box.ovf": SIMPLE, "./metadata.json": b"{}"}
    ova, contents = opened(make_ova(tmp_path / "shop.box", files, mode))
    assert (ova.name, contents) == ("shop", [FIRST])


def test_archive_compressed_with_zstd(tmp_path: Path) -> None:
    needs("zstd")
    make_ova(tmp_path / "x.tar", {"shop.ovf": SIMPLE, "a.vmdk": FIRST})
    run("zstd", "-q", tmp_path / "x.tar")
    assert opened(tmp_path / "x.tar.zst")[1] == [FIRST]
    raw = gzip.compress((tmp_path / "x.tar").read_bytes())
    (tmp_path / "cut.ova").write_bytes(raw[: len(raw) - 20])
    assert "it is compressed with gzip and cannot be decompressed" in refusal(tmp_path / "cut.ova")


def test_descriptor_beside_its_disks_and_its_folder(tmp_path: Path) -> None:
    files = {"shop.ovf": TWO, "a.vmdk": FIRST, "b.vmdk": SECOND}
    for name, raw in (files | {"shop.mf": manifest(files)}).items():
        (tmp_path / name).write_bytes(raw)
    for path in (tmp_path, tmp_path / "shop.ovf"):
        ova, contents = opened(path)
        assert contents == [FIRST, SECOND]
        assert ova.disks[0].parts == (Part(tmp_path.resolve() / "a.vmdk", 0, len(FIRST)),)
    (tmp_path / "b.vmdk").write_bytes(FIRST)
    assert "b.vmdk is damaged" in refusal(tmp_path)
    (tmp_path / "b.vmdk").unlink()
    assert "its descriptor names b.vmdk, and that is not beside it" in refusal(tmp_path / "shop.ovf")
    (tmp_path / "b.vmdk").symlink_to("/etc/passwd")
    assert "its b.vmdk is /etc/passwd, outside of its own folder" in refusal(tmp_path / "shop.ovf")
    (tmp_path / "other.ovf").write_bytes(SIMPLE)
    assert "it has 2 descriptors: other.ovf, shop.ovf; unpack it, and give one of them" in refusal(tmp_path)
    (tmp_path / "shop.mf").write_bytes(b"SHA1(../../etc/passwd)= 00")
    assert "outside of its own folder" in refusal(tmp_path / "shop.ovf")


def test_archives_with_odd_members(tmp_path: Path) -> None:
    path = tmp_path / "x.ova"
    with tarfile.open(path, "w") as archive:
        for name, raw in [("shop.ovf", SIMPLE), ("a.vmdk", FIRST), ("./a.vmdk", SECOND)]:
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    assert "it has a.vmdk twice" in refusal(path)
    make_ova(path, {"shop.ovf": SIMPLE})
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("a.vmdk")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    assert "its a.vmdk is a link, a file with holes or no file at all" in refusal(path)
    (tmp_path / "shop.ovf").write_bytes(SIMPLE)
    with (tmp_path / "a.vmdk").open("wb") as sparse:
        sparse.truncate(1 << 20)
        sparse.write(FIRST)
    needs("tar")
    for form in ("gnu", "pax"):
        run("tar", "-cSf", path, f"--format={form}", "-C", tmp_path, "shop.ovf", "a.vmdk")
        assert "its a.vmdk is a link, a file with holes or no file at all" in refusal(path)


def test_archives_that_are_cut_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_ova(tmp_path / "x.ova", {"shop.ovf": SIMPLE, "a.vmdk": FIRST, "b": b""})
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        start, after = archive.getmember("a.vmdk").offset_data, archive.getmember("b").offset
    path.write_bytes(whole[: start + 100])
    end = start + len(FIRST)
    assert f"it is cut short: it is {start + 100} bytes long, and a.vmdk in it goes to byte {end}" in refusal(path)
    path.write_bytes(whole[: after + 100])
    assert "it is no whole archive: there is no valid header where it goes on" in refusal(path)
    path.write_bytes(whole[:after] + b"x" + whole[after + 1 :])
    assert "it is no whole archive: there is no valid header where it goes on" in refusal(path)
    path.write_bytes(whole[:after])
    assert opened(path)[1] == [FIRST]
    monkeypatch.setattr(ovafiles, "_MAX_MEMBERS", 2)
    path.write_bytes(whole)
    assert "it has more than 2 files" in refusal(path)


def test_headers_take_no_more_memory_than_they_may(tmp_path: Path) -> None:
    path = tmp_path / "x.ova"
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    with path.open("wb") as bomb:
        bomb.write(header.tobuf(tarfile.GNU_FORMAT))
        bomb.truncate(5 << 30)
    assert not is_ova(path)
    assert "take more than 16777216 bytes" in refusal(path)


def test_mutated_archives_are_read_or_refused(corpus: Path, tmp_path: Path) -> None:
    whole = (corpus / "tty_tiny.ova").read_bytes()
    headers = [*range(8704), *range(len(whole) - 2048, len(whole))]
    chance = random.Random(3)
    path = tmp_path / "x.ova"
    refused = 0
    for _ in range(200):
        raw = bytearray(whole[:8704] + whole[8704 : 8704 + 4096] + whole[8704 + 6429696 :])
        for _ in range(chance.choice((1, 2, 8))):
            raw[chance.choice(headers) % len(raw)] = chance.randrange(256)
        path.write_bytes(raw)
        with contextlib.ExitStack() as stack:
            try:
                is_ova(path)
                open_ova(path, stack)
            except DiskError as error:
                refused += 1
                assert "\n" not in str(error)  # noqa: PT017
    assert refused > 100


# ------------------------------------------------------------------ descriptors


def names(raw: bytes) -> list[str]:
    return [each.href for each in read_ovf(raw, "title").disks]


def test_order_is_by_controller_and_place() -> None:
    letters = "abcdefghij"
    controllers = (
        item(1, 20, "<rasd:ResourceSubType>vmware.nvme.controller</rasd:ResourceSubType><rasd:Address>0</rasd:Address>")
        + item(2, 20, "<rasd:ResourceSubType>vmware.sata.ahci</rasd:ResourceSubType><rasd:Address>0</rasd:Address>")
        + item(3, 6, "<rasd:Address>1</rasd:Address>")
        + item(4, 6, "<rasd:Address>0</rasd:Address>")
        + item(5, 5, "<rasd:Address>1</rasd:Address>")
        + item(6, 5, "<rasd:Address>0</rasd:Address>")
    )
    places: list[tuple[int | str, int | str]] = [
        ("", ""),
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 10),
        (4, 9),
        (5, 0),
        (6, 1),
        (6, 0),
        (99, 0),
    ]
    attached = "".join(disk_item(20 + n, f"disk-{letters[n]}", *place) for n, place in enumerate(places))
    raw = envelope("".join(map(file, letters)), "".join(map(disk, letters)), system("x", attached + controllers))
    assert "".join(names(raw)) == "ihgfedcbaj"


def test_how_disks_are_named() -> None:
    def with_resource(text: str) -> bytes:
        attached = item(9, 17, f"<rasd:HostResource>{text}</rasd:HostResource>")
        return envelope(file("a.vmdk") + file("b.vmdk"), disk("a.vmdk") + disk("b.vmdk"), system("x", attached))

    for text in (
        "ovf:/disk/disk-a.vmdk",
        "/disk/disk-a.vmdk",
        "ovf://disk/disk-a.vmdk",
        "disk/disk-a.vmdk",
        "disk-a.vmdk",
    ):
        assert names(with_resource(text)) == ["a.vmdk"]
    assert names(with_resource("ovf:/file/file-a.vmdk")) == ["a.vmdk"]
    assert names(with_resource("file-a.vmdk")) == ["a.vmdk"]
    problems = read_ovf(with_resource("/disk/disk-a.vmdk"), "").problems
    assert problems == ("disk disk-b.vmdk of its descriptor is not attached to the machine, and is left out",)
    with pytest.raises(OvfError, match="its disk part 9 is 'ovf:/disk/zz', which its descriptor does not have"):
        read_ovf(with_resource("ovf:/disk/zz"), "")


def test_empty_disks_keep_their_place() -> None:
    disks = '<Disk ovf:diskId="blank" ovf:capacity="1"/>' + disk("a.vmdk")
    raw = envelope(file("a.vmdk"), disks, system("x", disk_item(8, "blank") + disk_item(9, "disk-a.vmdk")))
    found = read_ovf(raw, "")
    assert [each.href for each in found.disks] == ["", "a.vmdk"]
    assert found.problems == ("disk 1 of 2, blank, is empty: the machine has it, and there is no file of it",)
    nothing = read_ovf(
        envelope(file("a.vmdk"), disk("a.vmdk"), system("x", item(4, 17) + disk_item(9, "disk-a.vmdk"))), ""
    )
    assert nothing.problems == ("disk part 4 is empty: the machine has it, and its descriptor names no content for it",)


def test_machine_with_nothing_on_its_disks(tmp_path: Path) -> None:
    raw = envelope("", '<Disk ovf:diskId="blank" ovf:capacity="1"/>', system("x", disk_item(8, "blank")))
    assert "has no disk with anything on it; disk 1 of 1" in refusal(make_ova(tmp_path / "x.ova", {"x.ovf": raw}))


def test_disks_without_hardware_are_taken_as_they_come() -> None:
    found = read_ovf(envelope(file("b") + file("a"), disk("b") + disk("a"), system("x", "")), "")
    assert [each.href for each in found.disks] == ["b", "a"]
    assert found.problems == ("its descriptor does not say how the disks are attached; they are taken in its order",)


def test_hardware_of_the_default_configuration() -> None:
    options = '<DeploymentOptionSection><Configuration ovf:id="small"/><Configuration ovf:id="big" ovf:default="true"/>'
    items = (
        disk_item(8, "disk-a", attributes=' ovf:configuration="small"')
        + disk_item(9, "disk-b", attributes=' ovf:configuration="small big"')
        + disk_item(9, "disk-b", attributes=' ovf:bound="max"')
    )
    systems = system("x", items).replace("</VirtualSystem>", "<VirtualHardwareSection/></VirtualSystem>")
    raw = envelope(file("a") + file("b"), disk("a") + disk("b"), systems, options + "</DeploymentOptionSection>")
    found = read_ovf(raw, "")
    assert [each.href for each in found.disks] == ["b"]
    assert found.problems[0] == "its descriptor has 2 kinds of hardware for the machine; the first is taken"


def test_descriptor_of_ovf_0_9() -> None:
    raw = b"""<ovf:Envelope xmlns:ovf="http://www.vmware.com/schema/ovf/1/envelope"
      xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:rasd="http://schemas.dmtf.org/rasd">
    <References><File ovf:id="file1" ovf:href="old disk.vmdk" ovf:size="10"/></References>
    <Section xsi:type="ovf:DiskSection_Type">
      <Disk ovf:diskId="d1" ovf:fileRef="file1" ovf:capacity="2" ovf:parentRef=""
        ovf:capacityAllocationUnits="GigaBytes"/>
    </Section>
    <Content xsi:type="ovf:VirtualSystem_Type" ovf:id="old">
      <Section xsi:type="ovf:VirtualHardwareSection_Type">
        <Item><rasd:InstanceId>7</rasd:InstanceId><rasd:ResourceType>17</rasd:ResourceType>
          <rasd:HostResource>disk/d1</rasd:HostResource></Item>
      </Section>
    </Content></ovf:Envelope>  \0\0"""
    found = read_ovf(raw, "")
    assert found.name == "old"
    assert [(each.href, each.size, each.capacity) for each in found.disks] == [("old disk.vmdk", 10, 2 << 30)]


def test_descriptor_of_ovf_2_with_a_collection() -> None:
    attached = disk_item(9, "disk-a.vmdk").replace("Item>", "StorageItem>").replace("rasd:", "sasd:")
    collection = f"<VirtualSystemCollection><Info/>{system('inner', attached)}</VirtualSystemCollection>"
    found = read_ovf(envelope(file("a.vmdk"), disk("a.vmdk"), collection), "")
    assert (found.name, [each.href for each in found.disks]) == ("inner", ["a.vmdk"])


def test_several_machines_are_named(tmp_path: Path) -> None:
    systems = system("web", disk_item(1, "disk-a")) + system("db\u202e", disk_item(1, "disk-b")) + system("x", "")
    raw = envelope(
        file("a") + file("b"), disk("a") + disk("b"), f"<VirtualSystemCollection>{systems}</VirtualSystemCollection>"
    )
    text = refusal(make_ova(tmp_path / "x.ova", {"x.ovf": raw, "a": FIRST, "b": SECOND}))
    found = "its descriptor describes 3 machines: web (a), db\\u202e (b), x (no disks); unpack it, and give the disks"
    assert found in text


@pytest.mark.parametrize(
    ("capacity", "units", "wanted"),
    [
        ("15", "byte * 2^20", 15 << 20),
        ("15", "byte*2^20", 15 << 20),
        ("8", "byte * 1024 * 2 ^ 10", 8 << 20),
        ("7", "byte * 10^9", 7_000_000_000),
        ("512", "", 512),
        ("2", "MegaBytes", 2 << 20),
        ("${size}", "byte * 2^30", None),
        ("2", "hertz", None),
        ("2", "byte / 8", None),
        ("2", "byte * 2^99", None),
        ("-2", "byte", None),
        ("", "byte", None),
    ],
)
def test_capacity(capacity: str, units: str, wanted: int | None) -> None:
    described = disk("a", f'ovf:capacity="{capacity}" ovf:capacityAllocationUnits="{units}"')
    assert read_ovf(envelope(file("a"), described, system("x", disk_item(1, "disk-a"))), "").disks[0].capacity == wanted


@pytest.mark.parametrize(
    ("href", "why"),
    [
        ("../a.vmdk", "is no file beside it"),
        ("%2e%2e/a.vmdk", "is no file beside it"),
        ("/etc/shadow", "is no file beside it"),
        ("%2Fetc/shadow", "is no file beside it"),
        ("x/../../a", "is no file beside it"),
        ("a%00b", "is no file beside it"),
        ("..\\a", "is no file beside it"),
        ("", "is no file beside it"),
        ("http://example.org/a.vmdk", "is elsewhere"),
        ("HTTPS://example.org/a.vmdk", "is elsewhere"),
        ("file:///etc/shadow", "is elsewhere"),
        ("file:/etc/shadow", "is elsewhere"),
    ],
)
def test_files_that_are_not_beside_the_descriptor(href: str, why: str) -> None:
    with pytest.raises(OvfError, match=why):
        read_ovf(SIMPLE.replace(b'href="a.vmdk"', f'href="{href}"'.encode()), "")


def test_names_of_files_are_unescaped() -> None:
    assert names(SIMPLE.replace(b'href="a.vmdk"', b'href="./my%20disk%2B1.vmdk"')) == ["my disk+1.vmdk"]


BOMB = b'<!DOCTYPE Envelope [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Envelope>&b;</Envelope>'
OUTSIDE = b'<!DOCTYPE Envelope [<!ENTITY a SYSTEM "file:///etc/passwd">]><Envelope>&a;</Envelope>'


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "is no valid XML"),
        (b"<Envelope>", "is no valid XML"),
        (b"<Envelope>&b;</Envelope>", "is no valid XML"),
        (b"<html/>", "is no OVF: it has no Envelope"),
        (b"<Envelope/>", "describes no machine"),
        (BOMB, "has a document type"),
        (OUTSIDE, "has a document type"),
        (b'<!DOCTYPE Envelope SYSTEM "http://example.org/x.dtd"><Envelope/>', "has a document type"),
        (b'<?xml version="1.0" encoding="unicode_escape"?><Envelope/>', "is encoded in 'unicode_escape'"),
        (b"<Envelope>" + b"<a>" * 200, "larger or deeper"),
        (b"<Envelope>" + b"<a/>" * 200_000 + b"</Envelope>", "larger or deeper"),
        (SIMPLE.replace(b"<File", b'<File ovf:id="file-a.vmdk"/><File'), "two File elements with the id 'file-a.vmdk'"),
        (SIMPLE.replace(b"<Disk ", b'<Disk ovf:parentRef="base" '), "holds only what changed since disk base"),
        (
            SIMPLE.replace(b'fileRef="file-a.vmdk"', b'fileRef="zz"'),
            "is in file 'zz', which its References do not have",
        ),
        (SIMPLE.replace(b"<File ", b'<File ovf:compression="lzma" '), "is compressed with lzma"),
    ],
    ids=range(15),
)
def test_descriptors_that_are_refused(raw: bytes, why: str) -> None:
    with pytest.raises(OvfError, match=why) as caught:
        read_ovf(raw, "")
    assert "\n" not in str(caught.value)


def test_attributes_of_a_vendor_do_not_count() -> None:
    raw = SIMPLE.replace(b"<File ", b'<File zz:href="/etc/shadow" xmlns:zz="urn:zz" zz:id="x" ')
    assert names(raw) == ["a.vmdk"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(TWO) - 1), st.sampled_from([b"", b"<", b'"', b"\0", b"/>", b"\xff", b"9"])),
        max_size=4,
    )
)
def test_no_descriptor_raises_anything_else(damage: list[tuple[int, bytes]]) -> None:
    raw = TWO
    for at, value in damage:
        raw = raw[:at] + value + raw[at + 1 :]
    check(lambda: read_ovf(raw, ""))


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"<Envelope>", b'<?xml version="1.0" encoding="', b"\xff\xfe<\0E\0"])
)
def test_no_bytes_raise_anything_else(raw: bytes, start: bytes) -> None:
    check(lambda: read_ovf(start + raw, ""))
    for digest in read_manifest(raw)[0]:
        hashlib.new(digest.algorithm)


def check(read: Callable[[], Described]) -> None:
    try:
        found = read()
    except OvfError as error:
        assert "\n" not in error.found + error.do  # noqa: PT017
    else:
        assert all(".." not in each.href.split("/") and not each.href.startswith("/") for each in found.disks)


def test_manifest_lines() -> None:
    raw = b"SHA1(a (1).vmdk)= 00FF\nMD5(b)= 12\nSHA512 (c)= ab\n\0\0   \nSHA1()\n"
    digests, problems = read_manifest(raw)
    assert digests == (Digest("a (1).vmdk", "sha1", "00ff"), Digest("b", "md5", "12"), Digest("c", "sha512", "ab"))
    assert problems == ("line 5 of its manifest is not understood: SHA1()",)


def chunked(pieces: list[bytes]) -> Iterator[bytes]:
    yield from pieces


@given(st.lists(st.binary(min_size=1, max_size=9)), st.lists(st.tuples(st.booleans(), st.integers(0, 12))))
def test_a_stream_is_read_as_a_file_is(pieces: list[bytes], steps: list[tuple[bool, int]]) -> None:
    stream, whole = ovafiles.Stream(chunked(pieces)), io.BytesIO(b"".join(pieces))
    for reads, count in steps:
        if reads:
            assert stream.read(count) == whole.read(count)
        elif not stream.skip(count):
            assert len(whole.read(count)) < count
            break
        else:
            whole.seek(count, io.SEEK_CUR)
