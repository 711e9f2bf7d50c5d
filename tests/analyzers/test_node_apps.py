from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import node_apps
from analyzers._manifests import decoded, line_with, manifests
from analyzers._node_packages import (
    MAX_PACKAGES,
    Manifest,
    global_package,
    installed,
    members_of,
    parse_pnp,
    pnpm_members,
)
from analyzers._node_servers import bound, script_of, words_of
from analyzers._reading import Reader
from migrate.model import Application, LanguagePackage, Listen, Place, Unread, Uses
from tests.analyzers.app_machine import ELF, code, job, of, package, required, run, service
from tests.analyzers.fake import Broken, Content, Dir, FakeGuest, File, Link

# Heads of files that npm 11 (accepts 1.3.8), pnpm 8 and yarn 4 wrote.
ACCEPTS = """\
{
  "name": "accepts",
  "description": "Higher-level content negotiation",
  "version": "1.3.8",
  "license": "MIT"
}
"""
PNP = """\
#!/usr/bin/env node
/* eslint-disable */
"use strict";

const RAW_RUNTIME_STATE =
'{\\
  "packageRegistryData": [\\
    [null, [\\
      [null, {\\
        "packageLocation": "./",\\
        "packageDependencies": [\\
          ["lodash", "npm:4.17.21"]\\
        ],\\
        "linkType": "SOFT"\\
      }]\\
    ]],\\
    ["@types/ms", [\\
      ["npm:0.7.34", {\\
        "packageLocation": "./.yarn/cache/@types-ms-npm-0.7.34-46f5141bfd-ac80bd9001.zip/node_modules/@types/ms/",\\
        "packageDependencies": [\\
          ["@types/ms", "npm:0.7.34"]\\
        ],\\
        "linkType": "HARD"\\
      }]\\
    ]],\\
    ["esbuild", [\\
      ["npm:0.19.0", {\\
        "packageLocation": "./.yarn/unplugged/esbuild-npm-0.19.0-5b8c3ed7c5/node_modules/esbuild/",\\
        "linkType": "HARD"\\
      }]\\
    ]],\\
    ["resolve", [\\
      ["patch:resolve@npm%3A1.22.8#optional!builtin<compat/resolve>::version=1.22.8&hash=c3c19d", {\\
        "packageLocation": "./.yarn/cache/resolve-patch-4254c24959-f345cd37f5.zip/node_modules/resolve/",\\
        "linkType": "HARD"\\
      }]\\
    ]],\\
    ["vue", [\\
      ["virtual:ab12#npm:3.4.0", {\\
        "packageLocation": "./.yarn/__virtual__/vue-virtual-5f/0/cache/vue-npm-3.4.0-dd.zip/node_modules/vue/",\\
        "linkType": "HARD"\\
      }]\\
    ]]\\
  ]\\
}';
        "packageLocation": "./.yarn/cache/no-npm-1-a-b.zip/node_modules/no/",
"""
SHOP: dict[str, Content] = {
    "/srv/shop/package.json": json.dumps(
        {"name": "shop", "version": "2.1.0", "scripts": {"start": "next start -p 3001"}, "main": "server.js"}, indent=2
    ),
    "/srv/shop/package-lock.json": "{}",
    "/srv/shop/server.js": "require('accepts')\n",
    "/srv/shop/bin/www": File("#!/usr/bin/env node\n", mode=0o755),
    "/srv/shop/node_modules/accepts/package.json": ACCEPTS,
    "/srv/shop/node_modules/accepts/test/node_modules/fixture/package.json": '{"name": "fixture", "version": "1"}',
    "/srv/shop/node_modules/accepts/esm/package.json": '{"type": "module"}',
    "/usr/bin/node": ELF,
    "/usr/bin/npm": Link("../share/npm/npm-cli.js"),
    "/usr/share/npm/npm-cli.js": File("#!/usr/bin/env node\n", mode=0o755),
    "/var/lib/dpkg/info/nodejs.list": "/usr/bin/node\n",
}
NODE = (*package("nodejs", "/usr/bin/node"), *package("npm", "/usr/bin/npm", "/usr/share/npm/npm-cli.js"))


