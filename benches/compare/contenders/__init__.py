"""The contenders: one file each, named as its contender with `_` for `-`.

A contender is a class `Contender` with what `Base` lacks. To add one, write its file and name it in
`ORDER`; the others are untouched.
"""

import importlib
import json
import shutil
import subprocess

import scene
from process import Group, wait_until

# In this order they take their turns.
ORDER = ["nginx", "nginx-buffered", "haproxy-tcp", "envoy", "vspc-gateway"]

# With TLS on both sides: HAProxy would only pass it on.
ORDER_WITH_TLS = ["nginx", "vspc-gateway"]


def load(name):
    return importlib.import_module("contenders." + name.replace("-", "_")).Contender


class Base:
    """Starts and stops a program that serves on `self.port`."""

    # Commands that it needs, by the names of their packages.
    needs = []

    # Whether it does the work; else it only shows what passing bytes on costs.
    works = True

    # Whether it tells keys and tenants apart.
    knows_tenants = True

    def __init__(self, name, folder, place, number):
        self.name = name
        self.folder = folder / name
        self.place = place
        self.port = scene.FIRST_PORT + number
        self.group = None

    # ---- what a contender's own file says

    def prepare(self):
        """Writes configuration files into `self.folder`, once."""
        raise NotImplementedError

    def command(self):
        """The command that serves, in the foreground."""
        raise NotImplementedError

    def clean(self):
        """Removes what a run has left, the log of requests above all."""

    def logs(self):
        """The files that hold one line for each request."""
        return []

    # What such a line contains.
    line = ""

    # ---- what they have in common

    def set_up(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.prepare()
        self.start()
        try:
            if self.works:
                self.check_work()
        finally:
            self.stop()

    def start(self):
        self.clean()
        scene.refuse_taken(self.port)
        self.group = Group(self.command(), self.folder / "output.log", self.folder)
        wait_until(self._serves, 30, f"{self.name} to answer 200")
        for number in range(self.place.tenants):
            self.expect(200, scene.PATH, scene.headers_for(number))

    def stop(self):
        """Ends it. What it has logged stays until the next start."""
        if self.group:
            self.group.stop()
            self.group = None

    def logged(self):
        """How many requests are in its log."""
        found = subprocess.run(
            ["grep", "--count", "--no-filename", "--fixed-strings", "--regexp", self.line]
            + [str(path) for path in self.logs()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
        )
        return sum(int(count) for count in found.stdout.split())

    def check_work(self):
        """That it does the work: key, tenant, token, refusals."""
        before = None
        for number in (0, 1):
            body = self.expect(200, scene.ECHO, scene.headers_for(number))
            seen = json.loads(body)
            bearer = seen["authorization"].removeprefix("Bearer ")
            if len(bearer) < 100 or (self.knows_tenants and (seen["key"] or seen["tenant"])):
                raise SystemExit(f"{self.name} sent wrong headers to the console: {seen}")
            if bearer == before and self.knows_tenants:
                raise SystemExit(f"{self.name} sent the same token for two tenants")
            before = bearer
        if not self.knows_tenants:
            return
        headers = scene.headers_for(0)
        self.expect(401, scene.PATH, headers | {"X-Api-Key": scene.KEY[:-1] + "1"})
        self.expect(403, scene.PATH, headers | {"X-Tenant": "nobody"})

    def expect(self, status, path, headers):
        got, answered, body = scene.get(self.port, path, headers)
        if got != status:
            raise SystemExit(f"{self.name}: {path} was answered {got}, not {status}: {body[:300]!r}")
        if self.works and "X-Gateway-Request-Id" not in answered:
            raise SystemExit(f"{self.name}: an answer without X-Gateway-Request-Id")
        return body

    def _serves(self):
        self.group.check_alive()
        try:
            return scene.get(self.port, scene.PATH, scene.headers_for(0))[0] == 200
        except OSError:
            return False
