use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::config::Settings;
use crate::upstream::{Fingerprint256, TlsVersion, Trust};

const PIN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder with an authority, a certificate with its key, and what must not be taken for them.
fn folder() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(vec!["vspc.example".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "the console");
    params.is_ca = IsCa::ExplicitNoCa;
    let leaf = params.clone().self_signed(&key).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("password"), "pw\n", 0o600);
    write(&at("ca.pem"), &ca.pem(), 0o644);
    write(&at("leaf.pem"), &leaf.pem(), 0o644);
    write(&at("leaf.key"), &key.serialize_pem(), 0o600);
    write(&at("other.key"), &other.serialize_pem(), 0o600);
    write(&at("open.key"), &key.serialize_pem(), 0o644);
    write(&at("nothing"), "hello\n", 0o600);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write(&at("encrypted.key"), encrypted, 0o600);
    let pin = Fingerprint256::of(leaf.der()).to_string();
    (folder, pin)
}

fn parse(folder: &Path, tls: &str) -> Result<Settings, Vec<String>> {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[audit]\ndirectory = \"audit\"\n[[consoles]]\nname = \"main\"\n\
         url = \"https://vspc.example:1280\"\ntls = {{ {tls} }}\n\
         login = {{ grant = \"password\", username = 'D\\u', password = {{ file = \"password\" }} }}\n"
    );
    Settings::parse(&text, folder)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn all_of_it_can_be_said() {
    let (folder, _) = folder();
    let tls = format!(
        "ca = \"ca.pem\", fingerprint_sha256 = [\"{PIN}\"], certificate = \"leaf.pem\", \
         key = \"leaf.key\", server_name = \"other.example\", min_version = \"1.3\""
    );
    let settings = parse(folder.path(), &tls).unwrap();
    let tls = &settings.consoles[0].upstream.tls;
    assert_eq!(tls.trust, Trust::Authorities(folder.path().join("ca.pem")));
    assert_eq!(tls.pins.len(), 1);
    assert!(tls.identity.is_some());
    assert_eq!(tls.server_name.as_ref().unwrap().to_str(), "other.example");
    assert_eq!(tls.oldest, TlsVersion::Tls13);
    let whats: Vec<_> = tls
        .endings()
        .into_iter()
        .map(|ending| ending.what)
        .collect();
    assert_eq!(whats, ["ca", "certificate"]);
}

#[test]
fn pins_alone_are_the_identity() {
    let (folder, _) = folder();
    let settings = parse(folder.path(), &format!("fingerprint_sha256 = [\"{PIN}\"]")).unwrap();
    assert_eq!(settings.consoles[0].upstream.tls.trust, Trust::Pins);
}

#[test]
fn faults_stand_at_their_key_and_say_what_to_do() {
    let (folder, pin) = folder();
    let own =
        |certificate: &str, key: &str| format!("certificate = \"{certificate}\", key = \"{key}\"");
    let instead = format!("write fingerprint_sha256 = [\"{pin}\"] instead");
    for (tls, key, part) in [
        ("ca = \"gone\"".to_owned(), "ca", "cannot use"),
        ("ca = \"nothing\"".to_owned(), "ca", "no certificate in PEM"),
        ("ca = \"leaf.pem\"".to_owned(), "ca", &*instead),
        (
            "ca = \"leaf.pem\"".to_owned(),
            "ca",
            "CN=the console is not a certificate authority",
        ),
        (
            own("leaf.pem", "other.key"),
            "key",
            "is not the key of CN=the console",
        ),
        (own("leaf.pem", "open.key"), "key", "chmod o-rwx"),
        (own("leaf.pem", "encrypted.key"), "key", "openssl pkey"),
        (own("leaf.pem", "nothing"), "key", "no private key in PEM"),
        (
            own("nothing", "leaf.key"),
            "certificate",
            "no certificate in PEM",
        ),
        (own("gone", "leaf.key"), "certificate", "cannot use"),
        (
            "certificate = \"leaf.pem\"".to_owned(),
            "certificate",
            "set `key`",
        ),
        ("key = \"leaf.key\"".to_owned(), "key", "set `certificate`"),
        (
            "fingerprint_sha256 = []".to_owned(),
            "fingerprint_sha256",
            "at least one",
        ),
        (
            format!("fingerprint_sha256 = [\"{}\"]", "0".repeat(63)),
            "fingerprint_sha256[0]",
            "64 hex digits, colons allowed; it has 63",
        ),
        (
            format!("fingerprint_sha256 = [\"{}\"]", "0".repeat(40)),
            "fingerprint_sha256[0]",
            "thumbprint",
        ),
        (
            "server_name = \"a b\"".to_owned(),
            "server_name",
            "must be a name",
        ),
        (
            "min_version = \"1.1\"".to_owned(),
            "min_version",
            "\"1.2\" or \"1.3\"",
        ),
        ("verify = false".to_owned(), "verify", "is not known here"),
    ] {
        let faults = parse(folder.path(), &tls).err().unwrap();
        assert_eq!(faults.len(), 1, "{tls}: {faults:?}");
        let place = format!("line 8: consoles[0].tls.{key}: ");
        assert!(faults[0].starts_with(&place), "{tls}: {faults:?}");
        assert!(faults[0].contains(part), "{tls}: {faults:?}");
        assert!(!faults[0].contains("BEGIN"), "{faults:?}");
    }
}

#[test]
fn faults_of_several_files_are_told_at_once() {
    let (folder, _) = folder();
    let tls = "ca = \"gone\", certificate = \"leaf.pem\", key = \"other.key\"";
    assert_eq!(parse(folder.path(), tls).err().unwrap().len(), 2);
}
