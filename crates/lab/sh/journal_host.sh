#!/bin/sh
# A host with journald, sshd, sudo and su of its own, or journald alone, whose every change is gone when it ends.
# It shares the network of the machine, so that its agent finds the test's daemon.
# Usage: journal_host.sh COPIED_ROOT.SH PORT (of its sshd, or none) READ_KMSG (of its journald: yes or no) EMPTY_DIR
set -e
lower=/ work=$4
. "$1"
# A machine that has none can have all the rest.
if [ -c /dev/kmsg ]; then
  mount --bind /dev/kmsg "$root/dev/kmsg"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/var/log"
mkdir -p "$root/run/sshd" "$root/run/systemd/journal" "$root/etc/systemd"
ln -s /run/systemd/journal/dev-log "$root/dev/log"
echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
printf '[Journal]\nStorage=volatile\nReadKMsg=%s\nAudit=no\nRateLimitBurst=0\nLineMax=2M\n' "$3" \
  > "$root/etc/systemd/journald.conf"
rm -rf "$root/etc/systemd/journald.conf.d"
hostname journal-host
exec chroot "$root" /bin/sh -ec '
  for dir in /usr/lib/systemd /lib/systemd; do
    [ -x $dir/systemd-journald ] && journald=$dir/systemd-journald
  done
  $journald &
  until [ -S /run/systemd/journal/dev-log ]; do sleep 0.05; done
  if [ "$1" != none ]; then
    useradd -m bob
    echo "bob:s3cret" | chpasswd
    ssh-keygen -q -t ed25519 -N "" -f /run/host_key
    /usr/sbin/sshd -f /dev/null -h /run/host_key -o UsePAM=yes -o KbdInteractiveAuthentication=no \
      -o ListenAddress=127.0.0.1:$1
  fi
  echo ready
  # A program that begins each second would keep its agent from ever being at rest.
  while :; do sleep 3600; done' sh "$2"
