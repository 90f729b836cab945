"""The two loads: requests as fast as they are answered, and connections that lie idle."""

import json
import resource
import subprocess
import time
from pathlib import Path

import scene
from process import machine_seconds

SCRIPT = Path(__file__).with_name("load.lua")
WARM_UP = 1
FILES_TO_SPARE = 500


def measure(contender, connections, seconds, close=False):
    """Loads a contender that runs: what a request cost it, and how long it took. With `close` each
    request has a connection of its own."""
    wrk(contender, connections, WARM_UP, close)
    before = Reading(contender)
    done = wrk(contender, connections, seconds, close)
    used = Reading(contender).since(before)
    if done["failed"] or not done["requests"]:
        raise SystemExit(f"{contender.name}: {done['failed']} of {done['requests']} requests failed")
    wall = done["microseconds"] / 1e6
    return {
        "requests": done["requests"],
        "cpu_us": used["contender"] * 1e6 / done["requests"],
        "cpu_cores": used["contender"] / wall,
        "per_second": done["requests"] / wall,
        "p50_us": done["p50"],
        "p99_us": done["p99"],
        # Of one processor: what neither the contender, nor wrk, nor the console used.
        "others": max(used["machine"] - used["contender"] - used["bench"], 0) / wall,
        "stolen": used["stolen"] / wall,
    }


def wrk(contender, connections, seconds, close=False):
    command = [
        "wrk",
        "--threads=1",
        f"--connections={connections}",
        f"--duration={seconds}s",
        "--timeout=10s",
        f"--script={SCRIPT}",
        f"{scene.SCHEME}://127.0.0.1:{contender.port}",
        "--",
        scene.PATH,
        scene.KEY,
        str(contender.place.tenants),
        "close" if close else "keep-alive",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"wrk failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return json.loads(lines[-1])


class Reading:
    """The clocks of everybody at one time."""

    def __init__(self, contender):
        contender.group.check_alive()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = time.process_time()
        machine, stolen = machine_seconds()
        self.values = {
            "contender": contender.group.cpu_seconds(),
            "bench": children.ru_utime + children.ru_stime + own + contender.place.cpu_seconds(),
            "machine": machine,
            "stolen": stolen,
        }

    def since(self, before):
        return {name: value - before.values[name] for name, value in self.values.items()}


def idle(contender, connections, requests):
    """The bytes that an idle connection costs after some requests."""
    for number in range(200):
        scene.get(contender.port, scene.PATH, scene.headers_for(number % contender.place.tenants))
    scene.settle()
    before = contender.group.memory()
    opened = []
    try:
        for number in range(connections):
            opened.append(scene.connect(contender.port))
            for _ in range(requests):
                opened[-1].request(
                    "GET", scene.PATH, headers=scene.headers_for(number % contender.place.tenants)
                )
                reply = opened[-1].getresponse()
                reply.read()
                if reply.status != 200 or opened[-1].sock is None:
                    raise SystemExit(f"{contender.name}: a connection did not stay open")
        scene.settle()
        return (contender.group.memory() - before) / connections
    finally:
        for connection in opened:
            connection.close()


def raise_file_limit():
    """Returns how many files a process may have open now."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


