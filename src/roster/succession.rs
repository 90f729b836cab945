//! What is known of consoles' directories when the configuration is another one.

use std::collections::HashMap;
use std::sync::Arc;

use super::watched::Report;
use super::{Roster, count};
use crate::tenant::Tenant;

impl Roster {
    /// Goes on with what the roster of the configuration before knew, so that nobody waits for what
    /// was read already. To be called before anybody uses this one.
    pub fn take_over(&self, before: &Self) {
        let (mut book, former_book) = (self.book.lock(), before.book.lock());
        for (id, watched) in &self.watched {
            let Some(former) = before.watched.get(id) else {
                continue;
            };
            let also_gone = watched.settings.rest_access == former.settings.rest_access;
            let named = former.configured.iter().map(|tenant| (&*tenant.id, tenant));
            let named: HashMap<&str, &Arc<Tenant>> = named.collect();
            for tenant in &watched.configured {
                if let Some(former) = named.get(&*tenant.id) {
                    tenant.take_over(former, also_gone);
                }
            }
            if watched.settings.all && former.settings.all {
                book.take_over(&former_book, id, &watched.configured);
            }
        }
        self.found.store(Arc::new(book.settle()));
        for (id, watched) in &self.watched {
            if let Some(former) = before.watched.get(id)
                && (former.settings.all || !watched.settings.all)
            {
                watched.take_over(former, book.tenants(id).map(Arc::clone));
                count(&self.telemetry, id, &watched.report());
            }
        }
        for id in before.watched.keys() {
            if !self.watched.contains_key(id) {
                count(&self.telemetry, id, &Report::default());
            }
        }
    }
}
