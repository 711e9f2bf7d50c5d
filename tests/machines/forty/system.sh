#!/bin/sh
# Inside the machine: accounts, a package of its own, and what an administrator does with dpkg's own tools.
set -eu

ln -sf /usr/share/zoneinfo/Europe/Paris /etc/localtime
sed -i 's/^# \(fr_FR.UTF-8 UTF-8\)$/\1/' /etc/locale.gen
locale-gen >/dev/null
update-locale LANG=fr_FR.UTF-8
echo 5b0e0c4f7a3d4e6c9d1f2a8b7c6d5e50 >/etc/machine-id
echo forty >/etc/hostname
echo "/dev/sda1 / ext4 errors=remount-ro 0 1" >/etc/fstab

for name in acme shopfront; do
    adduser --quiet --system --group --home "/var/lib/$name" --no-create-home --gecos "$name" "$name"
done
useradd --uid 1000 --create-home --shell /bin/bash --comment 'Ben Okafor' ben
useradd --uid 1001 --create-home --shell /bin/bash --comment 'Carla Ruiz' carla

# A package of nobody's archive. Its second version brings another default of a conffile that was changed.
package() {
    rm -rf /tmp/deb
    mkdir -p /tmp/deb/DEBIAN /tmp/deb/usr/bin /tmp/deb/usr/lib/acme /tmp/deb/etc/acme /tmp/deb/lib/systemd/system
    printf 'Package: acme-agent\nVersion: %s\nArchitecture: all\nMaintainer: Acme <ops@acme.example>\n' "$1" >/tmp/deb/DEBIAN/control
    printf 'Section: admin\nPriority: optional\nDescription: reports to Acme\n' >>/tmp/deb/DEBIAN/control
    printf '/etc/acme/agent.conf\n/etc/acme/probes.conf\n' >/tmp/deb/DEBIAN/conffiles
    printf 'server = reports.acme.example\ninterval = %s\n' "$2" >/tmp/deb/etc/acme/agent.conf
    printf 'probe disk\nprobe load\n' >/tmp/deb/etc/acme/probes.conf
    printf '#!/bin/sh\n# version %s\nexec /usr/lib/acme/collect "$@"\n' "$1" >/tmp/deb/usr/bin/acme-agent
    printf '#!/bin/sh\nwhile sleep 60; do df; done\n' >/tmp/deb/usr/lib/acme/collect
    printf '[Service]\nUser=acme\nExecStart=/usr/bin/acme-agent\n\n[Install]\nWantedBy=multi-user.target\n' \
        >/tmp/deb/lib/systemd/system/acme-agent.service
    chmod 0755 /tmp/deb/usr/bin/acme-agent /tmp/deb/usr/lib/acme/collect
    (cd /tmp/deb && find usr lib -type f -exec md5sum {} + >DEBIAN/md5sums)
    dpkg-deb --root-owner-group --build /tmp/deb "/tmp/acme-agent_$1_all.deb" >/dev/null
}
package 1.0 60
dpkg --install /tmp/acme-agent_1.0_all.deb >/dev/null
sed -i 's/^server = .*/server = reports.forty.example/' /etc/acme/agent.conf
package 1.1 30
dpkg --force-confold --install /tmp/acme-agent_1.1_all.deb >/dev/null
rm -rf /tmp/deb /tmp/acme-agent_*
systemctl --quiet enable acme-agent.service

# Changes that dpkg knows of: not one of them is drift.
dpkg-divert --quiet --local --rename --divert /usr/bin/tinyproxy.distrib --add /usr/bin/tinyproxy
printf '#!/bin/sh\nexec nice -n 10 /usr/bin/tinyproxy.distrib "$@"\n' >/usr/bin/tinyproxy
chmod 0755 /usr/bin/tinyproxy
update-alternatives --quiet --set pager /bin/more
update-alternatives --quiet --set awk /usr/bin/mawk
dpkg-statoverride --update --add root adm 0750 /usr/bin/wg
dpkg-statoverride --update --add root ben 4750 /usr/sbin/openvpn

# What the packages' scripts took from the host that this is built on.
postconf -e myhostname=forty
rm -f /etc/munin/plugins/if_*
echo 'nameserver 10.0.0.2' >/etc/resolv.conf

# What makes files that no package lists: a certificate authority, sites and modules, compiled Python.
mkdir -p /usr/local/share/ca-certificates
cat >/usr/local/share/ca-certificates/acme.crt </tmp/forty/acme.crt
update-ca-certificates >/dev/null
a2enmod --quiet rewrite headers
a2dissite --quiet 000-default
phpdismod -s fpm gettext
systemctl --quiet disable squid.service
systemctl --quiet mask privoxy.service
systemctl --quiet set-default multi-user.target
