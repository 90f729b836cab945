//! VSPC's wire: the grants and answers of `/token`, the ways to log in, and what the `/users/logins`
//! family says.

pub mod grant;

pub mod login;

pub mod logins;

mod exchange;

mod form;

mod throttle;

pub use exchange::{Relayed, Verdict, exchange, relay};
pub use form::{FormFault, GrantType, TokenForm};
pub use throttle::retry_after;
