//! VSPC's wire: the grants and answers of `/token`, the ways to log in, what the `/users/logins` family
//! says, and the directory of companies and users.

pub mod grant;

pub mod login;

pub mod logins;

pub mod directory;

mod exchange;

mod form;

mod throttle;

pub use exchange::{Expected, Manner, Relayed, Verdict, exchange, relay};
pub use form::{FormFault, GrantType, TokenForm};
pub use throttle::retry_after;
