"""A hostile machine through the whole chain: its strings stay data, wherever they come out."""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from migrate import analysis
from migrate import generate as generator
from migrate.exchange.formats import GraphFormat
from migrate.guest.directory import DirectoryGuest
from migrate.output import write
from migrate.plan.propose import Chosen

SECRET = "hunter2-Grüße-4711"
UNIT = (
    '[Service]\nExecStart=/opt/app/run "a\\nRUN evil" $(touch /tmp/vm2c-pwned) `id`\nUser=root\n'
    f'Environment="A=b\\nRUN touch x" "B=$(id)" "C=\\"; RUN x" "DB_PASSWORD={SECRET}"\n'
    "[Install]\nWantedBy=multi-user.target\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what analyze and generate make of a machine whose every name is an attack."""
    root = tmp_path_factory.mktemp("evil")
    files = {
        "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Deb<script>alert(1)</script>\x1b[31mRED\u202e"\n',
        "etc/hostname": "../../../etc/x$(touch /tmp/vm2c-pwned)\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nev`id`il:x:1001:1001::/home/x\\n:/bin/sh\n",
        "etc/group": "root:x:0:\n",
        "usr/lib/systemd/system/multi-user.target": "[Unit]\nDescription=<img src=x onerror=alert(1)>\n",
        "etc/systemd/system/plain.service": UNIT,
        "etc/systemd/system/x\nRUN evil.service": UNIT,
        "var/lib/dpkg/status": (
            "Package: tool\nStatus: install ok installed\nArchitecture: all\n"
            "Version: 1.0;touch${IFS}/tmp/vm2c-pwned\n\n"
            "Package: a\tb\nStatus: install ok installed\nVersion: 2\nArchitecture: all\n"
        ),
        "var/lib/dpkg/info/tool.list": "/opt\n/opt/app\n/opt/app/run\n",
        "opt/app/run": "#!/bin/sh\n",
        "opt/app/<b>\x1b]0;x\x07": "x",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "opt/app/run").chmod(0o755)
    (root / "opt/app/out").symlink_to("../../../../../etc/shadow")
    (root / "opt/app/loop").symlink_to("loop")
    with open(os.fsencode(root) + b"/opt/app/\xff\xfe", "wb"):  # noqa: PTH123  # no text has this name
        pass
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    for name in ("plain.service", "x\nRUN evil.service"):
        (wants / name).symlink_to(f"/etc/systemd/system/{name}")
    (root / "usr/lib/systemd/system/default.target").symlink_to("multi-user.target")
    out = tmp_path_factory.mktemp("out")
    with DirectoryGuest(root) as guest:
        facts = analysis.find(guest)
        result = analysis.analyze(facts, Chosen(("evil\n.qcow2",)), out, graphs=list(GraphFormat))
        write(result.files, out, "analyze")
        generator.write(generator.generate(result.plan, guest, facts.secrets), out)
    return out


def test_nothing_was_run_and_nothing_left_the_folder(folder: Path) -> None:
    assert not Path("/tmp/vm2c-pwned").exists()
    assert {p.name for p in folder.iterdir()} == {
        ".proposed.yaml", ".vm2c", "RUNBOOK.md", "compose.yaml", "graph.dot", "graph.graphml", "graph.json",
        "graph.mmd", "images", "inventory.json", "kubernetes", "plan.yaml", "report.html",
    }  # fmt: skip


def test_no_string_becomes_an_instruction(folder: Path) -> None:
    for path in folder.glob("images/*/Dockerfile"):
        parsed = DockerfileParser(fileobj=io.BytesIO(path.read_bytes())).structure
        names = [line["instruction"] for line in parsed]
        assert set(names) <= {"COMMENT", "FROM", "LABEL", "RUN", "ADD", "ENV", "WORKDIR", "EXPOSE", "STOPSIGNAL",
                              "HEALTHCHECK", "USER", "ENTRYPOINT"}  # fmt: skip
        assert all("evil" not in line["value"] for line in parsed if line["instruction"] == "RUN")
        assert "touch${IFS}" not in path.read_text()


def test_yaml_and_html_are_what_they_say(folder: Path) -> None:
    for path in (folder / "compose.yaml", folder / "plan.yaml", *folder.glob("kubernetes/*.yaml")):
        assert list(yaml.safe_load_all(path.read_text()))
    html = (folder / "report.html").read_text()
    assert "<script" not in html
    assert "<img" not in html


def test_no_control_or_bidirectional_character_reaches_a_reader(folder: Path) -> None:
    texts = ("report.html", "plan.yaml", "inventory.json", "graph.json", "RUNBOOK.md", "compose.yaml")
    for name in (*texts, "graph.dot", "graph.graphml", "graph.mmd"):
        assert re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", (folder / name).read_text()) is None, (
            name
        )


def test_links_stay_links_and_names_stay_inside(folder: Path) -> None:
    with tarfile.open(folder / "images/plain/rootfs.tar", errors="surrogateescape") as tar:
        members = {m.name: m for m in tar}
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in members)
    out = [m for name, m in members.items() if name.endswith("/out")]
    assert all(m.issym() and m.size == 0 for m in out)


def test_a_password_in_a_unit_is_in_no_output(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
    assert "DB_PASSWORD" in (folder / "plan.yaml").read_text()
