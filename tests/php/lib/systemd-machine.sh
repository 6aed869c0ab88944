#!/bin/sh
# A machine that begins with systemd, in namespaces of its own, with no units but those that it is
# given. To be run as root, by
#
#   unshare --mount --pid --fork --kill-child --mount-proc --cgroup --ipc --uts systemd-machine.sh FOLDER
#
# FOLDER has `etc`, which is laid over /etc, `srv`, which becomes /srv, and `extensions`, which becomes
# PHP's folder of extensions. The network is that of the caller. All else of the caller's files can
# only be read: units that come with systemd would clear /tmp and set the kernel's parameters.
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
# As systemd finds it on a machine: what it mounts for a service in namespaces of their own comes back.
mount --make-rshared /
cd /
container=sprocket exec /lib/systemd/systemd --system --unit=machine.target --log-target=null
