#!/bin/sh
# Inside the machine, after its own files are laid down: owners and modes, the changed settings, the
# application's packages, the databases' contents, the boot loader.
set -eu

kernel=$(basename /boot/vmlinuz-*)
kernel=${kernel#vmlinuz-}

# change FILE OLD NEW: replaces a line that must be there.
change() {
    grep -qE "^$2\$" "$1" || { echo "$1 has no line: $2" >&2; exit 1; }
    sed -i -E "s|^$2\$|$3|" "$1"
}

change /etc/nginx/nginx.conf '	worker_connections 768;' '	worker_connections 512;'
change /etc/nginx/nginx.conf '	# server_tokens off;' '	server_tokens off;'
change /etc/redis/redis.conf '# maxmemory <bytes>' 'maxmemory 64mb'
change /etc/redis/redis.conf 'appendonly no' 'appendonly yes'
sed -i "s|@ROOT_UUID@|$ROOT_UUID|; s|@KERNEL@|$kernel|" /etc/fstab /boot/grub/grub.cfg

ln -s ../sites-available/shop /etc/nginx/sites-enabled/shop
rm /etc/nginx/sites-enabled/default

python3 -m venv /srv/orders/venv
/srv/orders/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-index --no-deps \
    --find-links=/tmp/wheels --requirement=/tmp/recipe/requirements.txt

chmod 0444 /etc/machine-id
chown root:orders /etc/orders/env
chmod 0640 /etc/orders/env
chown root:ssl-cert /etc/ssl/private/shop.key
chmod 0640 /etc/ssl/private/shop.key
chown -R orders:orders /srv/orders/reports /var/log/orders
chmod 0750 /srv/orders/reports /var/log/orders
chmod 0640 /srv/orders/reports/* /var/log/orders/*
chown -R postgres:postgres /etc/postgresql/15/main/conf.d
chmod 0755 /usr/local/bin/orders-report
chown -R anna:anna /home/anna
chmod 0700 /home/anna /home/anna/.ssh
chmod 0600 /home/anna/.ssh/authorized_keys

systemctl --quiet enable systemd-networkd.service orders.service orders-cleanup.timer

# The databases are filled over unix sockets, so that nothing of the building host can be met.
password=$(sed -n 's|^DATABASE_URL=postgresql://orders:\([^@]*\)@.*|\1|p' /etc/orders/env)
postgres() { runuser -u postgres -- "$@"; }
server=/usr/lib/postgresql/15/bin
data=/var/lib/postgresql/15/main
mkdir -m 0777 /tmp/sockets
settings="-c config_file=/etc/postgresql/15/main/postgresql.conf -c external_pid_file="
settings="$settings -c listen_addresses= -c unix_socket_directories=/tmp/sockets"
postgres $server/pg_ctl start --silent --wait --pgdata=$data --log=/tmp/sockets/log --options="$settings"
postgres psql --quiet --no-psqlrc --host=/tmp/sockets --set=password="$password" --file=/tmp/recipe/database.sql
postgres $server/pg_ctl stop --silent --wait --mode=fast --pgdata=$data
postgres $server/pg_controldata $data | grep -x 'Database cluster state: *shut down'

# The unit's own UMask, so that the files have the modes they would have had.
(umask 007 && exec runuser -u redis -- redis-server /etc/redis/redis.conf --daemonize no --pidfile '' \
    --port 0 --unixsocket /tmp/sockets/redis --unixsocketperm 777) &
tries=50
until redis-cli -s /tmp/sockets/redis ping 2>/dev/null | grep -qx PONG; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { echo "redis-server does not answer" >&2; exit 1; }
    sleep 0.1
done
redis-cli -s /tmp/sockets/redis set visits 41
redis-cli -s /tmp/sockets/redis shutdown
wait $!

# What grub-install lays down; the build puts boot.img and core.img in front of the first partition.
mkdir -p /boot/grub/i386-pc
cp /usr/lib/grub/i386-pc/boot.img /boot/grub/i386-pc/
grub-mkimage --format=i386-pc --prefix='(hd0,msdos1)/boot/grub' --output=/boot/grub/i386-pc/core.img \
    biosdisk part_msdos ext2 normal linux search search_fs_uuid serial terminal
