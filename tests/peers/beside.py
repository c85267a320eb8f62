"""pyCA beside Lectern: ten faults against a small Opencast stand-in, one JSON line for each.

Run with the Python pyCA is installed in, a folder to work in, and optionally the names of the faults. pyCA gets
what helps it: Matroska, which survives a killed writer, the encoder settings Lectern uses, a calendar that is asked
every 5 s, its database beside the disk that is filled, and a schedule it already knows when the network is away.
"""

import json
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import psutil
from opencast import Opencast

SLOT = 14  # seconds of a lesson
AHEAD = 8  # seconds from now to its beginning
STATUS = {1: "upcoming", 2: "recording", 3: "failed recording", 4: "finished recording", 5: "uploading",
          6: "failed uploading", 7: "finished uploading", 8: "partial recording", 9: "paused after recording"}
PICTURE = "testsrc=size=1280x720:rate=25"
BLACK = "color=c=black:size=1280x720:rate=25"
TONE, SILENCE = "sine=frequency=440:sample_rate=48000", "anullsrc=r=48000:cl=mono"


class Agent:
    """pyCA: its four services in a session of their own."""

    def __init__(self, folder, opencast, picture=PICTURE, sound=TONE):
        self.folder, self.process = folder, None
        self.recordings = folder / "recordings"
        self.recordings.mkdir(exist_ok=True)
        command = (f"ffmpeg -nostats -loglevel error -re -f lavfi -i {picture} -re -f lavfi -i {sound} -t {{{{time}}}} "
                   "-c:v libx264 -preset ultrafast -tune zerolatency -g 50 -pix_fmt yuv420p -c:a aac "
                   "{{dir}}/{{name}}.mkv")
        (folder / "pyca.conf").write_text(
            f"[agent]\nname = 'room'\nupdate_frequency = 5\ndatabase = 'sqlite:///{folder}/pyca.db'\n"
            f"[capture]\ndirectory = '{self.recordings}'\npreview_dir = '{folder}'\ncommand = '{command}'\n"
            "flavors = 'presenter/source'\nfiles = '{{dir}}/{{name}}.mkv'\n"
            f"[server]\nurl = '{opencast.url}'\nauth_method = 'digest'\nusername = 'agent'\n"
            "password = 'secret'\n")
        self.start()

    def start(self):
        log = open(self.folder / "pyca.log", "a")
        self.process = subprocess.Popen([sys.executable, "-m", "pyca", "-c", str(self.folder / "pyca.conf"), "run"],
                                        stdout=log, stderr=log, cwd=self.folder, start_new_session=True)

    def all(self):
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def kill(self):
        """As a reset button does."""
        for process in self.all():
            process.send_signal(signal.SIGKILL)
        self.process.wait()

    def kill_recorder(self):
        for process in self.all():
            if process.name() == "ffmpeg":
                process.kill()

    def said(self):
        rows = sqlite3.connect(self.folder / "pyca.db").execute("SELECT status FROM recorded_event ORDER BY start")
        return ", ".join(STATUS[status] for (status,) in rows) or "nothing"


def seconds(folder):
    """What plays of all files below a folder."""
    total = 0.0
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size:
            # Decoded: a length in a header is no proof.
            out = subprocess.run(["ffmpeg", "-v", "quiet", "-i", str(path), "-map", "0:v", "-f", "null", "-progress", "-",
                                  "-"], capture_output=True, text=True).stdout
            times = re.findall(r"out_time_us=(\d+)", out)
            total += int(times[-1]) / 1e6 if times else 0
    return round(total, 1)


def until(t):
    time.sleep(max(0, t - time.time()))


def run(fault, folder):
    """One fault in the middle of one lesson; gives what came of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    opencast = Opencast(folder, "agent", "secret")
    slot = 45 if fault == "long soak" else SLOT
    begin = int(time.time()) + AHEAD
    if fault == "network away at start":
        begin += 10
    end, asked, mounted = begin + slot, slot, None
    opencast.plan(begin, end)
    if fault == "double click":
        opencast.plan(begin, end)
    if fault == "back-to-back lessons":
        opencast.plan(end, end + slot)
        asked, end = 2 * slot, end + slot
    if fault == "503 on upload, then well":
        opencast.refuse = 1
    if fault == "disk full":
        mounted = folder / "recordings"
        mounted.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(mounted)], check=True)
    agent = Agent(folder, opencast, BLACK if fault == "black source" else PICTURE,
                  SILENCE if fault == "silent microphone" else TONE)
    try:
        if fault == "network away at start":
            time.sleep(7)  # the schedule is known by now
            agent.kill()
            opencast.off()
            agent.start()
        until(begin + slot / 2)
        if fault == "recorder killed":
            agent.kill_recorder()
        if fault == "reboot in mid-slot":
            agent.kill()
            agent.start()
        if fault == "disk full":
            subprocess.run(["dd", "if=/dev/zero", f"of={mounted}/other", "bs=64k"], capture_output=True)
            time.sleep(4)
            (mounted / "other").unlink()
        until(end)
        if fault == "network away at start":
            opencast.on()
        until(end + 15)
        return {"fault": fault, "asked_s": asked, "stored_s": seconds(opencast.stored),
                "on_disk_s": seconds(agent.recordings), "said": agent.said(),
                "warned": any("error" in said for said in opencast.said)}
    finally:
        agent.kill()
        if mounted:
            subprocess.run(["umount", "-l", str(mounted)])
        if opencast.server:
            opencast.server.server_close()


FAULTS = ["recorder killed", "503 on upload, then well", "network away at start", "reboot in mid-slot", "disk full",
          "silent microphone", "black source", "back-to-back lessons", "double click", "long soak"]


def main():
    folder = pathlib.Path(sys.argv[1])
    for fault in sys.argv[2:] or FAULTS:
        print(json.dumps(run(fault, folder / fault.replace(" ", "-").replace(",", ""))), flush=True)


main()
