//! Where records go besides the log.

pub mod postgres;
