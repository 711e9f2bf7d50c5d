from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _libraries, python_apps
from analyzers._elf import Elf
from analyzers._python_code import imported
from analyzers._python_env import application_root, parse_metadata, runtime_packages
from analyzers._python_servers import SERVERS, python_settings, server_of
from analyzers._servers import Bind, Start, options, parse_bind
from migrate.model import (
    Application,
    EnvironmentFile,
    Finding,
    Job,
    LanguagePackage,
    Listen,
    Package,
    PackageFiles,
    Place,
    Requires,
    Service,
    Unread,
    User,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link

HERE = Place("/x", 1)
UNIT = "/etc/systemd/system/orders.service"
SITE = "/srv/orders/venv/lib/python3.11/site-packages"
CONFIG = """\
home = /usr/bin
include-system-site-packages = false
version = 3.11.2
executable = /usr/bin/python3.11
"""
UNIT_TEXT = """\
[Service]
User=orders
ExecStart=/srv/orders/venv/bin/gunicorn \\
    --workers 2 \\
    --bind unix:/run/orders/gunicorn.sock \\
    --bind 127.0.0.1:8000 \\
    app:app
"""
METADATA = "Metadata-Version: 2.1\nName: Flask_Cors\nVersion: 4.0.1\nSummary: x\n\nName: not this\n"
FILES: dict[str, Content] = {
    UNIT: UNIT_TEXT,
    "/srv/orders/venv/pyvenv.cfg": CONFIG,
    "/srv/orders/venv/bin/python3": Link("/usr/bin/python3"),
    "/srv/orders/venv/bin/python": Link("python3"),
    "/srv/orders/venv/bin/gunicorn": File("#!/srv/orders/venv/bin/python3\n", mode=0o755),
    f"{SITE}/Flask_Cors-4.0.1.dist-info/METADATA": METADATA,
    f"{SITE}/own.py": "x\n",
    "/srv/orders/app.py": "import os, mail\nfrom pathlib import Path\nimport store\n\nX = Path('x') / 'reports'\n",
    "/srv/orders/store.py": "import psycopg2\n",
    "/srv/orders/mail.py": "# reports\n",
    "/srv/orders/cleanup.py": "import store\n",
    "/srv/orders/reports": Dir(mode=0o750, uid=996, gid=996),
    "/srv/orders/reports/a.csv": File("", uid=996),
    "/srv/orders/__pycache__": Dir(uid=996),
    "/usr/bin/python3": Link("python3.11"),
    "/usr/bin/python3.11": File("\x7fELF", mode=0o755),
    "/usr/lib/python3/dist-packages/six-1.0.dist-info/METADATA": "Name: six\nVersion: 1.0\n",
    "/usr/local/lib/python3.11/dist-packages/added-2.dist-info/METADATA": "Name: added\nVersion: 2\n",
}
ENV = EnvironmentFile("/etc/orders/env", False, Place(UNIT, 2))


def package(name: str, *paths: str, priority: str = "optional") -> list[Finding]:
    return [
        Package(
            seen_in=HERE, name=name, version="1", architecture="amd64", manager="dpkg", chosen=True, priority=priority
        ),
        PackageFiles(seen_in=HERE, package=name, paths=paths),
    ]


FOUND: list[Finding] = [
    *package("python3"),
    *package("python3-minimal", "/usr/bin/python3"),
    *package("python3.11-minimal", "/usr/bin/python3.11"),
    *package("python3-six", "/usr/lib/python3/dist-packages/six-1.0.dist-info/METADATA"),
    User(seen_in=HERE, name="orders", uid=996, gid=996, home="/srv/orders", shell="/bin/sh"),
    User(seen_in=HERE, name="root", uid=0, gid=0, home="/root", shell="/bin/sh"),
]


def service(
    *command: str, ident: str = "orders", user: str = "orders", variables: dict[str, str] | None = None
) -> Service:
    return Service(
        seen_in=Place(UNIT, 3),
        id=ident,
        manager="systemd",
        enabled=True,
        unit=UNIT,
        command=command,
        user=user,
        working_directory="/srv/orders",
        environment=tuple(Variable(name, value, Place(UNIT, 1)) for name, value in (variables or {}).items()),
    )


GUNICORN = (
    "/srv/orders/venv/bin/gunicorn", "--workers", "2", "--bind", "unix:/run/orders/gunicorn.sock",
    "--bind", "127.0.0.1:8000", "app:app",
)  # fmt: skip
CLEANUP = ("/srv/orders/venv/bin/python", "/srv/orders/cleanup.py")


def joined(*findings: Finding, files: dict[str, Content] | None = None) -> list[Finding]:
    return list(python_apps.join(FakeGuest({**FILES, **(files or {})}), [*FOUND, *findings]))


def test_applications_and_packages() -> None:
    found = list(python_apps.analyze(FakeGuest(FILES)))
    assert [f for f in found if isinstance(f, Application)] == [
        Application(
            seen_in=Place("/srv/orders/venv/pyvenv.cfg", 1),
            root="/srv/orders",
            ecosystem="pypi",
            name="orders",
            runtime=("python3",),
        )
    ]
    assert [f for f in found if isinstance(f, LanguagePackage)] == [
        LanguagePackage(
            seen_in=Place(f"{SITE}/Flask_Cors-4.0.1.dist-info/METADATA", 2),
            ecosystem="pypi",
            name="flask-cors",
            version="4.0.1",
            location=SITE,
        ),
        LanguagePackage(
            seen_in=Place("/usr/local/lib/python3.11/dist-packages/added-2.dist-info/METADATA", 1),
            ecosystem="pypi",
            name="added",
            version="2",
            location="/usr/local/lib/python3.11/dist-packages",
        ),
    ]


def test_an_interpreter_that_is_gone_is_told() -> None:
    files = {key: value for key, value in FILES.items() if not key.startswith("/usr/bin")}
    found = list(python_apps.analyze(FakeGuest(files)))
    assert ["/usr/bin/python3 is not on the disk" in f.why for f in found if isinstance(f, Unread)] == [True]


def test_who_runs_it_needs_its_code_and_the_whole_interpreter() -> None:
    found = joined(service(*GUNICORN))
    assert [(f.path, f.role) for f in found if isinstance(f, Uses) and f.role == "code"] == [("/srv/orders", "code")]
    assert [(f.package, str(f.seen_in)) for f in found if isinstance(f, Requires)] == [
        ("python3", "/srv/orders/venv/pyvenv.cfg:1")
    ]


def test_where_gunicorn_listens_with_the_line_of_a_continued_command() -> None:
    assert [
        (f.port, f.address, f.path, f.seen_in.line) for f in joined(service(*GUNICORN)) if isinstance(f, Listen)
    ] == [
        (None, "*", "/run/orders/gunicorn.sock", 5),
        (8000, "127.0.0.1", "", 6),
    ]


def test_a_packaged_server_listens_too() -> None:
    files: dict[str, Content] = {"/usr/bin/gunicorn": File("#!/usr/bin/python3\n", mode=0o755)}
    unit = service("/usr/bin/gunicorn", "-b", "127.0.0.1:9001", "x:app")
    found = list(python_apps.join(FakeGuest(files), [unit]))
    assert [(f.port, f.address) for f in found if isinstance(f, Listen)] == [(9001, "127.0.0.1")]


def test_folders_it_owns_are_data_where_its_code_names_them() -> None:
    data = [f for f in joined(service(*GUNICORN)) if isinstance(f, Uses) and f.role == "data"]
    assert [(f.path, str(f.seen_in)) for f in data] == [("/srv/orders/reports", "/srv/orders/app.py:5")]
    # cleanup.py imports store.py alone, and neither speaks of reports
    cleanup = joined(service(*CLEANUP, ident="cleanup"))
    assert [f.path for f in cleanup if isinstance(f, Uses) and f.role == "data"] == []
    # what is begun with is not known: then it may well be data
    unknown = joined(service("/srv/orders/venv/bin/celery", "-A", "tasks"))
    assert [(f.path, str(f.seen_in)) for f in unknown if isinstance(f, Uses) and f.role == "data"] == [
        ("/srv/orders/reports", "/srv/orders/reports")
    ]
    as_root = joined(service(*GUNICORN, user="root"))
    assert [f.path for f in as_root if isinstance(f, Uses) and f.role == "data"] == []


def test_a_job_through_a_script_uses_it_too() -> None:
    job = Job(
        seen_in=Place("/etc/cron.d/x", 1), id="night", manager="cron", enabled=True, schedule="0 1 * * *", original="",
        command=("/usr/local/bin/night",), shell=True, user="orders",
    )  # fmt: skip
    script = "#!/bin/sh\ncd /srv/orders && exec venv/bin/python cleanup.py\n"
    found = joined(job, files={"/usr/local/bin/night": File(script, mode=0o755)})
    assert [(f.service, f.path, str(f.seen_in)) for f in found if isinstance(f, Uses)] == [
        ("night", "/srv/orders", "/usr/local/bin/night:2")
    ]


def test_a_script_on_the_systems_python_needs_what_it_imports() -> None:
    packaged = "/usr/lib/python3/dist-packages"
    files: dict[str, Content] = {
        "/usr/bin/python3": Link("python3.11"),
        "/usr/bin/python3.11": File("\x7fELF", mode=0o755),
        "/opt/tool/run.py": "import os\nimport requests.auth, helper, own_folder.x\n",
        "/opt/tool/helper.py": "from yaml import load\nimport _cffi\nimport added\n",
        "/opt/tool/own_folder/x.py": "import psycopg2\n",
        f"{packaged}/requests/__init__.py": "",
        f"{packaged}/yaml/__init__.py": "",
        f"{packaged}/_cffi.cpython-311-x86_64-linux-gnu.so": "",
        f"{packaged}/psycopg2/__init__.py": "",
        "/usr/local/lib/python3.11/dist-packages/added/__init__.py": "",
    }
    packages = [
        *package("python3-requests", f"{packaged}/requests/__init__.py"),
        *package("python3-yaml", f"{packaged}/yaml/__init__.py"),
        *package("python3-cffi-backend", f"{packaged}/_cffi.cpython-311-x86_64-linux-gnu.so"),
        *package("python3-psycopg2", f"{packaged}/psycopg2/__init__.py"),
    ]
    unit = service("/usr/bin/python3", "-u", "/opt/tool/run.py", ident="tool")
    found = list(python_apps.join(FakeGuest(files), [unit, *packages]))
    assert {(f.package, str(f.seen_in)) for f in found if isinstance(f, Requires)} == {
        ("python3-requests", "/opt/tool/run.py:2"),
        ("python3-yaml", "/opt/tool/helper.py:1"),
        ("python3-cffi-backend", "/opt/tool/helper.py:2"),
        ("python3-psycopg2", "/opt/tool/own_folder/x.py:1"),
    }
    assert [(f.path, str(f.seen_in)) for f in found if isinstance(f, Uses)] == [
        ("/usr/local/lib/python3.11/dist-packages/added", "/opt/tool/helper.py:3")
    ]


def test_a_job_that_only_works_on_its_files_does_not_run_it() -> None:
    job = Job(
        seen_in=Place("/etc/cron.d/x", 1), id="pack", manager="cron", enabled=True, schedule="0 1 * * *", original="",
        command=("cd /srv/orders; gzip /srv/orders/reports/a.csv /srv/orders/reports/*",), shell=True, user="orders",
    )  # fmt: skip
    assert joined(job) == []


def test_libraries_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    read = {b"\x7fELF1": ("libpq.so.5", "libinner.so.1", "libc.so.6"), b"\x7fELF2": ("libmine.so",)}
    monkeypatch.setattr(_libraries, "read_elf", lambda data: Elf("amd64", read[data]))
    files: dict[str, Content] = {
        f"{SITE}/psycopg2/_psycopg.cpython-311-x86_64-linux-gnu.so": b"\x7fELF1",
        f"{SITE}/psycopg2.libs/libinner.so.1": b"\x7fELF2",
        "/usr/lib/x86_64-linux-gnu/libpq.so.5": "\x7fELF",
        "/usr/lib/x86_64-linux-gnu/libc.so.6": "\x7fELF",
        "/usr/local/lib/libmine.so": "\x7fELF",
        "/etc/ld.so.conf": "/usr/local/lib\n",
    }
    packages = [
        *package("libpq5", "/usr/lib/x86_64-linux-gnu/libpq.so.5"),
        *package("libc6", "/usr/lib/x86_64-linux-gnu/libc.so.6", priority="required"),
    ]
    found = joined(service(*GUNICORN), *packages, files=files)
    assert {f.package for f in found if isinstance(f, Requires)} == {"python3", "libpq5"}
    assert ("/usr/local/lib/libmine.so", "code") in {(f.path, f.role) for f in found if isinstance(f, Uses)}


def test_an_interpreter_nobody_packaged_comes_along() -> None:
    files: dict[str, Content] = {
        "/srv/orders/venv/bin/python3": Link("/opt/python312/bin/python3.12"),
        "/opt/python312/bin/python3.12": File("\x7fELF", mode=0o755),
    }
    found = joined(service(*GUNICORN), files=files)
    assert "/opt/python312" in {f.path for f in found if isinstance(f, Uses)}
    assert [f for f in found if isinstance(f, Requires)] == []


def test_environments_that_look_outside_themselves() -> None:
    files: dict[str, Content] = {
        "/srv/orders/venv/pyvenv.cfg": CONFIG.replace("false", "true"),
        f"{SITE}/__editable__.shop.pth": "import x\n/opt/shoplib/src\n",
        "/opt/shoplib/src/shoplib.py": "",
    }
    found = joined(service(*GUNICORN), *package("python3-psycopg2", "/usr/lib/python3/x"), files=files)
    assert "/opt/shoplib/src" in {f.path for f in found if isinstance(f, Uses)}
    assert "python3-psycopg2" in {f.package for f in found if isinstance(f, Requires)}


# ---------------------------------------------------------------- conda, pipx, uv, pip

# The head of a record as conda 24 writes it, and of pipx_metadata.json as pipx 1.8 does.
RECORD = """\
{
  "build": "h955ad1f_0",
  "build_number": 0,
  "channel": "https://repo.anaconda.com/pkgs/main/linux-64",
  "constrains": [],
  "depends": [],
  "files": ["bin/python3.11"],
  "fn": "python-3.11.5-h955ad1f_0.conda",
  "link": {
    "source": "/opt/conda/pkgs/python-3.11.5-h955ad1f_0",
    "type": 1
  },
  "name": "python",
  "requested_spec": "python=3.11",
  "version": "3.11.5"
}
"""
PIPX = """\
{
    "environment": "pycowsay",
    "injected_packages": {},
    "main_package": {
        "apps": [
            "pycowsay"
        ],
        "package": "pycowsay",
        "package_or_url": "pycowsay",
        "package_version": "0.0.0.2"
    },
    "pipx_metadata_version": "0.5"
}
"""


def analyzed(files: dict[str, Content]) -> list[Finding]:
    return list(python_apps.analyze(FakeGuest(files)))


def named(found: list[Finding]) -> list[tuple[str, str, str, str]]:
    return [(f.ecosystem, f.name, f.version, f.location) for f in found if isinstance(f, LanguagePackage)]


CONDA: dict[str, Content] = {
    "/opt/conda/conda-meta/history": "==> 2024-01-01 <==\n",
    "/opt/conda/conda-meta/conda-23.1-py311_0.json": RECORD.replace("python", "conda").replace("3.11.5", "23.1"),
    "/opt/conda/pkgs/numpy-1.26/lib/python3.11/site-packages/numpy-1.26.dist-info/METADATA": "Name: n\nVersion: 1\n",
    "/opt/conda/envs/shop/conda-meta/history": "",
    "/opt/conda/envs/shop/conda-meta/python-3.11.5-h955ad1f_0.json": RECORD,
    "/opt/conda/envs/shop/bin/python3.11": File("\x7fELF", mode=0o755),
    "/opt/conda/envs/shop/bin/python": Link("python3.11"),
    "/opt/conda/envs/shop/include/python3.11/patchlevel.h": '#define PY_VERSION "3.11.5"\n',
    "/opt/conda/envs/shop/lib/python3.11/site-packages/numpy-1.26.dist-info/METADATA": "Name: numpy\nVersion: 1.26\n",
    "/opt/conda/envs/shop/lib/python3.11/site-packages/numpy-1.26.dist-info/INSTALLER": "conda\n",
    "/opt/conda/envs/shop/lib/python3.11/site-packages/added-2.dist-info/METADATA": "Name: added\nVersion: 2\n",
    "/opt/conda/envs/shop/lib/python3.11/site-packages/added-2.dist-info/INSTALLER": "pip\n",
    "/srv/shop/app.py": "import added\n",
}


def test_conda() -> None:
    found = analyzed(CONDA)
    assert named(found) == [
        ("pypi", "added", "2", "/opt/conda/envs/shop/lib/python3.11/site-packages"),
        ("conda", "conda", "23.1", "/opt/conda"),
        ("conda", "python", "3.11.5", "/opt/conda/envs/shop"),
    ]
    assert [str(f.seen_in).rpartition(":")[2] for f in found if isinstance(f, LanguagePackage)] == ["1", "15", "15"]
    assert [(f.ecosystem, f.name, f.root) for f in found if isinstance(f, Application)] == [
        ("conda", "conda", "/opt/conda"),
        ("conda", "shop", "/opt/conda/envs/shop"),
    ]
    assert [f for f in found if isinstance(f, Unread)] == []


def test_who_runs_a_conda_environment() -> None:
    unit = service("/opt/conda/envs/shop/bin/python", "/srv/shop/app.py")
    found = list(python_apps.join(FakeGuest(CONDA), [*FOUND, unit]))
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [("/opt/conda/envs/shop", "code")]
    assert [f for f in found if isinstance(f, Requires | Application)] == []


def test_pipx_and_uv_name_what_they_installed() -> None:
    pipx, uv = "/opt/pipx/venvs/pycowsay", "/root/.local/share/uv/tools/ruff"
    old = "/home/ben/.local/pipx/venvs/httpie/lib/python3.11/site-packages"
    files: dict[str, Content] = {
        "/usr/bin/python3": File("\x7fELF", mode=0o755),
        f"{pipx}/pyvenv.cfg": CONFIG,
        f"{pipx}/bin/python3": Link("/usr/bin/python3"),
        f"{pipx}/pipx_metadata.json": PIPX,
        f"{uv}/pyvenv.cfg": CONFIG,
        f"{uv}/bin/python3": Link("/usr/bin/python3"),
        f"{uv}/uv-receipt.toml": "[tool]\nrequirements = [{ name = 'ruff' }]\n",
        f"{uv}/lib/python3.11/site-packages/ruff-0.4.1.dist-info/METADATA": "Name: ruff\nVersion: 0.4.1\n",
        "/home/ben/.local/pipx/venvs/httpie/pyvenv.cfg": CONFIG,
        "/home/ben/.local/pipx/venvs/httpie/bin/python3": Link("/usr/bin/python3"),
        f"{old}/httpie-3.2.2.dist-info/METADATA": "Name: httpie\nVersion: 3.2.2\n",
        "/root/.cache/uv/archive-v0/x/ruff-0.4.0.dist-info/METADATA": "Name: ruff\nVersion: 0.4.0\n",
    }
    found = analyzed(files)
    assert [(f.name, f.version, f.root, str(f.seen_in)) for f in found if isinstance(f, Application)] == [
        ("httpie", "3.2.2", "/home/ben/.local/pipx/venvs/httpie", f"{old}/httpie-3.2.2.dist-info/METADATA:1"),
        ("pycowsay", "0.0.0.2", pipx, f"{pipx}/pipx_metadata.json:8"),
        ("ruff", "0.4.1", uv, f"{uv}/uv-receipt.toml:1"),
    ]
    assert named(found) == [
        ("pypi", "httpie", "3.2.2", old),
        ("pypi", "ruff", "0.4.1", f"{uv}/lib/python3.11/site-packages"),
    ]


def test_a_project_names_itself() -> None:
    text = '[build-system]\nrequires = []\n[project]\nname = "orders-api"\nversion = "1.2"\n'
    found = [f for f in analyzed({**FILES, "/srv/orders/pyproject.toml": text}) if isinstance(f, Application)]
    assert [(f.name, f.version, str(f.seen_in)) for f in found] == [
        ("orders-api", "1.2", "/srv/orders/pyproject.toml:4")
    ]
    for bad in ("[" * 20000, "a = " + "[" * 20000, "tool = 1\n", "\0", "[tool.poetry]\nname = 3\n"):
        found = [f for f in analyzed({**FILES, "/srv/orders/pyproject.toml": bad}) if isinstance(f, Application)]
        assert [f.name for f in found] == ["orders"]


def test_what_pip_put_beside_packages() -> None:
    rpm, user = "/usr/lib/python3.9/site-packages", "/home/anna/.local/lib/python3.9/site-packages"
    files: dict[str, Content] = {
        f"{rpm}/six-1.0.dist-info/METADATA": "Name: six\nVersion: 1.0\n",
        f"{rpm}/added-2.dist-info/METADATA": "Name: added\nVersion: 2\n",
        f"{rpm}/old-3-py3.9.egg-info": "Name: old\nVersion: 3\n",
        f"{user}/mine-4.dist-info/METADATA": "Name: mine\nVersion: 4\n",
        "/usr/local/lib/python3.9/site-packages/plain-5-py3.9.egg-info": "Name: plain\nVersion: 5\n",
    }
    assert named(analyzed(files)) == [
        ("pypi", "mine", "4", user),
        ("pypi", "plain", "5", "/usr/local/lib/python3.9/site-packages"),
    ]
    six = package("python3-six", f"{rpm}/six-1.0.dist-info/METADATA")
    assert named(list(python_apps.join(FakeGuest(files), six))) == [
        ("pypi", "added", "2", rpm),
        ("pypi", "old", "3", rpm),
    ]
    assert named(list(python_apps.join(FakeGuest(files), []))) == []


def test_a_command_that_pip_installed_for_the_system() -> None:
    files: dict[str, Content] = {
        "/usr/bin/python3": Link("python3.11"),
        "/usr/bin/python3.11": File("\x7fELF", mode=0o755),
        "/usr/local/bin/gunicorn": File("#!/usr/bin/python3\nimport sys\n", mode=0o755),
        "/usr/local/lib/python3.11/dist-packages/gunicorn/__init__.py": "",
        "/usr/local/lib/python3.9/dist-packages/gunicorn/__init__.py": "",
    }
    found = list(python_apps.join(FakeGuest(files), [*FOUND, service("/usr/local/bin/gunicorn", "app:app")]))
    assert [(f.path, str(f.seen_in)) for f in found if isinstance(f, Uses)] == [
        ("/usr/local/lib/python3.11/dist-packages", "/usr/local/bin/gunicorn:1")
    ]


def test_what_an_account_installed_for_itself() -> None:
    own = "/srv/orders/.local/lib/python3.11/site-packages"
    files: dict[str, Content] = {
        "/usr/bin/python3": File("\x7fELF", mode=0o755),
        "/opt/tool/run.py": "import os, mine\n",
        f"{own}/mine/__init__.py": "",
    }
    unit = service("/usr/bin/python3", "/opt/tool/run.py")
    found = list(python_apps.join(FakeGuest(files), [*FOUND, unit]))
    assert [(f.path, str(f.seen_in)) for f in found if isinstance(f, Uses)] == [(f"{own}/mine", "/opt/tool/run.py:1")]
    other = service("/usr/bin/python3", "/opt/tool/run.py", user="root")
    assert [f for f in python_apps.join(FakeGuest(files), [*FOUND, other]) if isinstance(f, Uses)] == []


def test_an_interpreter_built_here_is_an_application() -> None:
    prefix = "/home/anna/.pyenv/versions/3.12.1"
    files: dict[str, Content] = {
        f"{prefix}/bin/python3": Link("python3.12"),
        f"{prefix}/bin/python3.12": File("\x7fELF", mode=0o755),
        f"{prefix}/include/python3.12/patchlevel.h": '/* x */\n#define PY_VERSION      \t "3.12.1"\n',
        "/usr/local/bin/python3": File("\x7fELF", mode=0o755),
        "/usr/local/include/python3.10/patchlevel.h": '#define PY_VERSION "3.10.2+"\n',
        "/opt/python/include/python3.8/patchlevel.h": '#define PY_VERSION "3.8.1"\n',
        "/opt/python/bin/python3": File("\x7fELF", mode=0o755),
        "/opt/theirs/include/python3.8/patchlevel.h": '#define PY_VERSION "3.8.2"\n',
        "/opt/theirs/bin/python3": File("\x7fELF", mode=0o755),
    }
    assert [
        (f.root, f.ecosystem, f.version, f.seen_in.line) for f in analyzed(files) if isinstance(f, Application)
    ] == [
        (prefix, "elf", "3.12.1", 2),
        ("/usr/local/bin/python3", "elf", "3.10.2+", 1),
    ]
    theirs = package("theirs", "/opt/theirs/bin/python3")
    later = list(python_apps.join(FakeGuest(files), theirs))
    assert [f.root for f in later if isinstance(f, Application)] == ["/opt/python"]


@given(st.binary())
def test_any_bytes_are_metadata_of_tools(data: bytes) -> None:
    top = "/opt/conda/envs/shop"
    found = analyzed({
        f"{top}/conda-meta/history": data, f"{top}/conda-meta/x-1-0.json": data, f"{top}/pyvenv.cfg": data,
        f"{top}/pipx_metadata.json": data, "/opt/conda/envs/pyproject.toml": data,
    })  # fmt: skip
    assert [f.ecosystem for f in found if isinstance(f, Application)] == ["conda"]


# ---------------------------------------------------------------- servers


def start(command: str, files: dict[str, str] | None = None, **variables: str) -> list[Bind]:
    served = server_of(command.split())
    assert served is not None, command

    def read(path: str) -> tuple[str, str] | None:
        return (f"/srv/{path}", files[path]) if files and path in files else None

    return SERVERS[served[0]](Start(served[1], variables, read))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/v/bin/gunicorn app:app", [("127.0.0.1", 8000, "")]),
        ("gunicorn -b :80 -b[::1]:81 app", [("*", 80, ""), ("::1", 81, "")]),
        ("gunicorn --bind=/var/run/x.sock app", [("", None, "/run/x.sock")]),
        ("python3 -m gunicorn --bind 0.0.0.0:5000 app", [("0.0.0.0", 5000, "")]),
        ("uvicorn main:app --host 0.0.0.0 --port 9000", [("0.0.0.0", 9000, "")]),
        ("uvicorn main:app", [("127.0.0.1", 8000, "")]),
        ("/v/bin/python -u -m uvicorn main:app --uds /run/u.sock", [("", None, "/run/u.sock")]),
        ("hypercorn -b 127.0.0.1:9 x", [("127.0.0.1", 9, "")]),
        ("daphne -b 0.0.0.0 -p 8001 x:y", [("0.0.0.0", 8001, "")]),
        ("waitress-serve --listen=*:8041 x", [("*", 8041, "")]),
        ("flask --app x run --port 5001", [("127.0.0.1", 5001, "")]),
        ("uwsgi --http-socket :9090 --socket /run/w.sock", [("*", 9090, ""), ("", None, "/run/w.sock")]),
        ("python manage.py runserver 0.0.0.0:8080", [("0.0.0.0", 8080, "")]),
        ("python3.11 /srv/x/manage.py runserver", [("127.0.0.1", 8000, "")]),
        ("python manage.py migrate", []),
    ],
)
def test_servers(command: str, expected: list[tuple[str, int | None, str]]) -> None:
    assert [(bind.host, bind.port, bind.path) for bind in start(command)] == expected


