//! The commands that are more than a few lines.

mod admin_client;
pub(crate) mod audit;
mod bar;
pub(crate) mod explain;
pub(crate) mod freeze;
pub(crate) mod keys;
pub(crate) mod online;
mod recorded;
pub(crate) mod reload;
pub(crate) mod state;
pub(crate) mod tokens;
