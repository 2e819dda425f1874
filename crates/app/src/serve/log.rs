//! Where the server's log goes: standard error, as text or as one JSON object a line. Secrets never reach it: rooms log
//! codes, ids and paths, not headers or bodies.

use std::io::IsTerminal;

use contract::Complaint;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::settings::ServeSettings;

/// Ours at `info`, libraries only when something is wrong.
const DEFAULT_FILTER: &str = "warn,talkie=info,app=info,dialects=info,jobs=info,store=info";

/// Kept until the server ends: what it holds is sent then.
pub struct Log {
    #[cfg(feature = "otel")]
    _exporting: Option<super::otel::Exporting>,
}

/// Once a process.
pub fn start(settings: &ServeSettings) -> Result<Log, Complaint> {
    let wanted = settings.log.clone().or_else(|| std::env::var("RUST_LOG").ok());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(DEFAULT_FILTER)).map_err(|error| {
        let message = format!("the log filter `{}` is wrong: {error}", wanted.unwrap_or_default());
        Complaint::new("bad_config", message, "write it as in `info` or `warn,jobs=debug`")
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = if settings.log_json { lines.json().boxed() } else { lines.compact().boxed() };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    let failed = |error| Complaint::new("internal", format!("the log cannot be started: {error}"), "");
    #[cfg(feature = "otel")]
    {
        let (traces, exporting) = super::otel::layer()?.unzip();
        registry.with(traces).try_init().map_err(failed)?;
        Ok(Log { _exporting: exporting })
    }
    #[cfg(not(feature = "otel"))]
    {
        registry.try_init().map_err(failed)?;
        Ok(Log {})
    }
}