def test_what_goes_over_what_for_gunicorn() -> None:
    conf = {
        "gunicorn.conf.py": "import os\nworkers = 2\nbind = ['0.0.0.0:7000', 'unix:/run/g.sock']\nx = os.environ['y']\n"
    }
    found = start("gunicorn app", conf)
    assert [(b.host, b.port, b.path, b.file, b.line) for b in found] == [
        ("0.0.0.0", 7000, "", "/srv/gunicorn.conf.py", 3),
        ("", None, "/run/g.sock", "/srv/gunicorn.conf.py", 3),
    ]
    assert [b.port for b in start("gunicorn app", conf, GUNICORN_CMD_ARGS="--bind=127.0.0.1:7001")] == [7001]
    assert [b.port for b in start("gunicorn -b :7002 app", conf, GUNICORN_CMD_ARGS="--bind=127.0.0.1:7001")] == [7002]
    assert [(b.host, b.port) for b in start("gunicorn app", PORT="7003")] == [("*", 7003)]
    assert [b.assumed for b in start("gunicorn app", GUNICORN_CMD_ARGS="'open")] == [True]


def test_uwsgi_ini() -> None:
    ini = "[uwsgi]\nmodule = x\nsocket = /run/uwsgi/x.sock\nhttp = 127.0.0.1:8088\n"
    assert [(b.path, b.port, b.line) for b in start("uwsgi --ini x.ini", {"x.ini": ini})] == [
        ("", 8088, 4),
        ("/run/uwsgi/x.sock", None, 3),
    ]


