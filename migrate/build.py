"""From the folders that `generate` wrote to images: `vm2c build`.

    DIR/plan.yaml + DIR/images/ID/ ──engine──▶ vm2c/MACHINE/ID:latest, and DIR/build.json

A context that was built before, on the same base image, is not built again. One image that fails does not
keep the others from being built. One that leaves files to its base is built only on a base that has them.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from migrate.bases.check import BaseChecker, read_left
from migrate.bases.model import LeftToBase
from migrate.console import Console, Stage
from migrate.container import BuildError
from migrate.context import context_tar
from migrate.engine import Engine
from migrate.errors import EngineError, PlanError, Vm2cError
from migrate.naming import image_tag
from migrate.output import File, write
from migrate.plan.model import Component, Plan
from migrate.text import show

SCHEMA: Final = "vm2c.build/1"
Outcome = Literal["built", "unchanged", "failed"]
Redact = Callable[[str], str]
_SHORT = 100  # characters of a line that is shown
_SHOWN = 15  # lines of a failed step that are shown


class ImageBuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one image: an entry of build.json's `images`.

    `tag` is the reference that manifests use (`…:latest`), `plan_tag` the one that holds the plan's digest.
    `context` is the SHA-256 of the context as it was sent, `base_id` the base image's id (empty for
    scratch). `image_id` and `size_bytes` are empty and 0 where it failed; `step`, `why`, `do` and `lines` (the last
    ones that the builder printed) then say how.
    """

    id: str
    tag: str
    plan_tag: str
    base: str
    context: str
    outcome: Outcome
    base_id: str = ""
    image_id: str = ""
    size_bytes: int = 0
    step: str = ""
    why: str = ""
    do: str = ""
    lines: tuple[str, ...] = ()


