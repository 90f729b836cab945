use std::net::IpAddr;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType, date_time_ymd};

use super::facts::{CertificateFacts, Moment};
use super::failure::{Asked, TlsFailure, TlsKind};

fn facts(change: impl FnOnce(&mut CertificateParams)) -> CertificateFacts {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    CertificateFacts::read(made.der()).unwrap()
}

#[test]
fn names_are_written_as_rfc_4514_says() {
    let facts = facts(|params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Smith, \"Jones\" & <Sons>");
        name.push(DnType::CommonName, " #1\u{1b}[31m\u{202e} ");
    });
    assert_eq!(
        facts.subject,
        r#"CN=\ #1\1B[31m\E2\80\AE\ ,O=Smith\, \"Jones\" & \<Sons\>,C=DE"#
    );
    assert_eq!(facts.issuer, facts.subject);
    assert!(facts.is_self_issued);
}

#[test]
fn alternative_names_cannot_play_with_a_terminal() {
    let facts = facts(|params| {
        let host = Ia5String::try_from("vspc.example\u{1b}]0;x\u{7}").unwrap();
        let ip: IpAddr = "2001:db8::5".parse().unwrap();
        params.subject_alt_names = vec![SanType::DnsName(host), SanType::IpAddress(ip)];
    });
    assert_eq!(facts.names, [r"vspc.example\1B]0;x\07", "2001:db8::5"]);
}

#[test]
fn a_certificate_says_when_it_ends_and_whether_it_signs_others() {
    let leaf = facts(|params| params.not_after = date_time_ymd(2027, 3, 4));
    assert_eq!(leaf.ends.to_string(), "2027-03-04T00:00:00Z");
    assert!(!leaf.is_authority);
    let ca = facts(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(ca.is_authority);
    assert_eq!(CertificateFacts::read(b"nonsense"), None);
}

#[test]
fn days_are_whole_and_negative_once_they_have_passed() {
    let day = 86_400;
    for (ends, days) in [(day, 1), (day - 1, 0), (0, 0), (-1, -1), (-day, -1)] {
        assert_eq!(Moment(ends).days_since(Moment(0)), days, "{ends}");
    }
}

/// What a console says after the handshake depends on what it was shown.
#[test]
fn an_alert_is_understood_by_what_was_shown() {
    use rustls::AlertDescription;
    let alert = |alert| {
        let error = rustls::Error::AlertReceived(alert);
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    };
    for (error, asked, kind) in [
        (
            alert(AlertDescription::CertificateRequired),
            Asked::ShownNone,
            Some(TlsKind::ClientCertificateDemanded),
        ),
        (
            alert(AlertDescription::HandshakeFailure),
            Asked::ShownNone,
            Some(TlsKind::ClientCertificateDemanded),
        ),
        (
            alert(AlertDescription::UnknownCA),
            Asked::Shown,
            Some(TlsKind::ClientCertificateRefused),
        ),
        (
            alert(AlertDescription::HandshakeFailure),
            Asked::No,
            Some(TlsKind::Other),
        ),
        (
            alert(AlertDescription::UnrecognisedName),
            Asked::No,
            Some(TlsKind::WrongName),
        ),
        (
            std::io::ErrorKind::UnexpectedEof.into(),
            Asked::ShownNone,
            Some(TlsKind::ClientCertificateDemanded),
        ),
        (std::io::ErrorKind::UnexpectedEof.into(), Asked::Shown, None),
        (std::io::ErrorKind::ConnectionReset.into(), Asked::No, None),
    ] {
        let failure = TlsFailure::of(&error, asked);
        assert_eq!(
            failure.map(|failure| failure.kind),
            kind,
            "{error} {asked:?}"
        );
    }
}
