from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import php_apps
from analyzers._php_fpm import configuration, main_file, parse_address, parse_ini, version_of
from analyzers._php_packages import lines_of, parse_installed_php
from analyzers._php_web import parse_apache
from analyzers._reading import Reader
from migrate.model import Application, Finding, LanguagePackage, Listen, Place, Unread, Uses
from tests.analyzers.app_machine import ELF, UNIT, code, job, of, package, required, run, service
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link

# vendor/composer as Composer 2.5.5 wrote it for a project with a library and a metapackage.
INSTALLED = """\
{
    "packages": [
        {
            "name": "acme/lib",
            "version": "1.2.3",
            "version_normalized": "1.2.3.0",
            "type": "library",
            "installation-source": "dist",
            "install-path": "../acme/lib"
        },
        {
            "name": "acme/meta",
            "version": "v0.1.0",
            "version_normalized": "0.1.0.0",
            "type": "metapackage",
            "install-path": null
        }
    ],
    "dev": true,
    "dev-package-names": []
}
"""
INSTALLED_PHP = """\
<?php return array(
    'root' => array(
        'name' => 'acme/shop',
        'pretty_version' => '3.0.1',
        'version' => '3.0.1.0',
        'reference' => null,
        'type' => 'project',
        'install_path' => __DIR__ . '/../../',
        'aliases' => array(),
        'dev' => true,
    ),
    'versions' => array(
        'acme/lib' => array(
            'pretty_version' => '1.2.3',
            'version' => '1.2.3.0',
            'reference' => 'f363c174ec691979056cebba9734fe4d2d61fa97',
            'type' => 'library',
            'install_path' => __DIR__ . '/../acme/lib',
            'aliases' => array(),
            'dev_requirement' => false,
        ),
        'acme/meta' => array(
            'pretty_version' => 'v0.1.0',
            'version' => '0.1.0.0',
            'reference' => null,
            'type' => 'metapackage',
            'install_path' => null,
            'aliases' => array(),
            'dev_requirement' => false,
        ),
        'acme/shop' => array(
            'pretty_version' => '3.0.1',
            'version' => '3.0.1.0',
            'reference' => null,
            'type' => 'project',
            'install_path' => __DIR__ . '/../../',
            'aliases' => array(),
            'dev_requirement' => false,
        ),
    ),
);
"""
# Debian 12's, without most comments.
FPM = """\
[global]
pid = /run/php/php8.2-fpm.pid
error_log = /var/log/php8.2-fpm.log
; Include one or more files.
include=/etc/php/8.2/fpm/pool.d/*.conf
"""
POOL = """\
; Start a new pool named 'www'.
[www]
user = www-data
group = www-data
listen = /run/php/php8.2-fpm.sock
;chdir = /var/www
pm = dynamic
"""
NGINX = """\
events {}
http {
    upstream php { server unix:/var/run/php/php8.2-fpm.sock; }
    server {
        root /var/www/shop/public;
        location ~ \\.php$ {
            fastcgi_pass php;
        }
    }
    server {
        root /var/www/other;
        location ~ \\.php$ { fastcgi_pass 127.0.0.1:9001; }
    }
}
"""
APACHE = """\
<VirtualHost *:80>
    DocumentRoot "/var/www/blog"
    <FilesMatch "\\.php$">
        SetHandler "proxy:unix:/run/php/php8.2-fpm.sock|fcgi://localhost"
    </FilesMatch>
</VirtualHost>
<VirtualHost *:81>
    DocumentRoot /var/www/plain
</VirtualHost>
"""
WORDPRESS = "<?php\n/**\n * @global string $wp_version\n */\n$wp_version = '6.4.2';\n"
SHOP: dict[str, Content] = {
    "/var/www/shop/composer.json": json.dumps({"name": "acme/shop", "type": "project", "version": "3.0.1"}, indent=4),
    "/var/www/shop/artisan": File("#!/usr/bin/env php\n<?php\n", mode=0o755),
    "/var/www/shop/public/index.php": "<?php\n",
    "/var/www/shop/vendor/autoload.php": "<?php\n",
    "/var/www/shop/vendor/composer/installed.json": INSTALLED,
    "/var/www/shop/vendor/composer/installed.php": INSTALLED_PHP,
    "/var/www/shop/vendor/acme/lib/composer.json": '{"name": "acme/lib", "type": "project"}',
    "/usr/bin/php": Link("/etc/alternatives/php"),
    "/etc/alternatives/php": Link("/usr/bin/php8.2"),
    "/usr/bin/php8.2": ELF,
    "/usr/sbin/php-fpm8.2": ELF,
    "/var/lib/dpkg/info/php8.2-cli.list": "",
    "/etc/php/8.2/fpm/php-fpm.conf": FPM,
    "/etc/php/8.2/fpm/pool.d/www.conf": POOL,
    "/etc/php/8.2/fpm/conf.d/20-intl.ini": Link("/etc/php/8.2/mods-available/intl.ini"),
    "/etc/php/8.2/mods-available/intl.ini": "; configuration\nextension=intl.so\n",
    "/etc/php/8.2/cli/conf.d/10-opcache.ini": "zend_extension=opcache\n",
    "/usr/lib/php/20220829/intl.so": ELF,
    "/usr/lib/php/20220829/opcache.so": ELF,
    "/etc/nginx/nginx.conf": NGINX,
}
PHP: tuple[Finding, ...] = (
    *package("php8.2-cli", "/usr/bin/php8.2"),
    *package("php8.2-fpm", "/usr/sbin/php-fpm8.2"),
    *package("php8.2-intl", "/usr/lib/php/20220829/intl.so"),
    *package("php8.2-opcache", "/usr/lib/php/20220829/opcache.so"),
)
FPM_UNIT = service(
    "/usr/sbin/php-fpm8.2", "--nodaemonize", "--fpm-config", "/etc/php/8.2/fpm/php-fpm.conf", user="root", ident="fpm"
)


