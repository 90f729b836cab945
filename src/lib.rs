//! `vspc-gateway`: an authenticating, impersonating and auditing reverse proxy for Veeam Service
//! Provider Console.
//!
//! The modules stand in the order of a request's road. A module uses only modules listed before
//! it; `tests/layering.rs` reads this list and fails on an upward edge.

pub mod secret;

pub mod clock;

pub mod state;

pub mod freeze;

pub mod telemetry;

pub mod quota;

pub mod wire;

pub mod request;

pub mod upstream;

pub mod vspc;

pub mod client;

pub mod tenant;

pub mod policy;

pub mod audit;

pub mod token;

pub mod roster;

pub mod reconcile;

pub mod gateway;

pub mod listen;

pub mod admin;

pub mod config;

pub mod explain;

pub mod app;
