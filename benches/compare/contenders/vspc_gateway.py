"""The gateway itself, with its defaults."""

import shutil

import scene
from contenders import Base

CONFIGURATION = """
[server]
listen = ["127.0.0.1:{port}"]
{tls}

[log]
level = "warn"

[audit]
directory = "audit"

[[consoles]]
name  = "main"
url   = "{scheme}://127.0.0.1:{origin}"
{trust}
login = {{ grant = "password", username = '{user}', password = {{ file = "password" }} }}

[mapping]
tenant_header = "X-Tenant"

[[clients]]
name     = "{client}"
api_keys = ["{digest}"]
tenants  = ["*"]
allow    = [{{ methods = ["GET"], paths = ["/api/v3/**"] }}]
"""

TENANT = """
[[tenants]]
name        = "{name}"
impersonate = {{ user = "{user}" }}
"""


class Contender(Base):
    line = '"kind":"request"'

    def prepare(self):
        user, password = scene.ACCOUNT
        folder = self.place.folder
        scene.write_private(self.folder / "password", password + "\n")
        text = CONFIGURATION.format(
            port=self.port,
            origin=scene.ORIGIN_PORT,
            scheme=scene.SCHEME,
            tls=f'tls = {{ certificate = "{folder}/tls.pem", key = "{folder}/tls.key" }}' if scene.TLS else "",
            trust=f'tls = {{ ca = "{folder}/ca.pem" }}' if scene.TLS else "",
            user=user,
            client=scene.CLIENT,
            digest=scene.KEY_DIGEST,
        )
        for number in range(self.place.tenants):
            text += TENANT.format(name=scene.tenant(number), user=scene.owner(number))
        (self.folder / "gateway.toml").write_text(text)

    def command(self):
        program = self.place.programs / "vspc-gateway"
        return [str(program), "run", "--config", str(self.folder / "gateway.toml")]

    def clean(self):
        # Its tokens are in its state and stay.
        shutil.rmtree(self.folder / "audit", ignore_errors=True)

    def logs(self):
        return [path for path in (self.folder / "audit").rglob("*") if path.is_file()]
