# Boots a root directory with systemd as process 1, copy-on-write: whatever it writes is in memory and
# gone when it ends. Runs in mount, process, UTS, IPC and cgroup namespaces of its own.
# $1: the root directory; $2: an empty directory to work in; $3: the cgroup2 file system; $4: its name.
set -e
lower=$1 work=$2 cgroup=$3 name=$4
mount --make-rprivate /
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
root=$work/root
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
touch "$root/dev/kmsg"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/run/lock"
hostname "$name"
echo "127.0.1.1 $name" >>"$root/etc/hosts"
# systemd hands credentials over by a mount that has to reach its services; this namespace is its own.
mount --make-rshared /
container=hidps-lab exec chroot "$root" /lib/systemd/systemd --system --show-status=no
