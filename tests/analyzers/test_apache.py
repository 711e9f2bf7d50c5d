from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import apache
from analyzers._apache_conf import Node, lines, parse, words
from analyzers._apache_start import shell_variables
from analyzers._apache_tree import Directive, Loader, build_of, version_fits
from analyzers._reading import Reader
from migrate.model import (
    Caution,
    EnvironmentFile,
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
    Secret,
    Service,
    Unread,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, FakeGuest, File, Link

# Of Debian 12's program: what `strings` finds around `apache2 -V` and `apache2 -l`.
BINARY = (
    b"\x7fELF\0 -D HTTPD_ROOT=\"/etc/apache2\"\0 -D DEFAULT_PIDLOG=\"/run/apache2.pid\"\0"
    b" -D SERVER_CONFIG_FILE=\"apache2.conf\"\0core.c\0mod_so.c\0mod_watchdog.c\0http_core.c\0mod_log_config.c\0"
    b"mod_logio.c\0mod_version.c\0mod_unixd.c\0Apache/2.4.62 (Debian)\0"
)  # fmt: skip
# Debian 12's files, without their comments.
MAIN = """\
DefaultRuntimeDir ${APACHE_RUN_DIR}
PidFile ${APACHE_PID_FILE}
Timeout 300
User ${APACHE_RUN_USER}
Group ${APACHE_RUN_GROUP}
ErrorLog ${APACHE_LOG_DIR}/error.log
IncludeOptional mods-enabled/*.load
IncludeOptional mods-enabled/*.conf
Include ports.conf
<Directory />
	Options FollowSymLinks
	AllowOverride None
	Require all denied
</Directory>
LogFormat "%h %l %u %t \\"%r\\" %>s %O" common
IncludeOptional conf-enabled/*.conf
IncludeOptional sites-enabled/*.conf
"""
PORTS = """\
Listen 80

<IfModule ssl_module>
	Listen 443
</IfModule>

<IfModule mod_gnutls.c>
	Listen 443
</IfModule>
"""
ENVVARS = """\
# envvars - default environment variables for apache2ctl
unset HOME
if [ "${APACHE_CONFDIR##/etc/apache2-}" != "${APACHE_CONFDIR}" ] ; then
	SUFFIX="-${APACHE_CONFDIR##/etc/apache2-}"
else
	SUFFIX=
fi
export APACHE_RUN_USER=www-data
export APACHE_RUN_GROUP=www-data
export APACHE_PID_FILE=/var/run/apache2$SUFFIX/apache2.pid
export APACHE_RUN_DIR=/var/run/apache2$SUFFIX
export APACHE_LOCK_DIR=/var/lock/apache2$SUFFIX
export APACHE_LOG_DIR=/var/log/apache2$SUFFIX
export LANG=C
export LANG
#export APACHE_ARGUMENTS=''
"""
# Apache 2.4.71 read this file for `-t -D DUMP_CONFIG`; SHOP_READ is what it said is in force.
SHOP = """\
Define SHOP /srv/shop
<IfDefine !NOSHOP>
<VirtualHost *:80 [::]:80>
	ServerName shop.example
	ServerAlias \\
		www.shop.example \\
		shop
	DocumentRoot "${SHOP}/public"
	# a comment that goes on \\
	ProxyPass /never http://127.0.0.1:1/
	ProxyPass /static !
	ProxyPass /api/ http://127.0.0.1:8000/ retry=0
	ProxyPass "/ajp" "balancer://farm/x"
	<Proxy balancer://farm>
		BalancerMember http://app1.corp.example:8080 route=1
		BalancerMember http://app2.corp.example status=+D
	</Proxy>
	<FilesMatch \\.php$>
		SetHandler "proxy:unix:/var/run/php/php8.2-fpm.sock|fcgi://localhost"
	</FilesMatch>
	<Location /old>
		ProxyPass unix:/run/orders/web.sock|http://127.0.0.1/
	</Location>
	RewriteEngine On
	RewriteRule ^/ws/(.*) ws://localhost:8001/$1 [P,L]
	RewriteRule ^/away https://elsewhere.example/ [R=301,L]
	<IfModule mod_ssl.c>
		Header set X-A "say \\"yes\\""
	</IfModule>
	<IfModule !mod_ssl.c>
		Header set X-B no
	</IfModule>
	<IfVersion >= 2.4>
		Header set X-C yes
	</IfVersion>
	<IfVersion < 2.4>
		Header set X-D no
	</IfVersion>
	ErrorLog ${APACHE_LOG_DIR}/shop.error.log
	CustomLog ${APACHE_LOG_DIR}/shop.access.log combined
</VirtualHost>
</IfDefine>
<Macro Site $name $port>
<VirtualHost 127.0.0.1:$port>
	ServerName $name.example
	ProxyPass / http://localhost:9$port/
</VirtualHost>
</Macro>
Use Site one 81
"""
SHOP_READ = [
    (3, "virtualhost", "*:80 [::]:80"),
    (4, "servername", "shop.example"),
    (5, "serveralias", "www.shop.example shop"),
    (8, "documentroot", "/srv/shop/public"),
    (11, "proxypass", "/static !"),
    (12, "proxypass", "/api/ http://127.0.0.1:8000/ retry=0"),
    (13, "proxypass", "/ajp balancer://farm/x"),
    (14, "proxy", "balancer://farm"),
    (15, "balancermember", "http://app1.corp.example:8080 route=1"),
    (16, "balancermember", "http://app2.corp.example status=+D"),
    (18, "filesmatch", "\\.php$"),
    (19, "sethandler", "proxy:unix:/var/run/php/php8.2-fpm.sock|fcgi://localhost"),
    (21, "location", "/old"),
    (22, "proxypass", "unix:/run/orders/web.sock|http://127.0.0.1/"),
    (24, "rewriteengine", "On"),
    (25, "rewriterule", "^/ws/(.*) ws://localhost:8001/$1 [P,L]"),
    (26, "rewriterule", "^/away https://elsewhere.example/ [R=301,L]"),
    (28, "header", 'set X-A say "yes"'),
    (34, "header", "set X-C yes"),
    (39, "errorlog", "/var/log/apache2/shop.error.log"),
    (40, "customlog", "/var/log/apache2/shop.access.log combined"),
    (49, "virtualhost", "127.0.0.1:81"),
    (49, "servername", "one.example"),
    (49, "proxypass", "/ http://localhost:981/"),
]
SITE = "/etc/apache2/sites-enabled/shop.conf"
DEBIAN: dict[str, Content] = {
    "/lib": Link("usr/lib"),
    "/bin": Link("usr/bin"),
    "/usr/bin/bash": b"",
    "/usr/sbin/apache2": BINARY,
    "/usr/sbin/apachectl": Link("apache2ctl"),
    "/usr/sbin/apache2ctl": File("#!/bin/sh\n", mode=0o755),
    "/usr/lib/apache2/modules/mod_ssl.so": b"",
    "/usr/lib/apache2/modules/mod_security2.so": b"",
    "/etc/apache2/apache2.conf": MAIN,
    "/etc/apache2/ports.conf": PORTS,
    "/etc/apache2/envvars": ENVVARS,
    "/etc/apache2/mods-available/ssl.load": "LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so\n",
    "/etc/apache2/mods-enabled/ssl.load": Link("../mods-available/ssl.load"),
    "/etc/apache2/sites-available/shop.conf": SHOP,
    SITE: Link("../sites-available/shop.conf"),
    "/srv/shop/public/index.html": "our own",
    "/var/log/apache2/error.log": "",
}
UNIT = "/usr/lib/systemd/system/apache2.service"
APACHE2 = Service(
    seen_in=Place(UNIT, 9), id="apache2", manager="systemd", enabled=True, unit=UNIT, type="forking",
    command=("/usr/sbin/apachectl", "start"),
)  # fmt: skip
PACKAGED = (
    PackageFiles(
        seen_in=Place("/var/lib/dpkg/info/apache2-bin.list"), package="apache2-bin",
        paths=("/usr/sbin/apache2", "/usr/lib/apache2/modules/mod_ssl.so"),
    ),
    PackageFiles(
        seen_in=Place("/var/lib/dpkg/info/libapache2-mod-security2.list"), package="libapache2-mod-security2",
        paths=("/usr/lib/apache2/modules/mod_security2.so",),
    ),
)  # fmt: skip


def found(extra: dict[str, Content] | None = None, service: Service = APACHE2) -> list[Finding]:
    return list(apache.join(FakeGuest(DEBIAN | (extra or {})), (service, *PACKAGED)))


def of_site(text: str, modules: str = "") -> list[Finding]:
    return found({"/etc/apache2/sites-available/shop.conf": text, "/etc/apache2/mods-enabled/x.load": modules})


def needs(findings: list[Finding]) -> list[tuple[str, int | None]]:
    return [(f.over, f.seen_in.line) for f in findings if isinstance(f, Need)]


def uses(findings: list[Finding], role: str) -> dict[str, str]:
    return {f.path: str(f.seen_in) for f in findings if isinstance(f, Uses) and f.role == role}


def why(findings: list[Finding]) -> list[str]:
    return [f.says if isinstance(f, Caution) else f.why for f in findings if isinstance(f, Caution | Unread)]


# ---------------------------------------------------------------- the syntax


def test_lines_are_continued_and_so_are_comments() -> None:
    text = "Listen 80\n# not \\\nListen 81\n\tServerAlias \\\r\n  a\\\r\nb\r\nEnd \\"
    assert list(lines(text)) == [(1, 1, "Listen 80"), (4, 6, "ServerAlias   ab"), (7, 7, "End")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a http://x/", ("/a", "http://x/")),
        ('"/a b" \'c "d"\'', ("/a b", 'c "d"')),
        (r'"say \"yes\" \\ \n"', (r'say "yes" \ \n',)),
        ('"never closed', ("never closed",)),
        (r"\.php$ a\ b", (r"\.php$", "a\\", "b")),
        ("", ()),
    ],
)
def test_words(text: str, expected: tuple[str, ...]) -> None:
    assert words(text) == expected


