#!/bin/sh
# Boots a machine in namespaces whose first process is systemd, with no units except the given ones.
# Run it as root:
#
#   unshare --mount --pid --fork --kill-child --mount-proc --cgroup --ipc --uts systemd-machine.sh FOLDER
#
# FOLDER holds `etc`, which is laid over /etc, `srv`, which becomes /srv, and `extensions`, which becomes
# PHP's extension directory. The machine shares the caller's network, and can only read all other files:
# systemd's own units would clear /tmp and set kernel parameters.
set -eu
folder=$1
mount --make-rprivate /
mkdir "$folder/whole-etc" "$folder/units" "$folder/empty"
cp -a /etc/. "$folder/whole-etc"
rm -rf "$folder/whole-etc/systemd"
cp -a "$folder/etc/." "$folder/whole-etc"
for target in machine sysinit basic network-online sockets shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$folder/units/$target.target"
done
mount --bind "$folder/whole-etc" /etc
mount --bind "$folder/srv" /srv
mount --bind "$folder/extensions" "$(php -n -r 'echo ini_get("extension_dir");')"
mount --bind "$folder/units" /usr/lib/systemd/system
mount --bind "$folder/empty" /usr/lib/systemd/system-generators
mount --bind /proc/sys /proc/sys
for place in / /proc/sys /sys; do mount -o remount,bind,ro "$place"; done
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /var
mkdir -m 1777 /var/tmp
# systemd expects shared propagation, so that mounts it makes in a service's namespace propagate.
mount --make-rshared /
cd /
container=sprocket exec /lib/systemd/systemd --system --unit=machine.target --log-target=null
