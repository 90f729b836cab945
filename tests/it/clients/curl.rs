//! What other public clients send, by curl's own command line.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vspc_simulator::seed;

use crate::clients::outcomes;
use crate::clients::setup::{Program, SUPPORT, Setup};
use crate::harness::BILLING;

/// What every call has: no file of options, no proxy, no reading of `[ ] { }` or `..`, an end, and the status.
const ALWAYS: [&str; 12] = [
    "--disable",
    "--silent",
    "--show-error",
    "--noproxy",
    "*",
    "--globoff",
    "--path-as-is",
    "--max-time",
    "30",
    "--write-out",
    "\n%{http_code}",
    "--url",
];

/// The requests of one client. In the arguments, of which the first is the URL's path and query,
/// `{key}` stands for the gateway key, `{token}` and `{refresh}` for what the last login gave, and
/// `{owner}` for the UID of the tenant's user.
struct Shape {
    client: &'static str,
    /// Logins and renewals, in order; none for a client that has a key.
    tokens: &'static [&'static [&'static str]],
    call: &'static [&'static str],
    status: u16,
    /// Headers that the console must see, or not see where there is no value.
    sees: &'static [(&'static str, Option<&'static str>)],
}

impl Shape {
    fn method(&self) -> &'static str {
        match self.call.contains(&"PATCH") {
            true => "PATCH",
            false => "GET",
        }
    }

    /// The prefix of the recorded credential of the call.
    fn way(&self) -> &'static str {
        match self.tokens {
            [] => "bearer:",
            _ => "token:",
        }
    }
}

const TOKEN: &str = "/api/v3/token";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
/// A body put together as text: a raw backslash, nothing escaped.
const PLAIN: &str = r"grant_type=password&username=acme\billing&password={key}";
const BEARER: &str = "Authorization: Bearer {token}";
const KEY: &str = "Authorization: Bearer {key}";
/// An id for each call: the console answers a second call with one id as it did the first.
const GUID: &str = "0d4c9c0e-5a73-4f0d-9a52-3f6f0a2b7c11";
const OTHER_GUID: &str = "7a1b52f4-9f6d-4d07-8a3f-b2a9f1c0de22";
const JSON: Option<&str> = Some("application/json");

