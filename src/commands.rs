//! The commands that are more than a few lines.

pub(crate) mod audit;
mod bar;
pub(crate) mod state;