def test_sections_are_nested_and_mistakes_told() -> None:
    tree, broken = parse("<A x>\n<B>\nOne 1\n</A>\nTwo 2\n</C>\n<D\nThree 3\n")
    one = Node("one", "1", 3, 3)
    assert tree == (
        Node("a", "x", 1, 1, True, (Node("b", "", 2, 2, True, (one,)),)),
        Node("two", "2", 5, 5),
        Node("d", "", 7, 7, True, (Node("three", "3", 8, 8),)),
    )
    assert [(b.line, b.why) for b in broken] == [
        (2, "<b> is never closed"), (6, "</c> closes nothing"), (7, "<D has no closing >"), (7, "<d> is never closed"),
    ]  # fmt: skip


def test_deep_nesting_is_told_and_ends() -> None:
    _, broken = parse("<A>\n" * 5000)
    assert broken[0].why == "sections are nested more than 40 deep"


# ---------------------------------------------------------------- what is in force


def flat(tree: tuple[Directive, ...]) -> list[tuple[int, str, str]]:
    return [
        entry
        for d in tree
        for entry in [(d.place.line or 0, d.name, " ".join(d.args)), *(flat(d.block))]
        if d.name != "define"
    ]


def test_what_is_in_force_is_what_the_server_itself_says() -> None:
    guest = FakeGuest(DEBIAN)
    reader = Reader(guest, "apache")
    loader = Loader(reader, "/etc/apache2", build_of(BINARY), shell_variables(ENVVARS, {}), ())
    tree = loader.load("/etc/apache2/apache2.conf")
    assert flat(tuple(d for d in tree if d.place.path == SITE)) == SHOP_READ
    assert reader.unread == []
    assert loader.files == [
        "/etc/apache2/apache2.conf", "/etc/apache2/mods-enabled/ssl.load", "/etc/apache2/ports.conf", SITE,
    ]  # fmt: skip


