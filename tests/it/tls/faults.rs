//! What is wrong with the configuration of TLS, and what is only told.

use std::path::Path;

use rcgen::date_time_ymd;
use vspc_gateway::config::Settings;

use super::PAIR;
use super::authority::Authority;
use super::caller::NAME;
use crate::harness::{configuration, write_secret};

/// The faults of a configuration with these lines in place of `listen`.
fn faults(folder: &Path, listen: &str) -> Result<Settings, Vec<String>> {
    let text = configuration(folder, "http://127.0.0.1:1", "", "127.0.0.1:0");
    let text = text.replace("listen = \"127.0.0.1:0\"", listen);
    Settings::parse(&text, folder)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn tls_faults(folder: &Path, tls: &str) -> Vec<String> {
    let listen = format!("listen = \"127.0.0.1:0\"\ntls = {{ {tls} }}");
    faults(folder, &listen).err().unwrap_or_default()
}

#[test]
fn what_listeners_do_is_known_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("ca");
    authority.server(&[NAME]).write(folder, "a");
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let proxied = |listen: &str| {
        let listen = format!("trusted_proxies = [\"10.0.0.1\"]\nlisten = {listen}");
        let settings = faults(folder, &listen).unwrap().server;
        let of_each = settings.listen.iter().map(|one| one.proxy_protocol);
        (
            of_each.collect::<Vec<_>>(),
            settings.asks_for_certificates(),
        )
    };
    let one = r#""127.0.0.1:1""#;
    let other = r#"{ address = "127.0.0.1:2", proxy_protocol = true }"#;
    assert_eq!(
        proxied(&format!("[{one}, {other}]")),
        (vec![false, true], false)
    );
    let other = r#"{ address = "127.0.0.1:2", proxy_protocol = false }"#;
    let asking =
        format!("{{ address = \"127.0.0.1:3\", tls = {{ {PAIR}, client_ca = \"ca.pem\" }} }}");
    let all = format!("[{one}, {other}, {asking}]\nproxy_protocol = true");
    assert_eq!(proxied(&all), (vec![true, false, true], true));

    let alone = "listen = { address = \"127.0.0.1:0\", proxy_protocol = true }";
    let told = faults(folder, alone).unwrap_err();
    let [told] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(
        told.contains("server.listen.proxy_protocol: needs trusted_proxies"),
        "{told}"
    );
}

#[test]
fn every_fault_has_its_place_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("ca");
    let (one, other) = (authority.server(&[NAME]), authority.server(&[NAME]));
    one.write(folder, "a");
    other.write(folder, "b");
    authority.issue(|_| ()).write(folder, "nameless");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("empty.pem", "");
    write("reversed.pem", &format!("{}{}", authority.pem(), one.pem()));
    write("mixed.pem", &format!("{}{}", one.pem(), other.pem()));
    write("good.pem", &format!("{}{}", one.pem(), authority.pem()));
    write("open.key", &one.key_pem());
    write_secret(&folder.join("none.key"), "-----BEGIN X-----\n");
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write_secret(&folder.join("locked.key"), locked);
    let rubbish = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    write("rubbish.pem", rubbish);
    write("ca.pem", &authority.pem());
    write("foreign.pem", &Authority::new("other").revoked(&[1], 2090));

    assert_eq!(tls_faults(folder, PAIR), Vec::<String>::new());
    let good = r#"certificate = "good.pem", key = "a.key""#;
    assert_eq!(tls_faults(folder, good), Vec::<String>::new());
    for (tls, place, told) in [
        ("", "server.tls.certificate:", "is missing"),
        (r#"certificate = "a.pem""#, "server.tls.key:", "is missing"),
        (
            r#"certificate = "gone.pem", key = "a.key""#,
            "server.tls.certificate:",
            "cannot read",
        ),
        (
            r#"certificate = "empty.pem", key = "a.key""#,
            "server.tls.certificate:",
            "openssl x509 -inform der",
        ),
        (
            r#"certificate = "a.pem", key = "b.key""#,
            "server.tls.key:",
            "is not the key of the certificate",
        ),
        (
            r#"certificate = "a.pem", key = "open.key""#,
            "server.tls.key:",
            "can be read by everybody",
        ),
        (
            r#"certificate = "a.pem", key = "none.key""#,
            "server.tls.key:",
            "-----BEGIN PRIVATE KEY-----",
        ),
        (
            r#"certificate = "a.pem", key = "locked.key""#,
            "server.tls.key:",
            "openssl pkey",
        ),
        (
            r#"certificate = "reversed.pem", key = "a.key""#,
            "server.tls.certificate:",
            "wrong order",
        ),
        (
            r#"certificate = "mixed.pem", key = "a.key""#,
            "server.tls.certificate:",
            "wrong order",
        ),
        (
            r#"certificate = "nameless.pem", key = "nameless.key""#,
            "server.tls.certificate:",
            "subjectAltName",
        ),
        (
            r#"certificates = [{ certificate = "a.pem", key = "a.key" }, { certificate = "a.pem", key = "b.key" }]"#,
            "server.tls.certificates[1].key:",
            "is not the key",
        ),
        (
            r#"certificate = "a.pem", key = "a.key", client_ca = "empty.pem""#,
            "server.tls.client_ca:",
            "holds no certificate",
        ),
        (
            r#"certificate = "a.pem", key = "a.key", client_ca = "a.pem", client_crl = "a.pem""#,
            "server.tls.client_crl:",
            "openssl crl -inform der",
        ),
        (
            r#"certificate = "a.pem", key = "a.key", client_ca = "a.pem", client_crl = "rubbish.pem""#,
            "server.tls.client_crl:",
            "cannot be read",
        ),
        (
            r#"certificate = "a.pem", key = "a.key", client_ca = "ca.pem", client_crl = "foreign.pem""#,
            "server.tls.client_crl:",
            "is of an authority in client_ca",
        ),
        (
            r#"certificate = "a.pem", key = "a.key", client_crl = "a.pem""#,
            "server.tls.client_crl:",
            "means nothing without client_ca",
        ),
        (
            r#"certificate = "a.pem", key = "a.key", client_certificates = "optional""#,
            "server.tls.client_certificates:",
            "means nothing without client_ca",
        ),
        (
            r#"certificate = "a.pem", key = "a.key", min_version = "1.1""#,
            "server.tls.min_version:",
            "must be \"1.2\" or \"1.3\"",
        ),
    ] {
        let faults = tls_faults(folder, tls);
        let fits = |fault: &String| fault.contains(place) && fault.contains(told);
        assert!(faults.len() == 1 && fits(&faults[0]), "{tls}: {faults:#?}");
    }
}

