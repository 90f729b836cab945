//! The gateway against the simulator, over real sockets. Tests assert on the other side's view:
//! what the simulator received, and what is on disk.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

mod accounts;
mod actions;
mod addresses;
mod admin_commands;
mod answers;
mod audit;
mod audit_proofs;
mod canary;
mod canary_login;
mod child;
mod clients;
mod conformance;
mod copies;
mod credentials;
mod crowd;
mod directory;
mod explain;
mod export;
mod fair;
mod faults;
mod forwarding;
mod fuzz_seeds;
mod harness;
mod http2;
mod identity;
mod jwt;
mod kills;
mod limits;
mod login;
mod login_misuse;
mod login_passed;
mod mapping;
mod online;
mod own_logins;
mod policy;
mod postgres;
mod process;
mod query;
mod rates;
mod reconcile;
mod records;
mod refusals;
mod reload;
mod sinks;
mod sources;
mod state_commands;

mod tls;
mod tls_front;
mod tokens;
mod turns;
mod upstream_tls;
mod upstream_tls_clients;
mod upstream_tls_faults;
mod upstream_tls_files;
