#!/usr/bin/env bash
# The packages of target/deb on a real system: a fresh Debian 12 in a folder, booted with its own systemd. The commands of
# the guides that say `sh system` are run in it, a room is enrolled, a lesson is recorded from the generated card, the agent
# is killed, frozen and upgraded in the middle of it, a downgrade is refused, all is removed and purged.
#   packaging/deb/try-system.sh [--keep FOLDER]      a folder that exists already is used as it is
# Needs root, debootstrap, systemd-nspawn and a Debian mirror; `make try` builds the packages first. Five minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

keep=
if [ "${1:-}" = --keep ]; then
    root=$2 keep=yes
else
    root=$(mktemp -d)
    chmod 755 "$root"
fi
boot=
finish() {
    if [ -n "$boot" ]; then kill "$boot" 2>/dev/null && wait "$boot" 2>/dev/null || true; fi
    if [ -z "$keep" ]; then rm -rf --one-file-system "$root" "$root.log" "$root.said"; fi
}
trap finish EXIT

if [ ! -e "$root/etc/debian_version" ]; then
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,udev,polkitd,curl,procps,apt-utils,python3 bookworm "$root"
fi
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
rm -rf "$root/debs" "$root/newer"
mkdir -p "$root/debs" "$root/newer"
cp "target/deb/"*"_${version}_$architecture.deb" "$root/debs"
# The same programs by a higher number: what an upgrade brings.
cp "target/deb/"*"_${version}+1_$architecture.deb" "$root/newer"
# What the packages need, fetched while there is a network; the machine itself is booted without one.
chroot "$root" apt-get update -qq
chroot "$root" sh -c 'DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --download-only /debs/*.deb' >/dev/null

log=$root.log said=$root.said
systemd-nspawn --quiet --boot --directory "$root" --machine "lectern-try-$$" --register=no --keep-unit --private-network \
    >"$log" 2>&1 </dev/null &
