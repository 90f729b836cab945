//! TLS and passwords.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use vspc_gateway::audit::sinks::postgres::{Host, Postgres, Settings};
use vspc_gateway::secret::SecretSource;
use vspc_gateway::upstream::{Fingerprint256, Tls, Trust};

use super::cluster::Cluster;
use super::{COUNT, Write as _, settings, usuals};
use crate::harness::write_secret;

#[tokio::test]
async fn only_the_right_server_sees_a_password_and_records() {
    let (ca, other_ca) = (authority("ca"), authority("other"));
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let cluster = Cluster::start_with(|cluster| {
        let hba = "local all owner trust\nhostssl all gateway 127.0.0.1/32 scram-sha-256\n";
        let files = [
            ("data/server.pem", certificate.pem()),
            ("data/server.key", key.serialize_pem()),
            ("data/pg_hba.conf", hba.to_owned()),
            ("ca.pem", ca.pem()),
            ("other.pem", other_ca.pem()),
        ];
        for (name, text) in files {
            let path = cluster.folder().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if name.starts_with("data/") {
                cluster.give(&path);
            }
        }
        vec![
            "ssl=on".to_owned(),
            "ssl_cert_file=server.pem".to_owned(),
            "ssl_key_file=server.key".to_owned(),
        ]
    })
    .await;
    cluster
        .execute("CREATE ROLE gateway LOGIN SUPERUSER PASSWORD 'right-password'")
        .await;
    let password = cluster.folder().join("password");
    write_secret(&password, "right-password");
    let with = |host: &str, tls: Option<Tls>| Settings {
        hosts: vec![Host::Tcp(host.to_owned(), cluster.port)],
        user: "gateway".to_owned(),
        password: Some(SecretSource::File(password.clone())),
        tls,
        ..settings(&cluster)
    };
    let trusting = |name: &str| Tls {
        trust: Trust::Authorities(cluster.folder().join(name)),
        ..Tls::default()
    };
    let pinned = |der: &[u8]| Tls {
        trust: Trust::Pins,
        pins: vec![Fingerprint256::of(der)],
        ..Tls::default()
    };

    for (host, tls, said) in [
        ("localhost", Some(trusting("other.pem")), "unknown issuer"),
        ("127.0.0.1", Some(trusting("ca.pem")), "wrong name"),
        ("localhost", Some(pinned(ca.der())), "not pinned"),
        ("localhost", Some(Tls::default()), ""),
        ("127.0.0.1", None, "no pg_hba.conf entry"),
    ] {
        let refused = Postgres::new(with(host, tls)).send(&usuals(0..10)).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(said), "{host}: {text}");
        assert!(!text.contains("right-password"), "{text}");
    }
    let right = [
        ("localhost", trusting("ca.pem")),
        ("127.0.0.1", pinned(certificate.der())),
    ];
    for (from, (host, tls)) in (0..).zip(right) {
        let mut sink = Postgres::new(with(host, Some(tls)));
        sink.send(&usuals(from * 10..from * 10 + 10)).await.unwrap();
    }
    assert_eq!(cluster.number(COUNT).await, 20);
    passwords_are_read_anew(
        &cluster,
        &password,
        with("localhost", Some(trusting("ca.pem"))),
    )
    .await;
}

async fn passwords_are_read_anew(cluster: &Cluster, file: &Path, settings: Settings) {
    let mut sink = Postgres::new(settings);
    cluster
        .execute("ALTER ROLE gateway PASSWORD 'next-password'")
        .await;
    let text = sink.send(&usuals(20..30)).await.unwrap_err().to_string();
    assert!(text.contains("check `user`, `password`"), "{text}");
    write_secret(file, "next-password");
    sink.send(&usuals(20..30)).await.unwrap();
    assert_eq!(cluster.number(COUNT).await, 30);
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
