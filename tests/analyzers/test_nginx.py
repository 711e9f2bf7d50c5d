from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import nginx
from analyzers._nginx_address import Address, parse_address, parse_listen, parse_pass
from analyzers._nginx_conf import build_options, parse
from migrate.model import (
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    PackageFiles,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File, Link

# Debian 12's, without its comments.
MAIN = """\
user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;

events {
	worker_connections 768;
}

http {
	sendfile on;
	include /etc/nginx/mime.types;
	access_log /var/log/nginx/access.log;
	include /etc/nginx/conf.d/*.conf;
	include /etc/nginx/sites-enabled/*;
}
"""
SITE = """\
upstream orders {
	server unix:/run/orders/gunicorn.sock fail_timeout=0;
	server 10.0.0.7:8001 backup;
	server app2.corp.example;
	server 10.0.0.9:8001 down;
}

server {
	listen 80 default_server;
	listen [::]:80 default_server;
	listen 443 ssl;
	listen 127.0.0.1:8080;
	ssl_certificate /etc/letsencrypt/live/shop/fullchain.pem;
	ssl_certificate_key /etc/ssl/private/shop.key;
	access_log /var/log/nginx/shop.access.log combined;
	root /var/www/html;

	location /static/ {
		alias /srv/shop/static/;
	}
	location /php {
		fastcgi_pass unix:/var/run/php/php8.2-fpm.sock;
	}
	location /v2 {
		proxy_pass https://api.corp.example/v2/;
	}
	location /dyn {
		proxy_pass http://$backend;
	}
	location / {
		proxy_pass http://orders;
	}
}
"""
BINARY = (
    b"\x7fELF...\0configure arguments: --with-cc-opt='-g -O2 -fPIC' --prefix=/usr/share/nginx "
    b"--conf-path=/etc/nginx/nginx.conf --http-log-path=/var/log/nginx/access.log --error-log-path=stderr "
    b"--pid-path=/run/nginx.pid --http-client-body-temp-path=/var/lib/nginx/body "
    b"--http-proxy-temp-path=/var/lib/nginx/proxy --with-http_ssl_module\0more"
)
FILES: dict[str, Content] = {
    "/etc/nginx/nginx.conf": MAIN,
    "/etc/nginx/mime.types": "types { text/html html; }\n",
    "/etc/nginx/sites-available/shop": SITE,
    "/etc/nginx/sites-enabled/shop": Link("/etc/nginx/sites-available/shop"),
    "/etc/nginx/sites-enabled/.hidden": "server { listen 9999; }\n",
    "/etc/letsencrypt/live/shop/fullchain.pem": Link("../../archive/shop/fullchain1.pem"),
    "/etc/letsencrypt/archive/shop/fullchain1.pem": "cert",
    "/etc/ssl/private/shop.key": "key",
    "/usr/sbin/nginx": File(BINARY, mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/srv/shop/static/shop.css": "",
    "/var/www/html/index.nginx-debian.html": "",
}
SEEN = "/etc/nginx/sites-enabled/shop"


def guest(**changes: Content) -> FakeGuest:
    return FakeGuest({**FILES, **changes})


def analyzed(site: str | None = None, main: str = MAIN) -> list[Finding]:
    files = {**FILES, "/etc/nginx/nginx.conf": main}
    if site is not None:
        files["/etc/nginx/sites-available/shop"] = site
    return list(nginx.analyze(FakeGuest(files)))


def test_where_it_listens() -> None:
    assert [(f.port, f.address, str(f.seen_in)) for f in analyzed() if isinstance(f, Listen)] == [
        (80, "*", f"{SEEN}:9"),
        (80, "::", f"{SEEN}:10"),
        (443, "*", f"{SEEN}:11"),
        (8080, "127.0.0.1", f"{SEEN}:12"),
    ]


def test_what_it_passes_requests_to() -> None:
    found = [f for f in analyzed() if isinstance(f, Need)]
    assert [(f.over, f.host_text, f.seen_in.line) for f in found] == [
        ("unix:/run/php/php8.2-fpm.sock", "", 22),
        ("tcp:api.corp.example:443", "api.corp.example", 25),
        ("unix:/run/orders/gunicorn.sock", "", 2),
        ("tcp:10.0.0.7:8001", "10.0.0.7", 3),
        ("tcp:app2.corp.example:80", "app2.corp.example", 4),
    ]


def test_what_only_a_request_decides_is_told() -> None:
    unread = [f for f in analyzed() if isinstance(f, Unread)]
    assert [str(f.seen_in) for f in unread] == [f"{SEEN}:28"]
    assert "$backend" in unread[0].why


def test_files_with_their_roles() -> None:
    found = {(f.path, f.role): str(f.seen_in) for f in analyzed() if isinstance(f, Uses)}
    assert found == {
        ("/etc/nginx", "config"): "/etc/nginx/nginx.conf",
        ("/etc/letsencrypt/live/shop/fullchain.pem", "config"): f"{SEEN}:13",
        ("/etc/letsencrypt/archive/shop/fullchain1.pem", "config"): f"{SEEN}:13",
        ("/etc/ssl/private/shop.key", "config"): f"{SEEN}:14",
        ("/var/log/nginx/error.log", "log"): "/etc/nginx/nginx.conf:4",
        ("/var/log/nginx/access.log", "log"): "/etc/nginx/nginx.conf:14",
        ("/var/log/nginx/shop.access.log", "log"): f"{SEEN}:15",
        ("/var/lib/nginx", "cache"): "/usr/sbin/nginx",
    }


def test_how_it_runs() -> None:
    found = analyzed()
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/nginx", "-g", "daemon off;")]
    assert [(f.user, f.group, f.seen_in) for f in found if isinstance(f, RunsAs)] == [
        ("www-data", "", Place("/etc/nginx/nginx.conf", 1))
    ]
    health = next(f for f in found if isinstance(f, Health))
    assert health.command == ("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80")


def test_daemon_off_is_not_said_twice() -> None:
    found = analyzed(main="daemon off;\n" + MAIN)
    assert [(f.command, f.seen_in.line) for f in found if isinstance(f, Foreground)] == [(("/usr/sbin/nginx",), 1)]
    changed = [f for f in analyzed(main="daemon on;\n" + MAIN) if isinstance(f, Rebind)]
    assert ("daemon on", "daemon off", 1) in [(f.before, f.after, f.seen_in.line) for f in changed]


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:8080", [("127.0.0.1:8080", "8080")]),
        ("[::1]:8080", [("[::1]:8080", "[::]:8080")]),
        ("localhost:81", [("localhost:81", "81")]),
        ("192.0.2.10:80", [("192.0.2.10:80", "80")]),
        ("80", []),
        ("*:80", []),
        ("unix:/run/x.sock", []),
        ("80; listen 127.0.0.1:80", []),
    ],
)
def test_addresses_a_pod_does_not_have(listen: str, expected: list[tuple[str, str]]) -> None:
    found = analyzed(f"server {{\n listen {listen};\n}}\n")
    assert [(f.before, f.after) for f in found if isinstance(f, Rebind)] == expected


