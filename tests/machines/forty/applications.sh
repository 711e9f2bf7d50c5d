#!/bin/sh
# Inside the machine: applications that nobody packaged, their data, people's homes, logs.
set -eu

# put PATH [MODE]: writes standard input to a file, whose folders are made.
put() {
    mkdir -p "$(dirname "$1")"
    cat >"$1"
    chmod "${2:-0644}" "$1"
}

# --- Node: /srv/shopfront
module() {
    put "/srv/shopfront/node_modules/$1/package.json" <<END
{"name": "$1", "version": "$2", "main": "index.js", "license": "MIT"}
END
    echo "module.exports = '$1'" | put "/srv/shopfront/node_modules/$1/index.js"
    echo "# $1" | put "/srv/shopfront/node_modules/$1/README.md"
}
module express 4.19.2
module pg 8.11.3
module @acme/cart 2.0.1
module left-pad 1.3.0
put /srv/shopfront/package.json <<'END'
{"name": "shopfront", "version": "3.4.0", "private": true, "scripts": {"start": "node server.js"},
 "dependencies": {"express": "^4.19.2", "pg": "^8.11.3", "@acme/cart": "2.0.1", "left-pad": "*"}}
END
put /srv/shopfront/package-lock.json <<'END'
{"name": "shopfront", "version": "3.4.0", "lockfileVersion": 3, "requires": true, "packages": {
  "": {"name": "shopfront", "version": "3.4.0"},
  "node_modules/express": {"version": "4.19.2"}, "node_modules/pg": {"version": "8.11.3"},
  "node_modules/@acme/cart": {"version": "2.0.1"}, "node_modules/left-pad": {"version": "1.3.0"}}}
END
echo "require('express')" | put /srv/shopfront/server.js
echo "body { margin: 0 }" | put /srv/shopfront/public/site.css
put /etc/systemd/system/shopfront.service <<'END'
[Service]
User=shopfront
WorkingDirectory=/srv/shopfront
ExecStart=/usr/bin/node /srv/shopfront/server.js
Environment=PORT=3000

[Install]
WantedBy=multi-user.target
END

# --- Ruby: /srv/wiki, with its bundle inside
gems=/srv/wiki/vendor/bundle/ruby/3.1.0
gem() {
    put "$gems/specifications/$1-$2.gemspec" <<END
Gem::Specification.new do |s|
  s.name = "$1".freeze
  s.version = "$2"
end
END
    echo "module Gem_$2; end" | put "$gems/gems/$1-$2/lib/$1.rb"
}
gem rack 2.2.8
gem sinatra 3.2.0
gem puma 6.4.2
printf 'source "https://rubygems.org"\ngem "sinatra"\ngem "puma"\n' | put /srv/wiki/Gemfile
put /srv/wiki/Gemfile.lock <<'END'
GEM
  remote: https://rubygems.org/
  specs:
    puma (6.4.2)
    rack (2.2.8)
    sinatra (3.2.0)
      rack (~> 2.2)

PLATFORMS
  ruby

DEPENDENCIES
  puma
  sinatra

BUNDLED WITH
   2.3.15
END
printf 'require "sinatra"\n' | put /srv/wiki/app.rb
printf 'require "./app"\nrun Sinatra::Application\n' | put /srv/wiki/config.ru

# --- PHP: /var/www/blog
put /var/www/blog/composer.json <<'END'
{"name": "acme/blog", "require": {"monolog/monolog": "^3.5"}}
END
put /var/www/blog/composer.lock <<'END'
{"packages": [{"name": "monolog/monolog", "version": "3.5.0", "type": "library"}], "packages-dev": []}
END
put /var/www/blog/vendor/composer/installed.json <<'END'
{"packages": [{"name": "monolog/monolog", "version": "3.5.0", "install-path": "../monolog/monolog"}], "dev": false}
END
echo '<?php namespace Monolog; class Logger {}' | put /var/www/blog/vendor/monolog/monolog/src/Logger.php
echo '<?php // made by composer' | put /var/www/blog/vendor/autoload.php
echo '<?php require "../vendor/autoload.php"; echo "blog";' | put /var/www/blog/public/index.php
chown -R www-data:www-data /var/www/blog

