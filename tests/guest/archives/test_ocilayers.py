"""Layers over one another: the examples of layer.md, a simple model, and overlayfs itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.guest.archives.ocilayers import Layers, removals
from migrate.guest.protocol import Entry, Kind

Made = tuple[dict[str, Entry], dict[str, str]]


def entries(layer: int, *names: str, **targets: str) -> Made:
    """Return a layer: `/a/` is a directory, `/a@` a symbolic link, anything else a file."""
    found = {}
    for number, name in enumerate(names):
        kind: Kind = "directory" if name.endswith("/") else "symlink" if name.endswith("@") else "file"
        path = name.rstrip("/@") or "/"
        found[path] = Entry(path=path, kind=kind, mode=0o700 + layer, uid=layer, gid=0, inode=(layer, number))
    return found, {f"/{path}": target for path, target in targets.items()}


def stacked(*layers: Made) -> Layers:
    made = Layers()
    for number, (names, outside) in enumerate(layers):
        made.apply(number, names, outside)
    return made


def tree(layers: Layers) -> dict[str, tuple[str, int]]:
    """Return the paths with their kinds and the layer they are from."""
    return {each.path: (each.kind, each.inode[0]) for each in layers.entries() if each.path != "/"}


def paths(layers: Layers) -> list[str]:
    return sorted(tree(layers))


@pytest.mark.parametrize("opaque_last", [False, True])
def test_opaque_hides_what_is_below_and_not_its_siblings(opaque_last: bool) -> None:
    """layer.md, "Whiteouts": wherever in the archive it stands."""
    upper = ["/a/", "/a/b/", "/a/b/c/", "/a/b/c/foo"]
    upper.insert(4 if opaque_last else 1, "/a/.wh..wh..opq")
    assert paths(stacked(entries(0, "/a/", "/a/b/", "/a/b/c/", "/a/b/c/bar"), entries(1, *upper))) == [
        "/a", "/a/b", "/a/b/c", "/a/b/c/foo",
    ]  # fmt: skip


def test_opaque_and_explicit_whiteouts_are_equal() -> None:
    base = entries(0, "/etc/", "/etc/my-app-config", "/bin/", "/bin/my-app-binary", "/bin/tools/", "/bin/tools/one")
    opaque = stacked(base, entries(1, "/bin/", "/bin/.wh..wh..opq"))
    explicit = stacked(base, entries(1, "/bin/", "/bin/.wh.my-app-binary", "/bin/.wh.tools"))
    assert tree(opaque) == tree(explicit)
    assert paths(opaque) == ["/bin", "/etc", "/etc/my-app-config"]


def test_a_whiteout_does_not_hide_its_own_layer() -> None:
    made = stacked(entries(0, "/a/", "/a/old"), entries(1, "/a/", "/a/new", "/.wh.a"))
    assert tree(made) == {"/a": ("directory", 1), "/a/new": ("file", 1)}


def test_a_directory_over_a_directory_keeps_its_children_and_takes_its_attributes() -> None:
    made = {each.path: each for each in stacked(entries(0, "/a/", "/a/b"), entries(1, "/a/")).entries()}
    assert (made["/a"].mode, made["/a"].uid) == (0o701, 1)
    assert made["/a/b"].uid == 0


def test_a_directory_that_is_only_implied_keeps_its_attributes() -> None:
    made = {each.path: each for each in stacked(entries(0, "/a/"), entries(1, "/a/b")).entries()}
    assert (made["/a"].mode, made["/a"].uid) == (0o700, 0)


@pytest.mark.parametrize("upper", ["/a", "/a@"])
def test_anything_else_over_a_directory_removes_the_subtree(upper: str) -> None:
    made = stacked(entries(0, "/a/", "/a/b/", "/a/b/c"), entries(1, upper), entries(2, "/a/"))
    assert tree(made) == {"/a": ("directory", 2)}


def test_below_a_link_of_a_lower_layer_there_is_a_directory() -> None:
    made = stacked(entries(0, "/usr/", "/bin@"), entries(1, "/bin/x"))
    assert tree(made) == {"/usr": ("directory", 0), "/bin": ("directory", -1), "/bin/x": ("file", 1)}
    assert [(problem.path, problem.why[-39:]) for problem in made.problems] == [
        ("/bin", "it is a directory now, as overlayfs makes it"[-39:])
    ]


def test_below_a_link_of_the_same_layer_nothing_is() -> None:
    made = stacked(entries(0, "/bin@", "/bin/x"))
    assert paths(made) == ["/bin"]
    assert [problem.path for problem in made.problems] == ["/bin/x"]


def test_hard_links_lead_to_the_layers_below() -> None:
    made = stacked(entries(0, "/a/", "/a/one"), entries(1, two="/a/one"), entries(2, three="/two"))
    found = {each.path: each for each in made.entries()}
    assert {found[path].inode for path in ("/a/one", "/two", "/three")} == {(0, 1)}
    assert {found[path].links for path in ("/a/one", "/two", "/three")} == {3}
    assert made.origins() == {"/two": "/a/one", "/three": "/a/one"}


def test_hard_links_count_what_is_left() -> None:
    lower, _ = entries(0, "/one")
    lower["/two"] = Entry(path="/two", kind="file", mode=0, uid=0, gid=0, inode=(0, 0), links=2)
    made = {each.path: each for each in stacked((lower, {}), entries(1, "/one")).entries()}
    assert (made["/one"].links, made["/two"].links) == (1, 1)


@pytest.mark.parametrize("target", ["/nothing", "/a", "/a/one/two", "/gone"])
def test_a_hard_link_to_what_is_no_file_is_a_problem(target: str) -> None:
    made = stacked(entries(0, "/a/", "/a/one", "/gone"), entries(1, "/.wh.gone", link=target))
    assert paths(made) == ["/a", "/a/one"]
    assert [problem.path for problem in made.problems] == ["/link"]


def test_marks_that_say_nothing() -> None:
    found = removals(["/.wh.", "/.wh..", "/a/.wh...", "/.wh.x/y", "/.wh..wh.plnk/1.2", "/.wh..wh.aufs", "/a.wh.b"])
    assert (found.removed, found.emptied) == ((), ())
    assert found.odd == ("/.wh.", "/.wh..", "/a/.wh...", "/.wh.x/y")


def test_the_root_itself() -> None:
    made = stacked(entries(0, "/", "/a"), entries(1, "/", "/.wh..wh..opq"))
    assert [(each.path, each.uid) for each in made.entries()] == [("/", 1)]
    assert stacked(entries(0, "/@")).problems[0].why == "a layer has a symlink as its root"


# ---- a model: a flat dict of paths, everything spelt out

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
NODES = st.tuples(PATHS, st.sampled_from(["/", "", "@"])).map("".join)
WHITEOUTS = PATHS.map(lambda path: f"{path.rpartition('/')[0]}/.wh.{path.rpartition('/')[2]}")
OPAQUES = st.one_of(st.just(""), PATHS).map(lambda path: f"{path}/.wh..wh..opq")
ONE = st.tuples(
    st.lists(st.one_of(NODES, NODES, WHITEOUTS, OPAQUES), max_size=8, unique_by=lambda name: name.rstrip("/@")),
    st.dictionaries(PATHS, PATHS, max_size=2),
)


def made_of(drawn: Sequence[tuple[list[str], dict[str, str]]]) -> list[Made]:
    layers = []
    for number, (names, links) in enumerate(drawn):
        found, _ = entries(number, *names)
        layers.append((found, {path: target for path, target in links.items() if path not in found}))
    return layers


class Model:
    def __init__(self) -> None:
        self.state: dict[str, tuple[str, int]] = {}

    def drop(self, path: str, itself: bool = True) -> None:
        for known in list(self.state):
            if known.startswith(f"{path}/") or (itself and known == path):
                del self.state[known]

    def parents(self, path: str, mine: set[str]) -> bool:
        parts = path.split("/")[1:-1]
        for count in range(1, len(parts) + 1):
            above = "/" + "/".join(parts[:count])
            kind = self.state.get(above, ("", 0))[0]
            if kind in {"file", "symlink"} and above in mine:
                return False
            if kind != "directory":
                self.drop(above)
                self.state[above] = ("directory", -1)
        return True

    def put(self, path: str, value: tuple[str, int], mine: set[str]) -> None:
        if not self.parents(path, mine):
            return
        if value[0] != "directory" or self.state.get(path, ("", 0))[0] != "directory":
            self.drop(path)
        self.state[path] = value
        mine.discard(path)

    def apply(self, number: int, layer: Made) -> None:
        names, outside = layer
        marks = [path for path in names if "/.wh." in path]
        for path in marks:
            above, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                self.drop(above, itself=False)
            else:
                self.drop(f"{above}/{name[4:]}")
        links = {path: self.state[target] for path, target in outside.items() if target in self.state}
        mine: set[str] = set()
        for path, entry in names.items():
            if path not in marks:
                self.put(path, (entry.kind, number), mine)
                mine.add(path)
        for path, value in links.items():
            if value[0] != "directory":
                self.put(path, value, mine)
        for path in marks:
            self.parents(path, mine)


@settings(max_examples=400, deadline=None)
@given(st.lists(ONE, max_size=4))
def test_layers_are_what_the_model_says(drawn: list[tuple[list[str], dict[str, str]]]) -> None:
    made, model = Layers(), Model()
    for number, layer in enumerate(made_of(drawn)):
        made.apply(number, *layer)
        model.apply(number, layer)
        found = tree(made)
        assert {path: kind for path, (kind, _) in found.items()} == {p: kind for p, (kind, _) in model.state.items()}
        assert {path: at for path, (kind, at) in found.items() if kind != "directory"} == {
            path: at for path, (kind, at) in model.state.items() if kind != "directory"
        }
    numbers = [each.inode for each in made.entries() if each.kind == "directory"]
    assert len(set(numbers)) == len(numbers)


# ---- overlayfs, which engines apply layers by


def unpacked(place: Path, layer: Made) -> Path:
    """Unpack a layer by itself, its whiteouts as overlayfs has them (linux, filesystems/overlayfs.rst)."""
    place.mkdir()
    for path, entry in layer[0].items():
        target = place / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        name = target.name
        if name == ".wh..wh..opq":
            os.setxattr(target.parent, "trusted.overlay.opaque", b"y")
        elif name.startswith(".wh."):
            os.mknod(target.with_name(name[4:]), 0o020000, os.makedev(0, 0))
        elif entry.kind == "directory":
            target.mkdir(exist_ok=True)
        elif entry.kind == "symlink":
            target.symlink_to("nowhere")
        else:
            target.write_bytes(b"%d" % entry.inode[0])
    return place


def seen(root: Path) -> Iterator[tuple[str, str]]:
    for each in sorted(root.rglob("*")):
        kind = "symlink" if each.is_symlink() else "directory" if each.is_dir() else each.read_text()
        yield f"/{each.relative_to(root)}", kind


CASES = {
    "whiteouts": (["/a/", "/a/b", "/a/c/", "/a/c/d", "/e"], ["/a/.wh.b", "/.wh.e"], ["/a/c/.wh.d", "/e/", "/e/f"]),
    "opaque": (["/a/", "/a/b", "/a/c/", "/a/c/d"], ["/a/", "/a/.wh..wh..opq", "/a/c/", "/a/c/new"], ["/a/b"]),
    "kinds": (["/a/", "/a/b", "/c", "/d@"], ["/a", "/c/", "/c/x", "/d/", "/d/y"], ["/a/", "/a/z", "/c@"]),
    "below-a-link": (["/usr/", "/usr/x", "/bin@"], ["/bin/y"], ["/usr/bin/", "/usr/bin/z"]),
    "implied": (["/a/b/c"], ["/a/b/d", "/x/.wh.y"], ["/a/.wh.b", "/x/y/z/.wh..wh..opq"]),
}


@pytest.mark.parametrize("case", CASES)
def test_overlayfs_gives_the_same(tmp_path: Path, case: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    layers = [entries(number, *names) for number, names in enumerate(CASES[case])]
    places = [unpacked(tmp_path / str(number), layer) for number, layer in enumerate(layers)]
    root = tmp_path / "root"
    root.mkdir()
    lower = ":".join(map(str, reversed(places)))
    mount: list[str | Path] = ["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", root]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("overlayfs cannot be mounted here")
    try:
        told = dict(seen(root))
    finally:
        subprocess.run(["umount", root], check=True)
    mine = tree(stacked(*layers))
    assert {path: str(at) if kind == "file" else kind for path, (kind, at) in mine.items()} == told