const SHAPES: [Shape; 15] = [
    Shape {
        client: "VeeamHub/powershell",
        tokens: &[&[
            TOKEN,
            "-H",
            FORM,
            "-H",
            "x-client-version: 3.6.1",
            "--data-raw",
            PLAIN,
        ]],
        call: &[
            "/api/v3/organizations?filter=[{'property':'type','operation':'equals','value':'Company'}]&limit=500",
            "-H",
            BEARER,
            "-H",
            "x-request-id: 0d4c9c0e-5a73-4f0d-9a52-3f6f0a2b7c11",
            "-H",
            "x-client-version: 3.6.1",
        ],
        status: 200,
        sees: &[
            ("x-request-id", Some(GUID)),
            ("x-client-version", Some("3.6.1")),
            ("content-type", None),
        ],
    },
    Shape {
        client: "christaylorcodes/VeeamSPC connects",
        tokens: &[],
        call: &[
            "/api/v3/about",
            "-H",
            KEY,
            "-H",
            "X-Client-Version: 3.6.2",
            "-H",
            "X-Request-id: 7a1b52f4-9f6d-4d07-8a3f-b2a9f1c0de22",
            "-A",
            "VeeamSPC-PowerShell/0.2.1",
        ],
        // The console's own answer to a company's user.
        status: 403,
        sees: &[
            ("x-request-id", Some(OTHER_GUID)),
            ("x-client-version", Some("3.6.2")),
            ("user-agent", Some("VeeamSPC-PowerShell/0.2.1")),
        ],
    },
    Shape {
        client: "christaylorcodes/VeeamSPC lists users",
        tokens: &[],
        call: &["/api/v3/users/logins?limit=500&offset=0", "-H", KEY],
        status: 200,
        sees: &[("x-request-id", None), ("x-client-version", None)],
    },
    Shape {
        client: "christaylorcodes/VeeamSPC changes, with a limit",
        tokens: &[],
        call: &[
            "/api/v3/users/{owner}?limit=500",
            "-X",
            "PATCH",
            "-H",
            KEY,
            "-H",
            "Content-Type: application/json; charset=utf-8",
            "--data-raw",
            r#"[{"op":"replace","path":"profile/firstName","value":"Ann"}]"#,
        ],
        status: 200,
        sees: &[("content-type", Some("application/json; charset=utf-8"))],
    },
    Shape {
        // PowerShell escapes what no URL may hold: quotes, blanks, braces; brackets stay.
        client: "TS-Steff/PRTG-Veeam-VSPC-LicenseStatus",
        tokens: &[],
        call: &[
            "/api/v3/organizations/companies?filter=[%7B%22property%22:%22name%22,%22operation%22:%22equals%22,%22collation%22:%22ignorecase%22,%22value%22:%22Acme%20Inc%22%7D]",
            "-H",
            KEY,
            "--max-redirs",
            "0",
        ],
        status: 200,
        sees: &[],
    },
    Shape {
        client: "AlexHeylin/Check-VspcVb365Mappings",
        tokens: &[&[TOKEN, "-H", "Content-Type:", "--data-raw", PLAIN]],
        call: &[
            "/api/v3/organizations/companies?limit=500",
            "-H",
            "authorization: bearer {token}",
        ],
        status: 200,
        sees: &[],
    },
    Shape {
        // The same where the shell adds the type that forms have.
        client: "AlexHeylin/Check-VspcVb365Mappings in PowerShell 5",
        tokens: &[&[TOKEN, "--data-raw", PLAIN]],
        call: &["/api/v3/users/me", "-H", "authorization: bearer {token}"],
        status: 200,
        sees: &[],
    },
    Shape {
        client: "n8n-nodes-vspc reads one",
        tokens: &[],
        call: &[
            "/api/v3/organizations/companies/49dcc517-a32c-438e-b53d-ee0084dc7feb",
            "-H",
            KEY,
            "-H",
            "accept: application/json",
            "-H",
            "content-type: application/json",
        ],
        status: 200,
        sees: &[("accept", JSON), ("content-type", JSON)],
    },
    Shape {
        client: "n8n-nodes-vspc lists",
        tokens: &[],
        call: &[
            "/api/v3/organizations/companies?limit=50&offset=0&filter=%5B%7B%22property%22%3A%22name%22%2C%22operation%22%3A%22contains%22%2C%22value%22%3A%22cm%22%7D%5D&sort=%5B%7B%22property%22%3A%22name%22%2C%22direction%22%3A%22ascending%22%7D%5D",
            "-H",
            KEY,
            "-H",
            "accept: application/json",
        ],
        status: 200,
        sees: &[("accept", JSON)],
    },
    Shape {
        client: "an OAuth library without a client id",
        tokens: &[&[
            TOKEN,
            "-H",
            "Authorization: Basic Og==",
            "-H",
            "Content-Type: application/x-www-form-urlencoded;charset=UTF-8",
            "-H",
            "Accept: application/json",
            "--data-raw",
            "grant_type=password&username=acme%5Cbilling&password={key}&client_id=None&allow_redirects=True",
        ]],
        call: &["/api/v3/users/me", "-H", BEARER],
        status: 200,
        sees: &[],
    },
    Shape {
        client: "an OAuth library with a placeholder for its client",
        tokens: &[&[
            TOKEN,
            "-u",
            "client:secret",
            "--data-urlencode",
            "grant_type=password",
            "--data-urlencode",
            r"username=acme\billing",
            "--data-urlencode",
            "password={key}",
            "--data-urlencode",
            "scope=",
        ]],
        call: &["/api/v3/users/me", "-H", BEARER],
        status: 200,
        sees: &[],
    },
    Shape {
        client: "the multipart form of the old documentation",
        tokens: &[&[
            TOKEN,
            "-F",
            "grant_type=password",
            "-F",
            r"username=acme\billing",
            "-F",
            "password={key}",
        ]],
        call: &["/api/v3/users/me", "-H", BEARER],
        status: 200,
        sees: &[],
    },
    Shape {
        client: "the multipart form by an ordinary library, renewed",
        tokens: &[
            &[
                TOKEN,
                "-H",
                "Content-Type: multipart/form-data; boundary=\"=_1f\"",
                "--data-binary",
                "--=_1f\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\npassword\r\n--=_1f\r\nContent-Disposition: form-data; name=username\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nacme\\billing\r\n--=_1f\r\ncontent-disposition: form-data; name=\"password\"\r\n\r\n{key}\r\n--=_1f--\r\n",
            ],
            &[
                TOKEN,
                "-F",
                "grant_type=refresh_token",
                "-F",
                "refresh_token={refresh}",
            ],
        ],
        call: &["/api/v3/users/me", "-H", BEARER],
        status: 200,
        sees: &[],
    },
    Shape {
        client: "a renewal with the old bearer still on",
        tokens: &[
            &[TOKEN, "--data-raw", PLAIN],
            &[
                TOKEN,
                "-H",
                BEARER,
                "--data-raw",
                "grant_type=refresh_token&refresh_token={refresh}",
            ],
        ],
        call: &["/api/v3/users/me", "-H", BEARER],
        status: 200,
        sees: &[],
    },
    Shape {
        client: "a login with a bearer that was never one, and a cookie",
        tokens: &[&[
            TOKEN,
            "-H",
            "Authorization: Bearer",
            "-b",
            "x-authorization=stale",
            "--data-raw",
            PLAIN,
        ]],
        call: &[
            "/api/v3/users/me",
            "-H",
            BEARER,
            "-b",
            "x-authorization=stale",
        ],
        status: 200,
        sees: &[("cookie", None)],
    },
];