# --- Python: a venv with pip, and pipx in a home
python3 -m venv /srv/api/venv
site=/srv/api/venv/lib/python3.11/site-packages
printf 'Metadata-Version: 2.1\nName: falcon\nVersion: 3.1.3\n' | put $site/falcon-3.1.3.dist-info/METADATA
printf 'falcon/__init__.py,,\nfalcon-3.1.3.dist-info/METADATA,,\nfalcon-3.1.3.dist-info/RECORD,,\n' | put $site/falcon-3.1.3.dist-info/RECORD
echo '__version__ = "3.1.3"' | put $site/falcon/__init__.py
printf 'import falcon\n\napp = falcon.App()\n' | put /srv/api/api.py
put /etc/supervisor/conf.d/api.conf <<'END'
[program:api]
command=/srv/api/venv/bin/python /srv/api/api.py
directory=/srv/api
user=acme
END
su ben -s /bin/sh -c 'python3 -m venv --without-pip /home/ben/.local/pipx/venvs/httpie'
site=/home/ben/.local/pipx/venvs/httpie/lib/python3.11/site-packages
printf 'Metadata-Version: 2.1\nName: httpie\nVersion: 3.2.2\n' | put $site/httpie-3.2.2.dist-info/METADATA
echo '__version__ = "3.2.2"' | put $site/httpie/__init__.py
printf '#!/home/ben/.local/pipx/venvs/httpie/bin/python\nimport httpie\n' | put /home/ben/.local/pipx/venvs/httpie/bin/http 0755
mkdir -p /home/ben/.local/bin
ln -s ../pipx/venvs/httpie/bin/http /home/ben/.local/bin/http
pip_root=/usr/local/lib/python3.11/dist-packages
printf 'Metadata-Version: 2.1\nName: tabulate\nVersion: 0.9.0\n' | put $pip_root/tabulate-0.9.0.dist-info/METADATA
echo pip | put $pip_root/tabulate-0.9.0.dist-info/INSTALLER
printf 'tabulate/__init__.py,,\ntabulate-0.9.0.dist-info/METADATA,,\ntabulate-0.9.0.dist-info/INSTALLER,,\ntabulate-0.9.0.dist-info/RECORD,,\n' \
    | put $pip_root/tabulate-0.9.0.dist-info/RECORD
echo 'def tabulate(rows): ...' | put $pip_root/tabulate/__init__.py

# --- Java: a server unpacked in /opt, a jar of its own
mkdir -p /opt/apache-tomcat-10.1.34
cp -rL /usr/share/tomcat10/bin /usr/share/tomcat10/lib /usr/share/tomcat10/etc /opt/apache-tomcat-10.1.34/
mv /opt/apache-tomcat-10.1.34/etc /opt/apache-tomcat-10.1.34/conf
python3 - <<'END'
import zipfile
from pathlib import Path

def jar(path, title, version, group):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        def put(name, text):
            archive.writestr(zipfile.ZipInfo(name, (2024, 5, 6, 7, 8, 10)), text)
        put("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\nImplementation-Title: {title}\r\n"
            f"Implementation-Version: {version}\r\nMain-Class: com.acme.Main\r\n\r\n")
        put(f"META-INF/maven/{group}/{title}/pom.properties", f"version={version}\ngroupId={group}\nartifactId={title}\n")
        put("com/acme/Main.class", b"\xca\xfe\xba\xbe\0\0\0\x3d" + bytes(64))

jar("/opt/billing/billing.jar", "billing", "2.7.1", "com.acme")
jar("/opt/apache-tomcat-10.1.34/webapps/stock.war", "stock", "1.0.4", "com.acme")
END
put /etc/systemd/system/billing.service <<'END'
[Service]
User=acme
ExecStart=/usr/bin/java -Xmx256m -jar /opt/billing/billing.jar

[Install]
WantedBy=multi-user.target
END

# --- binaries: one of Go with its build information, one that no language's manager knows; scripts
cp /usr/bin/prometheus-node-exporter /usr/local/bin/fleet-agent
mkdir -p /opt/legacy/bin
cp /usr/sbin/dnsmasq /opt/legacy/bin/resolverd
printf '#!/bin/bash\npg_dumpall | gzip >/var/backups/forty/all.sql.gz\n' | put /usr/local/sbin/backup-all 0755
printf '#!/usr/bin/perl\nprint "tidy\\n";\n' | put /opt/scripts/tidy.pl 0755
printf '#!/usr/bin/env python3\nprint("report")\n' | put /opt/scripts/report 0755
printf '# backups\n30 2 * * * root /usr/local/sbin/backup-all\n' | put /etc/cron.d/backup-all
printf '#!/bin/sh\nexec /opt/scripts/report\n' | put /etc/cron.daily/report 0755
printf '0 5 * * 1 /opt/scripts/tidy.pl\n' | put /var/spool/cron/crontabs/ben 0600
chown ben:crontab /var/spool/cron/crontabs/ben
systemctl --quiet enable shopfront.service billing.service

