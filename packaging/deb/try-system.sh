#!/usr/bin/env bash
# The packages of target/deb on a real system: a fresh Debian 12 in a folder, booted with its own systemd. The commands of
# the guides that say `sh system` are run in it, a room is enrolled, a lesson is recorded from the generated card, the agent
# is killed, frozen and upgraded in the middle of it, a downgrade is refused, all is removed and purged.
#   packaging/deb/try-system.sh [--keep FOLDER]      a folder that exists already is used as it is
#   packaging/deb/try-system.sh --install FOLDER     only installs hub and room there, for lectern-soak
# Needs what system.sh says; `make try` builds the packages first. Six minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
. packaging/deb/system.sh

keep= only_install=
case ${1:-} in
    --keep) root=$2 keep=yes ;;
    --install) root=$2 keep=yes only_install=yes ;;
    *)
        root=$(mktemp -d)
        chmod 755 "$root"
        ;;
esac
finish() {
    system_end
    if [ -z "$keep" ]; then rm -rf --one-file-system "$root" "$root.log" "$root.said"; fi
}
trap finish EXIT

begun=$SECONDS stepped=$SECONDS
system_make "$root"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
step "a Debian and the packages are there"
system_boot "$root"
inside systemctl --version | head -n 1
must 'apt-get install -y -qq --no-install-recommends polkitd' "polkit, as a desktop has it"
step "booted: $(inside systemctl is-system-running || true)"

follow_technician
step "the technician's guide, command by command: hub, card, room"
if [ -n "$only_install" ]; then
    inside systemctl poweroff
    wait "$boot" || true
    exit 0
fi
for unit in lectern-hub lectern; do
    must "test \"\$(systemctl show -p Result --value $unit)\" = success && grep -q '^NoNewPrivs:.1' /proc/\$(systemctl show -p MainPID --value $unit)/status && grep -q '^Seccomp:.2' /proc/\$(systemctl show -p MainPID --value $unit)/status" "$unit runs shut in"
done
# As polkit answers logind when the agent asks for it; pkcheck ends well only when it is allowed without a question.
for action in power-off reboot; do
    must "pkcheck --action-id org.freedesktop.login1.$action --process \$(systemctl show -p MainPID --value lectern)" "the agent may ask for $action"
done
must '! pkcheck --action-id org.freedesktop.login1.halt --process $(systemctl show -p MainPID --value lectern)' "and for nothing else"
must 'man_page=$(dpkg -L lectern | grep -c "man1/lectern.*gz"); test "$man_page" -gt 10' "there are man pages"
must 'cd /usr/share/doc/lectern/guides && grep -q "哪些数据会离开教室机" README.zh-CN.md && test -e page-recording.webp && grep -q "(page-recording.webp)" README.zh-CN.md' "the page that PRIVACY.md sends to is beside it"
must 'lectern preflight | grep -q card' "a look at the sources goes by the recorder's own unit"

inside lectern record start --teacher 张老师 >/dev/null
until_word 's["lesson"]["media_ms"] > 2000' "the lesson is recorded"
photograph() { # photograph NAME URL…: as a browser on this machine shows them
    if ! command -v chromedriver >/dev/null; then return; fi
    mkdir -p target/pictures
    inside journalctl --unit=lectern-hub --output=cat --grep='admin password' --no-pager | sed -n 's/.*admin password: *//p' \
        | nsenter -t "$leader" -n python3 packaging/deb/photograph.py target/pictures "$@"
    step "photographed: target/pictures/system-*.png"
}
photograph system-page http://127.0.0.1:8471/ system-console "https://$hub_address:8470/"
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

at=$(word 's["lesson"]["media_ms"]')
inside python3 - <packaging/deb/limits.py >"$said" 2>&1 || { cat "$said"; echo "try: FAILED: the limits of the units" >&2; exit 1; }
bounded=$(cat "$said")
until_word "s['lesson']['media_ms'] > ${at:-0} + 3000 and s['lesson']['take'] == 1" "the lesson goes on beside the hogs"
step "bounded: $bounded"

