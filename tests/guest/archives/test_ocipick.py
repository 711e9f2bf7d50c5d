"""Which image is read, and the documents that are refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError, NoSystemError
from migrate.guest.archives.ociformat import ImageConfig, digest_in_name, is_layer, run_config
from migrate.guest.archives.ocipick import Picked, pick_oci, pick_saved
from tests.guest.ocimade import CONFIG, INDEX, LAYER, MANIFEST, NAME, Layout, config, digest, layout, saved

DOCKER = "application/vnd.docker"
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}


def platform(system: str, architecture: str, **more: str) -> dict[str, str]:
    return {"os": system, "architecture": architecture, **more}


def picked(files: Mapping[str, bytes], architecture: str = "amd64") -> Picked:
    found = pick_oci(files.get, "read the image", architecture)
    assert found is not None
    return found


def of_platforms(*platforms: dict[str, str] | None, nested: bool = True) -> dict[str, bytes]:
    """Return a layout with an image for each platform; the first layer tells which it is."""
    made = Layout()
    images = [made.image(b"%d" % number) for number in range(len(platforms))]
    images = [{**image, "platform": each} if each else image for image, each in zip(images, platforms, strict=True)]
    if not nested:
        return made.done(*images)
    return made.done(made.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": images}, INDEX))


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    ("platforms", "chosen", "said"),
    [
        ([("linux", "arm64"), ("linux", "amd64")], 1, "linux/amd64, one of linux/arm64, linux/amd64"),
        ([("linux", "arm64")], 0, ""),
        ([("windows", "amd64"), ("linux", "s390x")], 1, "linux/s390x, one of windows/amd64, linux/s390x"),
        ([("linux", "arm"), ("linux", "s390x")], 0, "linux/arm, one of linux/arm, linux/s390x"),
        ([("unknown", "unknown"), ("linux", "arm")], 1, ""),
    ],
)  # fmt: skip
def test_the_platform(nested: bool, platforms: list[tuple[str, str]], chosen: int, said: str) -> None:
    found = picked(of_platforms(*(platform(*each) for each in platforms), nested=nested))
    assert [layer.unpacked for layer in found.layers] == [digest(b"%d" % chosen)]
    assert found.said == ((f"reading the image for {said}",) if said else ())
    assert found.problems == ()


def test_the_platform_is_in_the_configuration_too() -> None:
    made = Layout()
    images = [made.image(b"x", configured=platform("linux", name)) for name in ("arm64", "riscv64")]
    assert picked(made.done(*images), "riscv64").said == (
        "reading the image for linux/riscv64, one of linux/arm64, linux/riscv64",
    )


def test_platforms_that_are_not_in_the_archive_are_passed_over() -> None:
    """`docker save` from containerd's store lists all platforms, and has the blobs of one."""
    made = Layout()
    there = made.image(b"there", platform=platform("linux", "arm64"))
    gone = {"mediaType": MANIFEST, "digest": digest(b"gone"), "size": 4, "platform": platform("linux", "amd64")}
    files = made.done(made.document({"manifests": [gone, there]}, INDEX))
    assert picked(files).layers[0].unpacked == digest(b"there")
    with pytest.raises(DiskError, match=rf"what it lists is not there: {digest(b'gone')} \(linux/amd64\); save it"):
        picked(made.done(made.document({"manifests": [gone]}, INDEX)))


@pytest.mark.parametrize("build", [of_platforms, lambda each: saved(b"x", **each)])
def test_other_systems(build: object) -> None:
    files = build(platform("windows", "amd64"))  # type: ignore[operator]
    with pytest.raises(NoSystemError, match="it is an image for windows/amd64; vm2c reads Linux systems"):
        (pick_saved if "manifest.json" in files else lambda read, what: pick_oci(read, what, "amd64"))(files.get, "x")


def test_attestations_and_signatures_are_passed_over() -> None:
    made = Layout()
    attestation = made.image(b"no", platform=platform("unknown", "unknown"), annotations=ATTESTATION)
    kept = {"config": made.blob(config(b"no"), CONFIG), "layers": [made.blob(b"no", "application/vnd.in-toto+json")]}
    signature = made.document(kept, MANIFEST, annotations={NAME: "sha256-1.sig"})
    other = {"config": made.blob(b"{}", "application/vnd.oci.empty.v1+json"), "layers": []}
    artifact = made.document(other, MANIFEST, annotations={NAME: "sbom"})
    image = made.image(b"yes", annotations={NAME: "shop:1"})
    found = picked(made.done(attestation, signature, artifact, image))
    assert (found.layers[0].unpacked, found.said, found.problems) == (digest(b"yes"), (), ())
    found = picked(made.done(image, attestation, signature, artifact))
    assert (found.layers[0].unpacked, found.said, found.problems) == (digest(b"yes"), (), ())
    with pytest.raises(
        DiskError, match=r"is no container image: application/vnd\.in-toto\+json, application/vnd\.oci\.empty"
    ):
        picked(made.done(attestation, signature, artifact))


