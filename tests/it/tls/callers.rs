//! Certificates of callers.

use std::path::Path;

use rcgen::{CertificateParams, SanType, SerialNumber, date_time_ymd};
use rustls::version::{TLS12, TLS13};

use super::authority::{Authority, Pair};
use super::caller::{Caller, NAME};
use super::{ME, PAIR, handshakes, secure};
use crate::harness::{World, ok, until_true_async};

/// A gateway that asks for certificates of `authority`.
async fn asking(authority: &Authority, more: &str, write: impl FnOnce(&Path)) -> World {
    let tls = format!("{PAIR}, client_ca = \"ca.pem\" {more}");
    secure(&tls, "", |folder| {
        authority.server(&[NAME]).write(folder, "a");
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        write(folder);
    })
    .await
}

/// Both versions are refused, for a reason that is counted.
async fn refused(world: &World, authority: &Authority, shows: Option<&Pair>, reason: &str) {
    for version in [&TLS12, &TLS13] {
        let before = handshakes(world, reason).await;
        let caller = Caller::speaking(authority, &[version], shows);
        let answer = caller.get(world.address, ME).await;
        assert!(answer.is_err(), "{reason}: {answer:?}");
        until_true_async(async || handshakes(world, reason).await == before + 1).await;
    }
    assert_eq!(world.reached(), [], "{reason}");
}

#[tokio::test]
async fn a_certificate_is_required_unless_it_is_written_otherwise() {
    let authority = Authority::new("ca");
    let tool = authority.caller(|_| ());
    let world = asking(&authority, "", |_| ()).await;
    refused(&world, &authority, None, "no_certificate").await;
    for protocol in ["h2", "http/1.1"] {
        let caller = Caller::showing(&authority, &tool).offering(&[protocol]);
        assert!(ok(&caller.get(world.address, ME).await.unwrap()));
    }

    let optional = ", client_certificates = \"optional\"";
    let world = asking(&authority, optional, |_| ()).await;
    let other = Authority::new("other").caller(|_| ());
    refused(&world, &authority, Some(&other), "unknown_issuer").await;
    for caller in [Caller::new(&authority), Caller::showing(&authority, &tool)] {
        assert!(ok(&caller.get(world.address, ME).await.unwrap()));
    }
}

#[tokio::test]
async fn what_is_not_good_is_refused_in_the_handshake() {
    let authority = Authority::new("ca");
    let world = asking(&authority, "", |_| ()).await;
    let san =
        |name: SanType| move |params: &mut CertificateParams| params.subject_alt_names = vec![name];
    let nul = || "tool.example.com\0.evil.net".try_into().unwrap();
    for (shows, reason) in [
        (Authority::new("other").caller(|_| ()), "unknown_issuer"),
        // Of the same name, with another key.
        (Authority::new("ca").caller(|_| ()), "bad_signature"),
        (
            authority.caller(|params| params.not_after = date_time_ymd(2025, 1, 1)),
            "expired",
        ),
        (
            authority.caller(|params| params.not_before = date_time_ymd(2080, 1, 1)),
            "not_valid_yet",
        ),
        (authority.caller(san(SanType::DnsName(nul()))), "bad_name"),
        (authority.caller(san(SanType::URI(nul()))), "bad_name"),
        (
            authority.caller(san(SanType::Rfc822Name(nul()))),
            "bad_name",
        ),
        // It may only be a server.
        (authority.server(&["tool.example.com"]), "bad_certificate"),
    ] {
        refused(&world, &authority, Some(&shows), reason).await;
    }
}

#[tokio::test]
async fn what_is_revoked_is_refused_and_so_is_what_may_be() {
    let authority = Authority::new("ca");
    let numbered = |serial: u64| {
        authority.caller(|params| params.serial_number = Some(SerialNumber::from(serial)))
    };
    let (good, bad) = (numbered(7), numbered(8));
    let lines = ", client_crl = \"crl.pem\"";
    let write =
        |list: String| move |folder: &Path| std::fs::write(folder.join("crl.pem"), list).unwrap();
    let world = asking(&authority, lines, write(authority.revoked(&[8], 2090))).await;
    refused(&world, &authority, Some(&bad), "revoked").await;
    let caller = Caller::showing(&authority, &good);
    assert!(ok(&caller.get(world.address, ME).await.unwrap()));

    // The list is too old, or another authority's.
    let world = asking(&authority, lines, write(authority.revoked(&[8], 2025))).await;
    refused(&world, &authority, Some(&good), "revocation_unknown").await;
    let other = Authority::new("other");
    let both = format!("{}{}", authority.pem(), other.pem());
    let world = asking(&authority, lines, |folder| {
        write(other.revoked(&[8], 2090))(folder);
        std::fs::write(folder.join("ca.pem"), both).unwrap();
    })
    .await;
    refused(&world, &authority, Some(&good), "revocation_unknown").await;
}

#[tokio::test]
async fn a_certificate_that_is_revoked_while_the_gateway_runs_is_refused_from_then_on() {
    let authority = Authority::new("ca");
    let tool = authority.caller(|params| params.serial_number = Some(SerialNumber::from(7)));
    let list = authority.revoked(&[8], 2090);
    let world = asking(&authority, ", client_crl = \"crl.pem\"", |folder| {
        std::fs::write(folder.join("crl.pem"), list).unwrap();
    })
    .await;
    let caller = Caller::showing(&authority, &tool);
    assert!(ok(&caller.get(world.address, ME).await.unwrap()));
    let list = authority.revoked(&[7, 8], 2090);
    std::fs::write(world.folder.path().join("crl.pem"), list).unwrap();
    let tls = world.listeners[0].tls.clone().unwrap();
    tls.reload().unwrap();
    assert!(caller.get(world.address, ME).await.is_err());
    assert_eq!(handshakes(&world, "revoked").await, 1);
}