def analyzed(files: dict[str, Content]) -> list[object]:
    return list(node_apps.analyze(FakeGuest(files)))


def applications(files: dict[str, Content]) -> list[tuple[str, str, str]]:
    return [(f.root, f.name, f.version) for f in analyzed(files) if isinstance(f, Application)]


def libraries(files: dict[str, Content]) -> list[tuple[str, str, str]]:
    return [(f.name, f.version, f.location) for f in analyzed(files) if isinstance(f, LanguagePackage)]


def test_an_application_and_what_is_installed() -> None:
    assert analyzed(SHOP) == [
        LanguagePackage(
            seen_in=Place("/srv/shop/node_modules/accepts/package.json", 4),
            ecosystem="npm",
            name="accepts",
            version="1.3.8",
            location="/srv/shop/node_modules/accepts",
        ),
        Application(
            seen_in=Place("/srv/shop/package.json", 2),
            root="/srv/shop",
            ecosystem="npm",
            name="shop",
            version="2.1.0",
            runtime=("nodejs",),
        ),
    ]


def test_what_is_only_locked_is_not_installed() -> None:
    lock = {"lockfileVersion": 3, "packages": {"node_modules/ms": {"version": "2.1.3"}}}
    files: dict[str, Content] = {
        "/srv/a/package.json": '{"name": "a"}',
        "/srv/a/package-lock.json": json.dumps(lock),
        "/srv/a/node_modules/.package-lock.json": json.dumps(lock),
    }
    assert libraries(files) == []
    assert applications(files) == [("/srv/a", "a", "")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/a/node_modules/ms/package.json", True),
        ("/srv/a/node_modules/@types/ms/package.json", True),
        ("/srv/a/node_modules/a/node_modules/b/package.json", True),
        ("/srv/a/node_modules/.pnpm/@types+ms@2.1.0/node_modules/@types/ms/package.json", True),
        ("/srv/a/node_modules/.bun/ms@2.1.3/node_modules/ms/package.json", True),
        ("/srv/a/node_modules/.store/ms-npm-2.1.3-81ff3cfac1/package/package.json", True),
        ("/srv/a/node_modules/.pnpm/ms@2.1.3/package.json", False),
        ("/srv/a/node_modules/.cache/x/package.json", False),
        ("/srv/a/node_modules/ms/esm/package.json", False),
        ("/srv/a/node_modules/resolve/test/node_modules/x/package.json", False),
        ("/srv/a/package.json", False),
    ],
)
def test_installed(path: str, expected: bool) -> None:
    assert installed(path) is expected


def test_plug_n_play_names_what_is_in_the_cache() -> None:
    found = [(f.name, f.version, f.location, f.seen_in.line) for f in parse_pnp(PNP, "/srv/b/.pnp.cjs")]
    cache = "/srv/b/.yarn/cache/@types-ms-npm-0.7.34-46f5141bfd-ac80bd9001.zip"
    unplugged = "/srv/b/.yarn/unplugged/esbuild-npm-0.19.0-5b8c3ed7c5"
    assert found == [
        ("@types/ms", "0.7.34", cache, 19),
        ("esbuild", "0.19.0", unplugged, 28),
        ("resolve", "1.22.8", "/srv/b/.yarn/cache/resolve-patch-4254c24959-f345cd37f5.zip", 34),
    ]
    files: dict[str, Content] = {"/srv/b/.pnp.cjs": PNP, cache: "PK"}
    assert libraries(files) == [("@types/ms", "0.7.34", cache)]
    data = PNP.replace("\\\n", "\n").split("'", 1)[1].split("}';\n")[0]
    assert [f.name for f in parse_pnp(data, "/srv/b/.pnp.data.json")] == ["@types/ms", "esbuild", "resolve"]


