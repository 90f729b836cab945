"""Processes that this bench starts, and what they cost by /proc."""

import os
import signal
import subprocess
import time
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Group:
    """A program and all processes that come of it, in a session of their own."""

    def __init__(self, command, log, folder):
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                start_new_session=True,
            )
        self.log = log

    def pids(self):
        """All that are alive, the first one first."""
        session = self.process.pid
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and session_of(entry) == session:
                found.append(int(entry.name))
        return sorted(found)

    def cpu_seconds(self):
        """User and system time of all of them."""
        return sum(cpu_seconds_of(pid) for pid in self.pids())

    def memory(self):
        """Resident bytes of all of them; what they share counts once."""
        return sum(memory_of(pid) for pid in self.pids())

    def check_alive(self):
        if self.process.poll() is not None:
            last = Path(self.log).read_text(errors="replace")[-2000:]
            raise SystemExit(f"{self.process.args[0]} has ended:\n{last}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                pass
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def fields_of(entry):
    """/proc/PID/stat from its third member on; the second may hold blanks."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def session_of(entry):
    fields = fields_of(entry)
    return int(fields[3]) if fields and fields[0] != "Z" else None


def cpu_seconds_of(pid):
    fields = fields_of(Path(f"/proc/{pid}"))
    return (int(fields[11]) + int(fields[12])) * TICK if fields else 0.0


def memory_of(pid):
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def machine_seconds():
    """What all processors have done since the machine started: (busy, stolen) seconds."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split()[1:9]
    )
    return (user + nice + system + irq + softirq) * TICK, steal * TICK


def wait_until(true, seconds, what):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)
