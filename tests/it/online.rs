//! `check --online`: what it finds at consoles, and what it says to do.

use std::process::Output;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vspc_simulator::{Role, Settings, Simulator, seed};

use crate::child::{Home, command};
use crate::harness::unsigned_settings;
use crate::tls_front::{Authority, Front, Manner, Wish, ca_file};

/// Runs the command while the simulators of this runtime go on.
async fn check(home: &Home, more: &'static [&'static str]) -> Checked {
    let file = home.config().display().to_string();
    let ran = tokio::task::spawn_blocking(move || {
        let mut arguments = vec!["check", "--config", &file, "--online"];
        arguments.extend(more);
        command(&arguments)
    });
    Checked::of(ran.await.unwrap())
}

struct Checked {
    code: Option<i32>,
    text: String,
    errors: String,
}

impl Checked {
    fn of(output: Output) -> Self {
        let text = String::from_utf8(output.stdout).unwrap();
        // Whatever was found, no secret is told.
        for secret in ["gateway-demo-password", "eyJ", "Bearer"] {
            assert!(!text.contains(secret), "{text}");
        }
        let errors = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code();
        Self { code, text, errors }
    }

    #[track_caller]
    fn ends(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.text, self.errors);
        for part in says {
            assert!(
                self.text.contains(part),
                "{part:?} is not in\n{}",
                self.text
            );
        }
    }
}

/// The targets that a console was asked for.
fn asked(simulator: &Simulator) -> Vec<String> {
    let seen = simulator.requests();
    seen.into_iter().map(|request| request.target).collect()
}

async fn secure() -> Simulator {
    let tls = true;
    let settings = Settings {
        tls,
        ..unsigned_settings()
    };
    Simulator::start(settings).await.unwrap()
}

#[tokio::test]
async fn a_console_that_works_is_told_with_everything_about_it() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let identity = authority.sign(&Wish::default());
    let front = Front::start(simulator.addr(), &identity, &Manner::default()).await;
    let home = Home::new(&front.url());
    let ca = ca_file(folder.path(), &authority);
    home.edit(
        "connect_timeout",
        &format!("tls = {{ ca = \"{}\" }}\nconnect_timeout", ca.display()),
    );
    let pin = format!(
        "to pin   tls = {{ fingerprint_sha256 = [\"{}\"] }}",
        identity.pin()
    );
    check(&home, &[]).await.ends(
        0,
        &[
            "is in order",
            "console main, https://localhost:",
            "TCP: connected in",
            "TLS: TLSv1.3, ALPN h2",
            "subject  CN=the\\, front",
            "issuer   CN=the front's authority",
            "names    localhost, 127.0.0.1",
            "ends     2100-01-01T00:00:00Z (in ",
            &pin,
            "certificate: trusted: by the authority in tls.ca",
            "HTTP: GET /api/v3/plugins/user/islogged answered 200 over HTTP/2",
            "clock: the console's clock and this machine's agree",
            "online: 0 failed, 0 to look at",
        ],
    );
    // Without --login nothing else is sent.
    assert_eq!(asked(&simulator), ["/api/v3/plugins/user/islogged"]);
    assert!(simulator.requests()[0].header("authorization").is_none());
    simulator.clear();
    let me = "log-in: worked, as VSPC\\svc-gateway, role PortalAdministrator";
    check(&home, &["--login"]).await.ends(0, &[me]);
    assert_eq!(
        asked(&simulator),
        [
            "/api/v3/plugins/user/islogged",
            "/api/v3/token",
            "/api/v3/users/me"
        ]
    );
}

/// What is printed can be pasted, and then it works.
#[tokio::test]
async fn a_self_signed_console_is_pinned_by_the_line_that_is_printed() {
    let simulator = secure().await;
    let home = Home::new(&simulator.url());
    home.edit("connect_timeout", "# here\nconnect_timeout");
    let before = check(&home, &["--login"]).await;
    before.ends(
        1,
        &[
            "failed   certificate: unknown issuer: ",
            "compare the fingerprint",
            "warning  log-in: was not tried",
        ],
    );
    assert_eq!(simulator.requests(), []);
    let line = before
        .text
        .lines()
        .find_map(|line| line.trim().strip_prefix("to pin"));
    home.edit("# here", line.unwrap().trim());
    check(&home, &["--login"])
        .await
        .ends(0, &["certificate: trusted: it is pinned", "log-in: worked"]);
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_remedy() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let ca = ca_file(folder.path(), &authority);
    let by_ca = format!("tls = {{ ca = \"{}\" }}", ca.display());
    let ended = Wish {
        years: (2020, 2021),
        ..Wish::default()
    };
    let elsewhere = Wish {
        names: &["vspc.example.com"],
        ..Wish::default()
    };
    let pinned = ended.self_signed();
    let by_pin = format!("tls = {{ fingerprint_sha256 = [\"{}\"] }}", pinned.pin());
    let other = format!("tls = {{ fingerprint_sha256 = [\"{}\"] }}", "00".repeat(32));
    for (identity, lines, code, says) in [
        (
            authority.sign(&ended),
            &by_ca,
            1,
            ["failed   certificate: expired: ", "renew the certificate"],
        ),
        (
            authority.sign(&elsewhere),
            &by_ca,
            1,
            [
                "failed   certificate: wrong name: ",
                "tls.server_name = \"vspc.example.com\"",
            ],
        ),
        (
            Wish::default().self_signed(),
            &by_ca,
            1,
            [
                "failed   certificate: self-signed: ",
                "-> compare the fingerprint",
            ],
        ),
        (
            Wish::default().self_signed(),
            &other,
            1,
            [
                "failed   certificate: not pinned: ",
                "add it to tls.fingerprint_sha256",
            ],
        ),
        // A pin is the identity; that it has ended is a warning.
        (
            pinned,
            &by_pin,
            0,
            [
                "ok       certificate: trusted",
                "warning  certificate: has ended",
            ],
        ),
    ] {
        let front = Front::start(simulator.addr(), &identity, &Manner::default()).await;
        let home = Home::new(&front.url());
        home.edit("connect_timeout", &format!("{lines}\nconnect_timeout"));
        check(&home, &[]).await.ends(code, &says);
    }
}

