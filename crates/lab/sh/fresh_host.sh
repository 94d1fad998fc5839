# Boots a root directory with systemd as process 1, copy-on-write.
# $1: the root directory; $2: an empty directory to work in; $3: its name.
set -e
lower=$1 work=$2 name=$3
. "${0%/*}/copied_root.sh"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
hostname "$name"
echo "127.0.1.1 $name" >>"$root/etc/hosts"
# systemd hands credentials over by a mount that has to reach its services; this namespace is its own.
mount --make-rshared /
container=hidps-lab exec chroot "$root" /lib/systemd/systemd --system --show-status=no