def test_the_program_says_how_it_was_built() -> None:
    build = build_of(BINARY)
    assert (build.root, build.main, build.pidfile) == ("/etc/apache2", "apache2.conf", "/run/apache2.pid")
    assert build.version == (2, 4, 62)
    assert build.modules == ("core.c", "http_core.c", "mod_log_config.c", "mod_logio.c", "mod_so.c", "mod_unixd.c",
                             "mod_version.c", "mod_watchdog.c")  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        ((">=", "2.4"), True), (("<", "2.4"), False), (("2.4.62",), True), (("=", "2.4"), False), (("!=", "2.4"), True),
        (("~", "2.4"), True), (("/^2\\.4/",), True), (("~", "/^2\\.2/"), False), (("!>", "2.2"), False), ((), False),
    ],
)  # fmt: skip
def test_versions(arguments: tuple[str, ...], holds: bool) -> None:
    assert version_fits(arguments, (2, 4, 62)) is holds


def test_envvars_of_a_second_instance() -> None:
    found_there = shell_variables(ENVVARS, {"APACHE_CONFDIR": "/etc/apache2-two"})
    assert found_there["APACHE_LOG_DIR"] == "/var/log/apache2-two"
    assert found_there["APACHE_RUN_USER"] == "www-data"
    assert shell_variables("export A=${B:-x}\nexport C=\"$A/$(hostname)\"\nexport D='$A'\n", {}) == {
        "A": "x",
        "D": "$A",
    }