frozen=$(inside systemctl show -p MainPID --value lectern)
inside systemctl kill --kill-whom=main --signal=STOP lectern
for _ in $(seq 120); do
    if [ "$(inside systemctl show -p MainPID --value lectern)" != "$frozen" ]; then break; fi
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
photograph system-stored http://127.0.0.1:8471/ system-lesson "https://$hub_address:8470/lessons/$lesson"

inside python3 - <packaging/deb/crash.py >"$said" 2>&1 || { cat "$said"; echo "try: FAILED: crashes" >&2; exit 1; }
crashed=$(cat "$said")
step "crashed: $crashed"

guide operations.zh-CN.md | while IFS= read -r command; do
    # What stands on the newest card, as a technician types it.
    card="HUB=$hub_address:8470"' CODE=$(lectern-hub token list --json | python3 -c "import json, sys; print(next(c[\"code\"] for c in json.load(sys.stdin) if c[\"standing\"] == \"unused\"))");'
    case $command in *'$CODE'*) must "$card $command" "the guide: $command" ;; *) must "$command" "the guide: $command" ;; esac
done
must 'test -z "$(find /var/lib/lectern /var/lib/lectern-hub -user root)"' "nothing that root did is in the services' way"
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

# Where the recorder goes alone, and where the agent goes with it.
signed() { # signed LESSON: ended in order, checked, signed
    must "test -s /var/lib/lectern/lessons/$1/take-1.mp4 && tail -n 1 /var/lib/lectern/lessons/$1/take-1.jsonl | grep -q stopped" "the take was ended in order"
    must "test -s /var/lib/lectern/lessons/$1/manifest.json" "the lesson was signed"
}
inside lectern record start >/dev/null
until_word 's["lesson"]["media_ms"] > 2000' "another lesson"
open=$(word 's["lesson"]["id"]')
must 'apt-get remove -y -qq lectern-recorder' "removal of the recorder"
signed "$open"
until_word 's["lesson"]["state"] == "stored"' "the lesson is stored all the same"
must 'systemctl is-active lectern && ! lectern record start' "the agent goes on, and says that it cannot record"
step "the recorder removed in the middle of a lesson: it was ended, signed and stored"
must 'dpkg -i /debs/lectern-recorder_*.deb' "the recorder again"
inside lectern record start >/dev/null
until_word 's["lesson"]["media_ms"] > 2000' "another lesson"
open=$(word 's["lesson"]["id"]')
must 'apt-get remove -y -qq lectern lectern-recorder' "removal"
signed "$open"
must '! pgrep -f "^/usr/bin/lectern(-recorder)? " && ! test -e /usr/bin/lectern && test -e /etc/lectern/agent.toml' "removal ends everything and keeps state and settings"
step "all removed in the middle of a lesson: it was ended in order and signed"
waiting=$(inside sh -c 'for lesson in /var/lib/lectern/lessons/*; do test -e "$lesson/receipt.json" || echo "$lesson"; done' | wc -l)
purged=$(inside apt-get purge -y -qq lectern lectern-recorder lectern-hub 2>&1) || { echo "$purged"; echo "try: FAILED: purge" >&2; exit 1; }
must "test -e /var/lib/lectern-hub/objects && ! test -e /etc/lectern/hub.toml" "purge keeps lessons that are nowhere else"
must "test -e /var/lib/lectern || test $waiting = 0" "purge keeps lessons that were never stored: $waiting"
grep "stay" <<<"$purged" || { echo "$purged"; echo "try: FAILED: purge does not say what it keeps" >&2; exit 1; }
must '! getent passwd lectern && ! getent passwd lectern-hub && ! systemctl list-unit-files --no-legend | grep -q lectern' "purge deletes users and units"
step "purged, $waiting lessons of the room were not stored yet"
echo "try: everything held, on $(inside sh -c '. /etc/os-release; echo "$PRETTY_NAME"')"