def test_without_a_listen_it_is_port_80() -> None:
    found = [f for f in analyzed("server {\n server_name x;\n}\n") if isinstance(f, Listen)]
    assert found == [Listen(seen_in=Place(SEEN, 1), service="nginx", port=80, assumed=True)]


def test_streams_have_upstreams_of_their_own() -> None:
    main = (
        MAIN + "stream {\n upstream db { server 10.0.0.3:5432; }\n server { listen 5432; proxy_pass db; }\n"
        " server { listen 53 udp; proxy_pass 10.0.0.4:53; }\n}\n"
    )
    found = analyzed("", main)
    assert [(f.port, f.protocol) for f in found if isinstance(f, Listen)] == [(5432, "tcp"), (53, "udp")]
    assert [f.over for f in found if isinstance(f, Need)] == ["tcp:10.0.0.3:5432", "tcp:10.0.0.4:53"]


def test_a_log_that_goes_to_syslog_is_a_need() -> None:
    site = "access_log syslog:server=logs.corp.example,tag=n;\nerror_log syslog:server=unix:/dev/log;\n"
    site += "resolver 10.0.0.2 valid=30s;\n"
    found = [f.over for f in analyzed(site) if isinstance(f, Need)]
    assert found == ["udp:10.0.0.2:53", "udp:logs.corp.example:514", "unix:/dev/log"]


def test_served_folders_that_no_package_fills() -> None:
    owned = PackageFiles(seen_in=Place("/x"), package="nginx-common", paths=("/usr/share/nginx/html/index.html",))
    site = SITE + "server { root /usr/share/nginx/html; location /u { alias /srv/$host/x; } root $x; }\n"
    files = {**FILES, "/etc/nginx/sites-available/shop": site, "/usr/share/nginx/html/index.html": ""}
    found = list(nginx.join(FakeGuest(files), [owned]))
    assert [(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses)] == [
        ("/srv/shop/static", "code", 19),
        ("/srv", "code", 34),
    ]
    assert [f.seen_in.line for f in found if isinstance(f, Unread)] == [34]


