"""Shows on a booted machine, where Lectern records, that the limits of its units hold: run by try-system.sh, as root.

Hogs are put among a unit's own processes, so what stops them is what the kernel holds that unit to.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time


def show(unit, name):
    return subprocess.run(["systemctl", "show", "--property", name, "--value", unit], check=True, capture_output=True, text=True).stdout.strip()


def group(pid, kind):
    """Where the kernel keeps the limits of that kind for a process: control groups of the first kind, or the second."""
    lines = [line.split(":", 2) for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, name, path in lines:
        if name == kind:
            return pathlib.Path(f"/sys/fs/cgroup/{kind}{path}")
    return next(pathlib.Path(f"/sys/fs/cgroup{path}") for number, _, path in lines if number == "0")


def held(folder, *names):
    return next(int((folder / name).read_text()) for name in names if (folder / name).exists())


def beside(folders, work):
    """Does the work in a process of the group; how it ended."""
    child = os.fork()
    if child == 0:
        for folder in folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


recorder = subprocess.run("systemctl list-units --plain --no-legend --state=running 'lectern-recorder@*'", shell=True,
                          check=True, capture_output=True, text=True).stdout.split()[0]
said = []
for unit in ["lectern.service", recorder, "lectern-hub.service"]:
    pid, most, tasks = show(unit, "MainPID"), int(show(unit, "MemoryMax")), int(show(unit, "TasksMax"))
    memory, pids, cpu = group(pid, "memory"), group(pid, "pids"), group(pid, "cpu")
    assert held(memory, "memory.limit_in_bytes", "memory.max") == most // 4096 * 4096, (unit, "memory")
    assert held(pids, "pids.max") == tasks, (unit, "tasks")
    weight = show(unit, "CPUWeight")
    if weight != "[not set]":
        share = held(cpu, "cpu.shares", "cpu.weight")
        assert share in (int(weight), int(weight) * 1024 // 100), (unit, "cpu", share)
    core = next(line for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line)
    assert core.split()[4:6] == ["0", "0"], (unit, core)
    used = held(memory, "memory.usage_in_bytes", "memory.current")
    said.append(f"{unit.split('@')[0].removesuffix('.service')} {used >> 20} of {most >> 20} MiB")

pid = show("lectern.service", "MainPID")
memory, pids = group(pid, "memory"), group(pid, "pids")


def eat():
    bytearray(int(show("lectern.service", "MemoryMax")) + (200 << 20))


ended = beside([memory], eat)
assert os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL, "a process of the agent's took more memory than it may"
said.append("what eats more is ended")


def multiply():
    children, refused = [], False
    try:
        while len(children) < 1000:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except BlockingIOError:
        refused = True
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os._exit(0 if refused and len(children) < int(show("lectern.service", "TasksMax")) else 1)


assert beside([pids], multiply) == 0, "the agent's processes may multiply without end"
said.append("what multiplies is refused")

# As many hogs as there are processors on either side: the teacher's programs, and Lectern's.
hogs = {"user.slice": [], "lectern.slice": []}
for n in range(os.cpu_count()):
    for side in hogs:
        name = f"hog-{side.split('.')[0]}-{n}"
        subprocess.run(["systemd-run", "--quiet", f"--slice={side}", f"--unit={name}", "python3", "-c", "while True: pass"], check=True)
        hogs[side].append(name)


def spent(side):
    ticks = 0
    for name in hogs[side]:
        fields = pathlib.Path(f"/proc/{show(name, 'MainPID')}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks


time.sleep(1)
before = {side: spent(side) for side in hogs}
time.sleep(8)
after = {side: spent(side) - before[side] for side in hogs}
for names in hogs.values():
    subprocess.run(["systemctl", "stop", *names], check=True)
teaching = after["user.slice"] / sum(after.values())
# Two thirds by the weights; Lectern's hogs also give way to its recorder.
assert teaching > 0.6, f"teaching got {teaching:.0%}"
said.append(f"of a processor both want, teaching got {teaching:.0%}")
print("; ".join(said))
sys.exit(0)
