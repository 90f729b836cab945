//! The stand-in console as a command.
fn main() {}
