//! Whose token it is.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::page::{Entry, read_one};
use super::{Asker, DirectoryError, name};

/// The account that asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Me {
    /// Its UID.
    pub uid: Uuid,
    /// The name it logs in with.
    pub name: Option<Arc<str>>,
    /// Its role, in VSPC's words.
    pub role: Option<Arc<str>>,
}

impl Asker<'_> {
    /// The account whose token is sent, which may have any role.
    ///
    /// # Errors
    /// Says why it cannot be read.
    pub async fn me(&self) -> Result<Me, DirectoryError> {
        let (status, body) = self.ask("/api/v3/users/me").await?;
        match status {
            StatusCode::OK => read_one(&body),
            status => Err(DirectoryError::Status(status)),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenMe {
    instance_uid: Option<Uuid>,
    user_name: Option<String>,
    role: Option<String>,
}

impl Entry for Me {
    type Written = WrittenMe;

    fn read(written: WrittenMe) -> Option<(Uuid, Self)> {
        let me = Self {
            uid: written.instance_uid?,
            name: written.user_name.and_then(name),
            role: written.role.and_then(name),
        };
        Some((written.instance_uid?, me))
    }
}
