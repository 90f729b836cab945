//! Whether what tokens are bound to still stands in the configuration.

use std::sync::Arc;

use super::{Directory, Holder, SessionKey};

impl Directory {
    /// Whether what a token is bound to is still there: its client with that key, or its console.
    pub fn still_knows(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Client { name, key, .. } => self
                .named(name)
                .is_some_and(|client| self.keys.of_token(&client.name, key).is_some()),
            Holder::Login(session) => self.session(session).is_some(),
        }
    }

    /// The session that a token names, at the console whose own users may log in: tokens say what
    /// it is called, not where it is.
    pub fn session(&self, named: &SessionKey) -> Option<SessionKey> {
        let console = self.passthrough.as_ref()?;
        console.has_name_of(&named.console).then(|| SessionKey {
            console: console.clone(),
            ..named.clone()
        })
    }

    /// Goes on with what the directory before knew by itself: the console's tokens that callers
    /// hold, where its users still log in at the same one. What was derived from the file is not
    /// taken over.
    pub fn take_over(&mut self, before: &Self) {
        if self.passthrough.is_some() && self.passthrough == before.passthrough {
            self.exposed = Arc::clone(&before.exposed);
        }
    }
}
