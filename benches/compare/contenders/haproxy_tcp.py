"""HAProxy that passes bytes on and reads none of them: the floor. It neither knows clients nor logs."""

import scene
from contenders import Base

CONFIGURATION = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 90s
    timeout server 90s
listen console
    bind 127.0.0.1:{port} backlog 4096
    server console 127.0.0.1:{origin}
"""


class Contender(Base):
    needs = ["haproxy"]
    works = False

    def prepare(self):
        text = CONFIGURATION.format(port=self.port, origin=scene.ORIGIN_PORT)
        (self.folder / "haproxy.cfg").write_text(text)

    def command(self):
        return ["haproxy", "-f", str(self.folder / "haproxy.cfg")]
