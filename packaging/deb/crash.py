"""Crashes agent, recorder and hub in the middle of a lesson, on a booted machine, with logs as loud as they get, and looks
for every secret in what that leaves: journal, core files, diagnosis bundle. Run by try-system.sh, as root.
"""

import base64
import json
import os
import pathlib
import re
import subprocess
import tarfile
import time

CAMERA = "nobody-knows-this-word"
SETTINGS = pathlib.Path("/etc/lectern/agent.toml")
UNITS = ["lectern.service", "lectern-hub.service"]


def run(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, **more).stdout


def status():
    answer = subprocess.run(["lectern", "record", "status", "--json"], capture_output=True)
    return json.loads(answer.stdout) if answer.returncode == 0 else {}


def until(what, true):
    for _ in range(240):
        try:
            if true(status()):
                return
        except (KeyError, TypeError):
            pass
        time.sleep(0.5)
    raise SystemExit(f"never came: {what}: {json.dumps(status(), ensure_ascii=False)}")


def pid_of(unit):
    return int(run("systemctl", "show", "--property", "MainPID", "--value", unit))


def recorder():
    found = subprocess.run(["pgrep", "-f", "^/usr/bin/lectern-recorder record"], capture_output=True, text=True).stdout.split()
    return int(found[0]) if found else 0


def private_words():
    """Every secret of this machine, by what it is."""
    words = {"the camera's password": CAMERA.encode()}
    journal = run("journalctl", "--unit=lectern-hub", "--output=cat", "--no-pager").decode()
    words["the administrator's password"] = journal.split("admin password: ", 1)[1].split()[0].encode()
    words["the code on the card"] = json.loads(pathlib.Path("/run/card.json").read_text())[0]["code"].encode()
    for folder in ["/var/lib/lectern", "/var/lib/lectern-hub"]:
        for file in pathlib.Path(folder).rglob("*"):
            if not file.is_file() or file.suffix not in (".key", ".pem", ".password"):
                continue
            held = file.read_bytes().strip()
            for key in re.findall(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)\n-----END", held, re.DOTALL):
                # A line from its middle, as a program would print it, and the bytes themselves.
                lines = key.splitlines()
                words[f"{file}"] = lines[len(lines) // 2]
                words[f"{file}, as bytes"] = base64.b64decode(b"".join(lines))[-24:]
            if file.suffix != ".pem":
                words[f"{file}"] = held
                if len(held) == 64:
                    words[f"{file}, as bytes"] = bytes.fromhex(held.decode())
    return words


before = SETTINGS.read_text()
camera = f'[[source]]\nname = "camera"\nkind = "network_camera"\nurl = "rtsp://teacher:{CAMERA}@127.0.0.1:9/live"\n\n'
SETTINGS.write_text(before.replace("[[source]]\n", camera + "[[source]]\n", 1).replace('layout = "screen"', 'layout = "screen+camera"', 1))
for unit in UNITS:
    folder = pathlib.Path(f"/run/systemd/system/{unit}.d")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loud.conf").write_text("[Service]\nEnvironment=LECTERN_LOG=trace\n")
# All that is said is kept, however much.
pathlib.Path("/run/systemd/journald.conf.d").mkdir(exist_ok=True)
pathlib.Path("/run/systemd/journald.conf.d/all.conf").write_text("[Journal]\nRateLimitIntervalSec=0\n")
run("systemctl", "daemon-reload")
run("systemctl", "restart", "systemd-journald", *UNITS)
until("an agent", lambda s: s["lesson"] is None or s["lesson"]["state"] != "recording")
words = private_words()
assert len(words) >= 8 and all(len(word) >= 8 for word in words.values()), {what: len(word) for what, word in words.items()}

began = time.time()
run("lectern", "record", "start", "--teacher", "张老师")
until("a lesson", lambda s: s["lesson"]["media_ms"] > 2000)
lesson = status()["lesson"]["id"]
crashes = 0
for name in ["SEGV", "ABRT"]:
    for who in ["lectern.service", "lectern-hub.service", "recorder"]:
        victim = recorder() if who == "recorder" else pid_of(who)
        # Twice: Rust's own handler takes the first SEGV for a stack that may have overflown, and gives way to the second.
        subprocess.run(["kill", f"-{name}", str(victim)], check=True)
        time.sleep(0.3)
        subprocess.run(["kill", f"-{name}", str(victim)], capture_output=True)
        crashes += 1
        if who == "recorder":
            until("the next take", lambda s: recorder() not in (0, victim) and s["lesson"]["state"] == "recording")
        else:
            until(f"{who} again", lambda s: pid_of(who) not in (0, victim))
        at = status().get("lesson", {}).get("media_ms", 0)
        until("a lesson that goes on", lambda s: s["lesson"]["id"] == lesson and s["lesson"]["media_ms"] > at + 1000)
run("lectern", "record", "stop", "--wait", "60")
until("a lesson that is stored", lambda s: s["lesson"]["id"] == lesson and s["lesson"]["state"] == "stored")
takes = json.loads(pathlib.Path(f"/var/lib/lectern/lessons/{lesson}/manifest.json").read_bytes())["document"]["takes"]

run("lectern", "doctor", "--bundle", "/run/diagnosis.tar.gz")
left = {"the journal": run("journalctl", "--output=export", "--all", "--no-pager")}
with tarfile.open("/run/diagnosis.tar.gz") as bundle:
    for member in bundle:
        if member.isfile():
            left[f"the bundle's {member.name}"] = bundle.extractfile(member).read()
for folder in ["/", "/var/crash", "/var/lib/systemd/coredump", "/var/lib/lectern", "/var/lib/lectern-hub", "/tmp", "/var/tmp", "/run/lectern"]:
    for file in pathlib.Path(folder).glob("core*"):
        if file.is_file() and file.stat().st_mtime > began:
            raise SystemExit(f"a crash left {file}")
loud = left["the journal"].count(b"TRACE") + left["the journal"].count(b"PRIORITY=7")
assert loud > 100, f"only {loud} lines say all they can"
# Shown once, when it is made, on the hub's standard output.
left["the journal"] = b"\n".join(line for line in left["the journal"].split(b"\n") if b"admin password: " not in line)
for where, said in left.items():
    for what, word in words.items():
        if word in said:
            at = said.index(word)
            raise SystemExit(f"{what} is in {where}: {said[max(0, at - 200):at]!r}")

SETTINGS.write_text(before)
for unit in UNITS:
    os.remove(f"/run/systemd/system/{unit}.d/loud.conf")
run("systemctl", "daemon-reload")
run("systemctl", "restart", *UNITS)
until("an agent", lambda s: "lesson" in s)
size = sum(map(len, left.values()))
print(f"{crashes} crashes, the lesson in {len(takes)} takes and stored; none of {len(words)} secrets in {size / 1e6:.1f} MB of journal and bundle, no core file")