def test_workspaces_and_what_lies_in_an_application() -> None:
    files: dict[str, Content] = {
        "/srv/mono/package.json": '{"name": "mono", "workspaces": {"packages": ["packages/*", "!packages/old"]}}',
        "/srv/mono/node_modules/ms/package.json": '{"name": "ms", "version": "2.1.3"}',
        "/srv/mono/packages/api/package.json": '{\n "name": "@mono/api", "version": "0.1.0"}',
        "/srv/mono/packages/old/package.json": '{"name": "old"}',
        "/srv/mono/docs/package.json": '{"name": "docs"}',
        "/srv/mono/tool/package.json": '{"name": "tool"}',
        "/srv/mono/tool/yarn.lock": "",
        "/srv/mono/packages/api/index.js": "",
        "/usr/bin/node": ELF,
    }
    assert applications(files) == [
        ("/srv/mono", "mono", ""),
        ("/srv/mono/packages/api", "@mono/api", "0.1.0"),
        ("/srv/mono/tool", "tool", ""),
    ]
    found = run(node_apps.ANALYZER, files, *NODE, service("/usr/bin/node", "/srv/mono/packages/api/index.js"))
    assert code(found) == {"/srv/mono", "/srv/mono/packages/api"}


def test_members_of_pnpm() -> None:
    files: dict[str, Content] = {
        "/srv/p/package.json": '{"name": "p"}',
        "/srv/p/pnpm-lock.yaml": "",
        "/srv/p/pnpm-workspace.yaml": "packages:\n  - 'apps/**'\n  - [x]\n",
        "/srv/p/apps/a/b/package.json": '{"name": "b"}',
    }
    assert applications(files) == [("/srv/p", "p", ""), ("/srv/p/apps/a/b", "b", "")]


@pytest.mark.parametrize(
    "text",
    ["packages: *x\n", "[" * 20000, "packages: 3\n", "a: &a [x]\nb: &b [*a,*a]\npackages: [*b, *b]\n", "\0", "- a\n"],
)
def test_no_workspace_file_breaks_it(text: str) -> None:
    reader = Reader(FakeGuest({"/w.yaml": text}), "x")
    assert pnpm_members(reader, "/w.yaml") == []


def test_patterns_that_lead_outside_find_nothing() -> None:
    guest = FakeGuest({"/srv/a/package.json": "{}", "/srv/b/package.json": "{}", "/srv/a/[x]/package.json": "{}"})
    reader = Reader(guest, "x")
    for pattern in ("../*", "/srv/*", "a/../../b", "x" * 5000):
        assert members_of(reader, "/srv/a", Manifest(workspaces=[pattern])) == frozenset()
    assert members_of(reader, "/srv/a", Manifest(workspaces=["*"])) == {"/srv/a/[x]"}
    assert members_of(reader, "/srv/a", Manifest(workspaces=["*"] * 60)) == {"/srv/a/[x]"}
    assert [note.why for note in reader.unread] == ["only the first 50 of 60 workspaces were read"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/srv/a/vendor/x/package.json", '{"name": "x", "main": "m.js"}'),
        ("/srv/a/bower_components/x/package.json", '{"name": "x", "bin": "m.js"}'),
        ("/home/x/.vscode-server/extensions/y/package.json", '{"name": "x", "bin": "m.js"}'),
        ("/home/x/.nvm/package.json", '{"name": "nvm", "bin": "m.js"}'),
        ("/srv/a/x/package.json", '{"type": "module"}'),
        ("/srv/package.json", '{"name": "x", "scripts": {"start": "x"}}'),
        ("/home/x/package.json", '{"dependencies": {"ms": "2"}}'),
        ("/var/lib/docker/overlay2/1/diff/srv/a/package.json", '{"name": "x", "bin": "m.js"}'),
    ],
)
def test_no_application(path: str, text: str) -> None:
    assert applications({path: text, "/home/x/node_modules/ms/package.json": '{"name":"ms","version":"1"}'}) == []


