//! The gateway against the simulator, over real sockets. Tests assert on the other side's view:
//! what the simulator received, and what is on disk.

mod harness;