def analyzed(files: dict[str, Content]) -> list[Finding]:
    return list(php_apps.analyze(FakeGuest(files)))


def test_an_application_and_what_composer_installed() -> None:
    assert analyzed(SHOP) == [
        LanguagePackage(
            seen_in=Place("/var/www/shop/vendor/composer/installed.json", 4),
            ecosystem="composer",
            name="acme/lib",
            version="1.2.3",
            location="/var/www/shop/vendor/acme/lib",
        ),
        Application(
            seen_in=Place("/var/www/shop/composer.json", 2),
            root="/var/www/shop",
            ecosystem="composer",
            name="acme/shop",
            version="3.0.1",
            runtime=("php8.2-cli",),
        ),
    ]


def test_other_forms_of_what_is_installed() -> None:
    php = {path: content for path, content in SHOP.items() if not path.endswith("installed.json")}
    assert [(f.name, f.version, f.location, f.seen_in.line) for f in of(LanguagePackage, analyzed(php))] == [
        ("acme/lib", "1.2.3", "/var/www/shop/vendor/acme/lib", 13)
    ]
    first = {**SHOP, "/var/www/shop/vendor/composer/installed.json": '[{"name": "acme/lib", "version": "v1"}]'}
    assert [(f.name, f.version, f.location) for f in of(LanguagePackage, analyzed(first))] == [
        ("acme/lib", "v1", "/var/www/shop/vendor/acme/lib")
    ]
    gone = {path: content for path, content in SHOP.items() if "/vendor/acme" not in path}
    assert of(LanguagePackage, analyzed(gone)) == []
    assert lines_of(INSTALLED) == {"acme/lib": 4, "acme/meta": 12}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"wp-includes/version.php": WORDPRESS, "wp-admin/x.php": ""},
            ("wordpress", "6.4.2", "wp-includes/version.php:5"),
        ),
        (
            {"version.php": "<?php\n$OC_Version = [28, 0, 0, 4];\n$OC_VersionString = '28.0.0 beta 1';\n", "occ": ""},
            ("nextcloud", "28.0.0 beta 1", "version.php:3"),
        ),
        (
            {"version.php": "<?php\n$OC_VersionString = '10.13.0';\n$vendor = 'owncloud';\n", "occ": ""},
            ("owncloud", "10.13.0", "version.php:2"),
        ),
        (
            {"version.php": "$release  = '4.5.2+ (Build: 20250221)';\n", "lib/moodlelib.php": ""},
            ("moodle", "4.5.2+", "version.php:1"),
        ),
        (
            {"core/lib/Drupal.php": "class Drupal {\n\n  const VERSION = '10.1.6';\n", "core/core.services.yml": ""},
            ("drupal", "10.1.6", "core/lib/Drupal.php:3"),
        ),
        (
            {"includes/bootstrap.inc": "define('VERSION', '7.98');\n", "sites/default/settings.php": ""},
            ("drupal", "7.98", "includes/bootstrap.inc:1"),
        ),
        (
            {"includes/Defines.php": "define( 'MW_VERSION', '1.39.5' );\n", "api.php": ""},
            ("mediawiki", "1.39.5", "includes/Defines.php:1"),
        ),
        (
            {"program/include/iniset.php": "    define('RCMAIL_VERSION', '1.6.1');\n", "program/lib/x": ""},
            ("roundcube", "1.6.1", "program/include/iniset.php:1"),
        ),
    ],
)
def test_products(files: dict[str, str], expected: tuple[str, str, str]) -> None:
    found = of(Application, analyzed({f"/var/www/html/{path}": text for path, text in files.items()}))
    assert [(f.root, f.name, f.version, str(f.seen_in)) for f in found] == [
        ("/var/www/html", expected[0], expected[1], f"/var/www/html/{expected[2]}")
    ]


