//! What the gateway itself adds to a warm request: who calls, for whom, may they, by which token,
//! and what the console gets. As a whole and by its steps, for a small and a large provider; first
//! of all the heap allocations of each, which are counted and printed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench tells its figures, and may stop"
)]

#[path = "support/counting.rs"]
mod counting;
#[path = "support/scene.rs"]
mod scene;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::Criterion;
use futures_util::{StreamExt as _, stream};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant};
use vspc_gateway::audit::Writer;
use vspc_gateway::client::{Holder, LoginId, Peer};
use vspc_gateway::clock::Timestamp;
use vspc_gateway::gateway::{Gateway, inject};
use vspc_gateway::policy::{Moment, Reason};
use vspc_gateway::request::RequestHead;
use vspc_gateway::upstream::Console;
use vspc_gateway::upstream::share::Party;
use vspc_gateway::vspc::grant::Access;
use vspc_simulator::Simulator;

use scene::{PATH, SMALL, Scale};

const PEER: Peer = Peer::plain(IpAddr::V4(Ipv4Addr::LOCALHOST));
const LARGE: Scale = Scale {
    clients: 1_000,
    tenants: 10_000,
    rules: 0,
};
/// One client with a rule for each kind of operation and each large customer.
const RULED: Scale = Scale {
    clients: 1,
    tenants: 10_000,
    rules: 1_000,
};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = Runtime::new().unwrap();
    let _in_runtime = runtime.enter();
    let scenes = [
        ("3_tenants", SMALL),
        ("10000_tenants", LARGE),
        ("1000_rules", RULED),
    ]
    .map(|(name, scale)| (name, runtime.block_on(Warm::start(scale))));
    for (name, warm) in &scenes {
        count_allocations(name, warm);
    }
    for (name, warm) in &scenes {
        measure(&mut criterion, name, warm);
        measure_tokens(&mut criterion, name, warm);
    }
    criterion.final_summary();
}

/// A gateway that holds the token of every tenant, and a request.
struct Warm {
    gateway: Arc<Gateway>,
    parts: Parts,
    _writer: Writer,
    _console: Simulator,
    _folder: TempDir,
}

impl Warm {
    async fn start(scale: Scale) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let console = scene::console(scale.tenants).await;
        let (gateway, writer) = scene::compose(folder.path(), &console.url(), scale);
        stream::iter(0..scale.tenants)
            .for_each_concurrent(64, |tenant| warm(&gateway, tenant))
            .await;
        Self {
            gateway,
            parts: request(scale.clients / 2, scale.tenants / 2),
            _writer: writer,
            _console: console,
            _folder: folder,
        }
    }
}

async fn warm(gateway: &Gateway, tenant: usize) {
    let parts = request(0, tenant);
    let head = RequestHead::parse(&parts, &gateway.limits).unwrap();
    let who = gateway
        .clients
        .identify_by(&head.lines, &PEER, NOW)
        .unwrap();
    let (mapping, tenants) = (&gateway.mapping, &gateway.tenants);
    let whom = mapping.resolve(&head, &who, tenants).unwrap();
    let permit = gateway
        .policy
        .authorize(&who, &whom, &head, WHENEVER)
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    gateway.broker.lease(&permit, deadline).await.unwrap();
}

fn count_allocations(name: &str, warm: &Warm) {
    let Warm { gateway, parts, .. } = warm;
    let (limits, mapping, tenants) = (&gateway.limits, &gateway.mapping, &gateway.tenants);
    let count = |step: &str, allocations: counting::Allocations| {
        let counting::Allocations { count, bytes } = allocations;
        println!("allocations/{name}/{step}: {count} ({bytes} bytes)");
    };
    let head = RequestHead::parse(parts, limits).unwrap();
    let who = gateway
        .clients
        .identify_by(&head.lines, &PEER, NOW)
        .unwrap();
    let whom = mapping.resolve(&head, &who, tenants).unwrap();
    let permit = gateway
        .policy
        .authorize(&who, &whom, &head, WHENEVER)
        .unwrap();
    let lease = gateway.broker.try_lease(&permit).unwrap();
    count(
        "parse",
        counting::during(|| RequestHead::parse(parts, limits)),
    );
    count(
        "identify",
        counting::during(|| gateway.clients.identify_by(&head.lines, &PEER, NOW)),
    );
    count(
        "resolve_authorize",
        counting::during(|| {
            let whom = mapping.resolve(&head, &who, tenants).unwrap();
            gateway
                .policy
                .authorize(&who, &whom, &head, WHENEVER)
                .unwrap()
                .bearer()
        }),
    );
    count(
        "try_lease",
        counting::during(|| gateway.broker.try_lease(&permit)),
    );
    count(
        "inject",
        counting::during(|| inject(&head.lines, &gateway.owned, Some(&lease))),
    );
    let (console, party) = share(warm);
    count("turn", counting::during(|| console.try_turn(&party)));
    count("whole", counting::during(|| decide(gateway, parts)));
}

