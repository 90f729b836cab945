//! The commands that are more than a few lines.

mod admin_client;
pub(crate) mod audit;
pub(crate) mod freeze;
pub(crate) mod tokens;
