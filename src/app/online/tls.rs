//! What TLS with an address showed.

use super::finding::Finding;
use crate::clock::Clock;
use crate::upstream::{
    CertificateFacts, Ending, Moment, Secure, Settings, TlsFailure, TlsKind, Trust,
};

/// Tells what TLS showed; whether a request may be sent.
pub(super) fn judge(
    settings: &Settings,
    shown: Result<Secure, String>,
    findings: &mut Vec<Finding>,
) -> bool {
    let secure = match shown {
        Ok(secure) => secure,
        Err(why) => {
            let remedy =
                "does the console speak TLS there? http:// is for consoles on this machine";
            findings.push(Finding::failed("TLS", why).remedy(remedy));
            return false;
        }
    };
    let alpn = match &secure.alpn {
        Some(alpn) => format!("ALPN {alpn}"),
        None => "no ALPN".to_owned(),
    };
    let mut handshake = Finding::ok("TLS", format!("{}, {alpn}", secure.version));
    if let Some(facts) = &secure.certificate {
        handshake.facts = told(facts);
    }
    findings.push(handshake);
    let facts = secure.certificate.as_ref();
    let believed = secure.judgement.is_ok();
    findings.push(match secure.judgement {
        Ok(()) => Finding::ok("certificate", trusted(settings)),
        Err(failure) => {
            let remedy = remedy(&failure, facts);
            Finding::failed("certificate", failure.to_string()).remedy(remedy)
        }
    });
    if believed {
        findings.extend(facts.and_then(ending));
    }
    believed
}

fn told(facts: &CertificateFacts) -> Vec<(&'static str, String)> {
    let days = facts.ends.days_since(now());
    let names = match facts.names.is_empty() {
        true => "none".to_owned(),
        false => facts.names.join(", "),
    };
    vec![
        ("subject", facts.subject.clone()),
        ("issuer", facts.issuer.clone()),
        ("names", names),
        ("ends", format!("{} ({})", facts.ends, in_days(days))),
        ("to pin", pin(facts)),
    ]
}

/// The line of the configuration that pins a certificate.
fn pin(facts: &CertificateFacts) -> String {
    let fingerprint = facts.fingerprint;
    format!("tls = {{ fingerprint_sha256 = [\"{fingerprint}\"] }}")
}

fn in_days(days: i64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        days if days > 0 => format!("in {days} days"),
        days => format!("{} days ago", days.unsigned_abs()),
    }
}

fn trusted(settings: &Settings) -> String {
    let tls = &settings.tls;
    let by = match (&tls.trust, tls.pins.is_empty()) {
        (Trust::Pins, _) => "it is pinned",
        (Trust::Authorities(_), true) => "by the authority in tls.ca",
        (Trust::System, true) => "by an authority of the system",
        (Trust::Authorities(_) | Trust::System, false) => "it is pinned, and by its authority",
    };
    format!("trusted: {by}")
}

/// A warning of a certificate that ends soon. A pinned one may have ended: then it is trusted still.
fn ending(facts: &CertificateFacts) -> Option<Finding> {
    let days = facts.ends.days_since(now());
    let text = match days {
        days if days >= SOON => return None,
        days if days < 0 => format!(
            "has ended {}; it is trusted because it is pinned",
            in_days(days)
        ),
        days => format!("ends {}", in_days(days)),
    };
    let remedy = "renew it at the console; where it is pinned, add the new fingerprint beside the old one \
                  first";
    Some(Finding::warning("certificate", text).remedy(remedy))
}

/// What to say of a certificate in a file that ends soon; `None` where it does not.
pub fn soon(ending: Ending) -> Option<String> {
    let days = ending.ends.days_since(now());
    let Ending { what, subject, .. } = ending;
    (days < SOON).then(|| {
        let verb = if days < 0 { "ended" } else { "ends" };
        format!("tls.{what}: {subject} {verb} {}", in_days(days))
    })
}

fn remedy(failure: &TlsFailure, facts: Option<&CertificateFacts>) -> String {
    let text = match failure.kind {
        TlsKind::SelfSigned | TlsKind::UnknownIssuer => {
            "compare the fingerprint with the one that the console's own machine shows; if it is the same, \
             write the line to pin, or tls = { ca = \"…\" } with the authority's certificate"
        }
        TlsKind::NotPinned => {
            "did the console get a new certificate? Compare the fingerprint with the one that its own \
             machine shows; if it is the same, add it to tls.fingerprint_sha256"
        }
        TlsKind::Expired => {
            "renew the certificate at the console; until then the line to pin believes it all the same"
        }
        TlsKind::NotYetValid => "is this machine's clock right?",
        TlsKind::WrongName => {
            let name = facts.and_then(|facts| facts.names.first());
            let name = name.map_or("…", String::as_str);
            return format!(
                "write a name of the certificate in `url` (and where it is reached in `addresses`), or \
                 tls.server_name = \"{name}\""
            );
        }
        TlsKind::Alpn => "write http = \"auto\"",
        TlsKind::ClientCertificateDemanded | TlsKind::ClientCertificateRefused => {
            "tls.certificate must be one that the console believes"
        }
        TlsKind::InvalidCertificate => "the line to pin believes it whatever it says",
        TlsKind::NoTls | TlsKind::Other | TlsKind::Version => {
            "see the console's own settings of TLS"
        }
    };
    text.to_owned()
}

fn now() -> Moment {
    Moment(Clock::System.now().0.div_euclid(1_000_000))
}

/// Warned of when it ends in less days.
const SOON: i64 = 14;
