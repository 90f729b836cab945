mod policy;
mod schema;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use tempfile::TempDir;

mod credentials;

use super::*;
use crate::tenant::Whom;

/// A folder with the secrets that the files name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["password", "open", "lines"] {
        let path = folder.path().join(name);
        let text = if name == "lines" { "pw\npw\n" } else { "pw\n" };
        std::fs::write(&path, text).unwrap();
        let mode = if name == "open" { 0o644 } else { 0o600 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

const GOOD: &str = r#"
[server]
listen = "127.0.0.1:0"
[audit]
directory = "audit"
[[consoles]]
name = "main"
url = "http://127.0.0.1:9280"
login = { grant = "password", username = 'D\u', password = { file = "password" } }
[[tenants]]
name = "acme"
aliases = ["1001"]
impersonate = { user = "b3ffc78b-7982-44f3-ae66-1384415f2bea" }
[mapping]
tenant_header = "X-Tenant"
[[clients]]
name = "zabbix"
api_keys = ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
tenants = ["*"]
allow = [{ methods = ["GET"], paths = ["/api/v3/**"] }]
"#;

fn faults(text: &str) -> Vec<String> {
    let folder = folder();
    match Settings::parse(text, folder.path()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// The one fault of a file in which one piece was replaced.
fn fault_of(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let found = faults(&GOOD.replacen(from, to, 1));
    assert_eq!(found.len(), 1, "{to}: {found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn a_good_file_has_no_faults() {
    assert_eq!(faults(GOOD), Vec::<String>::new());
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let text = r#"
[server]
listen = ["nowhere"]
drain = 30
colour = "red"
[audit]
directory = ""
durability = "maybe"
[[consoles]]
name = "main"
url = "http://vspc.example.com:1280"
login = { grant = "magic", username = "", password = "hunter2-canary" }
[[tenants]]
name = "acme"
console = "other"
impersonate = { user = "not-a-uuid" }
[mapping]
tenant_header = "Authorization"
[[clients]]
name = "zabbix"
api_keys = ["vgk_canary_in_the_file"]
tenants = ["acmee"]
allow = [{ methods = ["FETCH"], paths = ["api", "/a/**/b"] }]
"#;
    let found = faults(text);
    for (line, path) in [
        (3, "server.listen[0]:"),
        (4, "server.drain:"),
        (5, "server.colour:"),
        (7, "audit.directory:"),
        (8, "audit.durability:"),
        (11, "consoles[0].url:"),
        (12, "consoles[0].login.grant:"),
        (12, "consoles[0].login.username:"),
        (12, "consoles[0].login.password:"),
        (15, "tenants[0].console:"),
        (16, "tenants[0].impersonate.user:"),
        (18, "mapping.tenant_header:"),
        (21, "clients[0].api_keys[0]:"),
        (22, "clients[0].tenants[0]:"),
        (23, "clients[0].allow[0].methods[0]:"),
        (23, "clients[0].allow[0].paths[0]:"),
        (23, "clients[0].allow[0].paths[1]:"),
    ] {
        let start = format!("line {line}: {path}");
        assert!(
            found.iter().any(|fault| fault.starts_with(&start)),
            "{start} in {found:#?}"
        );
    }
    assert!(
        !found.iter().any(|fault| fault.contains("canary")),
        "{found:#?}"
    );
}

#[test]
fn single_faults_say_what_would_be_right() {
    for (from, to, expected) in [
        (
            "listen = \"127.0.0.1:0\"",
            "listen = []",
            "at least one address",
        ),
        ("listen = \"127.0.0.1:0\"", "", "server.listen: is missing"),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\nqueue = 1",
            "between 16 and",
        ),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\nqueue_wait = \"0s\"",
            "audit.queue_wait: must be above zero",
        ),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\norigin = \"a log\"",
            "audit.origin: must be 1 to 128 visible characters",
        ),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\nsigning_key = \"key\"",
            "audit.signing_key: must be { file",
        ),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\ncheckpoints = {}",
            "audit.checkpoints.file: is missing",
        ),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\nretention = \"23h\"",
            "audit.retention: must be at least 1d",
        ),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\nsegment_size = \"1KiB\"",
            "audit.segment_size: must be between 64KiB and 64GiB",
        ),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\nsegment_time = \"30s\"",
            "audit.segment_time: must be at least 1m",
        ),
        (
            "name = \"main\"",
            "name = \"main\"\nconnect_timeout = \"0s\"",
            "must be above zero",
        ),
        (
            "listen = \"127.0.0.1:0\"",
            "listen = \"127.0.0.1:0\"\nnames = [\"gw.example:443\"]",
            "without a port",
        ),
        (
            "listen = \"127.0.0.1:0\"",
            "listen = \"127.0.0.1:0\"\ntarget_limit = \"0B\"",
            "between 256B and",
        ),
        (
            "[audit]",
            "connections = 0\n[audit]",
            "server.connections: must be between 1 and",
        ),
        (
            "[audit]",
            "connections_per_source = \"many\"\n[audit]",
            "server.connections_per_source: expected a whole number",
        ),
        (
            "[audit]",
            "connections = 10\nconnections_per_source = 11\n[audit]",
            "server.connections_per_source: is more than server.connections",
        ),
        (
            "[audit]",
            "min_body_rate = \"240\"\n[audit]",
            "server.min_body_rate: must be a size",
        ),
        (
            "[audit]",
            "min_body_rate = \"2MiB\"\n[audit]",
            "server.min_body_rate: must be at most 1MiB",
        ),
        (
            "[audit]",
            "unread_timeout = \"0s\"\n[audit]",
            "server.unread_timeout: must be above zero",
        ),
        (
            "listen = \"127.0.0.1:0\"",
            "listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
            "stands here twice",
        ),
        (
            "listen = \"127.0.0.1:0\"",
            "listen = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:1\"",
            "where clients connect",
        ),
        ("tenants = [\"*\"]", "tenants = []", "empty list"),
        (
            "directory = \"audit\"",
            "directory = \"password\"",
            "is no directory",
        ),
        (
            "file = \"password\"",
            "file = \"lines\"",
            "more than one line",
        ),
        (
            "url = \"http://127.0.0.1:9280\"",
            "url = \"http://127.0.0.1:9280\"\ntls = { fingerprint_sha256 = [\"0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0\"] }",
            "means nothing for an http",
        ),
        (
            "tenant_header = \"X-Tenant\"",
            "tenant_header = \"X_Api_Key\"",
            "another meaning",
        ),
        (
            "paths = [\"/api/v3/**\"]",
            "paths = [\"/a?x=1\"]",
            "no query",
        ),
        (
            "url = \"http://127.0.0.1:9280\"",
            "url = \"http://x.example/api\"",
            "without a path",
        ),
        (
            "url = \"http://127.0.0.1:9280\"",
            "url = \"http://x.example\"",
            "danger_plaintext",
        ),
        (
            "url = \"http://127.0.0.1:9280\"",
            "url = \"https://u:p@x.example\"",
            "must be a URL",
        ),
        ("file = \"password\"", "file = \"missing\"", "cannot read"),
        ("file = \"password\"", "file = \"open\"", "chmod o-rwx"),
        (
            "file = \"password\"",
            "file = \"password\", env = \"X\"",
            "exactly one of",
        ),
        (
            "file = \"password\"",
            "env = \"VSPC_GATEWAY_TEST_UNSET\"",
            "is not set",
        ),
        (
            "aliases = [\"1001\"]",
            "aliases = [\"acme\"]",
            "already stands for",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\ntargets = [\"me\"]",
            "targets[0]: must be the userUid",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\ntargets = []",
            "leave it out",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\ntargets = [\"*\", \"b3ffc78b-7982-44f3-ae66-1384415f2bea\"]",
            "stands alone",
        ),
        (
            "[server]",
            "[server]\ntoken_lifetime = \"1s\"",
            "server.token_lifetime: must be between",
        ),
        (
            "[server]",
            "[server]\ntoken_lifetime = \"2h\"\nrefresh_lifetime = \"1h\"",
            "server.refresh_lifetime: must be between token_lifetime",
        ),
        (
            "[server]",
            "[state]\n[server]",
            "state.directory: is missing",
        ),
        (
            "[server]",
            "[state]\ndirectory = \"audit\"\n[server]",
            "where the audit log is kept",
        ),
        (
            "[server]",
            "[state]\ndirectory = \"s\"\nkey = { env = \"CARGO_PKG_NAME\" }\n[server]",
            "state.key: must be 64 hex digits",
        ),
        (
            "name = \"main\"",
            "name = \"main\"\nexpose_tokens = true",
            "nothing without passthrough_logins",
        ),
        (
            "name = \"main\"",
            "name = \"main\"\npassthrough_rules = {}",
            "nothing without passthrough_logins",
        ),
        (
            "name = \"main\"",
            "name = \"main\"\npassthrough_logins = true\npassthrough_rules = { deny = [] }",
            "passthrough_rules.allow: is missing",
        ),
        (
            "aliases = [\"1001\"]",
            "aliases = [\"a,b\"]",
            "letters, digits",
        ),
        (
            "tenant_header = \"X-Tenant\"",
            "tenant_header = \"X Tenant\"",
            "not a header name",
        ),
        (
            "tenant_header = \"X-Tenant\"",
            "",
            "need [mapping] tenant_header, or rules",
        ),
        (
            "tenant_header = \"X-Tenant\"",
            "tenant_header = \"X-Request-Id\"",
            "another meaning",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\", \"acme\"]",
            "stands alone",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"1001\"]",
            "own name, \"acme\"",
        ),
        ("methods = [\"GET\"], ", "", "methods: is missing"),
        (
            "paths = [\"/api/v3/**\"]",
            "paths = []",
            "would match nothing",
        ),
        (
            "paths = [\"/api/v3/**\"]",
            "paths = [\"/api/v3/x*\"]",
            "whole segment",
        ),
        (
            "impersonate = { user =",
            "impersonate = { group =",
            "exactly one of user, company and company_name",
        ),
        (
            "impersonate = { user =",
            "impersonate = { company_name = \"Acme\", user =",
            "exactly one of user, company and company_name",
        ),
        (
            "impersonate = { user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\" }",
            "impersonate = { company = \"Acme\" }",
            "impersonate.company: must be the instanceUid",
        ),
        (
            "[[tenants]]",
            "tenants = \"all\"\n[[tenants]]",
            "must be \"directory\"",
        ),
        (
            "[[tenants]]",
            "directory_refresh = \"10ms\"\n[[tenants]]",
            "between 1s and 24h",
        ),
        (
            "[[tenants]]",
            "rest_access = \"maybe\"\n[[tenants]]",
            "\"require\" or \"ignore\"",
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let found = faults(&text);
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{to}: {found:#?}"
        );
    }
}

/// An RSA key in PKCS#8 and Base64. One for all tests: making it takes longer than they do.
static RSA: LazyLock<String> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    base64::engine::general_purpose::STANDARD.encode(der.as_ref())
});

