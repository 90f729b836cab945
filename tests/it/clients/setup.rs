//! A gateway between two tapped wires, the programs that call it, and what must be true in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use uuid::Uuid;
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::{GrantCount, SeenRequest, Simulator, seed};

use crate::canary::{Page, files_of, found};
use crate::child::{Gateway, Home, Tap, assert_gapless, unsigned};
use crate::harness::{ADMIN, BILLING, ZABBIX, of_callers};

/// May act for globex only; reads and writes everything.
pub(super) const BILLING2: &str = "vgk_test_billing2_000000000000000000";
/// May act for acme only, as any of its users.
pub(super) const SUPPORT: &str = "vgk_test_support_0000000000000000000";

/// A gateway, the console behind it, and the wires on both sides of it.
pub(super) struct Setup {
    simulator: Simulator,
    back: Tap,
    pub(super) home: Home,
    gateway: Gateway,
    pub(super) front: Tap,
    /// What belongs to a client: it may have it, the console and the logs may not.
    own: BTreeSet<String>,
    /// What programs printed.
    printed: Vec<Page>,
}

impl Setup {
    pub(super) async fn start() -> Self {
        // Its tokens are refused on `/token`: what a client leaves on there must not go through.
        let simulator = Simulator::start(unsigned()).await.unwrap();
        let back = Tap::start(simulator.addr()).await;
        let home = Home::new(&back.url());
        for (name, key, tenant, more) in [
            ("billing2", BILLING2, "globex", ""),
            ("support", SUPPORT, "acme", "targets = [\"*\"]\n"),
        ] {
            let digest = KeyDigest::of(key.as_bytes());
            home.append(&format!(
                "[[clients]]\nname = \"{name}\"\napi_keys = [\"{digest}\"]\n\
                 tenants = [\"{tenant}\"]\n{more}\
                 allow = [{{ methods = [\"*\"], paths = [\"/api/v3/**\", \"/api/v3/users/*/logins/**\"] }}]\n"
            ));
        }
        home.append("[log]\nlevel = \"debug\"\n");
        let gateway = home.start().await;
        let front = Tap::start(home.address).await;
        let keys = [ADMIN, BILLING, BILLING2, SUPPORT, ZABBIX];
        Self {
            simulator,
            back,
            home,
            gateway,
            front,
            own: keys.map(str::to_owned).into(),
            printed: Vec::new(),
        }
    }

    /// Where clients find the gateway.
    pub(super) fn url(&self) -> String {
        self.front.url()
    }

    /// Runs a program as [`run`] does, and notes what it printed.
    pub(super) async fn run(&mut self, program: Program, arguments: &[&str]) -> String {
        let printed = run(program, arguments).await.unwrap_or_else(|error| {
            panic!("{error}\nthe gateway:\n{}", self.gateway.log());
        });
        let name = format!("output of {arguments:?}");
        self.printed.push((name, printed.clone().into()));
        printed
    }

    /// Notes what belongs to a client alone.
    pub(super) fn own_secret(&mut self, secret: &str) {
        assert!(secret.len() >= 20, "{secret:?} is found everywhere");
        self.own.insert(secret.to_owned());
    }

    /// Notes tokens that belong to a client alone.
    pub(super) fn own_tokens(&mut self, tokens: &BTreeSet<String>) {
        assert!(!tokens.is_empty(), "no token was given");
        tokens.iter().for_each(|token| self.own_secret(token));
    }

    /// Requests of clients that the console saw.
    pub(super) fn reached(&self) -> Vec<SeenRequest> {
        of_callers(self.simulator.requests())
    }

    /// How often a text stands in what the console was sent.
    pub(super) fn sent_to_console(&self, text: &str) -> usize {
        let heard = self.back.heard();
        let sent = heard
            .iter()
            .map(|heard| String::from_utf8_lossy(&heard.from_client));
        sent.map(|sent| sent.matches(text).count()).sum()
    }

    /// Ends the gateway and returns what it recorded, once nothing has gone where it does not belong.
    ///
    /// The console was asked for one password grant, and as often as told to act as each user.
    pub(super) async fn finish(mut self, impersonated: &[(Uuid, u64)]) -> Vec<Value> {
        self.gateway.signal("TERM");
        assert_eq!(self.gateway.exit().await.code(), Some(0));
        self.assert_console_saw_one_login(impersonated);
        self.assert_secrets_stayed();
        let records = self.home.records();
        assert_gapless(&records);
        records
    }

