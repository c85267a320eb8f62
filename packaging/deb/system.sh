# Sourced, not run: a Debian 12 of its own in a folder, booted with its own systemd and without a network, for what is tried
# on a real system. Needs root, debootstrap, systemd-nspawn and a Debian mirror.
#
#   system_make ROOT      the folder, and the packages of target/deb with all they need, fetched while there is a network
#   system_boot ROOT      boots it; $leader is its first process, $boot what holds it
#   inside COMMAND…       runs there as root
#   must COMMAND WHAT     the same by a shell; a failure ends the trial, with the journal
#   guide FILE            the commands a guide marks `sh system`, one a line
#   status, word, until_word   what the room says of itself

# Where rooms and hub meet in the machine: an address that can be taken away, as a cable can.
hub_address=10.77.0.1

system_make() {
    local root=$1 version architecture
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    architecture=$(dpkg --print-architecture)
    if [ ! -e "$root/etc/debian_version" ]; then
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,udev,curl,procps,apt-utils,python3 bookworm "$root"
    fi
    rm -rf "$root/debs" "$root/newer"
    mkdir -p "$root/debs" "$root/newer"
    cp "target/deb/"*"_${version}_$architecture.deb" "$root/debs"
    # The same programs by a higher number: what an upgrade brings.
    cp "target/deb/"*"_${version}+1_$architecture.deb" "$root/newer"
    chroot "$root" apt-get update -qq
    # polkit among them: its scripts want a system that runs, so it is installed there.
    chroot "$root" sh -c 'DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --download-only polkitd /debs/*.deb' >/dev/null
}

# Where control groups are still of the first kind, a container may only read them, and no limit of a unit would hold. Here
# each kind gets a group for this machine, which its systemd may write and shares with no other machine's.
own_groups() {
    local kind
    for kind in $kinds; do
        mkdir -p "$(group_path "$kind" "$1")"
        echo "$BASHPID" >"$(group_path "$kind" "$1")/cgroup.procs"
    done
}
kinds=
for kind in cpu cpuacct memory blkio pids systemd unified; do
    if [ -e "/sys/fs/cgroup/$kind/cgroup.procs" ]; then kinds="$kinds $kind"; fi
done

# Where a group of that kind and name stands below this program's own, as it was at the start.
group_path() {
    local name=$1 path
    case $1 in
        systemd) name=name=systemd ;;
        unified) name= ;;
    esac
    path=$(awk -F: -v name="$name" '$2 == name {print $3}' "/proc/$$/cgroup")
    echo "/sys/fs/cgroup/$1${path%/}/$2"
}

system_boot() {
    local root=$1 name
    name=lectern-try-$$
    log=$root.log said=$root.said
    (
        own_groups "$name"
        exec systemd-nspawn --quiet --boot --directory "$root" --machine "$name" --register=no --keep-unit --private-network
    ) >"$log" 2>&1 </dev/null &
    boot=$!
    leader=
    for _ in $(seq 120); do
        leader=$(pgrep -P "$boot" | head -n 1 || true)
        if [ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-system-running --wait >/dev/null 2>&1; then break; fi
        sleep 0.5
    done
    # shellcheck disable=SC2016
    inside sh -c 'mount --make-rprivate /
        for kind in cpu cpuacct memory blkio pids; do
            if [ -e /sys/fs/cgroup/$kind ]; then mount -o remount,rw,bind /sys/fs/cgroup/$kind; fi
        done
        systemctl daemon-reexec'
    nsenter -t "$leader" -n ip address add "$hub_address/32" dev lo
}

system_end() {
    local kind path
    if [ -n "${boot:-}" ]; then
        kill "$boot" 2>/dev/null && wait "$boot" 2>/dev/null || true
        for kind in $kinds; do
            path=$(group_path "$kind" "lectern-try-$$")
            if [ -d "$path" ]; then find "$path" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
        done
    fi
    boot=
}

inside() {
    nsenter -t "$leader" -m -u -i -n -p -C env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
}

must() {
    if ! inside sh -c "$1" >"$said" 2>&1 </dev/null; then
        echo "try: FAILED: $2" >&2
        cat "$said" >&2
        inside journalctl --unit='lectern*' --lines=40 --no-pager >&2 || true
        exit 1
    fi
}

# What was done, how long it took, and how long all took so far.
step() {
    echo "try: $((SECONDS - begun)) s, this $((SECONDS - stepped)) s: $*"
    stepped=$SECONDS
}

guide() {
    awk '/^```sh system/ {on = 1; next} /^```/ {on = 0} on && NF' "packaging/docs/$1"
}

# The technician's guide, command by command: hub, card, room.
follow_technician() {
    guide technician.zh-CN.md | while IFS= read -r command; do
        case $command in
            "lectern check")
                # What a technician does by hand between the two: a card for the room, settings for what it records.
                must 'umask 077; lectern-hub token new --school 3401000001 --room 301教室 --device room-301 --json >/run/card.json' "a card for the room"
                must 'python3 - <<"X"
path = "/etc/lectern/agent.toml"
text = open(path).read()
head, rest = text.split("[[source]]", 1)
tail = rest[rest.index("[school_day]"):]
head = head.replace("trust_volume = false", "trust_volume = true")
open(path, "w").write(head + "[[source]]\nname = \"card\"\nkind = \"test\"\n\n" + tail)
X' "the settings are written: the generated card instead of a classroom"
                ;;
        esac
        card="HUB=$hub_address:8470"' CODE=$(python3 -c "import json; print(json.load(open(\"/run/card.json\"))[0][\"code\"])" 2>/dev/null);'
        must "$card ${command/apt-get install -y/apt-get install -y -qq --no-install-recommends}" "the guide: $command"
    done
}

status() { inside lectern record status --json 2>/dev/null || true; }

# A word of it, by Python; `s` is the status.
word() { status | inside python3 -c "import json,sys
s=json.load(sys.stdin)
print($1)" 2>/dev/null || true; }

until_word() {
    for _ in $(seq 120); do
        if [ "$(word "$1")" = True ]; then return; fi
        sleep 0.5
    done
    echo "try: FAILED: never came: $2" >&2
    status >&2
    inside journalctl --lines=60 --no-pager >&2 || true
    exit 1
}