/// The faults of a file whose console logs in like this; `key.pem` and `totp` are good.
fn login_faults(login: &str) -> Vec<String> {
    let folder = folder();
    let rsa = &*RSA;
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{rsa}\n-----END {label}-----\n");
    for (name, text) in [
        ("key.pem", pem("PRIVATE KEY")),
        ("locked.pem", pem("ENCRYPTED PRIVATE KEY")),
        ("totp", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n".to_owned()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let password = r#"{ grant = "password", username = 'D\u', password = { file = "password" } }"#;
    let text = GOOD.replacen(password, login, 1);
    match Settings::parse(&text, folder.path()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_way_to_log_in_can_be_configured() {
    for login in [
        r#"{ grant = "password", username = "u", password = { file = "password" } }"#,
        r#"{ grant = "password", username = "u", password = { file = "password" }, totp_secret = { file = "totp" } }"#,
        r#"{ grant = "public_key", private_key = { file = "key.pem" } }"#,
        r#"{ grant = "public_key", private_key = { file = "key.pem" }, padding = "pkcs1", public_key_form = "spki" }"#,
    ] {
        assert_eq!(login_faults(login), Vec::<String>::new(), "{login}");
    }
}

#[test]
fn faults_of_a_login_say_what_to_do() {
    let key = "private_key = { file = \"key.pem\" }";
    let named = "username = \"u\", password = { file = \"password\" }";
    for (login, expected) in [
        (
            "{ grant = \"mfa\" }".to_owned(),
            "login.grant: must be \"password\", \"public_key\" or \"api_key\"",
        ),
        (format!("{{ {named} }}"), "login.grant: is missing"),
        (
            "{ grant = \"public_key\" }".to_owned(),
            "login.private_key: is missing",
        ),
        (
            "{ grant = \"api_key\" }".to_owned(),
            "login.api_key: is missing",
        ),
        (
            "{ grant = \"password\" }".to_owned(),
            "login.username: is missing",
        ),
        (
            format!("{{ grant = \"password\", {named}, {key} }}"),
            "login.private_key: belongs to public_key, and the grant here is password",
        ),
        (
            format!("{{ grant = \"public_key\", {key}, {named} }}"),
            "login.username: belongs to password",
        ),
        (
            format!("{{ grant = \"public_key\", {key}, passphrase = \"x\" }}"),
            "login.passphrase: is not known here",
        ),
        (
            format!("{{ grant = \"public_key\", {key}, padding = \"none\" }}"),
            "login.padding: must be \"auto\"",
        ),
        (
            format!("{{ grant = \"public_key\", {key}, public_key_form = \"pem\" }}"),
            "login.public_key_form: must be \"xml\"",
        ),
        (
            "{ grant = \"public_key\", private_key = { file = \"password\" } }".to_owned(),
            "login.private_key: holds no private key in PEM",
        ),
        (
            "{ grant = \"public_key\", private_key = { file = \"locked.pem\" } }".to_owned(),
            "login.private_key: is encrypted",
        ),
        (
            "{ grant = \"public_key\", private_key = \"canary\" }".to_owned(),
            "login.private_key: secrets stand in files",
        ),
        (
            format!("{{ grant = \"password\", {named}, totp_secret = {{ file = \"key.pem\" }} }}"),
            "login.totp_secret: holds more than one line",
        ),
        (
            format!("{{ grant = \"password\", {named}, totp_secret = {{ file = \"password\" }} }}"),
            "login.totp_secret: is too short",
        ),
        (
            "{ api_key = { file = \"password\" } }".to_owned(),
            "tenants[0].impersonate: an API key has no refresh token, so it cannot impersonate: use",
        ),
    ] {
        let found = login_faults(&login);
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{login}: {found:#?}"
        );
        assert!(!found.iter().any(|fault| fault.contains("canary")));
    }
}

#[test]
fn a_console_without_impersonation_may_have_an_api_key() {
    let text = GOOD
        .split("[[tenants]]")
        .next()
        .unwrap()
        .split("login = ")
        .next()
        .unwrap()
        .to_owned();
    let with = |login: &str| faults(&format!("{text}{login}"));
    for login in [
        r#"login = { api_key = { file = "password" } }"#,
        r#"login = { grant = "api_key", api_key = { file = "password" } }"#,
    ] {
        assert_eq!(with(login), Vec::<String>::new());
    }
    let unfit = with(r#"login = { api_key = { env = "VSPC_GATEWAY_TEST_UNSET" } }"#);
    assert!(unfit[0].contains("is not set"), "{unfit:?}");
}

/// Whoever may read the log need not be able to read the secrets.
#[test]
fn the_place_of_the_log_is_read_without_the_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, GOOD).unwrap();
    assert!(Settings::load(&path).is_err());
    let audit = Settings::load_audit(&path).unwrap();
    assert_eq!(audit.directory, folder.path().join("audit"));
}

#[test]
fn syntax_errors_have_a_line() {
    let found = fault_of("directory = \"audit\"", "directory = \"audit");
    assert!(found.starts_with("line 5: "), "{found}");
}

#[test]
fn names_are_taken_once() {
    let twice = |part: &str| format!("{GOOD}\n{part}");
    let tenant = "[[tenants]]\nname = \"1001\"\n\
        impersonate = { user = \"b3ffc78b-7982-44f3-ae66-1384415f2beb\" }";
    assert!(faults(&twice(tenant))[0].contains("already stands for tenant \"acme\""));
    let client = "[[clients]]\nname = \"zabbix\"\napi_keys = []\ntenants = [\"acme\"]";
    assert!(faults(&twice(client))[0].contains("another client is called \"zabbix\""));
    let key = "[[clients]]\nname = \"other\"\ntenants = [\"acme\"]\n\
        api_keys = [\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"]";
    assert!(faults(&twice(key))[0].contains("already belongs to client zabbix"));
}

/// A file with more lines for its console.
fn with_console(lines: &str) -> String {
    let url = "url = \"http://127.0.0.1:9280\"";
    assert!(GOOD.contains(url));
    GOOD.replacen(url, &format!("{url}\n{lines}"), 1)
}

#[test]
fn a_console_is_shared_as_the_file_says() {
    let folder = folder();
    let shares = |lines: &str| {
        let settings = Settings::parse(&with_console(lines), folder.path()).unwrap();
        settings
            .consoles
            .into_iter()
            .next()
            .unwrap()
            .upstream
            .sharing
    };
    let limits = shares("").limits;
    assert_eq!((limits.concurrency, limits.tenant_concurrency), (1024, 512));
    assert_eq!((limits.waiting, limits.tenant_waiting), (20_000, 15_000));
    assert_eq!(limits, upstream::Sharing::default().limits);
    assert_eq!((limits.rate, limits.tenant_rate), (None, None));

    // What is left out follows what is written.
    let limits = shares("concurrency = 1\nwaiting = 3").limits;
    assert_eq!((limits.concurrency, limits.tenant_concurrency), (1, 1));
    assert_eq!((limits.waiting, limits.tenant_waiting), (3, 3));
    assert_eq!(shares("waiting = 8").limits.tenant_waiting, 6);

    let limits = shares("rate = \"100/s\"\ntenant_rate = \"6000/m\"").limits;
    assert_eq!(limits.rate, limits.tenant_rate);
    let console = shares("waiting = 0\nthrottle_wait = \"0s\"\nbreaker_faults = 7");
    assert_eq!(
        (console.limits.waiting, console.limits.tenant_waiting),
        (0, 0)
    );
    assert_eq!(
        (console.throttle_wait, console.breaker.faults.get()),
        (Duration::ZERO, 7)
    );
}

#[test]
fn shares_that_contradict_one_another_are_refused() {
    for (lines, key, message) in [
        ("concurrency = 0", "concurrency", "above zero"),
        ("tenant_concurrency = 0", "tenant_concurrency", "above zero"),
        (
            "concurrency = 4\ntenant_concurrency = 5",
            "tenant_concurrency",
            "all tenants together",
        ),
        (
            "waiting = 4\ntenant_waiting = 5",
            "tenant_waiting",
            "all tenants together",
        ),
        (
            "rate = \"10/s\"\ntenant_rate = \"601/m\"",
            "tenant_rate",
            "all tenants together",
        ),
        ("rate = \"0/s\"", "rate", "such as"),
        ("rate = \"10\"", "rate", "such as"),
        ("rate = 10", "rate", "expected text"),
        ("rate = \"5000000000/s\"", "rate", "such as"),
        ("turn_wait = \"0s\"", "turn_wait", "above zero"),
        ("breaker_faults = 0", "breaker_faults", "above zero"),
        ("breaker_pause = \"0s\"", "breaker_pause", "above zero"),
    ] {
        let found = faults(&with_console(lines));
        assert_eq!(found.len(), 1, "{lines}: {found:?}");
        assert!(
            found[0].contains(&format!("consoles[0].{key}: ")),
            "{found:?}"
        );
        assert!(found[0].contains(message), "{found:?}");
    }
}

#[test]
fn a_console_has_one_address_or_several() {
    let folder = folder();
    let reached = |lines: &str| {
        let text = GOOD.replace("name = \"main\"", &format!("name = \"main\"\n{lines}"));
        let mut settings = Settings::parse(&text, folder.path()).unwrap();
        let console = settings.consoles.remove(0).upstream;
        let addresses: Vec<String> = console.addresses.iter().map(ToString::to_string).collect();
        (addresses, console.checks)
    };
    assert_eq!(reached(""), (Vec::new(), None));
    let (addresses, checks) = reached("addresses = [\"127.0.0.1:1280\"]\nhealth_failures = 3");
    assert_eq!(addresses, ["127.0.0.1:1280"]);
    assert_eq!(checks, None);

    let two = "addresses = [\"[::1]:1280\", \"LocalHost:1281\"]";
    let (addresses, checks) = reached(two);
    assert_eq!(addresses, ["[::1]:1280", "localhost:1281"]);
    let checks = checks.unwrap();
    assert_eq!(checks.interval, Duration::from_secs(5));
    assert_eq!((checks.failures.get(), checks.successes.get()), (2, 2));
    assert_eq!(checks.path, None);

    let (_, checks) = reached("health_path = \"/api/v3/x?y=1\"\nhealth_successes = 1");
    let checks = checks.unwrap();
    assert_eq!(checks.path.unwrap(), "/api/v3/x?y=1");
    assert_eq!(checks.successes.get(), 1);
    assert!(reached("health_interval = \"1s\"").1.is_some());
}

#[test]
fn faults_of_addresses_say_what_would_be_right() {
    for (lines, key, message) in [
        ("addresses = []", "addresses", "at least one address"),
        ("addresses = \"x:1\"", "addresses", "an array"),
        (
            "addresses = [\"x:1\", \"x\"]",
            "addresses[1]",
            "needs a port",
        ),
        ("addresses = [\"x:0\"]", "addresses[0]", "needs a port"),
        ("addresses = [\"x:65536\"]", "addresses[0]", "needs a port"),
        ("addresses = [\"x:+1\"]", "addresses[0]", "needs a port"),
        ("addresses = [\"::1:1280\"]", "addresses[0]", "needs a port"),
        (
            "addresses = [\"10.0.0.5:0\"]",
            "addresses[0]",
            "needs a port",
        ),
        (
            "addresses = [\"10.0.0.555:1\"]",
            "addresses[0]",
            "a host and a port",
        ),
        (
            "addresses = [\"u@x:1\"]",
            "addresses[0]",
            "a host and a port",
        ),
        (
            "addresses = [\"[x]:1\"]",
            "addresses[0]",
            "a host and a port",
        ),
        (
            "addresses = [\"https://x:1\"]",
            "addresses[0]",
            "stand in `url`",
        ),
        (
            "addresses = [\"x:1\", \"y:1\", \"X:1\"]",
            "addresses[2]",
            "stands there already",
        ),
        (
            "health_interval = \"50ms\"",
            "health_interval",
            "between 100ms and 1h",
        ),
        (
            "health_failures = 0",
            "health_failures",
            "between 1 and 100",
        ),
        (
            "health_successes = 101",
            "health_successes",
            "between 1 and 100",
        ),
        (
            "connect_timeout = \"9ms\"",
            "connect_timeout",
            "at least 10ms",
        ),
        (
            "first_byte_timeout = \"9ms\"",
            "first_byte_timeout",
            "at least 10ms: requests would be given up",
        ),
        (
            "idle_timeout = \"99ms\"",
            "idle_timeout",
            "at least 100ms: answers would be cut",
        ),
        (
            "connect_timeout = \"301s\"",
            "connect_timeout",
            "at most 5m",
        ),
        ("health_path = \"about\"", "health_path", "must be a path"),
        ("health_path = \"/a#b\"", "health_path", "must be a path"),
        ("health_path = \"/a b\"", "health_path", "must be a path"),
        ("health_path = \"/ä\"", "health_path", "must be a path"),
    ] {
        let lines = format!("name = \"main\"\ndanger_plaintext = true\n{lines}");
        let found = fault_of("name = \"main\"", &lines);
        assert!(found.contains(&format!("consoles[0].{key}: ")), "{found}");
        assert!(found.contains(message), "{found}");
    }
    // What is refused for the URL is refused for the place it leads to.
    let found = fault_of(
        "name = \"main\"",
        "name = \"main\"\naddresses = [\"127.0.0.2:1\", \"10.0.0.5:1\"]",
    );
    assert!(
        found.contains("consoles[0].addresses[1]: plain HTTP"),
        "{found}"
    );
}

#[test]
fn an_admin_listener_on_the_network_needs_a_token() {
    let admin = |lines: &str| faults(&format!("{GOOD}\n[admin]\n{lines}"));
    assert_eq!(admin("listen = \"127.0.0.1:0\""), Vec::<String>::new());
    assert_eq!(admin("listen = \"unix:admin.sock\""), Vec::<String>::new());
    assert!(admin("listen = \"0.0.0.0:8281\"")[0].contains("is required unless"));
    assert_eq!(
        admin("listen = \"0.0.0.0:8281\"\ntoken = { file = \"password\" }"),
        Vec::<String>::new()
    );
}

#[test]
fn limits_of_connections_have_defaults_that_fit_the_process() {
    let folder = folder();
    let read = |lines: &str| {
        let text = GOOD.replacen("[audit]", &format!("{lines}\n[audit]"), 1);
        Settings::parse(&text, folder.path()).unwrap().server
    };
    let default = read("");
    let descriptors = listen::descriptors::most().unwrap();
    let limits = default.connections;
    assert!((1..descriptors).contains(&limits.connections));
    assert_eq!(limits.connections_per_source, limits.connections / 2);
    assert_eq!(
        (default.shortages, default.body_pace),
        (Vec::new(), upstream::Pace::of(240))
    );
    assert_eq!(limits.unread_timeout, Duration::from_secs(10));
    let share = descriptors + 1_000;
    let told = read(&format!("connections_per_source = {share}")).shortages;
    assert_eq!(told.len(), 1);
    assert!(told[0].to_string().contains(&share.to_string()), "{told:?}");

    let written = read("connections = 9\nmin_body_rate = \"0B\"\nunread_timeout = \"3s\"");
    let limits = written.connections;
    assert_eq!((limits.connections, limits.connections_per_source), (9, 4));
    assert_eq!(written.body_pace, upstream::Pace::of(0));
    assert_eq!(limits.unread_timeout, Duration::from_secs(3));
    let behind_a_proxy = read("connections = 9\nconnections_per_source = 9").connections;
    assert_eq!(behind_a_proxy.connections_per_source, 9);
    assert_eq!(
        read("connections = 1").connections.connections_per_source,
        1
    );
}

#[test]
fn ranges_of_the_server_are_told_at_the_line_of_their_key() {
    for (lines, key, message) in [
        (
            "unread_timeout = \"99ms\"",
            "unread_timeout",
            "between 100ms and 10m",
        ),
        (
            "unread_timeout = \"11m\"",
            "unread_timeout",
            "between 100ms and 10m",
        ),
        (
            "header_limit = \"1000B\"",
            "header_limit",
            "between 1KiB and 64KiB",
        ),
        (
            "target_limit = \"65KiB\"",
            "target_limit",
            "between 256B and 64KiB",
        ),
        (
            "target_limit = \"64KiB\"",
            "target_limit",
            "less than server.header_limit, 65536B",
        ),
        (
            "header_limit = \"4KiB\"\ntarget_limit = \"4KiB\"",
            "target_limit",
            "less than server.header_limit, 4096B",
        ),
        (
            "connections = 3\nconnections_per_source = 4",
            "connections_per_source",
            "is more than server.connections",
        ),
    ] {
        let text = GOOD.replacen("[audit]", &format!("{lines}\n[audit]"), 1);
        let line = text.lines().position(|line| line.starts_with(key)).unwrap() + 1;
        let found = faults(&text);
        assert_eq!(found.len(), 1, "{lines}: {found:?}");
        let start = format!("line {line}: server.{key}: ");
        assert!(found[0].starts_with(&start), "{start} in {found:?}");
        assert!(found[0].contains(message), "{message} in {found:?}");
    }
}

#[test]
fn a_target_is_shorter_than_its_head_without_a_word_about_it() {
    let folder = folder();
    for (lines, head, target) in [
        ("", 64 << 10, 16 << 10),
        ("header_limit = \"32KiB\"", 32 << 10, 16 << 10),
        ("header_limit = \"8KiB\"", 8 << 10, 4 << 10),
        ("header_limit = \"1KiB\"", 1 << 10, 512),
        (
            "header_limit = \"8KiB\"\ntarget_limit = \"7KiB\"",
            8 << 10,
            7 << 10,
        ),
    ] {
        let text = GOOD.replacen("[audit]", &format!("{lines}\n[audit]"), 1);
        let limits = Settings::parse(&text, folder.path()).unwrap().server.limits;
        assert_eq!((limits.head, limits.target), (head, target), "{lines}");
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let folder = folder();
    let settings = Settings::parse(GOOD, folder.path()).unwrap();
    assert_eq!(settings.audit.directory, folder.path().join("audit"));
    assert_eq!(
        settings.server.upgrade_socket,
        folder.path().join("audit/upgrade.sock")
    );
}

#[test]
fn the_examples_are_in_order_once_their_secrets_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (example, secrets) in [
        ("config/demo.toml", &["demo/console-password"][..]),
        (
            "config/gateway.toml",
            &[
                "config/secrets/admin-token",
                "config/secrets/console-password",
            ],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for secret in secrets {
            let path = folder.path().join(secret);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "secret").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let copy = folder.path().join(example);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(root.join(example), &copy).unwrap();
        if let Err(error) = Settings::load(&copy) {
            panic!("{error}");
        }
    }
}

/// The reference example shows every key that the reader asks for.
#[test]
fn the_reference_example_has_every_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(root.join("config/gateway.toml")).unwrap();
    let mut missing = Vec::new();
    for file in [
        "server",
        "listeners",
        "connections",
        "consoles",
        "console_tls",
        "addresses",
        "login",
        "shares",
        "quotas",
        "tenants",
        "mapping",
        "tokens",
        "clients",
        "credentials",
        "rules",
        "conditions",
        "reason",
        "issuers",
        "sinks",
    ] {
        let path = root.join(format!("src/config/compile/{file}.rs"));
        let source = std::fs::read_to_string(path).unwrap();
        for call in [
            "required(\"",
            "minute(\"",
            "optional(\"",
            ".or(\"",
            "sections(\"",
            "read(\"",
        ] {
            for rest in source.split(call).skip(1) {
                let key = rest.split('"').next().unwrap();
                if !example.contains(key) {
                    missing.push(key.to_owned());
                }
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// Whoever is in a directory is known only at run time.
#[test]
fn clients_may_name_companies_where_a_console_has_a_directory() {
    let uid = "49DCC517-A32C-438E-B53D-EE0084DC7FEB";
    let listed = GOOD.replace(
        "[\"*\"]\nallow",
        &format!("[\"Böhm & Co\", \"{uid}\"]\nallow"),
    );
    assert_ne!(listed, GOOD);
    let found = faults(&listed);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("no tenant is called \"Böhm & Co\""),
        "{found:?}"
    );

    let open = listed.replace("[[tenants]]", "tenants = \"directory\"\n[[tenants]]");
    let folder = folder();
    let settings = Settings::parse(&open, folder.path()).unwrap();
    assert!(settings.consoles[0].directory.all);
    let client = settings.clients.named("zabbix").unwrap();
    assert!(client.may_act_for("Böhm & Co"));
    // As the console writes it.
    assert!(client.may_act_for(&uid.to_lowercase()));
    assert!(settings.tenants.leaves_open(client));
    // What the file does know is still to be called by its own name.
    let alias = open.replace("Böhm & Co", "1001");
    assert!(faults(&alias)[0].contains("own name, \"acme\""));
}

#[test]
fn a_tenant_is_a_user_or_the_owner_of_a_company() {
    let user = "{ user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\" }";
    let folder = folder();
    let whom = |to: &str| {
        let settings = Settings::parse(&GOOD.replace(user, to), folder.path()).unwrap();
        settings.tenants.get("1001").unwrap().whom.clone()
    };
    let uid = uuid::Uuid::from_u128(0xb3ff_c78b_7982_44f3_ae66_1384_415f_2bea);
    assert_eq!(whom(user), Whom::User(crate::vspc::grant::Subject(uid)));
    assert_eq!(whom(&user.replace("user", "company")), Whom::Company(uid));
    let named = whom("{ company_name = \"Böhm, Söhne & Co\" }");
    assert_eq!(named, Whom::CompanyNamed("Böhm, Söhne & Co".into()));
}

/// The faults of a file whose mapping has these rules.
fn rule_faults(rules: &str) -> Vec<String> {
    let text = GOOD.replacen(
        "tenant_header = \"X-Tenant\"",
        &format!("tenant_header = \"X-Tenant\"\nuser_header = \"X-User\"\nrules = [{rules}]"),
        1,
    );
    let second = "[[tenants]]\nname = \"globex\"\n\
        impersonate = { user = \"c28df41e-5182-4668-b911-1987d4c9150f\" }\n[mapping]";
    faults(&text.replacen("[mapping]", second, 1))
}

#[test]
fn rules_of_every_kind_are_read() {
    let rules = r#"
        { header = "Host", pattern = '^(?<tenant>[a-z0-9-]+)\.gw\.example\.com$' },
        { header = "User-Agent", value = "AcmeMonitor/2", tenant = "acme" },
        { all = [{ header = "X-Site", value = "7" }, { header = "X-Unit", pattern = "^(?<tenant>.+)$" }] },
        { claim = "tid", pattern = "t-(?<tenant>.+)", name = "by-claim" },
        { certificate = "san_dns", value = "acme.example.com", tenant = "acme", clients = ["zabbix"] },
        { certificate = "fingerprint", value = "0F:1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0", tenant = "acme" },
        { certificate = "subject", pattern = "CN=(?<tenant>[a-z]+),.*" },
        { certificate = "san_uri", pattern = "spiffe://(?<tenant>.*)" },
    "#;
    assert_eq!(rule_faults(rules), Vec::<String>::new());
    let folder = folder();
    let only_rules = GOOD.replacen(
        "tenant_header = \"X-Tenant\"",
        "rules = [{ header = \"X-Site\", value = \"7\", tenant = \"acme\" }]",
        1,
    );
    let settings = Settings::parse(&only_rules, folder.path()).unwrap();
    let owned: Vec<_> = settings.mapping.owned().collect();
    assert_eq!(owned, ["x-site"]);
}

#[test]
fn faults_of_rules_say_what_would_be_right() {
    let long = "a".repeat(1025);
    let long = format!(r#"header = "X-S", tenant = "acme", value = "{long}""#);
    for (rule, expected) in [
        ("", "needs exactly one of header, claim and certificate"),
        (
            r#"header = "X-S", claim = "s", value = "7", tenant = "acme""#,
            "needs exactly one of",
        ),
        (
            r#"header = "X-S", tenant = "acme""#,
            "exactly one of value and pattern",
        ),
        (r#"header = "X-S", value = "7""#, "names no tenant"),
        (r#"header = "X-S", pattern = "7""#, "names no tenant"),
        (
            r#"header = "X-S", pattern = "(?<tenant>7)", tenant = "acme""#,
            "captures the tenant already",
        ),
        (
            r#"header = "X-S", value = "7", tenant = "initech""#,
            "no tenant is called \"initech\"",
        ),
        (
            r#"header = "X-S", value = "7", tenant = "1001""#,
            "own name, \"acme\"",
        ),
        (
            r#"header = "X-S", value = "7", tenant = "acme", clients = ["x"]"#,
            "no client is called \"x\"",
        ),
        (
            r#"header = "X-S", value = "7", tenant = "acme", clients = []"#,
            "for nobody",
        ),
        (
            r#"header = "X-S", value = "7", tenant = "acme", colour = 1"#,
            "not known here",
        ),
        (
            r#"header = "X-Tenant", value = "7", tenant = "acme""#,
            "a key of its own",
        ),
        (
            r#"header = "X_User", value = "7", tenant = "acme""#,
            "a key of its own",
        ),
        (
            r#"header = "X-Api-Key", value = "7", tenant = "acme""#,
            "another meaning",
        ),
        (
            r#"header = "Accept", value = "7", tenant = "acme""#,
            "another meaning",
        ),
        (
            r#"header = "User_Agent", value = "7", tenant = "acme""#,
            "another meaning",
        ),
        (
            r#"header = "X-S", value = "a,b", tenant = "acme""#,
            "no comma",
        ),
        (
            r#"header = "X-S", value = " 7", tenant = "acme""#,
            "no blanks",
        ),
        (
            r#"header = "X-S", value = "", tenant = "acme""#,
            "1 to 1024 bytes",
        ),
        (&long, "1 to 1024 bytes"),
        (
            r#"header = "Host", value = "GW.example", tenant = "acme""#,
            "in lower case",
        ),
        (
            r#"header = "Host", value = "gw.example:80", tenant = "acme""#,
            "without its port",
        ),
        (
            r#"header = "X-S", pattern = "(", tenant = "acme""#,
            "no regular expression",
        ),
        (
            r#"header = "X-S", pattern = "(?=a)b", tenant = "acme""#,
            "no regular expression",
        ),
        (
            r#"header = "X-S", pattern = "a{60000}", tenant = "acme""#,
            "too large",
        ),
        (
            r#"claim = "", value = "7", tenant = "acme""#,
            "must not be empty",
        ),
        (
            r#"certificate = "san", value = "7", tenant = "acme""#,
            "must be \"san_dns\"",
        ),
        (
            r#"certificate = "fingerprint", value = "7", tenant = "acme""#,
            "64 hex digits",
        ),
        (r#"all = [], tenant = "acme""#, "would always hold"),
        (
            r#"all = [{ header = "X-S", value = "7" }, { header = "X-S", value = "8" }], tenant = "acme""#,
            "looks at the same",
        ),
        (
            r#"all = [{ header = "X-S", pattern = "(?<tenant>.)" }, { header = "X-U", pattern = "(?<tenant>.)" }]"#,
            "only one pattern may capture",
        ),
        (
            r#"all = [{ header = "X-S", value = "7", tenant = "acme" }], tenant = "acme""#,
            "not known here",
        ),
    ] {
        let found = rule_faults(&format!("{{ {rule} }}"));
        let told = found.iter().any(|fault| fault.contains(expected));
        assert!(told, "{rule}: {found:#?}");
        assert!(
            found.iter().all(|fault| fault.contains("mapping.rules[0]")),
            "{found:#?}"
        );
    }
}

#[test]
fn rules_that_one_value_fits_are_refused_with_the_value() {
    let seven = r#"{ header = "X-S", value = "7", tenant = "acme", name = "seven" }"#;
    let digit = r#"{ header = "X-S", pattern = "[0-9]", tenant = "globex" }"#;
    let found = rule_faults(&format!("{seven}, {digit}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("mapping.rules[1]: \"7\" fits seven too"),
        "{found:#?}"
    );
    let twins = [("X-S", "X_S"), ("X-S", "XS")];
    for (one, other) in twins {
        let rule = |header: &str, value: &str| {
            format!(r#"{{ header = "{header}", value = "{value}", tenant = "acme" }}"#)
        };
        let found = rule_faults(&format!("{}, {}", rule(one, "1"), rule(other, "2")));
        assert!(found[0].contains("the same but for spelling"), "{found:#?}");
    }
    let wide = |tail: &str, tenant: &str| {
        let pattern = format!("(?:a|b)*a(?:a|b){{18}}{tail}");
        format!(r#"{{ header = "X-S", pattern = "{pattern}", tenant = "{tenant}" }}"#)
    };
    let found = rule_faults(&format!("{}, {}", wide("c", "acme"), wide("d", "globex")));
    assert!(found[0].contains("cannot be proven"), "{found:#?}");
    let called = r#"{ header = "X-S", value = "8", tenant = "acme", name = "seven" }"#;
    let found = rule_faults(&format!("{seven}, {called}"));
    assert!(
        found[0].contains("another rule is called \"seven\""),
        "{found:#?}"
    );
}

/// A file with an issuer, and a client that is known by its tokens.
fn with_issuer(issuer: &str, client: &str) -> String {
    format!(
        "{GOOD}\n[[issuers]]\nname = \"entra\"\n{issuer}\n[[clients]]\nname = \"reader\"\n\
         tenants = [\"acme\"]\n{client}\nallow = [{{ methods = [\"GET\"], paths = [\"/x\"] }}]\n"
    )
}

const ISSUER: &str = "issuer = \"https://login.example.com/t\"\naudience = [\"gw\"]";
const JWT: &str = "jwt = { issuer = \"entra\", claims = { azp = \"app\" } }";

#[test]
fn an_issuer_has_careful_defaults() {
    let settings = Settings::parse(&with_issuer(ISSUER, JWT), folder().path()).unwrap();
    let [issuer] = &settings.issuers[..] else {
        panic!("one issuer");
    };
    let names = ["RS256", "ES256"].map(|name| client::jwt::algorithm(name).unwrap());
    assert_eq!(issuer.rules.algorithms, names);
    assert_eq!(issuer.rules.leeway, Duration::from_secs(30));
    assert_eq!(issuer.rules.max_lifetime, Duration::from_secs(86_400));
    assert_eq!(issuer.rules.kind, None);
    assert_eq!(issuer.source, client::jwt::KeySource::Discovery);
    assert_eq!(issuer.refresh, Duration::from_secs(600));
    assert_eq!(issuer.refetch, Duration::from_secs(30));
    assert_eq!(issuer.max_stale, Duration::from_secs(86_400));
}

#[test]
fn faults_of_issuers_and_of_their_clients_say_what_to_do() {
    let audience = |more: &str| format!("{ISSUER}\n{more}");
    for (issuer, client, expected) in [
        ("issuer = \"x\"", JWT, "audience: is missing"),
        ("audience = [\"gw\"]", JWT, "issuer: is missing"),
        (
            "audience = []\nissuer = \"https://x\"",
            JWT,
            "at least one audience",
        ),
        (
            "audience = [\"\"]\nissuer = \"https://x\"",
            JWT,
            "must not be empty",
        ),
        (
            "audience = [\"gw\"]\nissuer = \"http://login.example.com\"",
            JWT,
            "must be https",
        ),
        (
            "audience = [\"gw\"]\nissuer = \"https://x/?a\"",
            JWT,
            "must have no query",
        ),
        (
            &audience("algorithms = [\"HS256\"]"),
            JWT,
            "only the issuer can make",
        ),
        (
            &audience("algorithms = [\"none\"]"),
            JWT,
            "only the issuer can make",
        ),
        (
            &audience("algorithms = [\"rs256\"]"),
            JWT,
            "only the issuer can make",
        ),
        (&audience("algorithms = []"), JWT, "at least one algorithm"),
        (&audience("leeway = \"6m\""), JWT, "between 0s and 5m"),
        (
            &audience("max_lifetime = \"1s\""),
            JWT,
            "between 1m and 30d",
        ),
        (&audience("type = \"\""), JWT, "typ"),
        (
            &audience("refresh = \"10ms\""),
            JWT,
            "refresh: must be between",
        ),
        (
            &audience("refetch = \"10ms\""),
            JWT,
            "refetch: must be between",
        ),
        (
            &audience("max_stale = \"1m\""),
            JWT,
            "between refresh and 7d",
        ),
        (&audience("jwks = {}"), JWT, "exactly one of url and file"),
        (
            &audience("jwks = { url = \"https://x/k\", file = \"k\" }"),
            JWT,
            "exactly one of url and file",
        ),
        (
            &audience("jwks = { url = \"http://example.com/k\" }"),
            JWT,
            "must be https",
        ),
        (
            &audience("jwks = { file = \"missing\" }"),
            JWT,
            "cannot read",
        ),
        (
            &audience("jwks = { file = \"password\" }"),
            JWT,
            "no JWK set",
        ),
        (&audience("tls = { ca = \"password\" }"), JWT, "tls"),
        (
            &audience("[[issuers]]\nname = \"entra\"\nissuer = \"https://y\"\naudience = [\"g\"]"),
            JWT,
            "another issuer is called",
        ),
        (
            &format!("{ISSUER}\n[[issuers]]\nname = \"b\"\n{ISSUER}"),
            JWT,
            "would not say whose it is",
        ),
        (
            ISSUER,
            "jwt = { issuer = \"other\", claims = { azp = \"a\" } }",
            "no issuer is called \"other\"",
        ),
        (ISSUER, "jwt = { issuer = \"entra\" }", "claims: is missing"),
        (
            ISSUER,
            "jwt = { issuer = \"entra\", claims = {} }",
            "every token of the issuer",
        ),
        (
            ISSUER,
            "jwt = { issuer = \"entra\", claims = { azp = 7 } }",
            "jwt.claims.azp: expected text",
        ),
        (
            ISSUER,
            "jwt = { issuer = \"entra\", claims = { azp = \"\" } }",
            "1 to 1024 bytes",
        ),
        (
            ISSUER,
            &format!("{JWT}\ntenant_claim = \"\""),
            "must be the name of a claim",
        ),
        (
            ISSUER,
            "api_keys = [\"sha256:0086d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"]\ntenant_claim = \"t\"",
            "means nothing without jwt",
        ),
        (
            ISSUER,
            &format!("{JWT}\n[[clients]]\nname = \"b\"\ntenants = [\"acme\"]\n{JWT}"),
            "could be client \"reader\" too",
        ),
    ] {
        let found = faults(&with_issuer(issuer, client));
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{issuer}\n{client}\n{expected}: {found:#?}"
        );
    }
}

/// Whoever is told the tenant by a token needs no header for it.
#[test]
fn a_claim_may_name_the_tenant_in_place_of_a_header() {
    let without = |client: &str| {
        let text = with_issuer(ISSUER, client).replace("tenants = [\"acme\"]", "tenants = [\"*\"]");
        let text = text.replacen("[mapping]\ntenant_header = \"X-Tenant\"", "", 1);
        let text = text.replacen("tenants = [\"*\"]", "tenants = [\"acme\"]", 1);
        faults(&text)
    };
    assert!(without(JWT)[0].contains("need [mapping] tenant_header"));
    let claimed = format!("{JWT}\ntenant_claim = \"tid_vspc\"");
    assert_eq!(without(&claimed), Vec::<String>::new());
}

/// What is warned of in [`GOOD`] after some changes.
fn warned(changes: &[(&str, &str)]) -> Vec<String> {
    let folder = folder();
    let text = changes.iter().fold(GOOD.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let settings = Settings::parse(&text, folder.path()).unwrap();
    let warnings = settings.warnings(crate::clock::Timestamp(0)).into_iter();
    // Of the second place of checkpoints, which it does not have.
    warnings.filter(|it| !it.contains("checkpoints")).collect()
}

#[test]
fn a_listener_that_others_reach_without_tls_is_warned_of() {
    let listen = "listen = \"127.0.0.1:0\"";
    assert_eq!(warned(&[]), [""; 0]);
    for address in ["[::1]:0", "127.0.0.2:0", "[::ffff:127.0.0.1]:0"] {
        let own = format!("listen = \"{address}\"");
        assert_eq!(warned(&[(listen, &own)]), [""; 0]);
    }
    for address in [
        "0.0.0.0:0",
        "[::]:0",
        "10.0.0.5:0",
        "[2001:db8::1]:0",
        "[::ffff:10.0.0.5]:0",
    ] {
        let told = warned(&[(listen, &format!("listen = \"{address}\""))]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("in the clear"), "{told:?}");
        assert!(told[0].contains(address), "{told:?}");
        let behind = format!("listen = \"{address}\"\ntrusted_proxies = [\"10.0.0.7\"]");
        assert_eq!(warned(&[(listen, &behind)]), [""; 0]);
    }
}

#[test]
fn a_tenant_with_the_console_s_own_account_is_warned_of() {
    let impersonate = "impersonate = { user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\" }";
    let login = |name: &str| {
        format!(
            "login = {{ grant = \"password\", username = '{name}', password = {{ file = \"password\" }} }}"
        )
    };
    let told = warned(&[(impersonate, &login(r"d\U"))]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("tenants.acme.login is the account of console main: "));
    assert_eq!(warned(&[(impersonate, &login(r"Acme\owner"))]), [""; 0]);
}

#[test]
fn a_company_that_the_file_has_under_another_name_is_warned_of() {
    let changes = |tenants: &'static str| {
        [
            (
                "name = \"main\"",
                "name = \"main\"\ntenants = \"directory\"",
            ),
            (
                "impersonate = { user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\" }",
                "impersonate = { company_name = \"Acme Corp\" }",
            ),
            ("tenants = [\"*\"]", tenants),
        ]
    };
    assert_eq!(
        warned(&changes("tenants = [\"Acme Corp\"]")),
        [
            "clients.zabbix.tenants names \"Acme Corp\", which is the company of tenant \"acme\" and nobody's by \
          itself: write \"acme\""
        ]
    );
    for fine in [
        "tenants = [\"acme\"]",
        "tenants = [\"acme\", \"Acme Corp\"]",
        "tenants = [\"Globex\"]",
        "tenants = [\"*\"]",
    ] {
        assert_eq!(warned(&changes(fine)), [""; 0], "{fine}");
    }
}

#[test]
fn a_company_whose_name_is_another_tenant_s_is_not_warned_of() {
    let directory = (
        "name = \"main\"",
        "name = \"main\"\ntenants = \"directory\"",
    );
    let company = (
        "impersonate = { user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\" }",
        "impersonate = { company_name = \"Globex\" }",
    );
    let client = ("tenants = [\"*\"]", "tenants = [\"Globex\"]");
    let another = (
        "[mapping]",
        "[[tenants]]\nname = \"Globex\"\nimpersonate = { user = \"c3ffc78b-7982-44f3-ae66-1384415f2bea\" }\n\
         [mapping]",
    );
    assert_eq!(warned(&[directory, company, client]).len(), 1);
    assert_eq!(warned(&[directory, company, client, another]), [""; 0]);

    let console = "[[consoles]]\nname = \"second\"\nurl = \"http://127.0.0.1:9281\"\n\
        login = { grant = \"password\", username = 'D\\u', password = { file = \"password\" } }\n";
    let of = ("name = \"acme\"", "name = \"acme\"\nconsole = \"main\"");
    let second = format!("{console}[[tenants]]");
    let changes = [directory, company, client, of, ("[[tenants]]", &second)];
    assert_eq!(warned(&changes).len(), 1, "the other one gives no tenants");
    let second = format!("{console}tenants = \"directory\"\n[[tenants]]");
    let changes = [directory, company, client, of, ("[[tenants]]", &second)];
    assert_eq!(warned(&changes), [""; 0]);
}

#[test]
fn times_that_no_token_endpoint_keeps_are_refused_with_the_reason() {
    for (line, message) in [
        (
            "call_timeout = \"1ms\"",
            "tokens.call_timeout: must be at least 1s: what a console does",
        ),
        (
            "answer_timeout = \"999ms\"",
            "tokens.answer_timeout: must be at least 1s: ",
        ),
        (
            "assumed_life = \"9s\"",
            "tokens.assumed_life: must be at least 10s: each token",
        ),
        (
            "call_timeout = \"5s\"\nanswer_timeout = \"6s\"",
            "answer_timeout must not be longer",
        ),
    ] {
        let found = fault_of("[mapping]", &format!("[tokens]\n{line}\n[mapping]"));
        assert!(found.contains(message), "{found}");
    }
    let shorter = GOOD.replace("[mapping]", "[tokens]\ncall_timeout = \"5s\"\n[mapping]");
    assert_eq!(
        faults(&shorter),
        [""; 0],
        "the answer is awaited no longer than the call"
    );
    let found = fault_of("[audit]", "token_wait = \"9ms\"\n[audit]");
    assert!(
        found.contains("server.token_wait: must be at least 10ms: only a console close by"),
        "{found}"
    );
}

#[test]
fn the_shortest_times_of_a_near_console_are_taken() {
    let times =
        "connect_timeout = \"10ms\"\nfirst_byte_timeout = \"10ms\"\nidle_timeout = \"100ms\"";
    let text = GOOD.replacen("name = \"main\"", &format!("name = \"main\"\n{times}"), 1);
    let text = text.replacen("[audit]", "token_wait = \"10ms\"\n[audit]", 1);
    assert_eq!(faults(&text), [""; 0]);
}
