//! `vspc-gateway reload`: the running gateway loads its configuration anew, all of it or nothing.

use clap::Args;
use serde_json::Value;
use vspc_gateway::audit::read::visible;

use super::admin_client::{AdminClient, operations};
use super::tokens::{body, print, warn};
use crate::{ConfigFile, Failure};

#[derive(Args)]
pub(crate) struct ReloadArguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Has the configuration loaded anew, and tells what is different.
pub(crate) fn run(arguments: &ReloadArguments) -> Result<(), Failure> {
    let admin = operations(&arguments.file)?.admin;
    let client = AdminClient::new(admin, &arguments.file.config)?;
    let answer = client.post("/reload", &body(&[("reason", &arguments.reason)]))?;
    let [version, before] = ["version", "before"].map(|member| {
        let text = answer.get(member).and_then(Value::as_str);
        visible(text.unwrap_or("-")).into_owned()
    });
    let lines = |member: &str| -> Vec<String> {
        let lines = answer.get(member).and_then(Value::as_array);
        let lines = lines.into_iter().flatten().filter_map(Value::as_str);
        lines.map(|line| visible(line).into_owned()).collect()
    };
    let mut text = format!("loaded: version {version}, in place of {before}\n");
    let changes = lines("changes");
    if changes.is_empty() {
        text += "nothing in the file is different; secrets were read again\n";
    }
    for change in changes {
        text += &format!("  {change}\n");
    }
    print(&text)?;
    for key in lines("restarts") {
        warn(&format!("restart needed for: {key}"));
    }
    for warning in lines("warnings") {
        warn(&warning);
    }
    Ok(())
}