def test_module_conditions_depend_on_what_was_loaded_before() -> None:
    text = "<IfModule security2_module>\nListen 1\n</IfModule>\n<IfModule mod_ssl.c>\nListen 2\n</IfModule>\n"
    late = "LoadModule security2_module /usr/lib/apache2/modules/mod_security2.so\n"
    ports = [f.port for f in of_site(text + late + text) if isinstance(f, Listen)]
    assert ports == [80, 443, 2, 1, 2]


def test_includes_that_lead_back_to_themselves_end() -> None:
    findings = of_site("Include sites-enabled/shop.conf\nListen 8080\n")
    assert any("more than 60 deep" in text for text in why(findings))
    assert ("*", 8080) in {(f.address, f.port) for f in findings if isinstance(f, Listen)}


def test_what_would_grow_without_end_is_cut() -> None:
    doubling = "Define A xxxxxxxxxxxxxxxx\n" + "Define A ${A}${A}\n" * 40
    assert any("longer than 8192" in text for text in why(of_site(doubling)))
    macro = "<Macro M $x>\nUse M $x$x\nUse M $x$x\n</Macro>\nUse M aa\n"
    assert any("deep" in text for text in why(of_site(macro)))


# ---------------------------------------------------------------- findings


def test_debian_listens_where_its_modules_let_it() -> None:
    listens = [f for f in found() if isinstance(f, Listen)]
    assert [(f.service, f.port, f.address, str(f.seen_in)) for f in listens] == [
        ("apache2", 80, "*", "/etc/apache2/ports.conf:1"),
        ("apache2", 443, "*", "/etc/apache2/ports.conf:4"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", ("*", 8080)), ("127.0.0.1:80", ("127.0.0.1", 80)), ("[::]:80", ("::", 80)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("web.corp:8443", ("web.corp", 8443)), ("0", None), ("70000", None), ("", None), ("::80", None), ("x", None),
    ],
)  # fmt: skip
def test_listen(text: str, expected: tuple[str, int] | None) -> None:
    assert apache.parse_listen(text) == expected


def test_needs_are_what_requests_are_handed_to() -> None:
    findings = found()
    assert needs(findings) == [
        ("tcp:127.0.0.1:8000", 12),
        ("tcp:app1.corp.example:8080", 15),
        ("unix:/run/php/php8.2-fpm.sock", 19),
        ("unix:/run/orders/web.sock", 22),
        ("tcp:localhost:8001", 25),
        ("tcp:localhost:981", 49),
    ]
    first = next(f for f in findings if isinstance(f, Need))
    assert (first.detail, first.host_text, str(first.seen_in)) == ("ProxyPass (http)", "127.0.0.1", f"{SITE}:12")
    assert why(findings) == []


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("ProxyPassMatch ^/(.*\\.php)$ fcgi://127.0.0.1:9000/srv/$1", "tcp:127.0.0.1:9000"),
        ("ProxyPassMatch ^/(.*)$ 'unix:/run/php/x.sock|fcgi://localhost/srv/'", "unix:/run/php/x.sock"),
        ("ProxyPass / ajp://tomcat.corp", "tcp:tomcat.corp:8009"),
        ("ProxyPass / https://me:pw@api.corp.example/v1", "tcp:api.corp.example:443"),
        ("ProxyPass / http://[::1]:8000/", "tcp:[::1]:8000"),
        ("BalancerMember balancer://x http://a.corp:81", "tcp:a.corp:81"),
        ("RewriteRule ^/(.*)$ http://a.corp:82/$1 [NE,proxy]", "tcp:a.corp:82"),
        ("SetHandler proxy:fcgi://127.0.0.1:9001", "tcp:127.0.0.1:9001"),
        ("ProxyRemote * http://out.corp:3128", "tcp:out.corp:3128"),
        ("FastCgiExternalServer /srv/f -host 127.0.0.1:9002", "tcp:127.0.0.1:9002"),
        ("FastCgiExternalServer /srv/f -idle-timeout 9 -socket /var/run/f.sock", "unix:/run/f.sock"),
        ("SSLSessionCache redis:127.0.0.1:6379", "tcp:127.0.0.1:6379"),
        ("CacheSocache memcache:cache.corp", "tcp:cache.corp:11211"),
        ("<Location /s>\nAuthLDAPURL ldap://ldap.corp.example/dc=corp?uid\n</Location>", "tcp:ldap.corp.example:389"),
        ('DBDriver pgsql\nDBDParams "host=db.corp dbname=x user=y password=z"', "tcp:db.corp:5432"),
    ],
)
def test_each_way_to_hand_on(text: str, over: str) -> None:
    findings = of_site(text + "\n")
    assert [f for f, _ in needs(findings)] == [over]
    assert not any(secret in str(f) for f in findings for secret in ("pw@", "password=z"))