boot=$!
leader=
for _ in $(seq 60); do
    leader=$(pgrep -P "$boot" | head -n 1 || true)
    if [ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-system-running --wait >/dev/null 2>&1; then break; fi
    sleep 1
done
inside() {
    nsenter -t "$leader" -m -u -i -n -p -C env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
}
step() { echo "try: $((SECONDS - begun)) s: $*"; }
must() { if ! inside sh -c "$1" >"$said" 2>&1 </dev/null; then
    echo "try: FAILED: $2" >&2; cat "$said" >&2
    inside journalctl --unit='lectern*' --lines=40 --no-pager >&2 || true; exit 1; fi; }
# The status of the room, and a word of it.
status() { inside lectern record status --json 2>/dev/null || true; }
word() { status | inside python3 -c "import json,sys
s=json.load(sys.stdin)
print($1)" 2>/dev/null || true; }
until_word() {
    for _ in $(seq 120); do
        if [ "$(word "$1")" = True ]; then return; fi
        sleep 0.5
    done
    echo "try: FAILED: never came: $2" >&2; status >&2; inside journalctl --lines=60 --no-pager >&2 || true; exit 1
}
begun=$SECONDS
inside systemctl --version | head -n 1
step "booted: $(inside systemctl is-system-running || true)"

# The guide of a technician, command by command.
guide() { # guide FILE FROM TO: its `sh system` commands that match
    awk '/^```sh system/ {on = 1; next} /^```/ {on = 0} on && NF' "packaging/docs/$1"
}
guide technician.zh-CN.md | while IFS= read -r command; do
    case $command in
        "lectern check")
            # What a technician does by hand between the two: a card for the room, settings for what it records.
            must 'umask 077; lectern-hub token new --school 3401000001 --room 301教室 --device room-301 --json >/run/card.json' "a card for the room"
            must 'python3 - <<"X"
import re
path = "/etc/lectern/agent.toml"
text = open(path).read()
head, rest = text.split("[[source]]", 1)
tail = rest[rest.index("[school_day]"):]
head = head.replace("trust_volume = false", "trust_volume = true")
open(path, "w").write(head + "[[source]]\nname = \"card\"\nkind = \"test\"\n\n" + tail)
X' "the settings are written: the generated card instead of a classroom"
            ;;
    esac
    card='HUB=127.0.0.1:8470 CODE=$(python3 -c "import json; print(json.load(open(\"/run/card.json\"))[0][\"code\"])" 2>/dev/null);'
    must "$card ${command/apt-get install -y/apt-get install -y -qq --no-install-recommends}" "the guide: $command"
done
step "the technician's guide, command by command"
for unit in lectern-hub lectern; do
    must "test \"\$(systemctl show -p Result --value $unit)\" = success && grep -q '^NoNewPrivs:.1' /proc/\$(systemctl show -p MainPID --value $unit)/status && grep -q '^Seccomp:.2' /proc/\$(systemctl show -p MainPID --value $unit)/status" "$unit runs shut in"
done
must 'man_page=$(dpkg -L lectern | grep -c "man1/lectern.*gz"); test "$man_page" -gt 10' "there are man pages"
must 'lectern preflight | grep -q card' "a look at the sources goes by the recorder's own unit"

inside lectern record start --teacher 张老师 >/dev/null
until_word 's["lesson"]["media_ms"] > 2000' "the lesson is recorded"
must 'systemctl list-units --plain --no-legend "lectern-recorder@*" | grep -q running' "its recorder has a unit of its own"
recorder=$(inside pgrep -f '^/usr/bin/lectern-recorder record')
step "a lesson is recorded, pid $recorder"

inside systemctl kill --signal=KILL lectern
sleep 3
until_word 's["lesson"]["media_ms"] > 6000 and s["lesson"]["take"] == 1' "the lesson goes on after the agent was killed"
test "$recorder" = "$(inside pgrep -f '^/usr/bin/lectern-recorder record')"
step "killed: the same recorder, the same take"

inside sh -c 'dpkg -i /newer/*.deb' >"$said" 2>&1 || { cat "$said"; exit 1; }
test "$(inside dpkg-query -W -f '${Version}' lectern)" = "$version+1"
at=$(word 's["lesson"]["media_ms"]')
until_word "s['lesson']['media_ms'] > ${at:-0} + 3000 and s['lesson']['take'] == 1" "the lesson goes on after the upgrade"
test "$recorder" = "$(inside pgrep -f '^/usr/bin/lectern-recorder record')"
must 'grep -q "kind = \"test\"" /etc/lectern/agent.toml' "an upgrade keeps the settings"
step "upgraded in the middle of the lesson: the same recorder, the same take"

inside systemctl kill --kill-whom=main --signal=STOP lectern
for _ in $(seq 90); do
    if [ "$(inside systemctl show -p NRestarts --value lectern)" -ge 2 ]; then break; fi
    sleep 1
done
until_word 's["lesson"]["take"] == 1 and s["lesson"]["state"] == "recording"' "the watchdog starts a frozen agent anew, and the lesson goes on"
must 'journalctl --unit=lectern --grep="Watchdog timeout" --no-pager' "it was the watchdog"
step "frozen: systemd's watchdog started it anew, the same take"

inside lectern record stop >/dev/null
until_word 's["lesson"]["state"] == "stored"' "the lesson is stored"
lesson=$(word 's["lesson"]["id"]')
must "lectern verify /var/lib/lectern/lessons/$lesson --json | grep -q '\"uninterrupted\":true'" "it is one uninterrupted take"
must "journalctl LESSON=$lesson SYSLOG_IDENTIFIER=lectern --output=cat --no-pager | grep -q . && journalctl LESSON=$lesson SYSLOG_IDENTIFIER=lectern-recorder --output=cat --no-pager | grep -q ." "the journal knows the lesson, from both programs"
step "stored, verified, one uninterrupted take"

guide operations.zh-CN.md | while IFS= read -r command; do must "$command" "the guide: $command"; done
step "the guide of operations, command by command"

# Data of a version to come, and the older program again.
known=$(inside python3 -c 'import sqlite3; print(sqlite3.connect("/var/lib/lectern/state.db").execute("PRAGMA user_version").fetchone()[0])')
must 'systemctl stop lectern && python3 -c "import sqlite3; sqlite3.connect(\"/var/lib/lectern/state.db\").execute(\"PRAGMA user_version = 99\")"' "newer data"
inside sh -c 'dpkg -i /debs/lectern_*.deb /debs/lectern-recorder_*.deb' >"$said" 2>&1 || true
sentence=$(grep -o 'the state database.*install the newer one again' "$said" | head -n 1 || true)
[ -n "$sentence" ] || { cat "$said"; echo "try: FAILED: no sentence about newer data" >&2; exit 1; }
must 'sleep 5; test "$(systemctl is-active lectern)" = failed && test "$(systemctl show -p ExecMainStatus --value lectern)" = 78' "it stays down"
must "python3 -c 'import sqlite3; sqlite3.connect(\"/var/lib/lectern/state.db\").execute(\"PRAGMA user_version = $known\")' && systemctl restart lectern" "the older data again"
step "a downgrade onto newer data is refused: $sentence"

inside lectern record start >/dev/null
until_word 's["lesson"]["media_ms"] > 2000' "another lesson"
open=$(word 's["lesson"]["id"]')
must 'apt-get remove -y -qq lectern lectern-recorder' "removal"
must "test -s /var/lib/lectern/lessons/$open/take-1.mp4 && tail -n 1 /var/lib/lectern/lessons/$open/take-1.jsonl | grep -q stopped" "the take was ended in order"
must '! pgrep -f lectern-recorder && ! test -e /usr/bin/lectern && test -e /etc/lectern/agent.toml' "removal ends everything and keeps state and settings"
step "removed in the middle of a lesson: its take was ended in order"
inside apt-get purge -y -qq lectern lectern-recorder lectern-hub >"$said" 2>&1
must "test -e /var/lib/lectern-hub/objects && ! test -e /etc/lectern/hub.toml " "purge keeps lessons that are nowhere else, and says so"
grep "stay" "$said"
must '! getent passwd lectern && ! getent passwd lectern-hub && ! systemctl list-unit-files --no-legend | grep -q lectern' "purge deletes users and units"
step "purged"
echo "try: everything held, on $(inside sh -c '. /etc/os-release; echo "$PRETTY_NAME"')"