# --- data
mkdir -p /var/lib/acme/queue /var/lib/shopfront/uploads /srv/exports/drawings /srv/ftp/incoming /var/backups/forty
echo '{"order": 1}' >/var/lib/acme/queue/0001.json
head -c 300000 /dev/zero | tr '\0' x >/var/lib/shopfront/uploads/picture.jpg
echo 'M 0 0 L 1 1' >/srv/exports/drawings/gear.svg
echo 'upload' >/srv/ftp/incoming/readme.txt
printf 'From carla\nSubject: hello\n\nHello.\n' | put /var/mail/ben 0660
printf 'delivered\n' >/var/backups/forty/all.sql.gz
chown -R acme:acme /var/lib/acme
chown -R shopfront:shopfront /var/lib/shopfront
chown ben:mail /var/mail/ben
printf '/srv/exports 10.0.0.0/8(ro,no_subtree_check)\n' >>/etc/exports

# --- homes
printf 'set -o vi\n' >>/home/ben/.bashrc
printf '# notes\n' | put /home/ben/notes/todo.md
printf 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEx4YW1wbGVrZXlvZm5vYm9keWF0YWxsZXhhbXBsZTE ben@desk\n' | put /home/ben/.ssh/authorized_keys 0600
printf '\\documentclass{article}\n' | put /home/carla/thesis/thesis.tex
printf 'alias ll="ls -l"\n' | put /home/carla/.bash_aliases
printf 'syntax on\n' | put /root/.vimrc
chown -R ben:ben /home/ben
chown -R carla:carla /home/carla

# --- by hand, among what packages brought
cp /usr/lib/x86_64-linux-gnu/libz.so.1 /usr/lib/x86_64-linux-gnu/libacme.so.1
cp /usr/bin/redis-cli /usr/sbin/acme-probe

# --- logs, caches, and what a machine leaves that has been running
bytes() { head -c "$1" /dev/zero | tr '\0' "$2"; }
mkdir -p /var/log/acme /var/log/shopfront /var/cache/shopfront /var/log/journal/5b0e0c4f7a3d4e6c9d1f2a8b7c6d5e50
echo '2024-05-06 started' >/var/log/acme/agent.log
echo 'GET / 200' >/var/log/shopfront/access.log
echo 'May  6 07:08:10 forty systemd[1]: Started.' >/var/log/syslog
bytes 8000000 j >/var/log/journal/5b0e0c4f7a3d4e6c9d1f2a8b7c6d5e50/system.journal
bytes 100000 c >/var/cache/shopfront/thumbnails.bin
bytes 512 r | put /var/lib/systemd/random-seed 0600
: | put /var/lib/systemd/timers/stamp-logrotate.timer
: | put /var/lib/systemd/timesync/clock
echo 'logrotate state -- version 2' | put /var/lib/logrotate/status
echo '1715000000 aa:bb:cc:dd:ee:ff 10.0.0.9 desk *' | put /var/lib/misc/dnsmasq.leases
echo 'lease { interface "eth0"; }' | put /var/lib/dhcp/dhclient.eth0.leases
echo '-12.345 0.067' | put /var/lib/chrony/chrony.drift
bytes 40000 f | put /var/lib/fail2ban/fail2ban.sqlite3 0600
bytes 60000 q | put /var/spool/squid/00/00/00000001
bytes 9000 p | put /var/spool/postfix/deferred/A/A1B2C3D4 0700
echo 'node_boots 3' | put /var/lib/prometheus/node-exporter/boots.prom
echo 'ls -l' | put /root/.bash_history 0600
echo 'ssh desk' | put /home/ben/.bash_history 0600
bytes 4096 k | put /home/carla/.cache/fontconfig/cache.bin
printf '%s\n' '-----BEGIN OpenVPN Static key V1-----' 00112233445566778899aabbccddeeff '-----END OpenVPN Static key V1-----' | put /etc/openvpn/server/ta.key 0600
bytes 16000000 0 | put /swapfile 0600
bytes 30000000 d | put /data/media/film.mp4
bytes 12000000 b | put /backup/2024-05-06.tar
chown www-data:www-data /data/media/film.mp4