def test_an_application_in_the_home_of_its_account() -> None:
    files: dict[str, Content] = {"/home/shop/package.json": '{"scripts": {"start": "node x"}}'}
    assert applications(files) == [("/home/shop", "shop", "")]


# ---------------------------------------------------------------- who runs it


@pytest.mark.parametrize(
    ("command", "directory"),
    [
        (("/usr/bin/node", "/srv/shop/server.js"), ""),
        (("/usr/bin/node", "server.js"), "/srv/shop"),
        (("/usr/bin/node", "--max-old-space-size=300", "./bin/www"), "/srv/shop"),
        (("/usr/bin/node", "."), "/srv/shop"),
        (("/usr/bin/npm", "start"), "/srv/shop"),
        (("/usr/bin/npm", "--prefix", "/srv/shop", "start"), "/"),
        (("/bin/sh", "-c", "cd /srv/shop && exec npm start"), ""),
        (("/usr/bin/env", "NODE_ENV=production", "node", "/srv/shop/server.js"), ""),
    ],
)
def test_who_runs_it_needs_its_tree_and_the_runtime(command: tuple[str, ...], directory: str) -> None:
    found = run(node_apps.ANALYZER, {**SHOP, "/bin/sh": ELF}, *NODE, service(*command, directory=directory))
    assert "/srv/shop" in code(found)
    assert "nodejs" in required(found)
    assert all(f.seen_in.line for f in of(Uses, found))


def test_a_job_of_npm() -> None:
    found = run(node_apps.ANALYZER, SHOP, *NODE, job("cd /srv/shop && npm run report"))
    assert code(found, "night") == {"/srv/shop"}
    assert "nodejs" in required(found, "night")


def test_a_python_service_beside_a_package_json_does_not_run_it() -> None:
    files: dict[str, Content] = {**SHOP, "/usr/bin/backup": ELF}
    found = list(
        node_apps.join(
            FakeGuest(files), [*NODE, service("/usr/bin/backup", "/srv/shop/package-lock.json", directory="/srv/shop")]
        )
    )
    assert found == []


def test_yarn_from_a_global_package_and_an_interpreter_from_nvm() -> None:
    nvm = "/home/shop/.nvm/versions/node/v20.11.1"
    version = "#define NODE_MAJOR_VERSION 20\n#define NODE_MINOR_VERSION 11\n#define NODE_PATCH_VERSION 1\n"
    files: dict[str, Content] = {
        **SHOP,
        f"{nvm}/bin/node": ELF,
        f"{nvm}/include/node/node_version.h": "// x\n" + version,
        f"{nvm}/bin/yarn": Link("../lib/node_modules/yarn/bin/yarn.js"),
        f"{nvm}/lib/node_modules/yarn/bin/yarn.js": File("#!/usr/bin/env node\n", mode=0o755),
        f"{nvm}/lib/node_modules/yarn/package.json": '{"name": "yarn", "version": "1.22.22"}',
    }
    unit = service(f"{nvm}/bin/yarn", "start", directory="/srv/shop", PATH=f"{nvm}/bin:/usr/bin")
    found = run(node_apps.ANALYZER, files, *NODE, unit)
    assert {(f.root, f.ecosystem, f.name, f.version, str(f.seen_in)) for f in of(Application, found)} == {
        ("/srv/shop", "npm", "shop", "2.1.0", "/srv/shop/package.json:2"),
        (nvm, "elf", "node", "20.11.1", f"{nvm}/include/node/node_version.h:2"),
        (f"{nvm}/lib/node_modules/yarn", "npm", "yarn", "1.22.22", f"{nvm}/lib/node_modules/yarn/package.json:1"),
    }
    assert {"/srv/shop", nvm} <= code(found)
    assert "nodejs" not in required(found)


