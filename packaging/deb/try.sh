#!/usr/bin/env bash
# Installs, upgrades, removes and purges the packages of target/deb in a fresh Debian 12, in a folder: a
# chroot without systemd, so it shows the scripts and the programs, not the units. Needs root, debootstrap
# and a Debian mirror.
#   packaging/deb/try.sh [--keep FOLDER]      a folder that exists already is used as it is
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "${1:-}" = --keep ]; then
    root=$2
else
    root=$(mktemp -d)
    # The services' users must be able to enter it.
    chmod 755 "$root"
    trap 'umount "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
fi
if [ ! -e "$root/etc/debian_version" ]; then
    debootstrap --variant=minbase bookworm "$root"
fi
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mkdir -p "$root/debs"
cp target/deb/*.deb "$root/debs"
inside() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
must() { if ! inside sh -c "$1"; then echo "try: FAILED: $2" >&2; exit 1; fi; }

inside apt-get update -qq
must 'apt-get install -y -qq --no-install-recommends --reinstall /debs/*.deb >/dev/null' "the packages install"
must 'id lectern && id lectern-hub' "the users are there"
must 'test "$(stat -c %U:%G:%a /etc/lectern/agent.toml)" = root:lectern:640' "agent.toml is private"
must 'test -f /lib/udev/rules.d/70-lectern.rules && test -f /usr/share/applications/lectern.desktop' "the key's rule and the desktop's entry are there"
must 'test "$(stat -c %U:%a /var/lib/lectern-hub)" = lectern-hub:700' "the hub's state is private"
must 'lectern --version && lectern-recorder --version && lectern-hub --version' "the programs run"
must 'echo secret >/etc/lectern/device.password && chown lectern /etc/lectern/device.password && chmod 600 /etc/lectern/device.password' "a password"
must 'setpriv --reuid lectern --regid lectern --init-groups lectern check --config /etc/lectern/agent.toml' "the agent's settings are sound"
must 'setpriv --reuid lectern-hub --regid lectern-hub --init-groups lectern-hub check --config /etc/lectern/hub.toml' "the hub's settings are sound"
must 'timeout --preserve-status 5 setpriv --reuid lectern-hub --regid lectern-hub --init-groups lectern-hub run --config /etc/lectern/hub.toml' "the hub starts and ends in order"
must 'timeout --preserve-status 5 setpriv --reuid lectern --regid lectern --init-groups lectern run --config /etc/lectern/agent.toml' "the agent starts and ends in order"
must 'echo "# ours" >>/etc/lectern/agent.toml' "a change by hand"
must 'dpkg -i --force-confdef --force-confold /debs/lectern_*.deb' "the package upgrades"
must 'grep -q "# ours" /etc/lectern/agent.toml' "an upgrade keeps the settings"
inside apt-get remove -y -qq lectern lectern-recorder lectern-hub
must 'test -d /var/lib/lectern && test -e /etc/lectern/agent.toml && ! test -e /usr/bin/lectern' "removal keeps state and settings"
inside apt-get purge -y -qq lectern lectern-recorder lectern-hub
must '! test -e /var/lib/lectern && ! test -e /var/lib/lectern-hub && ! test -e /etc/lectern/agent.toml' "purge deletes them"
must '! getent passwd lectern && ! getent passwd lectern-hub' "purge deletes the users"
echo "try: the packages install, run, upgrade, go and leave nothing"