@pytest.mark.parametrize(
    "text",
    [
        "ProxyPass /x !",
        "RewriteRule ^ https://other.example/ [R,L]",
        "SetHandler server-status",
        "Redirect / https://a/",
    ],
)
def test_what_is_handed_to_nobody(text: str) -> None:
    findings = of_site(text)
    assert (needs(findings), why(findings)) == ([], [])


def test_what_each_request_decides_is_told_without_its_password() -> None:
    findings = of_site("RewriteRule ^ http://me:hush@%{HTTP_HOST}/ [P]\nProxyPass /x unix:/run/$1.sock|http://x/\n")
    assert why(findings) == [
        "RewriteRule [P] http://%{HTTP_HOST}/ is decided for each request",
        "ProxyPass unix:/run/$1.sock|http://x/ is decided for each request",
    ]


def test_a_worker_of_mod_jk() -> None:
    jk = (
        "worker.list=one,lb\nworker.one.type=ajp13\nworker.one.host=app.corp\nworker.one.port=8010\nworker.lb.type=lb\n"
    )
    findings = found(
        {"/etc/apache2/sites-available/shop.conf": "JkWorkersFile workers.properties\n",
         "/etc/apache2/workers.properties": jk}
    )  # fmt: skip
    need = [f for f in findings if isinstance(f, Need)]
    assert [(n.over, str(n.seen_in)) for n in need] == [("tcp:app.corp:8010", "/etc/apache2/workers.properties:3")]


def test_files_that_are_used() -> None:
    site = (
        "SSLCertificateFile /etc/letsencrypt/live/shop/fullchain.pem\nSSLCertificateKeyFile /etc/ssl/private/gone.key\n"
        "DocumentRoot /srv/shop/public\nCacheRoot /var/cache/apache2/mod_cache_disk\n"
        "SSLSessionCache shmcb:${APACHE_RUN_DIR}/ssl_scache(512000)\nMutex file:${APACHE_LOCK_DIR} default\n"
        "<Directory /srv/dav>\nDav On\n</Directory>\nCustomLog logs/access.log common\n"
        "CustomLog '|/usr/bin/rotatelogs /srv/log 86400' common\nErrorLog syslog:local7\n"
    )
    live = "/etc/letsencrypt/live/shop/fullchain.pem"
    findings = found(
        {
            "/etc/apache2/sites-available/shop.conf": site,
            live: Link("../../archive/shop/fullchain1.pem"),
            "/etc/letsencrypt/archive/shop/fullchain1.pem": "",
            "/etc/apache2/logs": Link("/var/log/old"),
        }
    )
    assert uses(findings, "config") == {
        "/etc/apache2": "/etc/apache2/apache2.conf",
        live: f"{SITE}:1",
        "/etc/letsencrypt/archive/shop/fullchain1.pem": f"{SITE}:1",
    }
    assert uses(findings, "log") == {
        "/var/log/apache2/error.log": "/etc/apache2/apache2.conf:6",
        "/var/log/old/access.log": f"{SITE}:10",
    }
    assert uses(findings, "runtime") == {
        "/run/apache2": f"{SITE}:5",
        "/run/lock/apache2": f"{SITE}:6",
    }
    assert uses(findings, "cache") == {"/var/cache/apache2/mod_cache_disk": f"{SITE}:4"}
    assert uses(findings, "data") == {"/srv/dav": f"{SITE}:8"}
    assert uses(findings, "code") == {"/srv/shop/public": f"{SITE}:3"}
    assert why(findings) == [
        "SSLCertificateKeyFile names /etc/ssl/private/gone.key, which is not there",
        "CustomLog is handed to a program, /usr/bin/rotatelogs, that runs beside httpd",
        "ErrorLog goes to syslog, which a container has not; name /dev/stderr",
    ]


