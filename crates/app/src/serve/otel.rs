//! Traces for an OpenTelemetry collector, by OTLP over HTTP; built with the feature `otel`, on when
//! `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) is set. The other `OTEL_*` variables keep their standard meaning.

use contract::Complaint;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Sends what is left when dropped.
pub struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            crate::say::aside(format_args!("the last traces were not sent: {error}"));
        }
    }
}

/// The layer that turns spans into traces; `None` where no collector is named.
pub fn layer<S>() -> Result<Option<(OpenTelemetryLayer<S, SdkTracer>, Exporting)>, Complaint>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    if !ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_http().build().map_err(|error| {
        Complaint::new(
            "bad_config",
            format!("traces cannot be sent: {error}"),
            "correct the OTEL_* variables",
        )
    })?;
    let resource = Resource::builder().with_service_name("talkie").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("talkie"));
    Ok(Some((layer, Exporting(provider))))
}
