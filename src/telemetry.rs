//! Logs: one line an event, as text for people or JSON for machines. What is logged can be changed while the operator
//! runs.

use std::io;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::clock::Clock;

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

/// What is logged now.
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    /// The one that was typed, which holds while the file says nothing.
    typed: String,
}

/// # Errors
/// See [`TelemetryError`].
pub fn init(filter: &str, format: LogFormat) -> Result<LogFilter, TelemetryError> {
    let (filtered, handle) = reload::Layer::new(parsed(filter)?);
    // A line that cannot be written, as on a full disk, is lost: telling so there would be the end of the process.
    let lines = match format {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_target(false)
            .log_internal_errors(false)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .with_writer(io::stderr)
            .with_span_list(false)
            .log_internal_errors(false)
            .boxed(),
    };
    let subscriber = Registry::default().with(lines.with_filter(filtered));
    subscriber.try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(LogFilter {
        handle,
        typed: filter.to_owned(),
    })
}

/// The library's own span of a reconcile says less than ours, and would stand before it in every line.
const OURS_ALONE: &str = "kube_runtime::controller=warn";

fn parsed(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(format!("{OURS_ALONE},{filter}"))
        .map_err(|_| TelemetryError::Filter(filter.to_owned()))
}

/// # Errors
/// When tracing does not understand it.
pub fn check_filter(filter: &str) -> Result<String, TelemetryError> {
    parsed(filter).map(|_| filter.to_owned())
}

/// Between two looks at the file. The kubelet takes up to a minute to bring a changed ConfigMap.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// In bytes. Whatever is longer is no filter.
const LONGEST_FILTER: u64 = 4096;

impl LogFilter {
    /// Logs what the file asks for, from whenever it asks for it; does not end. A file that is missing or empty asks
    /// for what was typed. One that cannot be understood is told once and changes nothing.
    pub async fn follow(self, file: &Path, clock: &Clock) {
        let mut followed = Followed::new(self.typed.clone());
        loop {
            match followed.see(read(file).await) {
                Seen::Same => {}
                Seen::New(filter) => self.change(&filter),
                Seen::Trouble(why) => {
                    let file = file.display();
                    tracing::warn!(%file, why, "the log filter stays as it is");
                }
            }
            clock.sleep(BETWEEN_LOOKS).await;
        }
    }

    fn change(&self, filter: &str) {
        // It was parsed before, and the subscriber lives as long as the process.
        let Ok(parsed) = parsed(filter) else { return };
        if self.handle.reload(parsed).is_ok() {
            tracing::info!(filter, "the log filter has changed");
        }
    }
}

async fn read(file: &Path) -> io::Result<String> {
    let length = tokio::fs::metadata(file).await?.len();
    if length > LONGEST_FILTER {
        return Err(io::Error::other(format!("it is {length} bytes long")));
    }
    tokio::fs::read_to_string(file).await
}

/// What the file said last.
struct Followed {
    typed: String,
    now: String,
    trouble: Option<String>,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Same,
    New(String),
    /// It cannot be used, for another reason than before.
    Trouble(String),
}

impl Followed {
    fn new(typed: String) -> Self {
        Self {
            now: typed.clone(),
            typed,
            trouble: None,
        }
    }

    fn see(&mut self, read: io::Result<String>) -> Seen {
        let wanted = match read {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return self.cannot(error.to_string()),
        };
        let wanted = if wanted.is_empty() {
            self.typed.clone()
        } else {
            wanted
        };
        if let Err(error) = check_filter(&wanted) {
            return self.cannot(error.to_string());
        }
        self.trouble = None;
        if wanted == self.now {
            return Seen::Same;
        }
        self.now.clone_from(&wanted);
        Seen::New(wanted)
    }

    fn cannot(&mut self, why: String) -> Seen {
        if self.trouble.as_ref() == Some(&why) {
            return Seen::Same;
        }
        self.trouble = Some(why.clone());
        Seen::Trouble(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_file_is_followed_and_what_cannot_be_used_is_told_once() {
        let mut file = Followed::new("info".to_owned());
        let missing = || Err(io::Error::from(io::ErrorKind::NotFound));
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(file.see(missing()), Seen::Same);
        assert_eq!(file.see(text("debug\n")), Seen::New("debug".to_owned()));
        assert_eq!(file.see(text("debug")), Seen::Same);
        assert!(
            matches!(file.see(text("a=nothing")), Seen::Trouble(why) if why.contains("a=nothing"))
        );
        assert_eq!(file.see(text("a=nothing")), Seen::Same);
        assert_eq!(file.see(text("debug")), Seen::Same, "it was kept");
        assert!(matches!(
            file.see(Err(io::Error::other("broken"))),
            Seen::Trouble(_)
        ));
        assert_eq!(file.see(text("")), Seen::New("info".to_owned()));
        assert_eq!(file.see(missing()), Seen::Same);
    }

    #[test]
    fn what_tracing_does_not_understand_is_no_filter() {
        for filter in ["info", "warn,dask_azureml_operator=debug", "trace"] {
            assert!(check_filter(filter).is_ok(), "{filter}");
        }
        for filter in ["a=loud", "info,b=very", "=,="] {
            let refused = check_filter(filter).map(drop);
            assert!(refused.is_err(), "{filter}");
        }
    }
}
