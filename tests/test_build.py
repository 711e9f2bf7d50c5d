"""vm2c build: against an engine that only remembers, and against a real one (marker docker)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from migrate.bases.model import LeftToBase
from migrate.build import ImagesFailedError, build, plan_digest, read_build
from migrate.console import Console
from migrate.container import BuildError, BuildResult, EngineVersion
from migrate.engine import Engine
from migrate.errors import EngineError, PlanError, Vm2cError
from migrate.naming import image_tag
from migrate.plan.model import Component, Image, Plan, PlanSource, Reason
from tests.analyzers.fake import Content
from tests.bases import made

BASE = "debian:12-slim"
QUIET = Console(quiet=True)


def component(component_id: str, decision: str = "containerize") -> Component:
    reason = Reason(rule="r", says="s", seen_in="/etc/x:1")
    return msgspec.convert(
        {
            "id": component_id,
            "kind": "service",
            "decision": decision,
            "confidence": 1.0,
            "because": [reason],
            "image": Image(strategy="packages", base=BASE) if decision == "containerize" else None,
        },
        Component,
        from_attributes=True,
    )


def folder(path: Path, dockerfiles: Mapping[str, str], *others: Component, machine: str = "Shop") -> Path:
    """Write what `generate` would: a plan (JSON is YAML) and a folder for each image."""
    plan = Plan(
        schema_="vm2c.plan/1",
        machine=machine,
        source=PlanSource(disks=["shop.qcow2"], os="Debian", inventory="sha256:0", architecture="amd64"),
        components=[*(component(name) for name in dockerfiles), *others],
    )
    (path / "plan.yaml").write_bytes(msgspec.json.encode(plan))
    for name, text in dockerfiles.items():
        (path / "images" / name).mkdir(parents=True, exist_ok=True)
        (path / "images" / name / "Dockerfile").write_text(text)
    return path


class Remembering(Engine):
    """An engine without Docker: an image's id is its context's files; a Dockerfile with `fail` in it fails."""

    def __init__(self, architecture: str = "amd64") -> None:
        super().__init__(None)
        self.images: dict[str, str] = {BASE: "sha256:base"}
        self.builds: list[str] = []
        self.architecture = architecture

    def version(self) -> EngineVersion:
        return EngineVersion(engine="20.10", api="1.41", os="linux", architecture=self.architecture)

    def image_id(self, image: str) -> str | None:
        return image if image in self.images.values() else self.images.get(image)

    def tag(self, image: str, name: str) -> None:
        self.images[name] = image

    def build(
        self,
        context: Path,
        tag: str,
        on_line: Callable[[str], None],
        nocache: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> BuildResult:
        self.builds.append(context.name)
        text = (context / "Dockerfile").read_text()
        on_line("Step 1/2 : FROM debian:12-slim")
        on_line("password=hunter2 \x1b[31m")
        if "fail" in text:
            raise BuildError(
                f"build {tag}", "exit 1: hunter2", "do this", step="Step 2/2 : RUN hunter2", lines=["a", "hunter2"]
            )
        if "gone" in text:
            raise EngineError(f"build {tag}", "the engine went away")
        self.images[tag] = f"sha256:{hash((text, nocache)) & 0xFFFF:x}"
        return BuildResult(image_id=self.images[tag], size_bytes=len(text), layers=(), steps=2, cached=0)


def redact(text: str) -> str:
    return text.replace("hunter2", "***")


def test_builds_all_in_the_order_of_the_plan(tmp_path: Path) -> None:
    engine = Remembering()
    folder(tmp_path, {"web": "FROM x\n", "db": "FROM x\n"}, component("ssh", "retire"))
    images = build(tmp_path, [], QUIET, engine)
    assert [(i.id, i.tag, i.outcome) for i in images] == [
        ("web", "vm2c/shop/web:latest", "built"),
        ("db", "vm2c/shop/db:latest", "built"),
    ]
    assert engine.images["vm2c/shop/web:latest"] == engine.images[images[0].plan_tag]
    assert images[0].tag == image_tag("Shop", "web")


def test_build_file(tmp_path: Path) -> None:
    folder(tmp_path, {"web": "FROM x\n"})
    image = build(tmp_path, [], QUIET, Remembering())[0]
    written = json.loads((tmp_path / "build.json").read_text())
    digest = written["plan"]
    assert digest.startswith("sha256:")
    assert written == {
        "schema": "vm2c.build/1",
        "machine": "Shop",
        "plan": digest,
        "images": [
            {
                "id": "web",
                "tag": "vm2c/shop/web:latest",
                "plan_tag": f"vm2c/shop/web:{digest[7:19]}",
                "base": BASE,
                "context": image.context,
                "outcome": "built",
                "base_id": "sha256:base",
                "image_id": image.image_id,
                "size_bytes": 7,
                "step": "",
                "why": "",
                "do": "",
                "lines": [],
            }
        ],
    }
    assert not list(tmp_path.glob(".build.json*"))


def test_again_is_unchanged_and_asks_for_no_build(tmp_path: Path) -> None:
    engine = Remembering()
    folder(tmp_path, {"web": "FROM x\n"})
    first = build(tmp_path, [], QUIET, engine)[0]
    second = build(tmp_path, [], QUIET, engine)[0]
    assert (second.outcome, second.image_id, second.size_bytes) == ("unchanged", first.image_id, first.size_bytes)
    assert engine.builds == ["web"]


@pytest.mark.parametrize("change", ["context", "base", "image", "nocache"])
def test_again_builds_where_something_changed(tmp_path: Path, change: str) -> None:
    engine = Remembering()
    folder(tmp_path, {"web": "FROM x\n"})
    first = build(tmp_path, [], QUIET, engine)[0]
    if change == "context":
        (tmp_path / "images/web/more").write_text("x")
    elif change == "base":
        engine.images[BASE] = "sha256:newer"
    elif change == "image":
        engine.images = {BASE: "sha256:base"}
    build(tmp_path, [], QUIET, engine, nocache=change == "nocache")
    assert engine.builds == ["web", "web"]
    assert engine.images[first.tag]


def test_a_changed_plan_gets_its_tag_without_a_build(tmp_path: Path) -> None:
    engine = Remembering()
    folder(tmp_path, {"web": "FROM x\n"})
    first = build(tmp_path, [], QUIET, engine)[0]
    folder(tmp_path, {"web": "FROM x\n"}, component("ssh", "retire"))
    second = build(tmp_path, [], QUIET, engine)[0]
    assert second.plan_tag != first.plan_tag
    assert engine.images[second.plan_tag] == first.image_id
    assert engine.builds == ["web"]


def test_one_image_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Remembering()
    folder(tmp_path, {"a": "fail", "b": "gone", "c": "FROM x\n"})
    with pytest.raises(ImagesFailedError) as caught:
        build(tmp_path, [], Console(verbose=True), engine, redact=redact)
    assert caught.value.exit_code == 1
    assert caught.value.attempted == "build 2 of 3 images"
    assert caught.value.found == "a: exit 1: ***; b: the engine went away"
    assert [i.outcome for i in caught.value.images] == ["failed", "failed", "built"]
    written = (tmp_path / "build.json").read_text()
    a = json.loads(written)["images"][0]
    assert (a["step"], a["why"], a["do"]) == ("Step 2/2 : RUN ***", "exit 1: ***", "do this")
    assert a["lines"] == ["a", "***"]
    err = capsys.readouterr().err
    assert "cannot build a at Step 2/2 : RUN ***: exit 1: ***" in err
    assert "  | ***" in err
    assert r"password=*** \x1b[31m" in err
    assert "hunter2" not in written + err + str(caught.value)


def test_some_ids_keep_the_entries_of_the_others(tmp_path: Path) -> None:
    engine = Remembering()
    folder(tmp_path, {"a": "FROM x\n", "b": "FROM y\n"})
    build(tmp_path, [], QUIET, engine)
    (tmp_path / "images/b/Dockerfile").write_text("FROM z\n")
    assert [i.id for i in build(tmp_path, ["b"], QUIET, engine)] == ["b"]
    read = read_build(tmp_path)
    assert read is not None
    assert [i.id for i in read.images] == ["a", "b"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("ordes", "the plan has no such component; did you mean orders"),
        ("zzz", "the plan has no such component; the plan has images of db, orders"),
        ("ssh", "it gets no image: its decision is retire"),
        ("new", "its folder has no Dockerfile; run vm2c generate"),
        ("../../etc", "the plan has no such component"),
    ],
)
def test_unknown_id(tmp_path: Path, wanted: str, expected: str) -> None:
    folder(tmp_path, {"orders": "FROM x\n", "db": "FROM x\n"}, component("ssh", "retire"), component("new"))
    with pytest.raises(PlanError, match=expected):
        build(tmp_path, ["db", wanted], QUIET, Remembering())
    assert not (tmp_path / "build.json").exists()


def test_nothing_was_generated(tmp_path: Path) -> None:
    folder(tmp_path, {}, component("web"))
    with pytest.raises(PlanError, match="run vm2c generate"):
        build(tmp_path, [], QUIET, Remembering())


def test_a_path_as_an_id_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    (tmp_path / "out").mkdir()
    folder(tmp_path / "out", {"web": "FROM x\n"}, component("../.."), component(".."), component("a/b"))
    engine = Remembering()
    build(tmp_path / "out", [], QUIET, engine)
    assert engine.builds == ["web"]


def test_another_processor_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, {"web": "FROM x\n"})
    build(tmp_path, [], QUIET, Remembering("arm64"))
    assert capsys.readouterr().err == "warning: Shop is an amd64 machine, and this engine builds images for arm64\n"


def test_a_build_file_that_is_not_ours_is_replaced(tmp_path: Path) -> None:
    folder(tmp_path, {"web": "FROM x\n"})
    (tmp_path / "build.json").write_text("[")
    build(tmp_path, [], QUIET, Remembering())
    assert read_build(tmp_path) is not None


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, {"web": "FROM x\n"})
    (tmp_path / "build.json").mkdir()
    with pytest.raises(Vm2cError, match=r"cannot (read|write) .*build\.json"):
        build(tmp_path, [], QUIET, Remembering())
    assert not list(tmp_path.glob(".build.json*"))


def test_plan_digest_is_of_what_it_says(tmp_path: Path) -> None:
    folder(tmp_path, {"web": "FROM x\n"})
    plan = msgspec.json.decode((tmp_path / "plan.yaml").read_bytes(), type=Plan)
    changed = msgspec.structs.replace(plan, machine="other")
    assert plan_digest(plan) == plan_digest(msgspec.json.decode(msgspec.json.encode(plan), type=Plan))
    assert plan_digest(plan) != plan_digest(changed)


# ---------------------------------------------------------------- what was left to the base


class OnBase(Remembering):
    """An engine whose base image is a tree; it fetches `remote` while it builds, where it has none yet."""

    def __init__(self, tree: dict[str, Content] | None, remote: dict[str, Content] | None = None) -> None:
        super().__init__()
        self.tree, self.remote, self.removed = tree, remote, list[str]()

    def image_id(self, image: str) -> str | None:
        if image == BASE:
            return f"sha256:{hash(made.saved(self.tree)):x}" if self.tree is not None else None
        return super().image_id(image)

    def save(self, image: str) -> Iterator[bytes]:
        assert self.tree is not None
        yield made.saved(self.tree)

    def build(
        self,
        context: Path,
        tag: str,
        on_line: Callable[[str], None],
        nocache: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> BuildResult:
        self.tree = self.tree if self.tree is not None else self.remote
        return super().build(context, tag, on_line, nocache, labels)

    def remove_image(self, image: str) -> None:
        self.removed.append(image)
        self.images.pop(image, None)


def leaving(path: Path) -> Path:
    """Write a folder with an image that leaves all of a base to it."""
    folder(path, {"web": "FROM debian:12-slim\n"})
    left = LeftToBase(base=BASE, architecture="amd64", inventory="sha256:0", files=made.inventory().files)
    (path / "images/web/base.json").write_bytes(msgspec.json.encode(left))
    return path


def test_a_base_that_has_what_was_left_to_it_is_built_on(tmp_path: Path) -> None:
    engine = OnBase({**made.TREE, "/srv/more": "x"})
    image = build(leaving(tmp_path), [], QUIET, engine)[0]
    assert (image.outcome, image.base_id) == ("built", engine.image_id(BASE))


def test_a_base_that_has_it_not_is_not_built_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = OnBase({p: c for p, c in made.TREE.items() if p != "/usr/share/app/one"})
    with pytest.raises(ImagesFailedError) as caught:
        build(leaving(tmp_path), [], QUIET, engine)
    assert caught.value.exit_code == 1
    assert engine.builds == []
    err = capsys.readouterr().err
    assert "/usr/share/app/one differ there or are missing; refresh with vm2c bases --refresh debian:12-slim" in err


def test_a_base_that_moved_since_the_last_build_is_noticed(tmp_path: Path) -> None:
    engine = OnBase(made.TREE)
    build(leaving(tmp_path), [], QUIET, engine)
    engine.tree = made.TREE | {"/usr/share/app/one": "newer\n"}
    with pytest.raises(ImagesFailedError):
        build(tmp_path, [], QUIET, engine)
    assert engine.builds == ["web"]


@pytest.mark.parametrize("remote", [{**made.TREE, "/usr/share/app/one": "newer\n"}, None])
def test_a_base_that_came_with_the_build_is_looked_at_after_it(
    tmp_path: Path, remote: dict[str, Content] | None
) -> None:
    engine = OnBase(None, remote)
    with pytest.raises(ImagesFailedError) as caught:
        build(leaving(tmp_path), [], QUIET, engine)
    assert caught.value.images[0].outcome == "failed"
    assert engine.builds == ["web"]
    assert engine.removed == ["vm2c/shop/web:latest"]
    assert "vm2c/shop/web:latest" not in engine.images


def test_a_right_base_that_came_with_the_build_is_fine(tmp_path: Path) -> None:
    assert build(leaving(tmp_path), [], QUIET, OnBase(None, made.TREE))[0].outcome == "built"


def test_a_base_file_that_is_none_fails_that_image_alone(tmp_path: Path) -> None:
    folder(leaving(tmp_path), {"web": "FROM x\n", "db": "FROM x\n"})
    (tmp_path / "images/web/base.json").write_text("{")
    with pytest.raises(ImagesFailedError) as caught:
        build(tmp_path, [], QUIET, OnBase(made.TREE))
    assert [i.outcome for i in caught.value.images] == ["failed", "built"]
    assert "generate again" in caught.value.images[0].do


# ---------------------------------------------------------------- a real engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    try:
        connected = Engine.connect()
    except EngineError as error:
        pytest.skip(f"no Docker engine: {error.found}")
    with connected:
        if not connected.image_exists(BASE):
            pytest.skip(f"the engine has no image {BASE}")
        yield connected


@pytest.mark.docker
def test_real_images(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = f"test-{uuid.uuid4().hex[:8]}"
    dockerfiles = {
        "good": f"FROM {BASE}\nCOPY file /file\nRUN cat /file\n",
        "bad": f"FROM {BASE}\nRUN echo hunter2 && exit 9\n",
    }
    folder(tmp_path, dockerfiles, machine=machine)
    (tmp_path / "images/good/file").write_text(machine)
    tags: set[str] = set()
    try:
        with pytest.raises(ImagesFailedError) as caught:
            build(tmp_path, [], Console(verbose=True), engine, redact=redact)
        tags = {tag for image in caught.value.images for tag in (image.tag, image.plan_tag)}
        good, bad = caught.value.images
        assert (good.outcome, bad.outcome) == ("built", "failed")
        assert engine.image_id(good.tag) == engine.image_id(good.plan_tag) == good.image_id
        assert bad.step.startswith("Step 2/3 : RUN echo ***")
        assert "***" in bad.lines
        assert "hunter2" not in (tmp_path / "build.json").read_text() + capsys.readouterr().err
        again = build(tmp_path, ["good"], QUIET, engine)[0]
        assert (again.outcome, again.image_id) == ("unchanged", good.image_id)
        (tmp_path / "build.json").unlink()
        assert build(tmp_path, ["good"], QUIET, engine)[0].image_id == good.image_id  # the engine's own cache
    finally:
        for tag in tags:
            engine.remove_image(tag)