def test_the_page_of_the_package_is_not_the_owners() -> None:
    shipped = {"/usr/share/apache2/default-site/index.html": "It works", "/var/www/html/index.html": "It works"}
    site = {"/etc/apache2/sites-available/shop.conf": "DocumentRoot /var/www/html\n"}
    assert uses(found({**shipped, **site}), "code") == {}
    changed = found({**shipped, **site, "/var/www/html/index.html": "Ours yes"})
    assert uses(changed, "code") == {"/var/www/html": f"{SITE}:1"}


def test_modules_of_other_packages_are_required() -> None:
    load = "LoadModule security2_module /usr/lib/apache2/modules/mod_security2.so\nLoadModule a_module /x/a.so\n"
    findings = of_site("", load)
    assert [(f.package, f.says) for f in findings if isinstance(f, Requires)] == [
        ("libapache2-mod-security2", "LoadModule security2_module")
    ]
    assert why(findings) == ["the module /x/a.so is not there"]


def test_it_runs_in_the_foreground_with_the_variables_of_envvars() -> None:
    findings = found()
    front = next(f for f in findings if isinstance(f, Foreground))
    assert front.command == ("/bin/sh", "-c", ". /etc/apache2/envvars && exec /usr/sbin/apache2 -D FOREGROUND")
    assert str(front.seen_in) == f"{UNIT}:9"
    runs = next(f for f in findings if isinstance(f, RunsAs))
    assert (runs.user, runs.group, str(runs.seen_in)) == ("www-data", "www-data", "/etc/apache2/apache2.conf:4")
    health = next(f for f in findings if isinstance(f, Health))
    assert health.command == ("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80")


def test_arguments_of_envvars_and_what_they_define() -> None:
    findings = found(
        {
            "/etc/apache2/envvars": ENVVARS + "export APACHE_ARGUMENTS='-D EXTRA'\n",
            "/etc/apache2/sites-available/shop.conf": "<IfDefine EXTRA>\nListen 8443 https\n</IfDefine>\n",
        }
    )
    front = next(f for f in findings if isinstance(f, Foreground))
    assert front.command[2].endswith("exec /usr/sbin/apache2 -D EXTRA -D FOREGROUND")
    assert [f.port for f in findings if isinstance(f, Listen)] == [80, 443, 8443]


def test_a_second_instance_has_its_own_folder() -> None:
    unit = "/usr/lib/systemd/system/apache2@.service"
    place = Place(unit, 8)
    service = Service(
        seen_in=place, id="apache2@two", manager="systemd", enabled=True, unit=unit,
        command=("/usr/sbin/apachectl", "start"),
        environment=(Variable("APACHE_CONFDIR", "/etc/apache2-two", place),),
    )  # fmt: skip
    two: dict[str, Content] = {
        "/etc/apache2-two/apache2.conf": "Listen 81\nErrorLog ${APACHE_LOG_DIR}/error.log\n",
        "/etc/apache2-two/envvars": ENVVARS,
    }
    findings = found(two, service)
    front = next(f for f in findings if isinstance(f, Foreground))
    assert front.service == "apache2@two"
    assert front.command[2] == (
        ". /etc/apache2-two/envvars && exec /usr/sbin/apache2 -d /etc/apache2-two -D FOREGROUND"
    )
    assert [f.port for f in findings if isinstance(f, Listen)] == [81]
    assert uses(findings, "log") == {"/var/log/apache2-two/error.log": "/etc/apache2-two/apache2.conf:2"}


def test_loopback_and_the_machines_addresses_become_every_one() -> None:
    site = "Listen 127.0.0.1:8080\nListen 10.0.0.5:80\n"
    site += "<VirtualHost 10.0.0.5:80 10.0.0.6:80>\nServerName a\n</VirtualHost>\n"
    findings = of_site(site)
    rebinds = [(f.seen_in.line, f.before, f.after) for f in findings if isinstance(f, Rebind)]
    assert rebinds == [(1, "127.0.0.1:8080", "8080"), (3, "10.0.0.5:80 10.0.0.6:80", "*:80")]
    assert any("told apart by the machine's addresses" in text for text in why(findings))