fn measure(criterion: &mut Criterion, name: &str, warm: &Warm) {
    let Warm { gateway, parts, .. } = warm;
    let (limits, mapping, tenants) = (&gateway.limits, &gateway.mapping, &gateway.tenants);
    let head = RequestHead::parse(parts, limits).unwrap();
    let who = gateway
        .clients
        .identify_by(&head.lines, &PEER, NOW)
        .unwrap();
    let whom = mapping.resolve(&head, &who, tenants).unwrap();
    let permit = gateway
        .policy
        .authorize(&who, &whom, &head, WHENEVER)
        .unwrap();
    let lease = gateway.broker.try_lease(&permit).unwrap();

    let mut group = criterion.benchmark_group(format!("decision/{name}"));
    group.bench_function("whole", |bencher| {
        bencher.iter(|| decide(gateway, black_box(parts)));
    });
    group.bench_function("parse", |bencher| {
        bencher.iter(|| RequestHead::parse(black_box(parts), limits));
    });
    group.bench_function("identify", |bencher| {
        bencher.iter(|| {
            gateway
                .clients
                .identify_by(black_box(&head.lines), &PEER, NOW)
        });
    });
    group.bench_function("resolve_authorize", |bencher| {
        bencher.iter(|| {
            let whom = mapping.resolve(black_box(&head), &who, tenants).unwrap();
            let permit = gateway
                .policy
                .authorize(&who, &whom, &head, WHENEVER)
                .unwrap();
            black_box(permit.bearer())
        });
    });
    group.bench_function("try_lease", |bencher| {
        bencher.iter(|| gateway.broker.try_lease(black_box(&permit)));
    });
    // From having a turn to its end; a request of a tenant that has no other under way.
    let (console, party) = share(warm);
    group.bench_function("turn", |bencher| {
        bencher.iter(|| console.try_turn(black_box(&party)).unwrap().is_some());
    });
    group.bench_function("inject", |bencher| {
        bencher.iter(|| inject(black_box(&head.lines), &gateway.owned, Some(&lease)));
    });
    group.finish();
}

/// Where the request goes, and whose share it takes there.
fn share(warm: &Warm) -> (&Console, Party) {
    let tenant = warm.parts.headers.get("x-tenant").unwrap();
    let tenant = warm.gateway.tenants.get(tenant.to_str().unwrap()).unwrap();
    let console = warm.gateway.consoles.get(&tenant.console).unwrap();
    (console, Party::Tenant(Arc::clone(&tenant.id)))
}

/// The head of a request as a .NET tool sends it.
fn request(client: usize, tenant: usize) -> Parts {
    let request = Request::builder()
        .uri(format!("{PATH}?limit=100&offset=0"))
        .header("host", "gw.example.net:8280")
        .header("user-agent", "ZabbixConnector/6.4 (.NET 8.0; Linux x64)")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate, br")
        .header("connection", "keep-alive")
        .header("x-api-key", scene::key(client))
        .header("x-tenant", scene::tenant(tenant))
        .header("x-client-version", "3.7")
        .body(())
        .unwrap();
    request.into_parts().0
}

/// The decision on a request: who, for whom, may they, by which token, and what the console gets.
fn decide(gateway: &Gateway, parts: &Parts) -> HeaderMap {
    let head = RequestHead::parse(parts, &gateway.limits).unwrap();
    let who = gateway
        .clients
        .identify_by(&head.lines, &PEER, NOW)
        .unwrap();
    let whom = gateway
        .mapping
        .resolve(&head, &who, &gateway.tenants)
        .unwrap();
    let permit = gateway
        .policy
        .authorize(&who, &whom, &head, WHENEVER)
        .unwrap();
    let lease = gateway.broker.try_lease(&permit).unwrap();
    inject(&head.lines, &gateway.owned, Some(&lease))
}

/// The same request with a token of the gateway in place of a key, and what a log-in adds.
fn measure_tokens(criterion: &mut Criterion, name: &str, warm: &Warm) {
    let Warm { gateway, parts, .. } = warm;
    let tokens = &gateway.tokens;
    let key = parts.headers.get("x-api-key").unwrap().as_bytes();
    let (client, digest) = gateway.clients.of_key(key).unwrap();
    let tenant = parts.headers.get("x-tenant").unwrap().to_str().unwrap();
    let tenant = gateway.tenants.get(tenant).unwrap();
    let holder = Holder::Client {
        name: client.name.to_string(),
        key: digest.id(),
        tenant: tenant.id.to_string(),
        target: tenant.user().unwrap(),
        is_named: false,
    };
    let login = LoginId::new().unwrap();
    let issue = || tokens.issue(login, &holder, Access::Full, NOW).unwrap();
    let pair = issue();
    let mut with_token = parts.clone();
    with_token.headers.remove("x-api-key");
    let bearer = format!("Bearer {}", pair.access.expose());
    let bearer = HeaderValue::from_str(&bearer).unwrap();
    with_token.headers.insert("authorization", bearer);

    let mut group = criterion.benchmark_group(format!("decision/{name}"));
    group.bench_function("whole_with_token", |bencher| {
        bencher.iter(|| decide(gateway, black_box(&with_token)));
    });
    group.bench_function("read_new_token", |bencher| {
        let access = pair.access.expose().as_bytes();
        bencher.iter(|| tokens.read_access(black_box(access), NOW).unwrap());
    });
    group.bench_function("issue_tokens", |bencher| bencher.iter(issue));
    group.bench_function("exchange_refresh_token", |bencher| {
        let login = LoginId::new().unwrap();
        let pair = tokens.issue(login, &holder, Access::Full, NOW).unwrap();
        let mut refresh = pair.refresh;
        bencher.iter(|| {
            let presented = tokens
                .read_refresh(refresh.expose().as_bytes(), NOW)
                .unwrap();
            let next = tokens.exchange(&presented, Access::Full, NOW).unwrap();
            refresh = next.refresh;
        });
    });
    group.finish();
}

/// Nothing that is measured here ends.
const NOW: Timestamp = Timestamp(0);
const WHENEVER: Moment<'_> = Moment {
    now: NOW,
    reason: Reason::NotTaken,
};
