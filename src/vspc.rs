//! VSPC's wire: the grants and answers of `/token`, and what the `/users/logins` family says.

pub mod grant;

pub mod logins;

mod exchange;

pub use exchange::exchange;