class BuildFile(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_": "schema"}):
    """build.json: the images in the plan's order; `plan` is the digest of the plan they were last built for."""

    schema_: Literal["vm2c.build/1"] = SCHEMA
    machine: str
    plan: str
    images: tuple[ImageBuilt, ...]


class ImagesFailedError(EngineError):
    """Some images could not be built; `images` is what became of every one that was asked for."""

    def __init__(self, images: Sequence[ImageBuilt], file: Path) -> None:
        failed = [image for image in images if image.outcome == "failed"]
        found = "; ".join(f"{image.id}: {image.why}" for image in failed)
        do = f"{file} holds what each printed last"
        if len(failed) < len(images):
            do += "; the others are built"
        super().__init__(f"build {len(failed)} of {len(images)} images", found, do)
        self.images = tuple(images)


def plan_digest(plan: Plan) -> str:
    """Return the SHA-256 (hex) of what a plan says; comments and layout of plan.yaml do not count."""
    return hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()


def read_build(directory: Path) -> BuildFile | None:
    """Return DIR/build.json, or None where there is none that can be used. Raises Vm2cError if it cannot be read."""
    path = directory / "build.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=BuildFile)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise Vm2cError(f"read {path}", str(error.strerror)) from error


def build(
    directory: Path,
    ids: Sequence[str],
    console: Console,
    engine: Engine | None = None,
    nocache: bool = False,
    redact: Redact = lambda text: text,
) -> list[ImageBuilt]:
    """Build the images of the components `ids` (all that have one, where it is empty) and write DIR/build.json.

    `redact` takes secrets out of what the builder prints, before it is shown or written. Returns what became
    of each, in the plan's order. Raises PlanError for an id without an image, EngineError where the engine cannot
    be reached, and ImagesFailedError after all were tried where some failed.
    """
    from migrate.plan.store import read_plan

    plan = read_plan(directory / "plan.yaml")
    components = _chosen(plan, directory / "images", ids)
    if engine is None:
        with Engine.connect() as own:
            return _build_all(plan, components, directory, _Builder(own, console, nocache, redact))
    return _build_all(plan, components, directory, _Builder(engine, console, nocache, redact))


def _chosen(plan: Plan, images: Path, ids: Sequence[str]) -> list[Component]:
    known = [component for component in plan.components if _has_image(images, component.id)]
    names = {component.id for component in known}
    for wanted in ids:
        if wanted not in names:
            raise _unknown(wanted, plan, names)
    if not known:
        raise PlanError(f"build {images.parent}", "no component has an image", f"run vm2c generate {images.parent}")
    chosen = [component for component in known if not ids or component.id in ids]
    tags = [image_tag(plan.machine, component.id) for component in chosen]
    if doubled := sorted({tag for tag in tags if tags.count(tag) > 1}):
        raise PlanError(f"build {images.parent}", f"two components make the image {doubled[0]}", "rename one of them")
    return chosen


def _has_image(images: Path, component_id: str) -> bool:
    plain = component_id not in {"", ".", ".."} and not set(component_id) & {"/", "\0"}
    return plain and (images / component_id / "Dockerfile").is_file()


def _unknown(wanted: str, plan: Plan, names: set[str]) -> PlanError:
    attempted = f"build {wanted}"
    component = next((c for c in plan.components if c.id == wanted), None)
    if component is None:
        near = difflib.get_close_matches(wanted, sorted(names), 1, 0.5)
        do = f"did you mean {near[0]}?" if near else f"the plan has images of {', '.join(sorted(names)) or 'none'}"
        return PlanError(attempted, "the plan has no such component", do)
    if component.decision == "containerize":
        return PlanError(attempted, "its folder has no Dockerfile", "run vm2c generate")
    return PlanError(attempted, f"it gets no image: its decision is {component.decision}", "change it in plan.yaml")


class _Builder:
    """Builds one image after the other with the same engine and console."""

    def __init__(self, engine: Engine, console: Console, nocache: bool, redact: Redact) -> None:
        self.engine = engine
        self.console = console
        self.nocache = nocache
        self._redact = redact
        self._bases = BaseChecker(engine)

    def fit(self, text: str) -> str:
        """Return a text from the builder without secrets, on one printable line."""
        return show(self._redact(text))

    def one(self, plan: Plan, component: Component, context: Path, before: ImageBuilt | None) -> ImageBuilt:
        """Build one image; a failure is shown and returned, not raised."""
        base = component.image.base if component.image else ""
        tag = image_tag(plan.machine, component.id)
        image = ImageBuilt(
            id=component.id,
            tag=tag,
            plan_tag=image_tag(plan.machine, component.id, plan_digest(plan)[:12]),
            base=base,
            context="",
            outcome="failed",
        )
        with self.console.stage(f"build {component.id}") as stage:
            try:
                image = msgspec.structs.replace(image, context=self._digest(context))
                left = read_left(context)
                checked = self._bases.check(left) if left else ""
                done = self._same(image, before) or self._new(image, context, stage, before)
                if left and (not checked or done.base_id != checked):
                    self._check_after(left, done)
                self.engine.tag(done.image_id, done.plan_tag)
            except EngineError as error:
                return self._failed(image, error)
        return done

    def _check_after(self, left: LeftToBase, image: ImageBuilt) -> None:
        """Check a base that the engine fetched while it built; an image on the wrong one keeps no name."""
        try:
            if not self._bases.check(left):
                found = "the engine no longer has it, so that nobody can tell what the image is built on"
                raise EngineError(f"build on {left.base}", found, f"run vm2c bases --refresh {left.base} --pull")
        except EngineError:
            self.engine.remove_image(image.tag)
            raise

    def _digest(self, context: Path) -> str:
        digest = hashlib.sha256()
        for piece in context_tar(context, self.engine.context_names(context)):
            digest.update(piece)
        return f"sha256:{digest.hexdigest()}"

    def _base_id(self, base: str) -> str:
        return (self.engine.image_id(base) or "") if base not in {"", "scratch"} else ""

    def _same(self, image: ImageBuilt, before: ImageBuilt | None) -> ImageBuilt | None:
        """Return what was built before, where building again could only give the same."""
        if self.nocache or before is None or not before.image_id or before.context != image.context:
            return None
        base_id = self._base_id(image.base)
        if before.base != image.base or before.base_id != base_id or not self.engine.image_exists(before.image_id):
            return None
        self.engine.tag(before.image_id, image.tag)
        return msgspec.structs.replace(
            image,
            outcome="unchanged",
            base_id=base_id,
            image_id=before.image_id,
            size_bytes=before.size_bytes,
        )

    def _new(self, image: ImageBuilt, context: Path, stage: Stage, before: ImageBuilt | None) -> ImageBuilt:
        def on_line(line: str) -> None:
            text = self.fit(line)
            step = re.match(r"Step (\d+)/(\d+) : ", text)
            if step:
                stage.update(_short(text), int(step[1]) - 1, int(step[2]))
            else:
                stage.update(_short(text))
            self.console.detail(text)

        labels = {"vm2c.component": image.id}
        result = self.engine.build(context, image.tag, on_line, nocache=self.nocache, labels=labels)
        same = before is not None and before.image_id == result.image_id
        return msgspec.structs.replace(
            image,
            outcome="unchanged" if same else "built",
            base_id=self._base_id(image.base),
            image_id=result.image_id,
            size_bytes=result.size_bytes,
        )

    def _failed(self, image: ImageBuilt, error: EngineError) -> ImageBuilt:
        step, lines = (error.step, error.lines) if isinstance(error, BuildError) else ("", ())
        failed = msgspec.structs.replace(
            image,
            step=self.fit(step),
            why=self.fit(error.found),
            do=self.fit(error.do),
            lines=tuple(self.fit(line) for line in lines),
        )
        step = f" at {_short(failed.step)}" if failed.step else ""
        shown = [_short(line, 2 * _SHORT) for line in failed.lines[-_SHOWN:]]
        self.console.error(BuildError(f"build {image.id}{step}", _short(failed.why, 4 * _SHORT), failed.do, "", shown))
        return failed


def _short(text: str, most: int = _SHORT) -> str:
    """Return a text of at most `most` characters on which a person's eye can rest; build.json has all of it."""
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _build_all(plan: Plan, components: Sequence[Component], directory: Path, builder: _Builder) -> list[ImageBuilt]:
    _warn_of_processor(plan, builder)
    previous = read_build(directory)
    before = {image.id: image for image in previous.images} if previous else {}
    images = [builder.one(plan, c, directory / "images" / c.id, before.get(c.id)) for c in components]
    now = before | {image.id: image for image in images}
    in_order = tuple(now[c.id] for c in plan.components if c.id in now)
    file = directory / "build.json"
    content = BuildFile(machine=plan.machine, plan=f"sha256:{plan_digest(plan)}", images=in_order)
    text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    write({file.name: File(text)}, directory, "build")
    if any(image.outcome == "failed" for image in images):
        raise ImagesFailedError(images, file)
    return images


# Left: uname(2) and Debian's word for a processor; right: the engine's (Go's GOARCH).
_GO = {"x86_64": "amd64", "i686": "386", "i386": "386", "aarch64": "arm64", "armhf": "arm", "ppc64el": "ppc64le"}


def _warn_of_processor(plan: Plan, builder: _Builder) -> None:
    machine = _GO.get(plan.source.architecture, plan.source.architecture)
    here = builder.engine.version().architecture
    if machine and here != machine:
        builder.console.warn(f"{plan.machine} is an {machine} machine, and this engine builds images for {here}")
