#!/usr/bin/env bash
# Packs three Debian packages from what cargo has built, into target/deb, and has lintian look at them where it is
# installed: a finding of it is a failure.
#   packaging/deb/build.sh [--profile release|debug] [--version VERSION]
# Runs without root: dpkg-deb writes root as the owner of everything.
set -euo pipefail
cd "$(dirname "$0")/../.."

profile=release
looked_at=yes
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
while [ $# -gt 0 ]; do
    case $1 in
        --profile) profile=$2 ;;
        # For trying an upgrade out: the same programs by another number.
        --version) version=$2 looked_at= ;;
        *) echo "usage: packaging/deb/build.sh [--profile release|debug] [--version VERSION]" >&2; exit 78 ;;
    esac
    shift 2
done
target=${CARGO_TARGET_DIR:-target}
built=$target/$profile
out=$target/deb
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

# put MODE FROM TO: a file of a package.
put() { install -D -m "$1" "$2" "$work/$3"; }

# pack NAME SUMMARY DESCRIPTION [FIELD…]: $work/NAME holds the rest of its files already.
pack() {
    local name=$1 summary=$2 description=$3 root=$work/$1 doc=$work/$1/usr/share/doc/$1 with=
    shift 3
    put 755 "$built/$name" "$name/usr/bin/$name"
    strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/$name"
    # Man pages and completions, from the same words as --help.
    "$built/$name" papers "$root/usr/share"
    gzip -9n "$root"/usr/share/man/man1/*.1
    put 644 packaging/deb/copyright "$name/usr/share/doc/$name/copyright"
    sed "1s/([^)]*)/($version)/" packaging/deb/changelog | gzip -9n >"$doc/changelog.gz"
    chmod 644 "$doc/changelog.gz"
    if [ -f "packaging/deb/$name.lintian-overrides" ]; then
        put 644 "packaging/deb/$name.lintian-overrides" "$name/usr/share/lintian/overrides/$name"
    fi
    mkdir -p "$root/DEBIAN"
    {
        echo "Package: $name"
        echo "Source: lectern"
        echo "Version: $version"
        echo "Architecture: $architecture"
        echo "Maintainer: Lectern <lectern@example.org>"
        echo "Section: education"
        echo "Priority: optional"
        echo "Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)"
        # The agent's words and the recorder's are of one version, and the agent's package makes the user.
        [ "$name" != lectern-recorder ] || with=", lectern (= $version)"
        echo "Depends: $(libraries "$built/$name")${with:-}"
        printf '%s\n' "$@"
        echo "Description: $summary"
        printf '%s\n' "$description" | sed 's/^$/./; s/^/ /'
    } | sed '/^$/d' >"$root/DEBIAN/control"
    for script in preinst postinst prerm postrm; do
        if [ -f "packaging/deb/$name.$script" ]; then
            install -m 755 "packaging/deb/$name.$script" "$root/DEBIAN/$script"
        fi
    done
    (cd "$root" && find etc -type f -printf '/%p\n' 2>/dev/null | sort) >"$root/DEBIAN/conffiles" || true
    [ -s "$root/DEBIAN/conffiles" ] || rm "$root/DEBIAN/conffiles"
    (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    dpkg-deb --root-owner-group --build "$root" "$out/${name}_${version}_$architecture.deb" >/dev/null
    echo "$out/${name}_${version}_$architecture.deb"
}

for program in lectern lectern-recorder lectern-hub; do
    [ -x "$built/$program" ] || { echo "not built: $built/$program; run cargo build first" >&2; exit 1; }
done

for unit in lectern.service lectern.slice; do
    put 644 "packaging/systemd/$unit" "lectern/lib/systemd/system/$unit"
done
put 644 packaging/udev/70-lectern.rules lectern/lib/udev/rules.d/70-lectern.rules
put 640 config/agent.toml lectern/etc/lectern/agent.toml
for file in config/profiles/*.toml config/schemes/*.toml; do
    put 644 "$file" "lectern/etc/lectern/${file#config/}"
done
# An example only: a made-up bell must not end anybody's lesson.
put 644 config/timetable.toml lectern/usr/share/doc/lectern/examples/timetable.toml
put 644 packaging/lectern.desktop lectern/usr/share/applications/lectern.desktop
# Opens the teacher's page at login, for whoever copies it to /etc/xdg/autostart.
put 644 packaging/lectern.desktop lectern/usr/share/doc/lectern/examples/autostart/lectern.desktop
put 644 packaging/lectern-session.desktop lectern/etc/xdg/autostart/lectern-session.desktop
put 644 packaging/polkit/60-lectern.rules lectern/usr/share/polkit-1/rules.d/60-lectern.rules
put 644 packaging/polkit/lectern.pkla lectern/var/lib/polkit-1/localauthority/10-vendor.d/lectern.pkla
for guide in packaging/docs/*.md packaging/docs/*.html packaging/docs/*.webp; do
    if [ -f "$guide" ]; then put 644 "$guide" "lectern/usr/share/doc/lectern/guides/${guide##*/}"; fi
done
# What leaves the device stands in these two, and PRIVACY.md sends there.
for guide in README.md README.zh-CN.md; do
    put 644 "$guide" "lectern/usr/share/doc/lectern/guides/$guide"
    sed -i 's|(packaging/docs/|(|g' "$work/lectern/usr/share/doc/lectern/guides/$guide"
done
pack lectern "classroom agent: health, lessons, evidence" \
    "Watches the health and use of a classroom machine and reports them over MQTT;
records a lesson when the teacher presses one button; hands the recording, as
evidence that can be checked, to a central store while the lesson still runs.

Recording needs the package lectern-recorder. Without it the agent reports
health and use alone." "Recommends: lectern-recorder, xdg-utils"

for unit in lectern-recorder.socket lectern-recorder@.service; do
    put 644 "packaging/systemd/$unit" "lectern-recorder/lib/systemd/system/$unit"
done
# The titles of renditions are drawn with a Chinese font.
pack lectern-recorder "records screen, camera and microphone for lectern" \
    "The part of Lectern that captures, composes, encodes and writes a lesson. The
agent asks for it at a socket; each recording is a process of its own, with the
devices the agent has not." "Recommends: fonts-noto-cjk" \
    "Suggests: gstreamer1.0-tools, gstreamer1.0-plugins-base, gstreamer1.0-pipewire"

put 644 packaging/systemd/lectern-hub.service lectern-hub/lib/systemd/system/lectern-hub.service
put 640 config/hub.toml lectern-hub/etc/lectern/hub.toml
# A folder of its own: both packages may stand on one machine.
for file in config/schemes/*.toml; do
    put 644 "$file" "lectern-hub/etc/lectern/hub-schemes/${file##*/}"
done
# Rules for other brokers, and what shows the numbers: examples, each to be looked through before it is used.
for file in config/broker/* config/asyncapi.json config/telegraf.conf config/grafana/*.json config/prometheus.yml; do
    put 644 "$file" "lectern-hub/usr/share/doc/lectern-hub/examples/${file#config/}"
done
pack lectern-hub "broker, store and console for lectern" \
    "Receives the health and the lessons of a school's classrooms, keeps them,
proves that they were not changed, and shows technicians their rooms."

if [ -n "$looked_at" ] && command -v lintian >/dev/null; then
    lintian --tag-display-limit 0 --fail-on error,warning "$out"/*_"${version}_$architecture".deb
fi
