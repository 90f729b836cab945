"""Measures contenders in turns and reports what they cost. Called by `run`, which says with what."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import contenders
import load
import report
import scene
from scene import Scene

IDLE_REQUESTS = (1, 20)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--needs", action="store_true", help="print the packages that contenders need")
    parser.add_argument("--bin", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    usual = contenders.ORDER if not scene.TLS else contenders.ORDER_WITH_TLS
    names = os.environ.get("COMPARE_ONLY", " ".join(usual)).split()
    if unknown := [name for name in names if name not in contenders.ORDER]:
        raise SystemExit(f"no contender {unknown[0]!r}: there are {', '.join(contenders.ORDER)}")
    if arguments.needs:
        # The console that all stand before is nginx.
        needs = {"nginx"}.union(*(contenders.load(name).needs for name in names))
        print("\n".join(sorted(needs)))
        return
    # Whoever stops the bench does not want to look for what it has started.
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, stopped)
    compare(names, arguments.bin.resolve(), arguments.out)


def stopped(signal_number, _):
    raise SystemExit(128 + signal_number)


def compare(names, programs, out):
    seconds = number("COMPARE_SECONDS", 5)
    rounds = number("COMPARE_ROUNDS", 7)
    idle = number("COMPARE_IDLE", 5000, least=0)
    tenants = number("COMPARE_TENANTS", 100, least=2)
    connections = [int(word) for word in os.environ.get("COMPARE_CONNECTIONS", "64 512").split()]
    if scene.TLS:
        # A handshake for each request.
        connections.append(report.HANDSHAKES)
    idle = min(idle, load.raise_file_limit() - load.FILES_TO_SPARE)
    load_before = os.getloadavg()[0]

    folder = (out / "work").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    place = Scene(folder, programs, tenants)
    lined_up = [
        contenders.load(name)(name, folder, place, index) for index, name in enumerate(names)
    ]
    try:
        place.start()
        for contender in lined_up:
            contender.set_up()
        runs = measure_load(lined_up, connections, rounds, seconds)
        memory = measure_idle(lined_up, idle) if idle else {}
    finally:
        for contender in lined_up:
            contender.stop()
        place.stop()

    for contender in lined_up:
        contender.clean()
    summary = report.summarize(runs, memory, connections)
    result = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processors": os.cpu_count(),
        "load_average_before": load_before,
        "seconds": seconds,
        "rounds": rounds,
        "idle_connections": idle,
        "tenants": tenants,
        "tls": scene.TLS,
        "summary": summary,
        "noise": report.noise(summary, load_before),
        "runs": runs,
    }
    file = out / "result.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    report.print_all(result)
    print(f"All rounds: {file}")


def measure_load(lined_up, connections, rounds, seconds):
    """Every contender once in each round, so that what else the machine does meets all of them."""
    runs = {one.name: {kind: [] for kind in connections} for one in lined_up}
    for turn in range(rounds):
        # Who goes first changes.
        for contender in lined_up[:: 1 if turn % 2 == 0 else -1]:
            for kind in connections:
                progress(f"round {turn + 1} of {rounds}: {contender.name}, {report.title(kind)}")
                contender.start()
                count, close = report.load_of(kind)
                one = load.measure(contender, count, seconds, close)
                contender.stop()
                check_log(contender, one["requests"])
                runs[contender.name][kind].append(one)
    progress("")
    return runs


def check_log(contender, requests):
    logged = contender.logged() if contender.works else requests
    if logged < requests:
        raise SystemExit(f"{contender.name} answered {requests} requests and logged {logged}")


def measure_idle(lined_up, connections):
    found = {}
    for contender in lined_up:
        found[contender.name] = {}
        for requests in IDLE_REQUESTS:
            progress(f"{connections} idle connections: {contender.name}, {requests} requests each")
            contender.start()
            found[contender.name][requests] = load.idle(contender, connections, requests)
            contender.stop()
    progress("")
    return found


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def number(name, default, least=1):
    text = os.environ.get(name, str(default))
    if not text.isdigit() or int(text) < least:
        raise SystemExit(f"{name} is a whole number of at least {least}, not {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