/// The words that stand for a value, and the values.
type Words = BTreeMap<&'static str, String>;

#[tokio::test]
async fn every_known_client_is_served_as_it_is() {
    let mut setup = Setup::start().await;
    for shape in &SHAPES {
        let mut words = Words::from([
            ("{key}", BILLING.to_owned()),
            ("{owner}", seed::ACME_OWNER.uid.to_string()),
        ]);
        for login in shape.tokens {
            log_in(&mut setup, shape.client, login, &mut words).await;
        }
        let target = fill(shape.call[0], &words);
        let line = format!("{} {target} HTTP/1.1\r\n", shape.method());
        let (requests, lines) = (setup.reached().len(), setup.sent_to_console(&line));
        let (status, body) = curl(&mut setup, shape.call, &words).await;
        assert_eq!(status, shape.status, "{}: {body}", shape.client);
        assert_eq!(setup.sent_to_console(&line), lines + 1, "{}", shape.client);
        let [ref seen] = setup.reached()[requests..] else {
            panic!("{}: not one request", shape.client);
        };
        assert_eq!(seen.target, target, "{}", shape.client);
        assert_eq!(seen.subject, Some(seed::ACME_OWNER.uid), "{}", shape.client);
        for (name, value) in shape.sees {
            assert_eq!(seen.header(name), *value, "{}: {name}", shape.client);
        }
    }
    let records = setup.finish(&[(seed::ACME_OWNER.uid, 1)]).await;
    let mut recorded = outcomes(&records);
    for shape in &SHAPES {
        for login in shape.tokens {
            let record = recorded.next().expect(shape.client);
            let refresh = login.iter().any(|argument| argument.contains("{refresh}"));
            let (grant, way) = match refresh {
                true => ("refresh_token", "refresh:"),
                false => ("password", "password:"),
            };
            assert_recorded(record, "POST", TOKEN, way);
            assert_eq!(record["grant"], grant, "{}", shape.client);
        }
        let record = recorded.next().expect(shape.client);
        let path = shape.call[0].split('?').next().unwrap();
        let path = path.replace("{owner}", &seed::ACME_OWNER.uid.to_string());
        assert_recorded(record, shape.method(), &path, shape.way());
        assert_eq!(record["target"]["uid"], seed::ACME_OWNER.uid.to_string());
        assert_eq!(record["status"], shape.status);
    }
    assert!(recorded.next().is_none());
}

