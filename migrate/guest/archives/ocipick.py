"""Which of the images in an archive is read, and what it is made of. Pure, but for what `Read` does.

An archive may hold several images, each for several platforms, beside signatures and attestations, which are no
images though they are stored as such (image-index.md; BuildKit, docs/attestations/attestation-storage.md).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence

import msgspec

from migrate.errors import DiskError, NoSystemError
from migrate.guest.archives.ociformat import (
    CONFIGS,
    INDEXES,
    MANIFESTS,
    MAX_LAYERS,
    Descriptor,
    Document,
    ImageConfig,
    Manifest,
    Platform,
    Saved,
    decode,
    decode_index,
    decode_manifest,
    digest_in_name,
    hasher,
    is_layer,
    run_config,
    split_digest,
)
from migrate.text import show

Read = Callable[[str], bytes | None]
"""Returns a document of the archive by its name, or None where there is none. Raises DiskError."""

# Go's names (go tool dist list) for what uname(2) says.
_ARCHITECTURES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv6l": "arm", "armv7l": "arm", "armv8l": "arm", "i386": "386",
    "i686": "386", "loongarch64": "loong64", "mips64": "mips64le", "ppc64le": "ppc64le", "riscv64": "riscv64",
    "s390x": "s390x",
}  # fmt: skip
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")  # containerd's is the longer one
_MAX_DOCUMENTS = 1000
_MAX_DEPTH = 8
_MAX_NAMED = 5


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer and where it is: `name` in the archive, with the digest and the size of what is there, if known.

    `unpacked` is its digest once it is decompressed. `title` names it in a message.
    """

    title: str
    name: str
    unpacked: str
    digest: str = ""
    size: int | None = None
    media_type: str = ""
    urls: tuple[str, ...] = ()


class Picked(msgspec.Struct, frozen=True, kw_only=True):
    """An image: its layers, the lowest first, and how it says that it is run.

    `format` is `oci` or `docker-archive`. `said` is what was chosen among what, `problems` what was not read for that.
    """

    format: str
    layers: tuple[Layer, ...]
    config: ImageConfig
    said: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class _Layout(msgspec.Struct, frozen=True, rename="camel"):
    image_layout_version: str


class _Candidate(msgspec.Struct, frozen=True):
    platform: Platform
    manifest: Manifest
    document: Document


def host_architecture() -> str:
    """Return this host's architecture in Go's words."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def pick_saved(read: Read, attempted: str) -> Picked:
    """Return the first image of a `docker save` archive's `manifest.json`. Raises DiskError."""
    data = read("manifest.json") or b""
    if data.lstrip().startswith(b"{"):
        do = "write it as an archive first: skopeo copy dir:DIRECTORY oci-archive:FILE"
        raise DiskError(attempted, "its manifest.json is as skopeo's `dir:` writes it, not `docker save`", do)
    images = decode(tuple[Saved, ...], data, attempted, "manifest.json")
    if not images:
        raise DiskError(attempted, "its manifest.json lists no image")
    first = images[0]
    config = read(first.config)
    if config is None:
        raise DiskError(attempted, f"its configuration {show(first.config[:200])} is not there", "save it again")
    digest = digest_in_name(first.config)
    odd: tuple[str, ...] = ()
    if digest and _digest_of(config, digest, attempted) != digest:  # `docker load` does not mind; layers are checked
        odd = ("its configuration is not the one that it is named after: it was changed after it was saved",)
    document = decode(Document, config, attempted, first.config)
    _refuse_other_systems(Platform(document.os, document.architecture), attempted)
    names = first.layers or ()
    return _picked(
        "docker-archive",
        [Layer(title="", name=name, unpacked="") for name in names],
        document,
        attempted,
        odd=odd,
        others=[", ".join(image.repo_tags or (image.config,)) for image in images[1:]],
    )


def pick_oci(read: Read, attempted: str, architecture: str) -> Picked | None:
    """Return the first image of an OCI image layout, for Linux and as near as can be to an architecture.

    None where it lists nothing: Docker 25 saves an image without a name so, and has it in `manifest.json` alone.
    Raises DiskError, NoSystemError where it is for another system.
    """
    version = decode(_Layout, read("oci-layout") or b"", attempted, "oci-layout").image_layout_version
    if not version.startswith("1."):
        raise DiskError(attempted, f"it is an image layout of version {show(version[:20])}, and 1 is known")
    index = decode_index(read("index.json") or b"", attempted, "index.json")
    finder = _Finder(read, attempted)
    if not index.manifests:
        return None
    images = _images(index.manifests)
    for number, (_, descriptors) in enumerate(images):
        candidates = finder.candidates(descriptors)
        if candidates:
            others = [name for name, rest in images[number + 1 :] if finder.holds_image(rest)]
            chosen, said = _choose(candidates, architecture, attempted)
            return _picked(
                "oci", _layers(chosen.manifest, attempted), chosen.document, attempted, said=said, others=others
            )
    raise DiskError(attempted, *finder.why_nothing())


