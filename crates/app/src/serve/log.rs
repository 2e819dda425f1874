//! Where the server's log goes: standard error, as text or as one JSON object a line. Secrets never reach it: rooms log
//! codes, ids and paths, not headers or bodies.

use contract::Complaint;
use tracing_subscriber::EnvFilter;

use super::settings::ServeSettings;

/// Ours at `info`, libraries only when something is wrong.
const DEFAULT_FILTER: &str = "warn,talkie=info,app=info,dialects=info,jobs=info,store=info";

/// Once a process.
pub fn start(settings: &ServeSettings) -> Result<(), Complaint> {
    let wanted = settings.log.clone().or_else(|| std::env::var("RUST_LOG").ok());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(DEFAULT_FILTER)).map_err(|error| {
        let message = format!("the log filter `{}` is wrong: {error}", wanted.unwrap_or_default());
        Complaint::new("bad_config", message, "write it as in `info` or `warn,jobs=debug`")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if settings.log_json { lines.json().try_init() } else { lines.compact().try_init() };
    started.map_err(|error| Complaint::new("internal", format!("the log cannot be started: {error}"), ""))
}
