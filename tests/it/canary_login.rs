//! What must never be written or given out by `/token`, on both wires.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use vspc_simulator::seed::{
    ACME_ADMINISTRATOR, ADMINISTRATOR_PASSWORD, INITECH_MFA, INITECH_MFA_SECRET,
};
use vspc_simulator::{Simulator, totp_code};

use crate::canary::{Page, files_of, found, tokens_of};
use crate::child::{Home, once, unsigned, whole};
use crate::harness::{ADMIN, Answer, FORM, GLOBEX, ZABBIX, encoded};

const WRONG_PASSWORD: &str = "canary-wrong-password-5e07";
const WRONG_KEY: &str = "vgk_canary_wrong_key_7a41_000000000000000";
const ME: &str = "/api/v3/users/me";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wire {
    Http1,
    Http2,
}

/// A caller, what it was answered, and the secrets it holds.
struct Caller {
    address: SocketAddr,
    wire: Wire,
    answers: Vec<Page>,
    own: BTreeSet<String>,
}

impl Caller {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let name = format!("{} {} by {:?}", request.method(), request.uri(), self.wire);
        let answer = match self.wire {
            Wire::Http1 => once(self.address, request).await.unwrap(),
            Wire::Http2 => http2_once(self.address, request).await,
        };
        let mut text = format!("{:?}", answer.headers).into_bytes();
        text.extend_from_slice(&answer.body);
        self.answers.push((format!("the answer to {name}"), text));
        answer
    }

    async fn token(&mut self, form: &[(&str, &str)]) -> Answer {
        let request = Request::post("http://gateway.test/api/v3/token")
            .header(FORM.0, FORM.1)
            .header("authorization", format!("Bearer {WRONG_KEY}"))
            .body(Full::new(Bytes::from(encoded(form))))
            .unwrap();
        let answer = self.send(with_host(request, self.wire)).await;
        if answer.status == 200 {
            for member in ["access_token", "refresh_token"] {
                let json = answer.json();
                let token = json.get(member).and_then(|token| token.as_str());
                self.own.extend(token.map(str::to_owned));
            }
        }
        answer
    }

    async fn password(&mut self, user: &str, password: &str) -> Answer {
        let form = [
            ("grant_type", "password"),
            ("username", user),
            ("password", password),
        ];
        self.token(&form).await
    }

    async fn me(&mut self, token: &str) -> u16 {
        let request = Request::get(format!("http://gateway.test{ME}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())
            .unwrap();
        self.send(with_host(request, self.wire)).await.status
    }
}

/// HTTP/1.1 names the host in a header.
fn with_host(mut request: Request<Full<Bytes>>, wire: Wire) -> Request<Full<Bytes>> {
    if wire == Wire::Http1 {
        let target = request.uri().path_and_query().unwrap().as_str();
        *request.uri_mut() = target.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("host", "gateway.test".parse().unwrap());
    }
    request
}

async fn http2_once(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    whole(sender.send_request(request).await.unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn no_token_or_secret_of_a_login_is_in_an_answer_a_log_a_record_or_the_state() {
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    let listen = format!("listen = \"{}\"\n", home.admin);
    home.edit(&listen, &format!("{listen}[log]\nlevel = \"debug\"\n"));
    home.edit(
        "name = \"main\"",
        "name = \"main\"\npassthrough_logins = true",
    );
    let mut gateway = home.start().await;

    let (mut own, mut answers) = (BTreeSet::new(), Vec::new());
    for (second, wire) in [(0, Wire::Http1), (1, Wire::Http2)] {
        let mut caller = Caller {
            address: home.address,
            wire,
            answers: Vec::new(),
            own: BTreeSet::new(),
        };
        as_a_client(&mut caller).await;
        as_itself(&mut caller).await;
        with_a_second_factor(&mut caller, second).await;
        own.extend(caller.own);
        answers.extend(caller.answers);
    }
    gateway.signal("TERM");
    assert_eq!(gateway.exit().await.code(), Some(0));
    assert!(gateway.log().contains("DEBUG"));

    let mut theirs = BTreeSet::new();
    tokens_of(&simulator, &mut theirs);
    assert!(
        theirs.len() >= 8,
        "too few tokens were seen: {}",
        theirs.len()
    );
    assert!(own.len() >= 12);
    // The step's token and code are the caller's own business: they pass through.
    let passing = |secret: &String| secret.len() < 20 || !secret.starts_with("eyJ");
    for secret in theirs.iter().filter(|secret| !passing(secret)) {
        let found = found(secret, &answers);
        assert!(found.is_empty(), "{secret} stands in {found:?}");
    }
    let files = files_of(home.folder.path());
    assert!(
        !found("zabbix", &files).is_empty(),
        "the search finds nothing"
    );
    let words = [
        WRONG_PASSWORD,
        WRONG_KEY,
        ADMINISTRATOR_PASSWORD,
        ZABBIX,
        ADMIN,
    ];
    let signatures = own.iter().chain(&theirs);
    let parts: BTreeSet<String> = signatures
        .flat_map(|token| token.split('.').skip(1).map(str::to_owned))
        .filter(|part| part.len() > 20)
        .collect();
    for secret in parts.iter().map(String::as_str).chain(words) {
        let found = found(secret, &files);
        assert!(found.is_empty(), "{secret} stands in {found:?}");
    }
    // The console was shown none of the gateway's.
    for seen in simulator.requests() {
        let shown = format!("{seen:?}{}", String::from_utf8_lossy(&seen.body));
        for secret in own
            .iter()
            .map(String::as_str)
            .chain([WRONG_KEY, ZABBIX, ADMIN])
        {
            assert!(!shown.contains(secret), "{}", seen.target);
        }
    }
}

async fn as_a_client(caller: &mut Caller) {
    let login = caller.password(r"acme\admin", ADMIN).await;
    let refresh = login.text("refresh_token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh)];
    let renewed = caller.token(&form).await;
    let refresh = renewed.text("refresh_token");
    let form = [
        ("grant_type", "as"),
        ("refresh_token", refresh.as_str()),
        ("userUid", GLOBEX),
    ];
    let narrowed = caller.token(&form).await;
    assert_eq!(caller.me(&narrowed.text("access_token")).await, 200);
    assert_eq!(caller.password(r"acme\zabbix", WRONG_KEY).await.status, 400);
    assert_eq!(caller.password(ZABBIX, ZABBIX).await.status, 400);
    assert_eq!(caller.password(WRONG_KEY, "a").await.status, 400);
    assert_eq!(caller.me(WRONG_KEY).await, 401);
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", WRONG_KEY),
    ];
    assert_eq!(caller.token(&form).await.status, 400);
}

async fn as_itself(caller: &mut Caller) {
    let user = ACME_ADMINISTRATOR.name;
    let login = caller.password(user, ADMINISTRATOR_PASSWORD).await;
    assert_eq!(caller.me(&login.text("access_token")).await, 200);
    assert_eq!(caller.password(user, WRONG_PASSWORD).await.status, 400);
}

async fn with_a_second_factor(caller: &mut Caller, which: u64) {
    let step = caller
        .password(INITECH_MFA.name, ADMINISTRATOR_PASSWORD)
        .await;
    let step = step.text("mfa_token");
    // A code is good once; that of the next half minute is good already.
    let now = u64::try_from(vspc_gateway::clock::Clock::System.now().0 / 1_000_000).unwrap();
    let code = totp_code(INITECH_MFA_SECRET, now + 30 * which).unwrap();
    let form = [
        ("grant_type", "mfa"),
        ("mfa_token", step.as_str()),
        ("mfa_code", code.as_str()),
    ];
    let login = caller.token(&form).await;
    assert_eq!(login.status, 200, "{login:?}");
    assert_eq!(caller.me(&login.text("access_token")).await, 200);
}