def test_parts_of_an_application_are_not_applications() -> None:
    files: dict[str, Content] = {
        "/var/www/html/wp-includes/version.php": WORDPRESS,
        "/var/www/html/wp-admin": Dir(),
        "/var/www/html/wp-content/plugins/x/composer.json": '{"name": "x/y", "type": "wordpress-plugin"}',
        "/var/www/html/wp-content/plugins/x/vendor/autoload.php": "",
        "/srv/library/composer.json": '{"name": "x/z"}',
        "/srv/composer.json": '{"name": "x/srv", "type": "project"}',
        "/srv/odd/version.php": "<?php $version = compute();\n",
    }
    assert [f.root for f in of(Application, analyzed(files))] == ["/var/www/html"]


# ---------------------------------------------------------------- who runs it


@pytest.mark.parametrize(
    ("command", "directory"),
    [
        (("/usr/bin/php", "/var/www/shop/artisan", "queue:work"), ""),
        (("/usr/bin/php", "artisan", "queue:work"), "/var/www/shop"),
        (("/var/www/shop/artisan", "queue:work"), ""),
        (("/bin/sh", "-c", "cd /var/www/shop; php artisan queue:work"), ""),
    ],
)
def test_who_runs_it(command: tuple[str, ...], directory: str) -> None:
    shell = package("dash", "/bin/sh")
    found = run(php_apps.ANALYZER, {**SHOP, "/bin/sh": ELF}, *PHP, *shell, service(*command, directory=directory))
    assert code(found) == {"/var/www/shop"}
    assert {"php8.2-cli", "php8.2-opcache"} <= required(found)
    assert "php8.2-intl" not in required(found)


def test_a_job() -> None:
    found = run(php_apps.ANALYZER, SHOP, *PHP, job("php /var/www/shop/artisan schedule:run >> /dev/null 2>&1"))
    assert code(found, "night") == {"/var/www/shop"}


def test_a_pool_runs_what_nginx_hands_it() -> None:
    found = run(php_apps.ANALYZER, {**SHOP, "/var/www/other/index.php": ""}, *PHP, FPM_UNIT)
    assert code(found, "fpm") == {"/var/www/shop"}
    assert [str(f.seen_in) for f in of(Uses, found) if f.role == "code"] == ["/etc/nginx/nginx.conf:7"]
    assert [(f.path, str(f.seen_in)) for f in of(Listen, found)] == [
        ("/run/php/php8.2-fpm.sock", "/etc/php/8.2/fpm/pool.d/www.conf:5")
    ]
    assert {"php8.2-fpm", "php8.2-intl"} <= required(found, "fpm")
    assert "php8.2-opcache" not in required(found, "fpm")
    assert {f.path for f in of(Uses, found) if f.role == "config"} >= {
        "/etc/php/8.2/fpm/php-fpm.conf",
        "/etc/php/8.2/fpm/pool.d/www.conf",
    }


def test_a_pool_alone_runs_nothing_that_is_known() -> None:
    files = {path: content for path, content in SHOP.items() if not path.startswith("/etc/nginx")}
    assert code(run(php_apps.ANALYZER, files, *PHP, FPM_UNIT), "fpm") == set()
    files["/etc/php/8.2/fpm/pool.d/www.conf"] = POOL.replace(";chdir = /var/www", "chdir = /var/www/shop")
    assert code(run(php_apps.ANALYZER, files, *PHP, FPM_UNIT), "fpm") == {"/var/www/shop"}