#[test]
fn the_tls_of_a_listener_is_read_as_that_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    Authority::new("ca").server(&[NAME]).write(folder, "a");
    for (listen, told) in [
        (
            format!(r#"listen = [{{ address = "127.0.0.1:0", tls = {{ {PAIR}, colour = 1 }} }}]"#),
            "server.listen[0].tls.colour: is not known",
        ),
        (
            r#"listen = [{ address = "127.0.0.1:0", tls = true }]"#.to_owned(),
            "server.listen[0].tls: expected a table, or false",
        ),
        (
            r#"listen = [{ tls = false }]"#.to_owned(),
            "server.listen[0].address: is missing",
        ),
        (
            format!("listen = [{{ address = \"127.0.0.1:0\", tls = false }}]\ntls = {{ {PAIR} }}"),
            "server.tls: is used by no listener",
        ),
        (
            "listen = [\"127.0.0.1:81\", { address = \"127.0.0.1:81\" }]".to_owned(),
            "server.listen[1]: stands here twice",
        ),
    ] {
        let faults = faults(folder, &listen).unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.contains(told)),
            "{faults:#?}"
        );
    }
}

#[test]
fn what_has_ended_or_soon_will_is_told_and_served() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("ca");
    let soon = time::OffsetDateTime::now_utc() + time::Duration::days(13);
    authority
        .issue(|params| {
            *params = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
            params.not_after = date_time_ymd(2025, 1, 1);
        })
        .write(folder, "a");
    authority
        .issue(|params| {
            *params = rcgen::CertificateParams::new(["b.example.net".to_owned()]).unwrap();
            params.not_after = soon;
        })
        .write(folder, "b");
    let listen = format!(
        r#"listen = "127.0.0.1:0"
tls = {{ {PAIR}, certificates = [{{ certificate = "b.pem", key = "b.key" }}] }}"#
    );
    let settings = faults(folder, &listen).unwrap();
    let warnings = settings.server.warnings();
    let [ended, ends] = &warnings[..] else {
        panic!("{warnings:#?}");
    };
    assert!(
        ended.starts_with("server.tls.certificate: the certificate of gw.example.net"),
        "{ended}"
    );
    assert!(ended.contains("ended on 2025-01-01"), "{ended}");
    assert!(
        ends.starts_with("server.tls.certificates[0].certificate: "),
        "{ends}"
    );
    assert!(ends.contains(&format!("ends on {}", soon.date())), "{ends}");
}