def test_pm2_runs_what_it_saved() -> None:
    pm2 = "/usr/local/lib/node_modules/pm2"
    files: dict[str, Content] = {
        **SHOP,
        "/usr/local/bin/pm2": Link("../lib/node_modules/pm2/bin/pm2"),
        f"{pm2}/bin/pm2": File("#!/usr/bin/env node\n", mode=0o755),
        f"{pm2}/package.json": '{"name": "pm2", "version": "5.3.0"}',
        "/home/shop/.pm2/dump.pm2": json.dumps(
            [{"name": "shop", "pm_exec_path": "/srv/shop/server.js", "pm_cwd": "/srv/shop", "PASSWORD": "s3cret"}],
            indent=1,
        ),
    }
    unit = service("/usr/local/bin/pm2", "resurrect", PM2_HOME="/home/shop/.pm2")
    found = run(node_apps.ANALYZER, files, *NODE, unit)
    assert {pm2, "/srv/shop"} <= code(found)
    assert "/home/shop/.pm2/dump.pm2:4" in {str(f.seen_in) for f in of(Uses, found) if f.path == "/srv/shop"}
    assert "s3cret" not in repr(found)


def test_below_opt_only_what_no_package_owns() -> None:
    files: dict[str, Content] = {
        "/opt/own/package.json": '{"name": "own", "bin": "x"}',
        "/opt/theirs/package.json": '{"name": "theirs", "bin": "x"}',
        "/usr/lib/node_modules/npm/package.json": '{"name": "npm", "version": "9"}',
        "/usr/lib/node_modules/pm2/package.json": '{"name": "pm2", "version": "5"}',
    }
    owned = package("theirs", "/opt/theirs/package.json", "/usr/lib/node_modules/npm/package.json")
    found = run(node_apps.ANALYZER, files, *owned)
    assert {(f.root, f.name) for f in of(Application, found)} == {
        ("/opt/own", "own"),
        ("/usr/lib/node_modules/pm2", "pm2"),
    }
    assert {f.name for f in of(LanguagePackage, found)} == {"pm2"}


def test_folders_it_owns_are_data() -> None:
    files: dict[str, Content] = {
        **SHOP,
        "/srv/shop/uploads": Dir(uid=996),
        "/srv/shop/logs": Dir(uid=996),
        "/srv/shop/node_modules/.cache": Dir(uid=0),
    }
    found = run(node_apps.ANALYZER, files, *NODE, service("/usr/bin/node", "/srv/shop/server.js"))
    assert {(f.path, f.role) for f in of(Uses, found) if f.role in ("data", "log")} == {
        ("/srv/shop/uploads", "data"),
        ("/srv/shop/logs", "log"),
    }


# ---------------------------------------------------------------- where it listens


def test_where_the_script_says_that_it_listens() -> None:
    found = run(node_apps.ANALYZER, SHOP, *NODE, service("/usr/bin/npm", "start", directory="/srv/shop"))
    assert [(f.port, f.address, f.assumed, str(f.seen_in)) for f in of(Listen, found)] == [
        (3001, "*", False, "/srv/shop/package.json:5")
    ]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("next start -p 3001", (3001, "*", False)),
        ("/srv/a/node_modules/.bin/next start --port=3002 -H 127.0.0.1", (3002, "127.0.0.1", False)),
        ("node node_modules/.bin/next start", (4000, "*", False)),
        ("next dev", None),
        ("next start -p x", None),
        ("http-server -p 8081 -a 127.0.0.1", (8081, "127.0.0.1", False)),
        ("json-server db.json", (3000, "localhost", True)),
        ("node server.js", None),
        ("", None),
    ],
)
def test_servers(command: str, expected: tuple[int, str, bool] | None) -> None:
    found = bound(command.split(), {"PORT": "4000"})
    assert (None if found is None else (found.port, found.address, found.assumed)) == expected