    fn assert_console_saw_one_login(&self, impersonated: &[(Uuid, u64)]) {
        let state = self.simulator.state();
        assert_eq!(state.impersonated, impersonated.iter().copied().collect());
        let count = |ok| GrantCount {
            ok,
            ..GrantCount::default()
        };
        let grants = state.grants.iter().map(|(name, grant)| {
            let GrantCount { ok, refused, .. } = *grant;
            (
                name.as_str(),
                GrantCount {
                    refused,
                    ..count(ok)
                },
            )
        });
        let wanted = impersonated.iter().map(|(_, times)| times).sum();
        let expected = [("password", count(1)), ("as", count(wanted))];
        assert_eq!(grants.collect::<BTreeMap<_, _>>(), expected.into());
        let logins = self.simulator.requests().into_iter().filter(|seen| {
            let name = seed::SERVICE.name.replace('\\', "%5C");
            let form = String::from_utf8_lossy(&seen.body).into_owned();
            seen.grant == Some("password") && form.contains(&name)
        });
        assert_eq!(logins.count(), 1, "not by the gateway's own account");

        assert_eq!(state.authorization_on_token, 0);
        assert_eq!(state.authorization_on_public, 0);
        assert_eq!(state.authorization_headers_max, 1);
        assert_eq!(state.unauthorized, BTreeMap::new());
        assert_eq!((state.cookies, state.outside_api), (0, 0));
        for seen in self.reached() {
            let authorization = seen.header("authorization").unwrap();
            assert!(authorization.starts_with("Bearer ey"), "{seen:?}");
            for name in ["x-api-key", "x-tenant", "x-gateway-request-id"] {
                assert_eq!(seen.header(name), None, "{seen:?}");
            }
        }
    }

    fn assert_secrets_stayed(&mut self) {
        let mut to_clients = std::mem::take(&mut self.printed);
        let (mut to_console, mut of_console) = (Vec::new(), BTreeSet::new());
        for heard in self.front.heard() {
            self.own
                .extend(tokens_in(&String::from_utf8_lossy(&heard.from_server)));
            to_clients.push(("what clients got".to_owned(), heard.from_server));
        }
        for heard in self.back.heard() {
            of_console.extend(tokens_in(&String::from_utf8_lossy(&heard.from_server)));
            to_console.push(("what the console got".to_owned(), heard.from_client));
        }
        assert!(of_console.len() >= 3, "too few tokens: {of_console:?}");
        // A part of a token is enough to tell whose it is, or to make the rest worth guessing.
        let parts = of_console.iter().flat_map(|token| token.split('.').skip(1));
        let mut of_console: BTreeSet<String> = parts
            .chain(of_console.iter().map(String::as_str))
            .map(str::to_owned)
            .collect();
        of_console.insert(seed::SERVICE.password.to_owned());

        let mut written = files_of(self.home.folder.path());
        written.push(("the log".to_owned(), self.gateway.log().into_bytes()));
        let finds = |secret: &str, pages: &[Page]| !found(secret, pages).is_empty();
        assert!(finds("acme", &written), "the search finds nothing");
        // Clients must have got their tokens in a form in which the console's would be found as well.
        let readable = self.own.iter().any(|secret| finds(secret, &to_clients));
        assert!(
            readable || to_clients.is_empty(),
            "the search finds nothing"
        );
        for (secrets, pages) in [
            (&of_console, &to_clients),
            (&of_console, &written),
            (&self.own, &to_console),
            (&self.own, &written),
        ] {
            for secret in secrets {
                let found = found(secret, pages);
                assert!(found.is_empty(), "{secret} stands in {found:?}");
            }
        }
    }
}

/// What is run.
#[derive(Clone, Copy)]
pub(super) enum Program {
    Curl,
    /// A script of `tests/clients`.
    Node(&'static str),
    /// A script of `tests/clients`, with the packages that are pinned there.
    Python(&'static str),
}

impl Program {
    fn command(self) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        match self {
            Self::Curl => Command::new("curl"),
            Self::Node(script) => {
                let mut command = Command::new("node");
                command.arg(scripts.join(script));
                command
            }
            Self::Python(script) => {
                let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
                let mut command = Command::new(target.join("clients-venv/bin/python"));
                // Isolated, so that no other package can stand in for a pinned one.
                command.arg("-I").arg(scripts.join(script));
                command
            }
        }
    }
}

/// Runs a program to its end, which must be a good one, and returns what it printed.
pub(super) async fn run(program: Program, arguments: &[&str]) -> Result<String, String> {
    let mut command = program.command();
    // Proxies, trust stores and options of whoever runs the tests are not the client's.
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.args(arguments).env_clear().env("PATH", path);
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().map_err(|error| {
        format!("{shown}: {error}; .ci/clients installs what the tests of clients need")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("{shown}: {}\n{told}", output.status))
}

/// The tokens of all answers of a token endpoint in a text.
pub(super) fn tokens_in(text: &str) -> BTreeSet<String> {
    ["\"access_token\":\"", "\"refresh_token\":\""]
        .iter()
        .flat_map(|name| text.split(name).skip(1))
        .filter_map(|after| Some(after.split_once('"')?.0.to_owned()))
        .collect()
}
