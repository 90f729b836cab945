//! `vspc-gateway check --online`.

use vspc_gateway::app::online::{self, ConsoleReport, Grade};
use vspc_gateway::config::Settings;

use crate::{FAILED, Failure, print};

/// Warnings of certificates in the files of `tls` that end soon.
pub(crate) fn endings(settings: &Settings) -> Vec<String> {
    let consoles = settings.consoles.iter();
    let warnings = consoles.flat_map(|console| {
        let name = console.upstream.id.as_str();
        let endings = console.upstream.tls.endings();
        let soon = endings.into_iter().filter_map(online::soon);
        soon.map(move |text| format!("console {name}: {text}"))
    });
    warnings.collect()
}

/// Tries the consoles out and prints what was found.
pub(crate) fn run(settings: &Settings, log_in: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let log_in = log_in.then(|| settings.refresh.expected());
    let reports = runtime.block_on(online::check(&settings.consoles, log_in));
    // A look-up that hangs keeps nobody waiting.
    runtime.shutdown_background();
    for report in &reports {
        print(&shown(report))?;
    }
    let count = |grade: Grade| {
        let findings = reports.iter().flat_map(ConsoleReport::findings);
        findings.filter(|finding| finding.grade == grade).count()
    };
    let (failed, warnings) = (count(Grade::Failed), count(Grade::Warning));
    print(&format!("online: {failed} failed, {warnings} to look at\n"))?;
    match failed {
        0 => Ok(()),
        1 => Err(Failure("a check of the consoles failed".to_owned(), FAILED)),
        many => Err(Failure(
            format!("{many} checks of the consoles failed"),
            FAILED,
        )),
    }
}

fn shown(report: &ConsoleReport) -> String {
    let mut text = format!("\nconsole {}, {}\n", report.name, report.url);
    for address in &report.addresses {
        text += &format!("  {}\n", address.address);
        for finding in &address.findings {
            text += &finding.to_string();
        }
    }
    if !report.findings.is_empty() {
        text += "  the gateway's account\n";
    }
    for finding in &report.findings {
        text += &finding.to_string();
    }
    text
}