def test_scripts() -> None:
    assert script_of(["/usr/bin/npm", "--silent", "run", "serve"]) == "serve"
    assert script_of(["yarn", "serve"]) == "serve"
    assert script_of(["npm", "ci"]) == ""
    assert script_of(["node", "start"]) == ""
    assert words_of("NODE_ENV=production next start && node 'x") == [["next", "start"]]
    assert words_of("next start -p $PORT") == []


# ---------------------------------------------------------------- hostile


def test_what_cannot_be_read_is_told() -> None:
    top = "/srv/a/node_modules"
    files: dict[str, Content] = {
        f"{top}/deep/package.json": '{"name": ' + "[" * 200_000,
        f"{top}/odd/package.json": '{"name": 3, "version": ["1"]}',
        f"{top}/none/package.json": "{}",
        f"{top}/long/package.json": json.dumps({"name": "x" * 5000, "version": "1"}),
        f"{top}/big/package.json": File('{"name": "big", "version": "1"}', size=2 << 20),
        f"{top}/bad/package.json": Broken(),
        f"{top}/text/package.json": b"\xff\xfe",
        f"{top}/bom/package.json": b'\xef\xbb\xbf{"name": "bom", "version": "1"}',
    }
    found = analyzed(files)
    assert [f.name for f in found if isinstance(f, LanguagePackage)] == ["bom"]
    assert sorted(f.seen_in.path.split("/")[4] for f in found if isinstance(f, Unread)) == [
        "bad", "big", "deep", "long", "none", "odd", "text",
    ]  # fmt: skip


def test_many_are_read_in_batches_up_to_a_limit() -> None:
    guest = FakeGuest({f"/srv/a/node_modules/p{n}/package.json": '{"name":"p","version":"1"}' for n in range(4001)})
    asked: list[int] = []
    guest.prefetch = lambda paths: asked.append(len(list(paths)))  # type: ignore[method-assign]
    assert len([f for f in node_apps.analyze(guest) if isinstance(f, LanguagePackage)]) == 4001
    assert max(asked) == 2000
    assert MAX_PACKAGES == 200_000


def test_one_pass_serves_all() -> None:
    guest = FakeGuest(SHOP)
    assert manifests(guest) is manifests(guest)


@given(st.text() | st.text(alphabet='["]npm:{}, \\\n./yarnchemodul_p#kLti'))
def test_any_text_is_plug_n_play(text: str) -> None:
    list(parse_pnp(text, "/srv/a/.pnp.cjs"))


@given(st.binary())
def test_any_bytes_are_a_manifest(data: bytes) -> None:
    reader = Reader(FakeGuest({"/a/package.json": data}), "x")
    read = decoded(reader, "/a/package.json", Manifest)
    assert (read is None) == bool(reader.unread)
    line_with(data, '"name"', '"x"')


def test_samples_with_bytes_changed() -> None:
    chance = random.Random(4)
    for sample in (ACCEPTS, PNP, json.dumps({"name": "a", "workspaces": ["*"], "scripts": {"start": "next start"}})):
        for _ in range(300):
            data = bytearray(sample.encode())
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            files: dict[str, Content] = {
                "/srv/a/package.json": bytes(data),
                "/srv/a/server.js": "",
                "/srv/a/node_modules/x/package.json": bytes(data),
                "/srv/a/.pnp.cjs": bytes(data),
                "/home/shop/.pm2/dump.pm2": bytes(data),
            }
            found = run(node_apps.ANALYZER, files, service("pm2", "resurrect", directory="/srv/a"))
            assert not [f for f in of(Unread, found) if "in this analyzer" in f.why]


def test_global_packages() -> None:
    assert global_package("/usr/local/lib/node_modules/@scope/x")
    assert not global_package("/srv/a/node_modules/x")
    assert not global_package("/usr/local/lib/node_modules/npm/node_modules/x")
