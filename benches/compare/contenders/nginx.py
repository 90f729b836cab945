"""nginx that does the same from static maps, with a JSON access log.

The log is written as nginx does it by default: a line is with the kernel when its request ends.
"""

import scene
from contenders import Base

CONFIGURATION = """
daemon off;
pid nginx.pid;
error_log error.log;
worker_processes auto;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    map_hash_max_size 65536;
    map_hash_bucket_size 256;
    map $http_x_api_key $client {{ default ""; include keys.map; }}
    map "$client/$http_x_tenant" $token {{ default ""; include tokens.map; }}
    log_format audit escape=json
        '{{"time":"$time_iso8601","kind":"request","request_id":"$request_id","client":"$client",'
        '"source":"$remote_addr","tenant":"$http_x_tenant","console":"main","method":"$request_method",'
        '"path":"$uri","query":"$args","status":$status,"bytes_in":$request_length,'
        '"bytes_out":$body_bytes_sent,"duration":$request_time,"upstream":"$upstream_status"}}';
    upstream console {{
        server 127.0.0.1:{origin};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port}{ssl} backlog=4096;
        {certificate}
        access_log access.log audit{log_options};
        add_header X-Gateway-Request-Id $request_id always;
        location / {{ return 403; }}
        location /api/v3/ {{
            if ($client = "") {{ return 401; }}
            if ($token = "") {{ return 403; }}
            if ($request_method != GET) {{ return 403; }}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer $token";
            proxy_set_header X-Api-Key "";
            proxy_set_header X-Tenant "";
            proxy_set_header Cookie "";
            proxy_set_header Forwarded "";
            proxy_set_header X-Forwarded-For "";
            proxy_hide_header Set-Cookie;
            proxy_pass {scheme}://console;
            proxy_ssl_verify {verify};
            proxy_ssl_name {origin_name};
            proxy_ssl_server_name on;
            proxy_ssl_protocols TLSv1.3;
            {trust}
        }}
    }}
}}
"""


class Contender(Base):
    needs = ["nginx"]
    log_options = ""
    line = '"kind":"request"'

    def prepare(self):
        scene.write_private(self.folder / "keys.map", f'"{scene.KEY}" "{scene.CLIENT}";\n')
        lines = [
            f'"{scene.CLIENT}/{scene.tenant(number)}" "{token}";\n'
            for number, token in enumerate(self.place.tokens)
        ]
        scene.write_private(self.folder / "tokens.map", "".join(lines))
        text = CONFIGURATION.format(
            port=self.port,
            origin=scene.ORIGIN_PORT,
            origin_name=scene.ORIGIN_NAME,
            log_options=self.log_options,
            **scene.nginx_tls(self.place.folder),
            scheme=scene.SCHEME,
            verify="on" if scene.TLS else "off",
            trust=f"proxy_ssl_trusted_certificate {self.place.folder}/ca.pem;" if scene.TLS else "",
        )
        (self.folder / "nginx.conf").write_text(text)

    def command(self):
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def clean(self):
        for log in self.logs():
            log.unlink(missing_ok=True)

    def logs(self):
        return [self.folder / "access.log"]