def test_several_images() -> None:
    made = Layout()
    one, two, three = (made.image(b"%d" % number, annotations={NAME: f"shop:{number}"}) for number in (1, 2, 3))
    again = {**one, "annotations": {NAME: "shop:latest"}}
    found = picked(made.done(one, again, two, three))
    assert found.layers[0].unpacked == digest(b"1")
    assert found.problems == ("it holds 2 further images, which were not read: shop:2, shop:3",)
    files = saved(b"1")
    entry = json.loads(files["manifest.json"])[0]
    many = [entry, *({**entry, "RepoTags": [f"shop:{number}", "shop:x"]} for number in range(8))]
    found = pick_saved({**files, "manifest.json": json.dumps(many).encode()}.get, "x")
    assert found.problems[0].startswith("it holds 8 further images, which were not read: shop:0, shop:x, shop:1, ")
    assert found.problems[0].endswith(" and 3 more")


def test_the_media_types_before_oci() -> None:
    made = Layout()
    kinds = [f"{DOCKER}.image.rootfs.{each}" for each in ("diff.tar.gzip", "foreign.diff.tar.gzip", "diff.tar")]
    said = made.blob(config(b"a", b"b", b"c"), f"{DOCKER}.container.image.v1+json")
    layers = [made.blob(each, kind) for each, kind in zip((b"a", b"b", b"c"), kinds, strict=True)]
    value = {"config": said, "layers": layers}
    manifest = made.document(value, f"{DOCKER}.distribution.manifest.v2+json")
    listed = made.document({"manifests": [manifest]}, f"{DOCKER}.distribution.manifest.list.v2+json")
    found = picked(made.done(listed))
    assert [(layer.title, layer.media_type) for layer in found.layers] == [
        (f"layer {number} of 3", kind) for number, kind in enumerate(kinds, start=1)
    ]


def test_layers_are_told_from_other_things() -> None:
    assert all(map(is_layer, (LAYER, f"{LAYER}+gzip", f"{LAYER}+zstd", LAYER.replace("v1", "nondistributable.v1"))))
    assert not any(map(is_layer, ("", f"{LAYER}+encrypted", f"{LAYER}+gzip+encrypted", f"{LAYER}\n", "text/plain")))


def test_the_configuration_of_a_run() -> None:
    said: dict[str, object] = {
        "Env": ["PATH=/bin", "TOKEN=x"], "Entrypoint": ["/start"], "Cmd": None, "User": "1000:33",
        "ExposedPorts": {"8000/tcp": {}, "53/udp": {}}, "WorkingDir": "/srv", "Labels": {"a": "b"}, "Volumes": None,
    }  # fmt: skip
    expected = ImageConfig(
        env=("PATH=/bin", "TOKEN=x"),
        entrypoint=("/start",),
        user="1000:33",
        exposed_ports=("53/udp", "8000/tcp"),
        working_dir="/srv",
    )
    assert picked(layout(b"x", config=said)).config == expected
    assert pick_saved(saved(b"x", config=said).get, "x").config == expected
    assert picked(layout(b"x")).config == picked(layout(b"x", config=None)).config == ImageConfig()


@pytest.mark.parametrize("said", [{"Env": "x"}, [1], {"ExposedPorts": ["80"]}])
def test_a_configuration_of_a_run_that_is_none(said: object) -> None:
    assert run_config(msgspec.Raw(json.dumps(said).encode())) is None
    assert picked(layout(b"x", config=said)).problems == (
        "what its configuration says about how it is run cannot be understood",
    )


def test_digests_in_names() -> None:
    assert digest_in_name("a/" + "0" * 64 + ".json") == digest_in_name("sha256:" + "0" * 64) == "sha256:" + "0" * 64
    assert digest_in_name("config.json") == digest_in_name("0" * 63) == digest_in_name("0" * 65) == ""


# ---- refusals


def changed(files: dict[str, bytes], name: str, data: bytes) -> dict[str, bytes]:
    return {**files, name: data}


