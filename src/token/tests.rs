use super::*;

mod day;
mod world;

mod desk;
mod drops;
#[expect(
    clippy::duplicate_mod,
    reason = "the same tests run against both stores"
)]
mod in_memory;
mod mishaps;
mod on_disk;
mod restart;
mod script;
mod survey;

#[test]
fn the_frame_around_a_token_stays_small() {
    let cell = size_of::<cell::Cell<fetch::Impersonation>>();
    assert!(cell <= 512, "{cell} bytes");
}
