//! VSPC's wire: the grants and answers of `/token`, what the `/users/logins` family says, and the
//! directory of companies and users.

pub mod grant;

pub mod logins;

pub mod directory;

mod exchange;

mod form;

pub use exchange::{Relayed, Verdict, exchange, relay};
pub use form::{FormFault, GrantType, TokenForm};
