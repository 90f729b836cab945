//! What requests are judged by.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Hold, Scope};

/// What is in force, by whom it stops.
#[derive(Debug, Default)]
pub(super) struct InForce {
    pub(super) everything: Option<Arc<Hold>>,
    pub(super) clients: HashMap<String, Arc<Hold>>,
    pub(super) tenants: HashMap<String, Arc<Hold>>,
    pub(super) count: usize,
}

impl InForce {
    /// All these together.
    pub(super) fn of<'a>(holds: impl Iterator<Item = &'a Hold>) -> Self {
        let mut in_force = Self::default();
        for hold in holds {
            let shared = Arc::new(hold.clone());
            match &hold.scope {
                Scope::Everything => in_force.everything = Some(shared),
                Scope::Client(name) => drop(in_force.clients.insert(name.clone(), shared)),
                Scope::Tenant(name) => {
                    if let Some(id) = &hold.id {
                        in_force.tenants.insert(id.clone(), Arc::clone(&shared));
                    }
                    in_force.tenants.insert(name.clone(), shared);
                }
            }
            in_force.count += 1;
        }
        in_force
    }
}
