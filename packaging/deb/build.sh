#!/usr/bin/env bash
# Packs three Debian packages from what cargo has built, into target/deb.
#   packaging/deb/build.sh [--profile release|debug]
# Runs without root: dpkg-deb writes root as the owner of everything.
set -euo pipefail
cd "$(dirname "$0")/../.."

profile=release
if [ "${1:-}" = --profile ]; then profile=$2; fi
target=${CARGO_TARGET_DIR:-target}
built=$target/$profile
out=$target/deb
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# mktemp's folders are private; a package's root must not be.
umask 022
mkdir -p "$out" "$work/debian"
# dpkg-shlibdeps insists on a source package's control file.
printf 'Source: lectern\n\nPackage: lectern\nArchitecture: any\n' >"$work/debian/control"

# Packages that hold the libraries a program was linked with, with versions.
libraries() {
    local program
    program=$(realpath "$1")
    (cd "$work" && dpkg-shlibdeps --warnings=0 -O "$program") | sed -n 's/^shlibs:Depends=//p'
}

# pack NAME PROGRAM SUMMARY [FIELD…]: $work/NAME holds the rest of its files already.
pack() {
    local name=$1 program=$2 summary=$3 root=$work/$1
    shift 3
    install -D -m 755 "$built/$program" "$root/usr/bin/$program"
    install -D -m 644 LICENSE-MIT "$root/usr/share/doc/$name/copyright"
    mkdir -p "$root/DEBIAN"
    {
        echo "Package: $name"
        echo "Version: $version"
        echo "Architecture: $architecture"
        echo "Maintainer: Lectern <lectern@localhost>"
        echo "Section: education"
        echo "Priority: optional"
        echo "Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)"
        echo "Depends: $(libraries "$built/$program")"
        printf '%s\n' "$@"
        echo "Description: $summary"
    } | sed '/^$/d' >"$root/DEBIAN/control"
    for script in postinst prerm postrm; do
        if [ -f "packaging/deb/$name.$script" ]; then
            install -m 755 "packaging/deb/$name.$script" "$root/DEBIAN/$script"
        fi
    done
    (cd "$root" && find etc -type f -printf '/%p\n' 2>/dev/null | sort) >"$root/DEBIAN/conffiles" || true
    [ -s "$root/DEBIAN/conffiles" ] || rm "$root/DEBIAN/conffiles"
    dpkg-deb --root-owner-group --build "$root" "$out/${name}_${version}_$architecture.deb" >/dev/null
    echo "$out/${name}_${version}_$architecture.deb"
}

for program in lectern lectern-recorder lectern-hub; do
    [ -x "$built/$program" ] || { echo "not built: $built/$program; run cargo build first" >&2; exit 1; }
done

install -D -m 644 packaging/systemd/lectern.service "$work/lectern/lib/systemd/system/lectern.service"
install -D -m 644 packaging/udev/70-lectern.rules "$work/lectern/lib/udev/rules.d/70-lectern.rules"
install -D -m 640 config/agent.toml "$work/lectern/etc/lectern/agent.toml"
for file in config/profiles/*.toml config/schemes/*.toml; do
    install -D -m 644 "$file" "$work/lectern/etc/lectern/${file#config/}"
done
# An example only: a made-up bell must not end anybody's lesson.
install -D -m 644 config/timetable.toml "$work/lectern/usr/share/doc/lectern/examples/timetable.toml"
install -D -m 644 packaging/lectern.desktop "$work/lectern/usr/share/applications/lectern.desktop"
install -D -m 644 packaging/lectern-session.desktop "$work/lectern/etc/xdg/autostart/lectern-session.desktop"
install -D -m 644 packaging/polkit/60-lectern.rules "$work/lectern/usr/share/polkit-1/rules.d/60-lectern.rules"
install -D -m 644 packaging/polkit/lectern.pkla "$work/lectern/var/lib/polkit-1/localauthority/10-vendor.d/lectern.pkla"
pack lectern lectern "classroom agent: health, lessons, evidence" "Recommends: lectern-recorder, xdg-utils"

# The titles of renditions are drawn with a Chinese font.
pack lectern-recorder lectern-recorder "records screen, camera and microphone for lectern" "Enhances: lectern" \
    "Recommends: fonts-noto-cjk" "Suggests: gstreamer1.0-tools, gstreamer1.0-plugins-base, gstreamer1.0-pipewire"

install -D -m 644 packaging/systemd/lectern-hub.service "$work/lectern-hub/lib/systemd/system/lectern-hub.service"
install -D -m 640 config/hub.toml "$work/lectern-hub/etc/lectern/hub.toml"
# A folder of its own: both packages may stand on one machine.
for file in config/schemes/*.toml; do
    install -D -m 644 "$file" "$work/lectern-hub/etc/lectern/hub-schemes/${file##*/}"
done
# Rules for other brokers, and what shows the numbers: examples, each to be looked through before it is used.
for file in config/broker/* config/asyncapi.json config/telegraf.conf config/grafana/*.json config/prometheus.yml; do
    install -D -m 644 "$file" "$work/lectern-hub/usr/share/doc/lectern-hub/${file#config/}"
done
pack lectern-hub lectern-hub "broker, store and console for lectern"
