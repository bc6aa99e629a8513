//! Logs: one line an event, as text for people or JSON for machines.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// A filter that tracing does not understand, or a second call.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("'{0}' is no log filter, as 'info,dask_azureml_operator=debug' is one")]
    Filter(String),
    #[error("logging has been set up before")]
    Twice,
}

/// # Errors
/// See [`TelemetryError`].
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let parsed =
        EnvFilter::try_new(filter).map_err(|_| TelemetryError::Filter(filter.to_owned()))?;
    let lines = fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    result.map_err(|_| TelemetryError::Twice)
}