# Red Hat's layout: httpd.conf of EL 9 without comments.
HTTPD = """\
ServerRoot "/etc/httpd"
Listen 80
Include conf.modules.d/*.conf
User apache
Group apache
DocumentRoot "/var/www/html"
ErrorLog "logs/error_log"
<IfModule log_config_module>
    CustomLog "logs/access_log" combined
</IfModule>
IncludeOptional conf.d/*.conf
"""
REDHAT: dict[str, Content] = {
    "/usr/sbin/httpd": BINARY.replace(b"/etc/apache2", b"/etc/httpd").replace(b"apache2.conf", b"conf/httpd.conf")
    .replace(b"/run/apache2.pid", b"/etc/httpd/run/httpd.pid"),
    "/etc/httpd/conf/httpd.conf": HTTPD,
    "/etc/httpd/conf.modules.d/00-ssl.conf": "LoadModule ssl_module modules/mod_ssl.so\n",
    "/etc/httpd/conf.d/ssl.conf": "Listen 443 https\nSSLCertificateFile /etc/pki/tls/certs/localhost.crt\n",
    "/etc/pki/tls/certs/localhost.crt": "",
    "/etc/httpd/modules": Link("../../usr/lib64/httpd/modules"),
    "/etc/httpd/logs": Link("../../var/log/httpd"),
    "/etc/httpd/run": Link("/run/httpd"),
    "/usr/lib64/httpd/modules/mod_ssl.so": b"",
    "/var/log/httpd/error_log": "",
    "/var/www/html/index.php": "",
    "/etc/sysconfig/httpd": "LANG=C\nOPTIONS='-D STAGING'\n",
}  # fmt: skip


def redhat(command: tuple[str, ...], extra: dict[str, Content] | None = None) -> list[Finding]:
    unit = "/usr/lib/systemd/system/httpd.service"
    service = Service(
        seen_in=Place(unit, 22), id="httpd", manager="systemd", enabled=True, unit=unit, type="notify", command=command,
        environment_files=(EnvironmentFile("/etc/sysconfig/httpd", False, Place(unit, 21)),),
    )  # fmt: skip
    modules = ("/usr/lib64/httpd/modules/mod_ssl.so",)
    packaged = PackageFiles(seen_in=Place("/var/lib/rpm"), package="mod_ssl", paths=modules)
    return list(apache.join(FakeGuest(REDHAT | (extra or {})), (service, packaged)))


def test_red_hats_layout() -> None:
    findings = redhat(("/usr/sbin/httpd", "$OPTIONS", "-DFOREGROUND"))
    assert [(f.port, str(f.seen_in)) for f in findings if isinstance(f, Listen)] == [
        (80, "/etc/httpd/conf/httpd.conf:2"), (443, "/etc/httpd/conf.d/ssl.conf:1"),
    ]  # fmt: skip
    assert uses(findings, "log") == {
        "/var/log/httpd/error_log": "/etc/httpd/conf/httpd.conf:7",
        "/var/log/httpd/access_log": "/etc/httpd/conf/httpd.conf:9",
    }
    assert uses(findings, "runtime") == {"/run/httpd": "/usr/sbin/httpd"}
    assert uses(findings, "code") == {"/var/www/html": "/etc/httpd/conf/httpd.conf:6"}
    assert uses(findings, "config") == {
        "/etc/httpd": "/etc/httpd/conf/httpd.conf",
        "/etc/pki/tls/certs/localhost.crt": "/etc/httpd/conf.d/ssl.conf:2",
    }
    assert [f.package for f in findings if isinstance(f, Requires)] == ["mod_ssl"]
    assert next(f for f in findings if isinstance(f, RunsAs)).user == "apache"
    front = next(f for f in findings if isinstance(f, Foreground))
    assert front.command == ("/usr/sbin/httpd", "-D", "STAGING", "-DFOREGROUND")
    assert why(findings) == []


def test_a_server_with_its_own_folder_and_file() -> None:
    own: dict[str, Content] = {"/opt/web/my.conf": "ServerRoot /opt/web\nListen 8088\n"}
    findings = redhat(("/usr/sbin/httpd", "-d", "/opt/web", "-f", "my.conf", "-k", "start"), own)
    assert [(f.port, str(f.seen_in)) for f in findings if isinstance(f, Listen)] == [(8088, "/opt/web/my.conf:2")]
    front = next(f for f in findings if isinstance(f, Foreground))
    assert front.command == ("/usr/sbin/httpd", "-d", "/opt/web", "-f", "my.conf", "-D", "FOREGROUND")


def test_an_init_script_of_that_name_is_not_the_program() -> None:
    script = Service(
        seen_in=Place("/etc/init.d/apache2", 1), id="apache2", manager="sysv", enabled=True,
        unit="/etc/init.d/apache2", command=("/etc/init.d/apache2", "start"),
    )  # fmt: skip
    front = next(f for f in found({"/etc/init.d/apache2": "#!/bin/sh\n"}, script) if isinstance(f, Foreground))
    assert front.command == ("/bin/sh", "-c", ". /etc/apache2/envvars && exec /usr/sbin/apache2 -D FOREGROUND")