def test_packages_of_dynamic_modules() -> None:
    module = "/usr/lib/nginx/modules/ngx_http_geoip2_module.so"
    files = {
        **FILES,
        "/etc/nginx/modules-enabled/50-geoip2.conf": "load_module modules/ngx_http_geoip2_module.so;\n",
        "/usr/share/nginx/modules": Link("../../lib/nginx/modules"),
        module: "ELF",
    }
    owned = PackageFiles(seen_in=Place("/x"), package="libnginx-mod-http-geoip2", paths=(module,))
    found = list(nginx.join(FakeGuest(files), [owned]))
    assert [f.package for f in found if isinstance(f, Requires)] == ["libnginx-mod-http-geoip2"]


def test_includes_that_lead_back_end() -> None:
    files = {
        **FILES,
        "/etc/nginx/conf.d/a.conf": "include conf.d/b.conf;\n",
        "/etc/nginx/conf.d/b.conf": "include /etc/nginx/conf.d/*.conf;\nserver { listen 81; }\n",
    }
    found = list(nginx.analyze(FakeGuest(files)))
    assert 81 in {f.port for f in found if isinstance(f, Listen)}
    assert any("leads back to itself" in f.why for f in found if isinstance(f, Unread))


def test_nothing_of_the_host_is_read() -> None:
    site = "include /etc/passwd;\ninclude ../../../../etc/hostname;\n"
    found = [f for f in analyzed(site) if isinstance(f, Unread)]
    assert [(f.seen_in.path, f.why) for f in found] == [
        ("/etc/passwd", "it does not exist"),
        ("/etc/hostname", "it does not exist"),
    ]


def test_a_file_that_nginx_refuses_is_told_with_its_line() -> None:
    found = [f for f in analyzed("server {\n listen 80;\n") if isinstance(f, Unread)]
    assert [(str(f.seen_in), "expecting" in f.why) for f in found] == [(f"{SEEN}:2", True)]
    assert "/tmp" not in found[0].why


def test_no_nginx_no_findings() -> None:
    assert list(nginx.analyze(FakeGuest({"/etc/x": ""}))) == []


# ---------------------------------------------------------------- the parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [Address("*", 80)]),
        ("*:8080", [Address("*", 8080)]),
        ("127.0.0.1", [Address("127.0.0.1", 80)]),
        ("[::]", [Address("::", 80)]),
        ("[::1]:8080", [Address("::1", 8080)]),
        ("example.com", [Address("example.com", 80)]),
        ("unix:/var/run/nginx.sock", [Address(path="/run/nginx.sock")]),
        ("0.0.0.0:8000-8002", [Address("0.0.0.0", 8000), Address("0.0.0.0", 8001), Address("0.0.0.0", 8002)]),
        ("70000", []),
        ("1-65535", []),
        ("unix:relative", []),
    ],
)
def test_addresses_of_listen(text: str, expected: list[Address]) -> None:
    assert parse_listen(text) == expected


def test_addresses_of_passes() -> None:
    assert parse_pass("grpc_pass", "grpcs://api:50051") == ("api:50051", 443)
    assert parse_pass("proxy_pass", "http://unix:/run/x.sock:/uri/") == ("unix:/run/x.sock", 80)
    assert parse_address("[2001:db8::1]:80", None) == Address("[2001:db8::1]", 80)
    assert parse_address("name", None) is None


def test_what_is_compiled_in() -> None:
    options = build_options(BINARY)
    assert (options["prefix"], options["http-client-body-temp-path"]) == ("/usr/share/nginx", "/var/lib/nginx/body")
    assert build_options(b"no program of nginx") == {}


TOKENS = st.sampled_from([*"{};\"'\\#$) \n\0é", "server", "listen", "include", "if (", "content_by_lua_block"])


@settings(deadline=None)
@given(st.lists(TOKENS | st.text(max_size=4)).map("".join))
def test_no_text_breaks_the_parser(text: str) -> None:
    parse(text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))


@given(st.text())
def test_no_address_breaks_the_parsers(text: str) -> None:
    parse_listen(text)
    parse_address(text, 80)
    parse_pass("proxy_pass", text)


def test_deep_nesting_ends() -> None:
    found = analyzed("a { " * 3000 + "}" * 3000)
    assert any("nested too deep" in f.why for f in found if isinstance(f, Unread))