def test_a_pool_runs_what_apache_hands_it() -> None:
    files: dict[str, Content] = {
        **{path: content for path, content in SHOP.items() if not path.startswith("/etc/nginx")},
        "/etc/apache2/sites-enabled/blog.conf": APACHE,
        "/var/www/blog/wp-includes/version.php": WORDPRESS,
        "/var/www/blog/wp-admin": Dir(),
        "/var/www/blog/wp-content/uploads": Dir(uid=33),
        "/var/www/plain/index.php": "",
    }
    found = run(php_apps.ANALYZER, files, *PHP, FPM_UNIT)
    assert code(found, "fpm") == {"/var/www/blog"}
    assert {(f.path, f.role) for f in of(Uses, found) if f.role == "data"} == {
        ("/var/www/blog/wp-content/uploads", "data")
    }


def test_apache_runs_php_itself_where_it_loads_it() -> None:
    files: dict[str, Content] = {
        "/etc/apache2/sites-enabled/blog.conf": "DocumentRoot /var/www/html\n",
        "/etc/apache2/mods-enabled/php8.2.load": "LoadModule php_module /usr/lib/apache2/modules/libphp8.2.so\n",
        "/var/www/html/index.php": "<?php\n",
    }
    unit = service("/usr/sbin/apache2", "-k", "start", user="root", ident="apache2")
    assert code(run(php_apps.ANALYZER, files, unit), "apache2") == {"/var/www/html"}
    del files["/etc/apache2/mods-enabled/php8.2.load"]
    assert code(run(php_apps.ANALYZER, files, unit), "apache2") == set()


def test_files_beside_a_packages_own_and_a_packaged_program() -> None:
    files: dict[str, Content] = {
        **SHOP,
        "/etc/nginx/nginx.conf": NGINX.replace("/var/www/shop/public", "/usr/share/nginx/html"),
        "/usr/share/nginx/html/index.html": "",
        "/usr/share/nginx/html/added.php": "<?php\n",
        "/usr/share/nginx/html/admin.php": "<?php\n",
    }
    owned = (*package("nginx", "/usr/share/nginx/html"), *package("phpmyadmin", "/usr/share/nginx/html/admin.php"))
    found = run(php_apps.ANALYZER, files, *PHP, *owned, FPM_UNIT)
    assert code(found, "fpm") == {"/usr/share/nginx/html"}
    assert "phpmyadmin" in required(found, "fpm")


def test_where_nextcloud_keeps_files() -> None:
    settings = "<?php\n  'dbpassword' => 's3cret',\n  'datadirectory' => '/mnt/cloud/data',\n"
    files: dict[str, Content] = {
        **{path: content for path, content in SHOP.items() if not path.startswith("/var/www")},
        "/var/www/shop/version.php": "$OC_VersionString = '28.0.1';\n",
        "/var/www/shop/occ": "",
        "/var/www/shop/config/config.php": settings,
        "/mnt/cloud/data": Dir(uid=33),
    }
    found = run(php_apps.ANALYZER, files, *PHP, FPM_UNIT)
    assert {f.path for f in of(Uses, found) if f.role == "data"} == {"/mnt/cloud/data"}
    assert "s3cret" not in repr(found)


def test_where_php_itself_listens() -> None:
    unit = service("/usr/bin/php", "-S", "0.0.0.0:8080", "-t", "/var/www/shop/public")
    listens = of(Listen, run(php_apps.ANALYZER, SHOP, *PHP, unit))
    assert [(f.port, f.address, f.assumed, str(f.seen_in)) for f in listens] == [(8080, "0.0.0.0", False, f"{UNIT}:3")]
    unit = service("/usr/bin/php", "artisan", "serve", "--port=8001", directory="/var/www/shop")
    assert [(f.port, f.address) for f in of(Listen, run(php_apps.ANALYZER, SHOP, *PHP, unit))] == [(8001, "127.0.0.1")]


# ---------------------------------------------------------------- parts