DEEP = b'{"manifests": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (changed(layout(b"x"), "index.json", b""), "index.json cannot be understood"),
        (changed(layout(b"x"), "index.json", DEEP), "index.json cannot be understood"),
        (changed(layout(b"x"), "index.json", b'{"config": ' + DEEP + b"}"), "index.json cannot be understood"),
        (changed(layout(b"x"), "index.json", b'{"manifests": [], "layers": []}'), "a manifest and a list of manifests"),
        (changed(layout(b"x"), "oci-layout", b'{"imageLayoutVersion": "2.0.0"}'), "version 2.0.0, and 1 is known"),
        (changed(layout(b"x"), "oci-layout", b"{}"), "oci-layout cannot be understood"),
        (layout(b"x", rootfs={"type": "layers", "diff_ids": []}), "has 1 layers, and its configuration tells .* of 0"),
        (layout(b"x", rootfs={"type": "layers", "diff_ids": ["md5:00"]}), "'md5:00' where a SHA-256 or SHA-512 digest"),
        (layout(b"x", architecture=5), "cannot be understood"),
        (layout(*[b"x"] * 501), "more than 500 layers"),
    ],
)  # fmt: skip
def test_layouts_that_are_refused(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(DiskError, match=message):
        picked(files)


def test_a_hundred_thousand_layers() -> None:
    made = Layout()
    one = made.blob(b"x", LAYER)
    said = made.blob(config(*[b"x"] * 1000), CONFIG)
    manifest = made.document({"config": said, "layers": [one] * 100_000}, MANIFEST)
    with pytest.raises(DiskError, match="more than 500 layers"):
        picked(made.done(manifest))
    files = saved(b"x")
    entry = json.loads(files["manifest.json"])[0]
    many = json.dumps([{**entry, "Layers": entry["Layers"] * 100_000}]).encode()
    with pytest.raises(DiskError, match="more than 500 layers"):
        pick_saved({**files, "manifest.json": many}.get, "x")


def test_indexes_in_indexes() -> None:
    made = Layout()
    at = made.image(b"x")
    for _ in range(8):
        at = made.document({"manifests": [at]}, INDEX)
    assert len(picked(made.done(at)).layers) == 1
    at = made.document({"manifests": [at]}, INDEX)
    with pytest.raises(DiskError, match="lead to one another"):
        picked(made.done(at))


def test_many_manifests() -> None:
    made = Layout()
    images = [made.document({"config": {}, "number": number}, "text/plain") for number in range(2000)]
    with pytest.raises(DiskError, match=r"what it lists is no container image: text/plain, .* and 1995 more"):
        picked(made.done(*images))
    gone = [{"mediaType": MANIFEST, "digest": digest(b"%d" % number), "size": 1} for number in range(2000)]
    with pytest.raises(DiskError, match="it lists more than 1000 manifests"):
        picked(made.done(*gone))


def test_documents_are_checked() -> None:
    files = layout(b"x")
    for name, data in list(files.items()):
        if not name.startswith("blobs/") or data == b"x":
            continue
        with pytest.raises(DiskError, match=f"its digest is sha256:.*, and sha256:{name[-64:]} was said"):
            picked(changed(files, name, data.replace(b"{", b"[", 1)))
        with pytest.raises(
            DiskError, match=f"{name[-64:]} is {len(data) + 1} bytes long, and what names it says {len(data)}"
        ):
            picked(changed(files, name, data + b" "))
    files = saved(b"x")
    name = json.loads(files["manifest.json"])[0]["Config"]
    assert pick_saved(changed(files, name, files[name] + b" ").get, "x").problems == (
        "its configuration is not the one that it is named after: it was changed after it was saved",
    )


def test_one_document_under_two_media_types() -> None:
    made = Layout()
    image = made.image(b"x")
    assert picked(made.done({**image, "mediaType": f"{DOCKER}.distribution.manifest.v2+json"})).said == ()
    with pytest.raises(DiskError, match="is a manifest and a list of manifests at once"):
        picked(made.done({**image, "mediaType": INDEX}))
    listed = made.document({"mediaType": MANIFEST, "manifests": [image]}, INDEX)
    with pytest.raises(DiskError, match=r"says it is application/vnd\.oci\.image\.manifest.*, and it was named as"):
        picked(made.done(listed))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "lists no image"),
        (b"{}", "as skopeo's `dir:` writes it"),
        (b'[{"Config": "../x", "Layers": []}]', r"its configuration \.\./x is not there"),
        (b'[{"Config": 5}]', "manifest.json cannot be understood"),
        (b"[" * 100_000, "manifest.json cannot be understood"),
        (b"\xff", "manifest.json cannot be understood"),
    ],
)
def test_manifests_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(DiskError, match=message):
        pick_saved({"manifest.json": data}.get, "x")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(
            st.sampled_from([
                "manifests", "config", "layers", "mediaType", "digest", "size", "platform", "os", "rootfs", "diff_ids",
                "Config", "Layers", "RepoTags", "annotations",
            ]),
            below,
            max_size=5,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(JSON, JSON, JSON)
def test_any_documents_are_read_or_refused(index: object, manifest: object, said: object) -> None:
    made = Layout()
    known = made.document(manifest, MANIFEST)
    value = {"config": made.document(said, CONFIG), "layers": [made.blob(b"x", LAYER)]}
    for files in (
        {**made.files, "index.json": json.dumps(index).encode()},
        made.done(known),
        made.done(made.document(value, MANIFEST)),
    ):
        with contextlib.suppress(DiskError):
            assert pick_oci(files.get, "x", "amd64") is None or picked(files).format == "oci"
    with contextlib.suppress(DiskError):
        assert pick_saved({"manifest.json": json.dumps(manifest).encode()}.get, "x").format == "docker-archive"
