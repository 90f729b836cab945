//! What is asked of a console.

use std::collections::HashMap;

use super::reading::{Companies, Reading};
use super::watched::Watched;
use crate::tenant::Whom;
use crate::token::Lease;
use crate::vspc::directory::{Asker, DirectoryError, User};
use crate::vspc::grant::Subject;

/// Reads what tenants need of one console.
pub(super) async fn read(watched: &Watched, lease: &Lease) -> Result<Reading, DirectoryError> {
    let asker = Asker {
        console: &watched.console,
        authorization: lease.authorization(),
        client_version: watched.client_version.as_ref(),
    };
    let companies = match watched.needs_companies() {
        // The owners last: whoever is made the owner of a company that was just read is there.
        true => Some(Companies::new(
            asker.companies().await?,
            asker.owners().await?,
        )),
        false => None,
    };
    let users = match users(watched, &asker).await {
        Ok(users) => Some(users),
        // Tenants that name a user work without.
        Err(DirectoryError::Forbidden) => None,
        Err(error) => return Err(error),
    };
    Ok(Reading { companies, users })
}

/// The users that tenants name.
async fn users(
    watched: &Watched,
    asker: &Asker<'_>,
) -> Result<HashMap<Subject, User>, DirectoryError> {
    let mut named: Vec<Subject> = Vec::new();
    named.extend(
        watched
            .configured
            .iter()
            .filter_map(|tenant| match tenant.whom {
                Whom::User(user) => Some(user),
                Whom::Account | Whom::Company(_) | Whom::CompanyNamed(_) => None,
            }),
    );
    named.sort_unstable();
    named.dedup();
    if named.len() > FEW {
        let all = asker.users().await?;
        return Ok(all.into_values().map(|user| (user.uid, user)).collect());
    }
    let mut users = HashMap::with_capacity(named.len());
    for user in named {
        if let Some(found) = asker.user(user).await? {
            users.insert(user, found);
        }
    }
    Ok(users)
}

/// How many users are asked for one by one.
const FEW: usize = 20;
