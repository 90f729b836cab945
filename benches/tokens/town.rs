//! A configuration of many tenants, a permit for each, and a broker.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request};
use vspc_gateway::client::Peer;
use vspc_gateway::clock::Timestamp;
use vspc_gateway::config::Settings;
use vspc_gateway::gateway::{OwnedHeaders, inject};
use vspc_gateway::policy::{Moment, Permit, Reason};
use vspc_gateway::request::RequestHead;
use vspc_gateway::token::{Broker, RefreshPolicy, SessionStore};

use crate::endpoint::{Endpoint, Silent};
use crate::scene::{self, PATH, Scale};

const PEER: Peer = Peer::plain(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// A provider with one client and many tenants.
pub(crate) struct Town {
    pub(crate) tenants: usize,
    owned: OwnedHeaders,
    settings: Settings,
}

impl Town {
    /// Lives as long as the process, and so do its permits.
    pub(crate) fn build(tenants: usize) -> &'static Self {
        let folder = tempfile::tempdir().unwrap();
        let scale = Scale {
            clients: 1,
            tenants,
            rules: 0,
        };
        let console = "http://127.0.0.1:9";
        let text = scene::configuration(folder.path(), console, "127.0.0.1:0", scale);
        let settings = Settings::parse(&text, folder.path()).unwrap();
        Box::leak(Box::new(Self {
            tenants,
            owned: OwnedHeaders::new(settings.mapping.owned()),
            settings,
        }))
    }

    /// A keeper of tokens that has room for all.
    pub(crate) fn broker(&self, endpoint: &Arc<Endpoint>, store: SessionStore) -> Broker {
        let issuer = Arc::clone(endpoint) as _;
        let broker = Broker::new(issuer, RefreshPolicy::default(), Arc::new(Silent), store);
        broker.expect_tenants(self.tenants);
        broker
    }

    /// What lets a request of a tenant have a token.
    pub(crate) fn permit(&'static self, tenant: usize) -> Permit<'static> {
        let parts = request(tenant);
        let head = RequestHead::parse(&parts, &self.settings.server.limits).unwrap();
        let who = self
            .settings
            .clients
            .identify_by(&head.lines, &PEER, NOW)
            .unwrap();
        let (mapping, tenants) = (&self.settings.mapping, &self.settings.tenants);
        let whom = mapping.resolve(&head, &who, tenants).unwrap();
        self.settings
            .policy
            .authorize(&who, &whom, &head, WHENEVER)
            .unwrap()
    }

    /// The permits of the first tenants, in an order without rhyme.
    pub(crate) fn permits(&'static self, tenants: usize) -> Vec<Permit<'static>> {
        let order = shuffled(tenants);
        order.into_iter().map(|it| self.permit(it)).collect()
    }

    /// The decision on a request: who, for whom, may they, by which token, and what the console gets.
    pub(crate) fn decide(&self, broker: &Broker, parts: &Parts) -> HeaderMap {
        let settings = &self.settings;
        let head = RequestHead::parse(parts, &settings.server.limits).unwrap();
        let who = settings
            .clients
            .identify_by(&head.lines, &PEER, NOW)
            .unwrap();
        let whom = settings
            .mapping
            .resolve(&head, &who, &settings.tenants)
            .unwrap();
        let permit = settings
            .policy
            .authorize(&who, &whom, &head, WHENEVER)
            .unwrap();
        let lease = broker.try_lease(&permit).unwrap();
        inject(&head.lines, &self.owned, Some(&lease))
    }
}

/// The head of a request as a .NET tool sends it.
pub(crate) fn request(tenant: usize) -> Parts {
    let request = Request::builder()
        .uri(format!("{PATH}?limit=100&offset=0"))
        .header("host", "gw.example.net:8280")
        .header("user-agent", "ZabbixConnector/6.4 (.NET 8.0; Linux x64)")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate, br")
        .header("connection", "keep-alive")
        .header("x-api-key", scene::key(0))
        .header("x-tenant", name(tenant))
        .header("x-client-version", "3.7")
        .body(())
        .unwrap();
    request.into_parts().0
}

/// The name of a tenant as a header tells it.
pub(crate) fn name(tenant: usize) -> HeaderValue {
    HeaderValue::from_str(&scene::tenant(tenant)).unwrap()
}

/// The numbers below `count`, always in the same order without rhyme.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..count).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = usize::try_from(state % (last as u64 + 1)).unwrap();
        all.swap(last, place);
    }
    all
}

/// Nothing that is measured here ends.
const NOW: Timestamp = Timestamp(0);
const WHENEVER: Moment<'_> = Moment {
    now: NOW,
    reason: Reason::NotTaken,
};
