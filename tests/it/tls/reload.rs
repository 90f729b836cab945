//! Files that change while connections are held.

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;

use super::authority::Authority;
use super::caller::{Caller, NAME, request};
use super::{ME, PAIR, metric, secure};
use crate::harness::{World, until_true_async};

/// The certificate that a new connection sees.
async fn seen(world: &World, caller: &Caller) -> CertificateDer<'static> {
    let stream = caller.connect(world.address, NAME).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    shown.first().unwrap().clone()
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_the_old_ones_live() {
    let authority = Authority::new("ca");
    let [old, new] = [(); 2].map(|()| authority.server(&[NAME]));
    let world = secure(PAIR, "", |folder| old.write(folder, "a")).await;
    let caller = Caller::new(&authority);
    let stream = caller.connect(world.address, NAME).await.unwrap();
    let (mut held, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = held.send_request(request(ME, false)).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);

    // Nobody tells the gateway.
    new.write(world.folder.path(), "a");
    until_true_async(async || seen(&world, &caller).await == new.der).await;
    held.ready().await.unwrap();
    let answer = held.send_request(request(ME, false)).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn what_is_not_in_order_is_counted_and_not_served() {
    let authority = Authority::new("ca");
    let [old, new] = [(); 2].map(|()| authority.server(&[NAME]));
    let world = secure(PAIR, "", |folder| old.write(folder, "a")).await;
    let caller = Caller::new(&authority);
    let failures = async || metric(&world, "tls_reload_failures_total").await;
    assert_eq!(failures().await, Some(0));
    let labels = format!(
        "tls_not_after_timestamp_seconds{{listener=\"127.0.0.1:0\",kind=\"certificate\",file=\"{}\",name=\"{NAME}\"}} ",
        world.folder.path().join("a.pem").display()
    );
    until_true_async(async || metric(&world, &labels).await == Some(3_786_912_000)).await;

    // Half of a pair, which stays so.
    new.write_certificate(world.folder.path(), "a");
    let tls = world.listeners[0].tls.clone().unwrap();
    let faults = tls.reload().unwrap_err();
    assert_eq!(faults[0].place, "key");
    assert_eq!(seen(&world, &caller).await, old.der);
    until_true_async(async || failures().await == Some(1)).await;
    assert_eq!(seen(&world, &caller).await, old.der);

    // The other half.
    new.write_key(world.folder.path(), "a");
    tls.reload().unwrap();
    assert_eq!(seen(&world, &caller).await, new.der);
    std::fs::write(world.folder.path().join("a.pem"), "rubbish").unwrap();
    assert_eq!(tls.reload().unwrap_err()[0].place, "certificate");
    assert_eq!(seen(&world, &caller).await, new.der);
}
