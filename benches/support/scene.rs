//! A configuration of any size, and a stand-in console that costs next to nothing.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use vspc_gateway::app;
use vspc_gateway::audit::{Auditor, Writer};
use vspc_gateway::config::Settings;
use vspc_gateway::gateway::Gateway;
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::{Settings as SimulatorSettings, Simulator, Switches, generated_owner};

/// How many there are of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) clients: usize,
    pub(crate) tenants: usize,
    /// Rules of each client that stand before those that allow the requests.
    pub(crate) rules: usize,
}

/// What a small provider has.
#[allow(dead_code, reason = "not every bench uses every helper")]
pub(crate) const SMALL: Scale = Scale {
    clients: 3,
    tenants: 3,
    rules: 0,
};

/// The path that requests ask for.
pub(crate) const PATH: &str = "/api/v3/organizations/companies";

/// The key of a client.
pub(crate) fn key(client: usize) -> String {
    format!("vgk_bench_{client:08}_000000000000000000000000")
}

/// The name of a tenant.
pub(crate) fn tenant(number: usize) -> String {
    format!("tenant-{number:05}")
}

/// Starts a console with a company for each tenant. It neither signs tokens nor keeps requests.
#[allow(dead_code, reason = "not every bench uses every helper")]
pub(crate) async fn console(tenants: usize) -> Simulator {
    let settings = SimulatorSettings {
        companies: tenants,
        switches: Switches {
            sign_tokens: false,
            keep_requests: 0,
            ..Switches::default()
        },
        ..SimulatorSettings::default()
    };
    Simulator::start(settings).await.unwrap()
}

/// Writes the secrets that the configuration names, and returns its text. Each client reads and
/// writes for every tenant, by its third rule.
pub(crate) fn configuration(folder: &Path, console: &str, listen: &str, scale: Scale) -> String {
    let password = folder.join("password");
    std::fs::write(&password, "gateway-demo-password\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut text = format!(
        r#"
[server]
listen = "{listen}"
connections_per_source = 32768
token_wait = "60s"
[audit]
directory = "audit"
[[consoles]]
name = "main"
url = "{console}"
login = {{ grant = "password", username = 'VSPC\svc-gateway', password = {{ file = "password" }} }}
[mapping]
tenant_header = "X-Tenant"
reason_header = "X-Audit-Reason"
"#
    );
    for number in 0..scale.tenants {
        let (name, user) = (tenant(number), generated_owner(number));
        write!(
            text,
            "[[tenants]]\nname = \"{name}\"\nimpersonate = {{ user = \"{user}\" }}\n"
        )
        .unwrap();
    }
    for client in 0..scale.clients {
        let digest = KeyDigest::of(key(client).as_bytes());
        write!(
            text,
            r#"[[clients]]
name = "client-{client}"
api_keys = ["{digest}"]
tenants = ["*"]
deny = [{{ paths = ["/api/v3/organizations/*/keys"] }}]
allow = [
{}  {{ methods = ["POST", "DELETE"], paths = ["/api/v3/users/*/logins/**"] }},
  {{ methods = ["GET"], paths = ["/api/v3/users/**", "/api/v3/infrastructure/**"] }},
  {{ methods = ["*"], paths = ["/api/v3/**"] }},
]
"#,
            further_rules(scale)
        )
        .unwrap();
    }
    text
}

/// Rules about operations of other kinds, and about the same as is asked for, of other tenants.
fn further_rules(scale: Scale) -> String {
    let rule = |number| match number % 2 {
        0 => format!(
            "{{ methods = [\"GET\"], paths = [\"/api/v3/kind{number}/*/items/**\"], reason = \"required\" }},\n"
        ),
        _ => format!(
            "{{ methods = [\"GET\"], paths = [\"{PATH}\"], tenants = [\"{}\"], read_only = true }},\n",
            tenant(number % (scale.tenants / 2))
        ),
    };
    (0..scale.rules).map(rule).collect()
}

/// Puts a gateway together before a console.
#[allow(dead_code, reason = "not every bench uses every helper")]
pub(crate) fn compose(folder: &Path, console: &str, scale: Scale) -> (Arc<Gateway>, Writer) {
    let text = configuration(folder, console, "127.0.0.1:0", scale);
    let settings = Settings::parse(&text, folder).unwrap();
    let (auditor, writer) = Auditor::open(settings.audit.clone()).unwrap();
    let (gateway, _) = app::compose(settings, &auditor).unwrap();
    (gateway, writer)
}
