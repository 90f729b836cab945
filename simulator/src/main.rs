//! The stand-in console as a command.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use vspc_simulator::{Settings, Simulator, Switches};

/// A stand-in Veeam Service Provider Console for demos, tests and benches.
#[derive(Debug, Parser)]
#[command(name = "vspc-simulator", after_help = defaults())]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Serve HTTPS with a certificate made at start.
    #[arg(long)]
    tls: bool,
    /// Write the certificate of the authority there, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_out: Option<PathBuf>,
    /// Number of companies to generate beside the seeded ones.
    #[arg(long, default_value_t = 0)]
    companies: usize,
    /// Life of access tokens, as in 300ms, 30s, 5m or 1h.
    #[arg(long, value_parser = duration, default_value = "1h")]
    access_lifetime: Duration,
    /// Life of refresh tokens.
    #[arg(long, value_parser = duration, default_value = "48h")]
    refresh_lifetime: Duration,
    /// Set a switch, for what is not known of the real console or can be configured there; may be
    /// repeated. The switches are listed below.
    #[arg(long = "switch", value_name = "NAME=VALUE")]
    switches: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be told if even this cannot be written.
            writeln!(io::stderr(), "vspc-simulator: {error}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(arguments: &Arguments) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let simulator = Simulator::start(Settings {
        listen: arguments.listen,
        tls: arguments.tls,
        switches: switches(&arguments.switches)?,
        companies: arguments.companies,
    })
    .await?;
    simulator.set_lifetimes(arguments.access_lifetime, arguments.refresh_lifetime);
    if let (Some(file), Some(pem)) = (&arguments.ca_out, simulator.ca_pem()) {
        tokio::task::block_in_place(|| std::fs::write(file, pem))?;
    }
    let mut out = io::stdout();
    writeln!(out, "listening on {}", simulator.url())?;
    if let Some(fingerprint) = simulator.certificate_sha256() {
        writeln!(out, "certificate SHA-256 {fingerprint}")?;
    }
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

fn switches(set: &[String]) -> io::Result<Switches> {
    let mut switches = Switches::default();
    for text in set {
        let (name, value) = text.split_once('=').unwrap_or((text, "true"));
        switches.set(name, value).map_err(io::Error::other)?;
    }
    Ok(switches)
}

/// Lists the switches with their defaults, for the help.
fn defaults() -> String {
    let switches = serde_json::to_value(Switches::default()).unwrap_or_default();
    let lines = switches.as_object().into_iter().flatten();
    let lines = lines.map(|(name, value)| match value.as_str() {
        Some(word) => format!("\n  {name}={word}"),
        None => format!("\n  {name}={value}"),
    });
    let lines: String = lines.collect();
    format!("Switches and their defaults; docs/VSPC-UNKNOWNS.md tells what most are for:{lines}")
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} does not begin with a number"))?;
    match text.strip_prefix(digits) {
        Some("ms") => Ok(Duration::from_millis(number)),
        Some("s") => Ok(Duration::from_secs(number)),
        Some("m") => Ok(Duration::from_secs(number.saturating_mul(60))),
        Some("h") => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err(format!("{text:?} needs a unit: ms, s, m or h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_switch_in_the_form_it_is_set_in() {
        let help = defaults();
        let set: Vec<String> = help
            .lines()
            .skip(1)
            .map(|line| line.trim().to_owned())
            .collect();
        assert!(set.contains(&"rotation=single_use".to_owned()), "{help}");
        assert_eq!(switches(&set).unwrap(), Switches::default());
    }

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("5").is_err());
        assert!(duration("h").is_err());
    }
}