#[track_caller]
fn assert_recorded(record: &Value, method: &str, path: &str, way: &str) {
    assert_eq!(
        (&record["method"], &record["path"]),
        (&json!(method), &json!(path))
    );
    assert_eq!(record["client"], "billing", "{record}");
    assert_eq!(record["tenant"], "acme", "{record}");
    assert!(
        record["credential"].as_str().unwrap().starts_with(way),
        "{record}"
    );
    assert_eq!(record["code"], "ok", "{record}");
}

/// The impersonation of the old documentation: a multipart form, and a bearer beside it.
#[tokio::test]
async fn a_multipart_form_narrows_a_session_to_another_user() {
    let mut setup = Setup::start().await;
    let administrator = seed::ACME_ADMINISTRATOR.uid;
    let mut words = Words::from([
        ("{key}", SUPPORT.to_owned()),
        ("{administrator}", administrator.to_string()),
    ]);
    let login: &[&str] = &[
        TOKEN,
        "--data-raw",
        r"grant_type=password&username=acme\support&password={key}",
    ];
    log_in(&mut setup, "support", login, &mut words).await;
    let refresh = words["{refresh}"].clone();
    let narrow = [
        TOKEN,
        "-H",
        BEARER,
        "-F",
        "grant_type=as",
        "-F",
        "refresh_token={refresh}",
        "-F",
        "userUid={administrator}",
    ];
    log_in(&mut setup, "support", &narrow, &mut words).await;
    assert_eq!(
        words["{refresh}"], refresh,
        "the refresh token is the impersonator's"
    );
    let (status, me) = curl(&mut setup, &["/api/v3/users/me", "-H", BEARER], &words).await;
    assert_eq!(status, 200, "{me}");
    let me: Value = serde_json::from_str(&me).unwrap();
    assert_eq!(me["data"]["instanceUid"], administrator.to_string());

    // A login is tried out as the tenant's own user before it is answered.
    let users = [(seed::ACME_OWNER.uid, 1), (administrator, 1)];
    let records = setup.finish(&users).await;
    let grants: Vec<&Value> = outcomes(&records)
        .filter(|record| record["operation"] == "POST /token")
        .map(|record| &record["grant"])
        .collect();
    assert_eq!(grants, ["password", "as"]);
    let call = outcomes(&records).last().unwrap();
    assert_eq!(call["target"]["uid"], administrator.to_string());
}

/// Asks for tokens, and keeps them for the next calls.
async fn log_in(setup: &mut Setup, client: &str, arguments: &[&str], words: &mut Words) {
    let (status, body) = curl(setup, arguments, words).await;
    assert_eq!(status, 200, "{client}: {body}");
    let token: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(token["token_type"], "bearer", "{client}");
    assert_eq!(token["expires_in"], 3600, "{client}");
    for (word, name) in [("{token}", "access_token"), ("{refresh}", "refresh_token")] {
        let value = token[name].as_str().expect(name);
        words.insert(word, value.to_owned());
    }
}

/// Runs curl, and returns the status and the body.
async fn curl(setup: &mut Setup, arguments: &[&str], words: &Words) -> (u16, String) {
    let (path, rest) = arguments.split_first().unwrap();
    let mut command: Vec<String> = ALWAYS.map(str::to_owned).into();
    command.push(setup.url() + &fill(path, words));
    command.extend(rest.iter().map(|argument| fill(argument, words)));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let printed = setup.run(Program::Curl, &command).await;
    let (body, status) = printed.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn fill(text: &str, words: &Words) -> String {
    words.iter().fold(text.to_owned(), |text, (word, value)| {
        text.replace(word, value)
    })
}
