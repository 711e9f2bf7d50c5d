#!/bin/sh
# Inside the machine, before its own files are laid down: locale, accounts, an empty database cluster.
set -eu

ln -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime
sed -i 's/^# \(en_US.UTF-8 UTF-8\)$/\1/' /etc/locale.gen
locale-gen
update-locale LANG=en_US.UTF-8

adduser --quiet --system --uid 996 --group --home /srv/orders --no-create-home --gecos 'Orders application' orders
# The password's hash is a planted secret: truth.yaml.
useradd --uid 1000 --create-home --shell /bin/bash --comment 'Anna Weber' --groups sudo anna --password \
    '$6$VM2CPLANTED$c2JTAj4yaBaouPmC7igeAYTWcY7C5aNlSAkaPPb.k5GbrXTZ/Ambmo0yYj0q8iGHDKivOtxXUGpd5hacHSwam/'

# The package made its cluster in the locale of the installation.
pg_dropcluster 15 main
pg_createcluster --locale=en_US.UTF-8 15 main

rm /etc/ssh/ssh_host_*
ssh-keygen -A
make-ssl-cert generate-default-snakeoil --force-overwrite
