"""What all contenders stand before: tenants, a key, and a fast console.

The console is nginx with one fixed answer for the measured call; what the gateway asks by itself,
tokens and users, goes on to the stand-in console. Only a contender's own CPU is counted.
"""

import hashlib
import http.client
import json
import os
import ssl
import subprocess
import time
import urllib.parse

from process import Group, wait_until

# Whether both sides speak TLS: callers with contenders, and contenders with the console.
TLS = os.environ.get("COMPARE_TLS", "0") == "1"
SCHEME = "https" if TLS else "http"
# What the console's certificate says.
ORIGIN_NAME = "localhost"

ORIGIN_PORT = 19290
SIMULATOR_PORT = 19291
FIRST_PORT = 19300

CLIENT = "monitoring"
KEY = "vgk_compare_monitoring_00000000000000000000000"
KEY_DIGEST = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
CALL = "/api/v3/infrastructure/backupServers"
PATH = CALL + "?limit=100&offset=0"
# Answers with the headers that came, to see that contenders do the same work.
ECHO = "/api/v3/infrastructure/echo"
ACCOUNT = ("VSPC\\svc-gateway", "gateway-demo-password")

ORIGIN = """
daemon off;
pid origin.pid;
error_log origin-error.log;
worker_processes 1;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    default_type application/json;
    client_body_temp_path origin-body;
    proxy_temp_path origin-proxy;
    fastcgi_temp_path origin-fastcgi;
    uwsgi_temp_path origin-uwsgi;
    scgi_temp_path origin-scgi;
    server {{
        listen 127.0.0.1:{origin}{ssl} backlog=4096;
        {certificate}
        location = {call} {{ return 200 '{answer}'; }}
        location = {echo} {{
            return 200 '{{"authorization":"$http_authorization","key":"$http_x_api_key","tenant":"$http_x_tenant"}}';
        }}
        location / {{ proxy_pass http://127.0.0.1:{simulator}; }}
    }}
}}
"""


def tenant(number):
    return f"tenant-{number:05d}"


def owner(number):
    """The user of a company that the stand-in console makes up."""
    return f"00dec0de-0000-4000-8000-{number:012x}"


class Scene:
    """The console, running, and the tokens that it gave for each tenant."""

    def __init__(self, folder, programs, tenants):
        self.folder = folder
        self.programs = programs
        self.tenants = tenants
        self.groups = []
        self.tokens = []

    def start(self):
        if TLS:
            make_certificates(self.folder)
        self._run(
            "simulator",
            [
                str(self.programs / "vspc-simulator"),
                f"--listen=127.0.0.1:{SIMULATOR_PORT}",
                f"--companies={self.tenants}",
                "--access-lifetime=24h",
                "--switch=keep_requests=0",
            ],
        )
        configuration = self.folder / "origin.conf"
        configuration.write_text(
            ORIGIN.format(
                origin=ORIGIN_PORT,
                **nginx_tls(self.folder),
                simulator=SIMULATOR_PORT,
                call=CALL,
                echo=ECHO,
                answer=answer(),
            )
        )
        self._run("origin", ["nginx", "-p", str(self.folder), "-c", str(configuration)])
        for port in (SIMULATOR_PORT, ORIGIN_PORT):
            wait_until(lambda: self._answers(port), 20, f"an answer of port {port}")
        session = grant("password", username=ACCOUNT[0], password=ACCOUNT[1])
        for number in range(self.tenants):
            session = grant("as", refresh_token=session["refresh_token"], userUid=owner(number))
            self.tokens.append(session["access_token"])

    def stop(self):
        for group in self.groups:
            group.stop()

    def cpu_seconds(self):
        return sum(group.cpu_seconds() for group in self.groups)

    def _run(self, name, command):
        refuse_taken(SIMULATOR_PORT if name == "simulator" else ORIGIN_PORT)
        self.groups.append(Group(command, self.folder / f"{name}.log", self.folder))

    def _answers(self, port):
        for group in self.groups:
            group.check_alive()
        try:
            return get(port, "/_simulator/state", {})[0] == 200
        except OSError:
            return False


def answer():
    """A page of companies of about 1 KiB."""
    companies = [
        {"instanceUid": owner(number), "name": f"Company {number}", "status": "Active"}
        for number in range(10)
    ]
    return json.dumps({"meta": {"pagingInfo": {"total": 10}}, "data": companies}, separators=(",", ":"))


def grant(kind, **form):
    """Asks the stand-in console for tokens."""
    connection = http.client.HTTPConnection("127.0.0.1", SIMULATOR_PORT, timeout=10)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request(
        "POST", "/api/v3/token", urllib.parse.urlencode({"grant_type": kind, **form}), headers
    )
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    if reply.status != 200:
        raise SystemExit(f"the stand-in console refused grant {kind}: {reply.status} {body!r}")
    return json.loads(body)


def connect(port):
    """A connection to whatever listens on a port. Certificates are not looked at: it is this machine."""
    if not TLS or port == SIMULATOR_PORT:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)


def get(port, path, headers):
    """One GET on a connection of its own: status, headers, body."""
    connection = connect(port)
    try:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def headers_for(number):
    return {"X-Api-Key": KEY, "X-Tenant": tenant(number), "Accept": "application/json"}


def make_certificates(folder):
    """An authority, and a certificate by it for everybody: ECDSA over P-256, as is usual."""
    script = f"""
        set -e
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -subj /CN=compare -days 30 -out ca.pem
        openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out tls.key
        chmod 600 tls.key ca.key
        openssl req -new -key tls.key -subj /CN={ORIGIN_NAME} -out tls.csr
        printf 'subjectAltName=DNS:{ORIGIN_NAME},IP:127.0.0.1' > tls.ext
        openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile tls.ext -out tls.pem
    """
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, check=False, text=True)
    if done.returncode:
        raise SystemExit(f"openssl failed: {done.stderr}")


def nginx_tls(folder):
    """What follows the address in nginx's `listen`, and the lines of its certificate."""
    if not TLS:
        return {"ssl": "", "certificate": ""}
    certificate = f"ssl_certificate {folder}/tls.pem; ssl_certificate_key {folder}/tls.key;"
    certificate += " ssl_protocols TLSv1.2 TLSv1.3;"
    return {"ssl": " ssl", "certificate": certificate}


def refuse_taken(port):
    try:
        get(port, "/", {})
    except ConnectionRefusedError:
        return
    except OSError:
        pass
    raise SystemExit(f"port {port} is taken: stop what listens there (ports 19290 to 19310 are used)")


def write_private(path, text):
    path.write_text(text)
    os.chmod(path, 0o600)


def settle():
    time.sleep(1)