def test_suses_start_script_stays_what_it_is() -> None:
    suse: dict[str, Content] = {
        "/usr/sbin/httpd-prefork": BINARY.replace(b"/etc/apache2", b"/srv/www").replace(
            b"apache2.conf", b"/etc/apache2/httpd.conf"
        ),
        "/usr/sbin/start_apache2": "#!/bin/bash\n",
        "/etc/apache2/httpd.conf": "Include /etc/apache2/listen.conf\nIncludeOptional /etc/apache2/vhosts.d/*.conf\n",
        "/etc/apache2/listen.conf": "Listen 80\n<IfDefine SSL>\nListen 443\n</IfDefine>\n",
        "/etc/apache2/vhosts.d/a.conf": "ProxyPass / http://app.corp:3000/\n",
    }
    unit = "/usr/lib/systemd/system/apache2.service"
    service = Service(
        seen_in=Place(unit, 12), id="apache2", manager="systemd", enabled=True, unit=unit, type="notify",
        command=("/usr/sbin/start_apache2", "-DSYSTEMD", "-DFOREGROUND", "-DSSL", "-k", "start"),
    )  # fmt: skip
    findings = list(apache.join(FakeGuest(suse), (service,)))
    assert [f.port for f in findings if isinstance(f, Listen)] == [80, 443]
    assert needs(findings) == [("tcp:app.corp:3000", 1)]
    assert not any(isinstance(f, Foreground) for f in findings)


def test_others_are_left_alone() -> None:
    command = ("/usr/bin/python3",)
    other = Service(seen_in=Place("/x"), id="web", manager="systemd", enabled=True, unit="/x", command=command)
    assert found(service=other) == []
    applet: dict[str, Content] = {"/bin/busybox": b"", "/usr/sbin/httpd": Link("/bin/busybox")}
    assert redhat(("/usr/sbin/httpd", "-DFOREGROUND"), applet) == []
    assert list(apache.join(FakeGuest({}), (APACHE2,))) == []


SECRETS = """\
AuthLDAPBindPassword "hunter2xyz"
DBDParams "host=db user=x password=hunter3xyz dbname=q"
OIDCClientSecret hunter5xyz
SetEnv DB_PASSWORD hunter6xyz
SetEnv DB_NAME orders
SessionCryptoPassphrase exec:/usr/bin/phrase
php_admin_value mysqli.default_pw hunter9xyz
RequestHeader set Authorization "Basic aHVudGVyMTB4eXo6aHVudGVy"
ProxyPass /a ajp://a:8009 secret=hunter12xyz
SetEnv API_TOKEN ${TOKEN}
"""


def test_secrets_are_named_by_place_and_appear_nowhere_else() -> None:
    findings = of_site(SECRETS)
    secrets = [f for f in findings if isinstance(f, Secret)]
    assert [(s.seen_in.line, s.kind, s.value) for s in secrets] == [
        (1, "password", "hunter2xyz"), (2, "password", "hunter3xyz"), (3, "token", "hunter5xyz"),
        (4, "password", "hunter6xyz"), (7, "password", "hunter9xyz"), (8, "token", "aHVudGVyMTB4eXo6aHVudGVy"),
        (9, "token", "hunter12xyz"),
    ]  # fmt: skip
    assert secrets[3].id == "apache2-sites-available-shop-conf-db-password"
    assert not any(s.value in str(f) for s in secrets for f in findings)


# ---------------------------------------------------------------- hostile


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("<>/\\\"' \n\t#${}aIfModule!*[]:|.01"), max_size=300))
def test_any_text_is_read(text: str) -> None:
    tree, _ = parse(text)
    assert isinstance(tree, tuple)
    findings = of_site(text)
    assert any(isinstance(f, Foreground) for f in findings)


def test_damaged_files_are_read() -> None:
    chance = random.Random(7)
    whole = SHOP + PORTS + MAIN
    for _ in range(150):
        at, size = chance.randrange(len(whole)), chance.randrange(1, 40)
        junk = "".join(chance.choice('<>"\\\n${}|:/\0\udcff') for _ in range(chance.randrange(6)))
        findings = of_site(whole[:at] + junk + whole[at + size :])
        assert any(isinstance(f, Listen) and f.port == 80 for f in findings)
