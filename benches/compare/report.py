"""Figures as tables, beside the bars that the gateway is held to."""

from statistics import median

import scene

OURS = "vspc-gateway"

# What the gateway's CPU per request may be at most, as a part of another's, by connections.
CPU_BARS = {("nginx", 64): 0.9, ("nginx", 512): 1.0, ("haproxy-tcp", 64): 1.35, ("envoy", 64): 0.4}

# The same with TLS on both sides.
TLS_BAR = 1.0

# The load in which each request has a connection of its own.
HANDSHAKES = "handshakes"
HANDSHAKE_CONNECTIONS = 32

# Bytes of an idle connection that has done a few requests.
IDLE_BAR = 12 * 1024

# Beyond these the table says that the machine was noisy.
MOST_OTHERS = 0.1
MOST_STOLEN = 0.02
MOST_SPREAD = 0.15


def load_of(kind):
    """How many connections, and whether each is for one request only."""
    return (HANDSHAKE_CONNECTIONS, True) if kind == HANDSHAKES else (kind, False)


def title(kind):
    if kind == HANDSHAKES:
        return f"{HANDSHAKE_CONNECTIONS} connections, a new one for each request"
    return f"{kind} connections, keep-alive, each sends when it is answered"


def bar_of(name, kind):
    if scene.TLS:
        return TLS_BAR if name == "nginx" else None
    return CPU_BARS.get((name, kind))


def summarize(runs, idle, connections):
    """Everything that is said of the rounds, as plain data."""
    contenders = list(runs)
    tables = []
    for count in connections:
        rows = {name: row(runs[name][count]) for name in contenders}
        tables.append({"connections": count, "contenders": rows, "ratios": ratios(runs, count)})
    memory = [
        idle_row(name, requests, size)
        for name, sizes in idle.items()
        for requests, size in sizes.items()
    ]
    return {"load": tables, "idle": memory}


def row(rounds):
    middle = {key: median(one[key] for one in rounds) for key in rounds[0]}
    middle["cpu_spread"] = spread([one["cpu_us"] for one in rounds])
    return middle


def spread(values):
    """From the least to the most, as a part of the middle."""
    return (max(values) - min(values)) / median(values)


def ratios(runs, count):
    """The gateway's CPU as a part of each other's, round by round: they ran one after the other."""
    found = []
    if OURS not in runs:
        return found
    ours = runs[OURS][count]
    for name, theirs in runs.items():
        if name == OURS:
            continue
        each = [a["cpu_us"] / b["cpu_us"] for a, b in zip(ours, theirs[count])]
        bar = bar_of(name, count)
        found.append(
            {
                "against": name,
                "median": median(each),
                "least": min(each),
                "most": max(each),
                "bar": bar,
                "met": None if bar is None else median(each) <= bar,
            }
        )
    return found


def idle_row(name, requests, size):
    bar = IDLE_BAR if name == OURS else None
    met = None if bar is None else size <= bar
    return {"contender": name, "requests": requests, "bytes": size, "bar": bar, "met": met}


def noise(summary, load_before):
    """What speaks against trusting these figures, a sentence each."""
    found = []
    if load_before > 0.3:
        found.append(f"the load average was {load_before:.2f} before the start")
    for table in summary["load"]:
        for name, one in table["contenders"].items():
            where = f"{name}, {title(table['connections'])}"
            if one["others"] > MOST_OTHERS:
                found.append(f"other programs used {one['others']:.2f} processors beside {where}")
            if one["stolen"] > MOST_STOLEN:
                found.append(f"the host took {one['stolen']:.2f} processors away from {where}")
            if one["cpu_spread"] > MOST_SPREAD:
                found.append(f"rounds of {where} differ by {one['cpu_spread']:.0%}")
    return found


def print_all(result):
    summary = result["summary"]
    for table in summary["load"]:
        print_load(table)
    if summary["idle"]:
        print(f"\nmemory of an idle connection, of {result['idle_connections']:,}")
    for one in summary["idle"]:
        after = f"after {one['requests']} request" + ("s" if one["requests"] != 1 else "")
        bar = f"; bar ≤ {one['bar'] / 1024:.0f} KiB: {verdict(one)}" if one["bar"] else ""
        print(f"  {one['contender']:14} {one['bytes'] / 1024:7.1f} KiB {after}{bar}")
    print()
    for sentence in result["noise"]:
        print(f"noisy: {sentence}")
    if result["noise"]:
        print("Trust the ratios more than the figures, and neither to the last tenth.")
    else:
        print("The machine was quiet.")


def print_load(table):
    print(f"\n{title(table['connections'])}{' (TLS on both sides)' if scene.TLS else ''}")
    heads = ("CPU/request", "spread", "cores", "requests/s", "p50", "p99")
    print("  {:14} {:>12} {:>7} {:>6} {:>11} {:>9} {:>9}".format("", *heads))
    for name, one in table["contenders"].items():
        print(
            f"  {name:14} {one['cpu_us']:9.1f} µs {one['cpu_spread']:7.0%} {one['cpu_cores']:6.2f}"
            f" {one['per_second']:11,.0f} {one['p50_us'] / 1000:6.2f} ms"
            f" {one['p99_us'] / 1000:6.2f} ms"
        )
    for ratio in table["ratios"]:
        rounds = f"rounds {ratio['least']:.2f} to {ratio['most']:.2f}"
        bar = f"; bar ≤ {ratio['bar']}: {verdict(ratio)}" if ratio["bar"] else ""
        print(f"  CPU of {OURS}: {ratio['median']:.2f} × {ratio['against']} ({rounds}){bar}")


def verdict(one):
    return "met" if one["met"] else "MISSED"