def _images(descriptors: Iterable[Descriptor]) -> list[tuple[str, list[Descriptor]]]:
    """Return what an index lists by images, each with what it is called: one with two names is one image.

    What has no name is one image, for several platforms.
    """
    images: list[tuple[str, list[Descriptor]]] = []
    known: dict[str, list[Descriptor]] = {}
    for descriptor in filter(_is_wanted, descriptors):
        notes = descriptor.annotations or {}
        name = next((notes[key] for key in _NAMES if notes.get(key)), "")
        members = known.get(descriptor.digest) or known.get(f"name {name}")
        if members is None:
            members = []
            images.append((name or descriptor.digest, members))
        members.append(descriptor)
        known[descriptor.digest] = known[f"name {name}"] = members
    return images


def _is_wanted(descriptor: Descriptor) -> bool:
    """Tell images from what goes with them: attestations, signatures, lists of packages."""
    notes = descriptor.annotations or {}
    unknown = descriptor.platform is not None and descriptor.platform.os == "unknown"
    return not (unknown or descriptor.artifact_type or "vnd.docker.reference.type" in notes)


class _Finder:
    """What of an image layout can be read. `why_nothing` says why there was nothing of it."""

    def __init__(self, read: Read, attempted: str) -> None:
        self._read = read
        self._attempted = attempted
        self._documents = 0
        self._missing: list[str] = []
        self._strange: list[str] = []

    def candidates(self, descriptors: Sequence[Descriptor]) -> list[_Candidate]:
        """Return the images, for any platform, that these lead to, in their order."""
        seen: set[str] = set()
        found: list[_Candidate] = []
        todo = [(descriptor, 0) for descriptor in reversed(descriptors)]
        while todo:
            descriptor, depth = todo.pop()
            if descriptor.digest in seen or not _is_wanted(descriptor):
                continue
            seen.add(descriptor.digest)
            data = self._document(descriptor)
            if data is None:
                continue
            if descriptor.media_type in INDEXES:
                if depth >= _MAX_DEPTH:
                    raise DiskError(self._attempted, f"its indexes lead to one another {_MAX_DEPTH} times and further")
                index = decode_index(data, self._attempted, descriptor.digest)
                todo += [(below, depth + 1) for below in reversed(index.manifests or ())]
            else:
                candidate = self._candidate(descriptor, data)
                found += [] if candidate is None else [candidate]
        return found

    def holds_image(self, descriptors: Sequence[Descriptor]) -> bool:
        """Tell whether there is an image among these; one that is damaged is one."""
        try:
            return bool(self.candidates(descriptors))
        except DiskError:
            return True

    def _candidate(self, descriptor: Descriptor, data: bytes) -> _Candidate | None:
        manifest = decode_manifest(data, self._attempted, descriptor.digest)
        strange = [layer.media_type for layer in manifest.layers or () if not is_layer(layer.media_type)]
        if manifest.config.media_type not in CONFIGS:
            strange.insert(0, manifest.artifact_type or manifest.config.media_type)
        if strange:
            locked = " (encrypted: ocicrypt)" if strange[0].endswith("+encrypted") else ""
            self._strange.append(f"{strange[0]}{locked}")
            return None
        config = self._document(manifest.config)
        if config is None:
            return None
        document = decode(Document, config, self._attempted, manifest.config.digest)
        own = Platform(document.os, document.architecture, document.variant)
        return _Candidate(descriptor.platform or own, manifest, document)

    def _document(self, descriptor: Descriptor) -> bytes | None:
        """Return what a descriptor names, checked, or None where it is not there or nothing that is known."""
        if descriptor.media_type not in INDEXES | MANIFESTS | CONFIGS:
            self._strange.append(descriptor.media_type)
            return None
        self._documents += 1
        if self._documents > _MAX_DOCUMENTS:
            raise DiskError(self._attempted, f"it lists more than {_MAX_DOCUMENTS} manifests")
        data = self._read(_blob(descriptor.digest, self._attempted))
        if data is None:
            on = f" ({descriptor.platform})" if descriptor.platform else ""
            self._missing.append(f"{descriptor.digest}{on}")
            return None
        if len(data) != descriptor.size:
            found = f"{descriptor.digest} is {len(data)} bytes long, and what names it says {descriptor.size}"
            raise DiskError(self._attempted, found, "copy or save it again")
        found = _digest_of(data, descriptor.digest, self._attempted)
        refuse_mismatch(descriptor.digest, found, self._attempted, "a document")
        return data

    def why_nothing(self) -> tuple[str, str]:
        """Say why no image was found, and what to do."""
        if self._missing:
            return f"what it lists is not there: {_some(self._missing)}", "save it again, with all that belongs to it"
        if self._strange:
            return f"what it lists is no container image: {_some(self._strange)}", ""
        return "its index.json lists no image", ""


