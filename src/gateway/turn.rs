//! When it is a request's turn to be sent.

use std::sync::Arc;

use tokio::time::Instant;

use super::exchange::Exchange;
use super::{Gateway, Rejection};
use crate::policy::{Acting, NOBODY, Permit};
use crate::tenant::Named;
use crate::upstream::share::Party;
use crate::upstream::{Console, NoTurn, Turn};

impl Gateway {
    /// Leave to send a request to its console, once it is the tenant's turn there.
    pub(super) async fn take_turn(
        &self,
        exchange: &mut Exchange,
        whom: &Named,
        permit: &Permit<'_>,
    ) -> Result<Turn, Rejection> {
        let console = self.console(permit)?;
        let party = party(whom, permit);
        let turn = match console.try_turn(&party) {
            Ok(Some(turn)) => Ok(turn),
            Ok(None) => {
                let started = Instant::now();
                let turn = console.turn(&party).await;
                exchange.times.turn += started.elapsed();
                turn
            }
            Err(none) => Err(none),
        };
        turn.map_err(|none| {
            let why = match none {
                NoTurn::Share(refused) => refused.why.as_str(),
                NoTurn::Unwell(_) => "console_unwell",
            };
            self.telemetry.turn_refused(console.id().as_str(), why);
            none.into()
        })
    }

    /// Where a request goes.
    pub(super) fn console(&self, permit: &Permit<'_>) -> Result<&Arc<Console>, Rejection> {
        let console = self.consoles.get(permit.console());
        console.ok_or(Rejection::Internal)
    }
}

/// Whose share of the console a request takes.
fn party(whom: &Named, permit: &Permit<'_>) -> Party {
    match (permit.acting(), whom) {
        (Acting::Account(..) | Acting::For(_), Named::Known(tenant)) => {
            Party::Tenant(Arc::clone(&tenant.id))
        }
        // There is no such permit.
        (Acting::Account(..), Named::Nobody | Named::Unknown) => Party::Session(NOBODY.0),
        (Acting::For(key), Named::Nobody | Named::Unknown) => Party::Session(key.target.0),
        (Acting::Itself(session), _) => Party::Session(session.id),
    }
}
