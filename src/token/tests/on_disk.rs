//! Sessions are kept in a state directory.

use super::world::Keeping;

fn store() -> Keeping {
    Keeping::on_disk()
}

#[path = "suite.rs"]
mod suite;