def _choose(candidates: Sequence[_Candidate], architecture: str, attempted: str) -> tuple[_Candidate, tuple[str, ...]]:
    """Return the image for an architecture, else the only one for Linux, else the first; and what to say of that."""
    linux = [each for each in candidates if each.platform.os in {"", "linux"}]
    if not linux:
        _refuse_other_systems(candidates[0].platform, attempted)
    chosen = next((each for each in linux if each.platform.architecture == architecture), linux[0])
    if len(candidates) == 1:
        return chosen, ()
    among = _some([str(each.platform) for each in candidates])
    return chosen, (f"reading the image for {show(str(chosen.platform)[:200])}, one of {among}",)


def _refuse_other_systems(found: Platform, attempted: str) -> None:
    if found.os not in {"", "linux"}:
        raise NoSystemError(attempted, f"it is an image for {show(str(found)[:200])}", "vm2c reads Linux systems")


def _layers(manifest: Manifest, attempted: str) -> list[Layer]:
    return [
        Layer(
            title="",
            name=_blob(layer.digest, attempted),
            unpacked="",
            digest=layer.digest,
            size=layer.size,
            media_type=layer.media_type,
            urls=layer.urls or (),
        )
        for layer in (manifest.layers or ())[: MAX_LAYERS + 1]
    ]


def _picked(
    kind: str,
    layers: Sequence[Layer],
    document: Document,
    attempted: str,
    *,
    others: list[str],
    said: tuple[str, ...] = (),
    odd: tuple[str, ...] = (),
) -> Picked:
    digests = document.rootfs.diff_ids or ()
    if len(layers) > MAX_LAYERS:
        raise DiskError(attempted, f"it has more than {MAX_LAYERS} layers, and nothing can run that")
    if len(layers) != len(digests):
        found = f"it has {len(layers)} layers, and its configuration tells the digests of {len(digests)}"
        raise DiskError(attempted, found, "save it again")
    for digest in digests:
        split_digest(digest, attempted)
    config = run_config(document.config)
    problems = [*odd] if config else [*odd, "what its configuration says about how it is run cannot be understood"]
    if others:
        many = f"{len(others)} further images, which were" if len(others) > 1 else "a further image, which was"
        problems.append(f"it holds {many} not read: {_some(others)}")
    count = len(layers)
    return Picked(
        format=kind,
        layers=tuple(
            msgspec.structs.replace(layer, title=f"layer {number} of {count}", unpacked=digest)
            for number, (layer, digest) in enumerate(zip(layers, digests, strict=True), start=1)
        ),
        config=config or ImageConfig(),
        said=said,
        problems=tuple(problems),
    )


def _blob(digest: str, attempted: str) -> str:
    algorithm, encoded = split_digest(digest, attempted)
    return f"blobs/{algorithm}/{encoded}"


def _digest_of(data: bytes, like: str, attempted: str) -> str:
    """Return a digest of the same kind as another."""
    found = hasher(like, attempted)
    found.update(data)
    return f"{found.name}:{found.hexdigest()}"


def refuse_mismatch(said: str, found: str, attempted: str, what: str) -> None:
    """Refuse what has another digest than was said. Raises DiskError."""
    if said != found:
        why = f"{what} is damaged or was changed: its digest is {found}, and {said} was said"
        raise DiskError(attempted, why, "copy or save it again")


def _some(names: Sequence[str]) -> str:
    """Return a few names, made fit to show, and how many more there are."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(show(name[:200]) for name in names[:_MAX_NAMED]) + more