def test_no_server() -> None:
    assert server_of(["python3", "app.py"]) is None
    assert server_of([]) is None
    assert server_of(["/v/bin/flask", "db", "upgrade"]) is None


@given(
    st.lists(
        st.sampled_from(["gunicorn", "-b", "--bind=", "uwsgi", "--ini", "python", "-m", "flask", "run", "-p"])
        | st.text()
    )
)
def test_no_command_breaks_the_readers(words: list[str]) -> None:
    if (served := server_of(words)) is not None:
        SERVERS[served[0]](Start(served[1], {}, lambda _: ("/x", "[uwsgi")))
    options(words, {"-b": "b", "--bind": "b"})


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    parse_metadata(text, "/a/b/c")
    parse_bind(text)
    imported(text)
    python_settings(text)


def test_sources_with_bad_escapes_warn_nobody() -> None:
    assert python_settings("bind = '\\d:1'\n") == {"bind": (["\\d:1"], 1)}
    assert python_settings("(" * 5000) == {}


def test_imports() -> None:
    assert imported("from . import a, b as c\nfrom .d.e import (f)\nimport g.h as i, j\nx = 'import k'\n") == [
        ".", ".a", ".b", ".d.e", ".d.e.f", "g.h", "j",
    ]  # fmt: skip


def test_packages_of_interpreters() -> None:
    assert runtime_packages("/usr/bin/python3") == ("python3",)
    assert runtime_packages("/usr/bin/python3.11") == ("python3.11",)
    assert runtime_packages("/usr/local/bin/python3") == ()


@pytest.mark.parametrize(
    ("path", "files", "root"),
    [
        ("/srv/x/venv", ["/srv/x/app.py"], "/srv/x"),
        ("/srv/x/.venv", ["/srv/x/src/app.py"], "/srv/x"),
        ("/srv/x/venv", ["/srv/x/README"], "/srv/x/venv"),
        ("/opt/venv", ["/opt/app.py"], "/opt/venv"),
        ("/home/anna/venv", ["/home/anna/x.py"], "/home/anna/venv"),
        ("/opt/pipx/venvs/tool", ["/opt/pipx/venvs/other/x.py"], "/opt/pipx/venvs/tool"),
    ],
)
def test_the_root_of_an_application(path: str, files: list[str], root: str) -> None:
    guest = FakeGuest({f"{path}/pyvenv.cfg": "", **dict.fromkeys(files, "")})
    assert application_root(guest, path) == root
