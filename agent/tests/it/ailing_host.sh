# A host that lacks what the agent needs, in namespaces of its own; it becomes the agent without privileges.
# Usage: sh -c SCRIPT EMPTY_DIR DISK_OPTIONS AGENT ARGUMENTS...
set -e
place=$0 disk=$1 agent=$2
shift 2
mkdir "$place/state" "$place/etc"
mount -t tmpfs -o "mode=700,$disk" small "$place/state"
for file in /usr/sbin/nft /sbin/nft /usr/bin/nft /bin/nft /usr/local/sbin/nft; do
  if [ -f "$file" ]; then mount --bind /dev/null "$file"; fi
done
for limit in max_user_watches max_user_instances; do
  echo 7 > "$place/$limit"
  mount --bind "$place/$limit" "/proc/sys/fs/inotify/$limit"
done
# A journal that only somebody else may read.
cp -a /etc/passwd /etc/group "$place/etc"
number=0123456789abcdef0123456789abcdef
echo $number > "$place/etc/machine-id"
mount --bind "$place/etc" /etc
if [ -d /run/log ]; then mount -t tmpfs none /run/log; fi
mount -t tmpfs -o mode=755 none /var/log
mkdir -p "/var/log/journal/$number"
(umask 077 && touch "/var/log/journal/$number/system.journal")
chown 65534 "/var/log/journal/$number/system.journal"
# Without privileges it could not be reached below the home of another.
touch "$place/agent"
mount --bind "$agent" "$place/agent"
exec setpriv --bounding-set -all "$place/agent" "$@"