#[tokio::test]
async fn every_address_is_tried() {
    let simulator = secure().await;
    let home = Home::new("https://localhost:1280");
    let pin = simulator.certificate_sha256().unwrap();
    let dead = crate::child::free_address();
    home.edit(
        "connect_timeout",
        &format!(
            "tls = {{ fingerprint_sha256 = [\"{pin}\"] }}\naddresses = [\"{}\", \"{dead}\", \
             \"nowhere.invalid:1280\"]\nconnect_timeout",
            simulator.addr()
        ),
    );
    let refused = format!("  {dead}\n    failed   TCP: ");
    check(&home, &["--login"]).await.ends(
        1,
        &[
            &format!("  {}\n    ok       TCP: ", simulator.addr()),
            &refused,
            "  nowhere.invalid:1280\n    failed   look-up: ",
            "log-in: worked",
            "online: 2 failed",
        ],
    );
}

#[tokio::test]
async fn what_the_account_lacks_is_told() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let role = Role::PortalReadonlyOperator;
    let provider = seed::PROVIDER.uid;
    simulator
        .user(provider, r"VSPC\reader", "gateway-demo-password", role)
        .unwrap();
    for (from, to, says) in [
        (
            "svc-gateway",
            "nobody",
            [
                "failed   log-in: ",
                "are name ('DOMAIN\\user') and secret right",
            ],
        ),
        (
            "svc-gateway",
            "reader",
            [
                "failed   role: an account of role PortalReadonlyOperator",
                "may edit",
            ],
        ),
    ] {
        let home = Home::new(&simulator.url());
        home.edit(from, to);
        check(&home, &["--login"]).await.ends(1, &says);
    }
    let home = Home::new(&simulator.url());
    home.edit("svc-gateway", "mfa");
    std::fs::write(
        home.folder.path().join("password"),
        seed::MFA_ADMINISTRATOR.password,
    )
    .unwrap();
    let says = ["failed   log-in: ", "set login.totp_secret"];
    check(&home, &["--login"]).await.ends(1, &says);
}

#[tokio::test]
async fn a_clock_that_goes_wrong_is_a_warning() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // The first connection only says that somebody listens.
            if stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {
                let answer = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                              Content-Length: 2\r\n\r\n{}";
                stream.write_all(answer.as_bytes()).await.ok();
            }
        }
    });
    let home = Home::new(&url);
    let says = [
        "warning  clock: the console's clock is ",
        " s behind",
        "set both by NTP",
    ];
    check(&home, &[]).await.ends(0, &says);
}

/// Each has its own time, and all have it at once.
#[tokio::test]
async fn many_silent_consoles_take_no_longer_than_one() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = Home::new(&format!("https://{}", silent.local_addr().unwrap()));
    let text = std::fs::read_to_string(home.config()).unwrap();
    let start = text.find("[[consoles]]").unwrap();
    let end = start + text[start..].find("[[tenants]]").unwrap();
    let pin = format!(
        "tls = {{ fingerprint_sha256 = [\"{}\"] }}\n",
        "00".repeat(32)
    );
    let console = text[start..end].to_owned() + &pin;
    let many: String = (0..20)
        .map(|number| console.replace("name = \"main\"", &format!("name = \"c{number}\"")))
        .collect();
    let tenants = text[end..].replace("impersonate", "console = \"c0\"\nimpersonate");
    std::fs::write(home.config(), text[..start].to_owned() + &many + &tenants).unwrap();
    let begun = tokio::time::Instant::now();
    let checked = check(&home, &[]).await;
    checked.ends(
        1,
        &[
            "console c19",
            "TLS: no answer within connect_timeout",
            "online: 20 failed",
        ],
    );
    // One after the other they would take forty.
    assert!(begun.elapsed().as_secs() < 20);
}

#[tokio::test]
async fn a_bad_file_is_told_before_anything_is_sent() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let home = Home::new(&simulator.url());
    home.edit("connect_timeout", "verify = false\nconnect_timeout");
    let checked = check(&home, &[]).await;
    checked.ends(64, &[]);
    assert!(checked.errors.contains("verify"), "{}", checked.errors);
    assert_eq!(simulator.state().connections_accepted, 0);
}
