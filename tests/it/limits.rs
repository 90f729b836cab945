//! What callers may cost: how many connections they have, how slowly their bodies come, and how
//! long an answer waits for them.

mod bodies;
mod connections;
mod unread;

use vspc_gateway::gateway::Gateway;
use vspc_simulator::Simulator;

use crate::harness::{World, configuration, unsigned_settings};

const ECHO: &str = "/api/v3/_test/echo";
const SINK: &str = "/api/v3/_test/sink";

/// A gateway with more lines for `[server]` and for the console, and a change to the whole.
async fn world(
    server: &str,
    console: &str,
    change: impl FnOnce(String) -> String,
    adjust: impl FnOnce(&mut Gateway),
) -> World {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = simulator.url();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), &url, console, "127.0.0.1:0");
    let text = text.replace("unread_timeout = \"60s\"\n", "");
    let text = text.replacen("[server]\n", &format!("[server]\n{server}\n"), 1);
    World::start_in(simulator, folder, &change(text), adjust).await
}

async fn metrics(world: &World) -> String {
    String::from_utf8(world.admin("/metrics").await.body.to_vec()).unwrap()
}