def test_where_the_configuration_of_fpm_is() -> None:
    files = ["/etc/php/8.2/fpm/php-fpm.conf", "/etc/php-fpm.conf", "/etc/php83/php-fpm.conf", "/opt/x/etc/php-fpm.conf"]
    reader = Reader(FakeGuest(dict.fromkeys(files, "")), "x")
    assert main_file(reader, ["/usr/sbin/php-fpm8.2"]) == files[0]
    assert main_file(reader, ["/usr/sbin/php-fpm", "--nodaemonize"]) == files[1]
    assert main_file(reader, ["/usr/sbin/php-fpm83", "-F"]) == files[2]
    assert main_file(reader, ["/opt/x/sbin/php-fpm"]) == files[3]
    assert main_file(reader, ["/usr/sbin/php-fpm", "-y", "/srv/f.conf"]) == "/srv/f.conf"
    assert main_file(reader, ["/usr/sbin/php-fpm7.4"]) == "/etc/php-fpm.conf"
    assert [version_of(p) for p in ("/x/php-fpm8.2", "php7-fpm", "php-fpm", "php")] == ["8.2", "7", "", None]
    assert configuration("/usr/bin/php8.2", "")[0] == "/etc/php/8.2/cli/conf.d"
    assert configuration("/usr/bin/php83", "")[1] == "/etc/php83/conf.d"
    assert configuration("/usr/bin/php", "")[0] == "/etc/php.d"


def test_ini_and_addresses() -> None:
    assert list(parse_ini('[www]\nlisten = "127.0.0.1:9000" ; here\n;no = 1\nx\n')) == [
        ("www", "listen", "127.0.0.1:9000", 2)
    ]
    assert parse_address("9000") == ("*", 9000)
    assert parse_address("[::1]:9000") == ("::1", 9000)
    assert parse_address("nowhere") is None


def test_apache_hosts() -> None:
    assert list(parse_apache(APACHE, "/x")) == [
        ("/var/www/blog", "/run/php/php8.2-fpm.sock", Place("/x", 2)),
        ("/var/www/plain", "", Place("/x", 8)),
    ]
    text = 'DocumentRoot /a\nProxyPassMatch ^/(.*\\.php)$ fcgi://127.0.0.1:9000/a/$1\nSetHandler "proxy:fcgi://localhost:9002"\n'
    assert [(root, listen) for root, listen, _ in parse_apache(text, "/x")] == [
        ("/a", ""),
        ("", "127.0.0.1:9000"),
        ("", "127.0.0.1:9002"),
    ]


@given(st.text() | st.text(alphabet="<VirtualHost>\n docmenrSdlfg:/|x'=>()[];__DIR."))
def test_any_text_is_read(text: str) -> None:
    list(parse_ini(text))
    list(parse_apache(text, "/x"))
    list(parse_installed_php(text, "/v/composer/installed.php"))
    lines_of(text)
    parse_address(text)


def test_samples_with_bytes_changed() -> None:
    chance = random.Random(6)
    places = {
        "/var/www/shop/vendor/composer/installed.json": INSTALLED,
        "/etc/php/8.2/fpm/pool.d/www.conf": POOL,
        "/etc/php/8.2/fpm/php-fpm.conf": FPM,
        "/etc/apache2/sites-enabled/x": APACHE,
        "/var/www/shop/composer.json": '{"name": "x", "type": "project"}',
        "/var/www/shop/wp-includes/version.php": WORDPRESS,
    }
    for path, sample in places.items():
        for _ in range(60):
            data = bytearray(sample.encode())
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            files = {**SHOP, "/var/www/shop/wp-admin": Dir(), path: bytes(data)}
            del files["/etc/nginx/nginx.conf"]
            found = run(php_apps.ANALYZER, files, *PHP, FPM_UNIT, service("php", "artisan", directory="/var/www/shop"))
            assert not [f for f in of(Unread, found) if "in this analyzer" in f.why]


def test_includes_that_loop_end() -> None:
    files: dict[str, Content] = {
        **SHOP,
        "/etc/php/8.2/fpm/php-fpm.conf": "include=/etc/php/8.2/fpm/*.conf\n",
        "/etc/php/8.2/fpm/b.conf": "include=/etc/php/8.2/fpm/php-fpm.conf\n",
    }
    found = run(php_apps.ANALYZER, files, *PHP, FPM_UNIT)
    assert of(Listen, found) == []
