//! Logging in with the gateway's account, and what it may do.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::finding::Finding;
use crate::clock::Clock;
use crate::config;
use crate::state::State;
use crate::upstream::{Console, Settings};
use crate::vspc::directory::{Asker, DirectoryError, Me};
use crate::vspc::grant::{Challenge, IssueError, Outage};
use crate::vspc::login::{Codes, log_in};
use crate::vspc::{Expected, Manner};

/// Logs in once, and asks whose token that gave.
pub(super) async fn check(configured: &config::Console, expected: Expected) -> Vec<Finding> {
    let failed = |why: String| vec![Finding::failed("log-in", why)];
    let settings = Settings {
        checks: None,
        ..configured.upstream.clone()
    };
    let console = match Console::new(settings) {
        Ok(console) => console,
        Err(fault) => return failed(fault.to_string()),
    };
    // Codes that are used here are not known to the gateway that runs.
    let state = match State::in_memory() {
        Ok(state) => Arc::new(state),
        Err(error) => return failed(error.to_string()),
    };
    let codes = Codes::new(state, Clock::System);
    let version = configured.client_version.as_ref();
    let manner = Manner {
        client_version: version,
        expected,
    };
    let issued = match log_in(&console, &configured.login, manner, &codes).await {
        Ok(issued) => issued,
        Err(error) => return vec![refused(&error)],
    };
    let bearer = Zeroizing::new(format!("Bearer {}", issued.access.expose()));
    let Ok(mut authorization) = http::HeaderValue::from_str(&bearer) else {
        return failed("the console gave a token that no header can carry".to_owned());
    };
    authorization.set_sensitive(true);
    let asker = Asker {
        console: &console,
        authorization,
        client_version: version,
    };
    match asker.me().await {
        Ok(me) => {
            let can_impersonate = configured.login.can_impersonate();
            let mut findings = vec![Finding::ok("log-in", logged_in(&me))];
            findings.extend(can_impersonate.then(|| role(&me)).flatten());
            findings
        }
        Err(DirectoryError::Unauthorized) => vec![
            Finding::failed("log-in", "the console does not take the token")
                .remedy("is an API key of login.api_key revoked, or the account disabled?"),
        ],
        Err(error) => vec![
            Finding::failed(
                "log-in",
                format!("worked, but GET /api/v3/users/me: {error}"),
            )
            .remedy("has the account, or its company, access to the REST API?"),
        ],
    }
}

fn logged_in(me: &Me) -> String {
    let name = me.name.as_deref().unwrap_or("a user without a name");
    let role = me.role.as_deref().unwrap_or("unknown");
    format!("worked, as {name}, role {role}")
}

/// Whether the role is one that may act as others.
fn role(me: &Me) -> Option<Finding> {
    let role = me.role.as_deref()?;
    let is = |other: &&str| other.eq_ignore_ascii_case(role);
    if CANNOT.iter().any(is) {
        let text = format!("an account of role {role} may act as nobody else");
        let remedy = "give it a role that may edit the users it impersonates, such as PortalAdministrator \
                      or PortalOperator";
        return Some(Finding::failed("role", text).remedy(remedy));
    }
    None
}

fn refused(error: &IssueError) -> Finding {
    let remedy = match error {
        IssueError::Challenge(Challenge::MfaRequired) => {
            "the account has a second factor: set login.totp_secret"
        }
        IssueError::Challenge(Challenge::KeyChallenge) => {
            "the account logs in with a key pair: grant = \"public_key\""
        }
        IssueError::Refused { .. } => {
            "are name ('DOMAIN\\user') and secret right, and may the account use the REST API? A code of a \
             second factor that was used within the last minute is refused as well"
        }
        IssueError::NextCode { .. } | IssueError::Throttled { .. } => "try again after that",
        IssueError::Malformed(_) => "does client_version fit the console?",
        IssueError::Unavailable(Outage::Internal) => "can the file of the secret be read?",
        IssueError::Unavailable(_) => "the console's own logs say why",
        IssueError::WrongSubject { .. } => "the console gave somebody else's token",
    };
    Finding::failed("log-in", error.to_string()).remedy(remedy)
}

/// The roles that VSPC does not let act as others.
const CANNOT: [&str; 8] = [
    "PortalReadonlyOperator",
    "ReadOnlyUser",
    "ResellerUser",
    "ResellerInvoiceAuditor",
    "CompanyTenant",
    "CompanyLocationUser",
    "CompanySubtenant",
    "CompanyInvoiceAuditor",
];
