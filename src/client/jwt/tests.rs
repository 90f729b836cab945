//! Tokens as issuers sign them, and as nobody should.

mod callers;
mod keeping;
mod maker;
mod strictness;
