//! The reads of the Azure ML data plane: why a run ended, and the end of its log (contract §10B).

use std::collections::BTreeMap;
use std::fmt;

use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use super::credential::Credential;
use super::error::{Attempt, Error};
use super::error_body::ErrorBody;
use super::exchange::{Exchange, Request};
use super::resource_id::ResourceId;

/// The largest log that is read to its end for the sake of its last lines, in bytes. Of a larger
/// one only the last bytes are asked for.
const LARGEST_LOG: u64 = 8 << 20;

/// The data plane of one workspace.
#[derive(Clone)]
pub struct DataPlane {
    exchange: Exchange,
    credential: Credential,
    workspace: ResourceId,
    base: Url,
}

/// What the run history knows of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDetails {
    /// The state, in the run history's words.
    pub status: Option<String>,
    /// Why it failed.
    pub error: Option<ErrorBody>,
    /// The logs by their names, as `user_logs/std_log_process_00.txt`.
    pub logs: BTreeMap<String, LogUrl>,
}

/// Where a log can be read without a token: the URL is signed, so nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct LogUrl(Url);

impl fmt::Debug for LogUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LogUrl(…)")
    }
}

impl DataPlane {
    /// Asks the workspace's discovery service where the data plane answers. It needs no token.
    pub(super) async fn discover(
        exchange: Exchange,
        credential: Credential,
        workspace: &ResourceId,
        discovery_url: &str,
    ) -> Result<Self, Error> {
        let attempt = Attempt {
            operation: "GET discovery".to_owned(),
            resource: workspace.to_string(),
            target: "discovery".to_owned(),
        };
        let request = Request {
            url: url(&attempt, discovery_url, "the workspace's discovery URL")?,
            attempt,
            verb: Method::GET,
            body: None,
            from_byte: None,
            if_match: None,
        };
        let answer = exchange.send(&request, None).await?;
        let services = answer.json(&request.attempt)?.unwrap_or_default();
        let base = services.get("api").and_then(Value::as_str);
        let base = url(
            &request.attempt,
            base.unwrap_or_default(),
            "the address of the data plane",
        )?;
        Ok(Self {
            exchange,
            credential,
            workspace: workspace.clone(),
            base,
        })
    }

    /// Reads what is known of a run, whose id is the job's.
    pub async fn run_details(&self, run: &str) -> Result<RunDetails, Error> {
        let attempt = Attempt {
            operation: "GET details".to_owned(),
            resource: format!("run {run} of {}", self.workspace),
            target: "run history".to_owned(),
        };
        let request = Request {
            attempt,
            verb: Method::GET,
            url: self.history(&["runs", run, "details"]),
            body: None,
            from_byte: None,
            if_match: None,
        };
        let answer = self.exchange.send_as(&self.credential, &request).await?;
        let body = answer.json(&request.attempt)?.unwrap_or_default();
        Ok(details(&body))
    }

    /// Archives a run: the field is the job's `isArchived`, which a PUT of the job could not set without all that the
    /// job was submitted with (contract sections 7 and 10).
    pub async fn hide_run(&self, experiment: &str, run: &str) -> Result<(), Error> {
        let body = json!({"hidden": true});
        let request = Request {
            attempt: Attempt {
                operation: "PATCH run".to_owned(),
                resource: format!("run {run} of {}", self.workspace),
                target: "run history".to_owned(),
            },
            verb: Method::PATCH,
            url: self.history(&["experiments", experiment, "runs", run]),
            body: Some(&body),
            from_byte: None,
            if_match: None,
        };
        let answer = self.exchange.send_as(&self.credential, &request).await;
        answer.map(drop)
    }

    fn history(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        let workspace = self.workspace.url_path();
        url.set_path(&format!("{prefix}/history/v1.0{workspace}"));
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        url
    }

    /// Reads the last whole lines of a log, at most `most` bytes of them.
    pub async fn log_tail(&self, log: &LogUrl, most: usize) -> Result<String, Error> {
        let mut request = Request {
            attempt: Attempt {
                operation: "GET log".to_owned(),
                resource: format!("of a run of {}", self.workspace),
                target: "log".to_owned(),
            },
            verb: Method::GET,
            url: log.0.clone(),
            body: None,
            from_byte: None,
            if_match: None,
        };
        let mut tail = self
            .exchange
            .send_for_tail(&request, most, LARGEST_LOG)
            .await?;
        if let (None, Some(length)) = (&tail.bytes, tail.length) {
            // Blob storage knows no "last bytes", only "from this byte on".
            request.from_byte = Some(length.saturating_sub(most as u64));
            tail = self
                .exchange
                .send_for_tail(&request, most, LARGEST_LOG)
                .await?;
        }
        let bytes = tail.bytes.ok_or_else(|| {
            Error::undecodable(
                &request.attempt,
                Some(tail.status.as_u16()),
                "the log is too large, and its end cannot be read alone".to_owned(),
            )
        })?;
        let cut = tail.status == StatusCode::PARTIAL_CONTENT
            || tail
                .length
                .is_some_and(|length| length > bytes.len() as u64);
        Ok(last_lines(&bytes, cut))
    }
}

impl fmt::Debug for DataPlane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DataPlane")
            .field("workspace", &self.workspace)
            .finish_non_exhaustive()
    }
}

fn url(attempt: &Attempt, address: &str, what: &str) -> Result<Url, Error> {
    address
        .parse()
        .map_err(|_| Error::undecodable(attempt, None, format!("{what} is not a URL")))
}

fn details(body: &Value) -> RunDetails {
    let logs = body.get("logFiles").and_then(Value::as_object);
    let logs = logs.into_iter().flatten().filter_map(|(name, url)| {
        let url = url.as_str()?.parse().ok()?;
        Some((name.clone(), LogUrl(url)))
    });
    RunDetails {
        status: body
            .get("status")
            .and_then(Value::as_str)
            .map(str::to_owned),
        error: body.get("error").and_then(ErrorBody::read),
        logs: logs.collect(),
    }
}

/// The text of the end of a log; a first line that was cut is left out, unless it is the only one.
fn last_lines(bytes: &[u8], cut: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.split_once('\n') {
        Some((_, whole)) if cut && !whole.trim().is_empty() => whole.to_owned(),
        _ => text.into_owned(),
    }
}

#[cfg(test)]
mod tests;
