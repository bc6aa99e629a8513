//! Every request and its answer, kept for whoever wants to check them; secrets are taken out
//! before anything is kept.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use axum::body::Bytes;
use http::{HeaderMap, header, request, response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::answer::Refused;
use crate::clock::timestamp_text;
use crate::lock;

/// Exchanges that are kept; the oldest go first.
const KEPT: usize = 20_000;
/// Characters of bodies that are kept in all.
const KEPT_CHARACTERS: usize = 64 << 20;

const REMOVED: &str = "[removed]";

/// Parameters of forms and queries that are secrets or signatures.
pub(crate) const SECRET_PARAMETERS: [&str; 9] = [
    "client_secret",
    "client_assertion",
    "access_token",
    "sig",
    "se",
    "t",
    "c",
    "s",
    "h",
];

/// Fields of bodies that are secrets.
pub(crate) const SECRET_FIELDS: [&str; 6] = [
    "access_token",
    "token",
    "client_secret",
    "adminUserPassword",
    "adminUserSshPublicKey",
    "sasUri",
];

#[derive(Debug, Default)]
pub(crate) struct ExchangeLog {
    kept: Mutex<Kept>,
    /// Where every exchange goes at once: who is killed leaves them all.
    file: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    characters: usize,
    last: u64,
    /// The file, once there was something to write.
    open: Option<File>,
}

impl ExchangeLog {
    /// Leaves every exchange in a new file of `folder`, where there is one.
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        let name = format!("{}.jsonl", Uuid::new_v4().simple());
        Self {
            kept: Mutex::default(),
            file: folder.map(|folder| folder.join(name)),
        }
    }

    pub(crate) fn add(&self, mut record: Value) {
        let mut kept = lock(&self.kept);
        kept.last += 1;
        record["number"] = json!(kept.last);
        let line = record.to_string();
        self.leave(&mut kept.open, &line);
        kept.characters += line.len();
        kept.lines.push_back(line);
        while kept.lines.len() > KEPT || kept.characters > KEPT_CHARACTERS {
            let Some(oldest) = kept.lines.pop_front() else {
                break;
            };
            kept.characters -= oldest.len();
        }
    }

    /// One JSON object a line, oldest first.
    pub(crate) fn lines(&self) -> String {
        let kept = lock(&self.kept);
        let mut text = String::with_capacity(kept.characters + kept.lines.len());
        for line in &kept.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The last ones, newest first.
    pub(crate) fn last(&self, most: usize) -> Vec<String> {
        let kept = lock(&self.kept);
        kept.lines.iter().rev().take(most).cloned().collect()
    }

    /// Forgets them all.
    pub(crate) fn clear(&self) {
        let mut kept = lock(&self.kept);
        kept.lines.clear();
        kept.characters = 0;
    }

    /// Adds one to the file.
    fn leave(&self, open: &mut Option<File>, line: &str) {
        let Some(path) = &self.file else {
            return;
        };
        if let Err(problem) = append(path, open, line) {
            tracing::warn!(%problem, file = %path.display(), "an exchange cannot be written");
        }
    }
}

fn append(path: &Path, open: &mut Option<File>, line: &str) -> std::io::Result<()> {
    let file = match open {
        Some(file) => file,
        None => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            open.insert(OpenOptions::new().create(true).append(true).open(path)?)
        }
    };
    // In one piece: a line that ends in its middle would be no JSON.
    file.write_all(format!("{line}\n").as_bytes())
}

/// A request whose answer is awaited.
pub(crate) struct Exchange {
    record: Value,
}

impl Exchange {
    pub(crate) fn new(at: Timestamp, parts: &request::Parts, body: &Bytes) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        Self {
            record: json!({
                "time": timestamp_text(at),
                "request": {
                    "method": parts.method.as_str(),
                    "path": parts.uri.path(),
                    "query": without_secrets_in_query(query),
                    "headers": headers(&parts.headers),
                    "body": shown_body(&parts.headers, body),
                },
            }),
        }
    }

    /// `action` is what the fault makes of it: what may be expected of its answer.
    pub(crate) fn struck_by(&mut self, fault: u64, action: &str) {
        self.record["fault"] = json!(fault);
        self.record["fault_action"] = json!(action);
    }

    pub(crate) fn answered(mut self, parts: &response::Parts, body: &Bytes) -> Value {
        self.record["response"] = json!({
            "status": parts.status.as_u16(),
            "headers": headers(&parts.headers),
            "body": shown_body(&parts.headers, body),
        });
        if let Some(Refused(what)) = parts.extensions.get() {
            self.record["refused"] = json!(what);
        }
        self.record
    }

    /// The client got no answer; there may have been one.
    pub(crate) fn lost(self, answer: Option<(&response::Parts, &Bytes)>) -> Value {
        let mut record = match answer {
            Some((parts, body)) => self.answered(parts, body),
            None => self.record,
        };
        record["lost"] = json!(true);
        record
    }
}

fn headers(headers: &HeaderMap) -> Value {
    let mut shown = Map::new();
    for (name, value) in headers {
        let secret = [header::AUTHORIZATION, header::COOKIE, header::SET_COOKIE].contains(name);
        let text = match value.to_str() {
            _ if secret => continue,
            Ok(text) => without_secrets_in_url(text),
            Err(_) => continue,
        };
        shown.insert(name.to_string(), json!(text));
    }
    Value::Object(shown)
}

fn shown_body(headers: &HeaderMap, body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return json!(without_secrets_in_query(&String::from_utf8_lossy(body)));
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(mut value) => {
            remove_secrets(&mut value);
            value
        }
        Err(_) => json!({"bytes": body.len()}),
    }
}

fn remove_secrets(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Keys, tokens and secrets of a datastore, each under a name of its own.
            let all = fields.contains_key("secretsType");
            for (name, value) in fields {
                if all && name != "secretsType" && value.is_string() {
                    *value = json!(REMOVED);
                } else if name == "environmentVariables" {
                    for value in value.as_object_mut().into_iter().flat_map(Map::values_mut) {
                        *value = json!(REMOVED);
                    }
                } else if SECRET_FIELDS.contains(&name.as_str()) && value.is_string() {
                    *value = json!(REMOVED);
                } else {
                    remove_secrets(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(remove_secrets),
        Value::String(text) if text.starts_with("https://") => {
            *text = without_secrets_in_url(text);
        }
        _ => {}
    }
}

fn without_secrets_in_url(text: &str) -> String {
    match text.split_once('?') {
        Some((base, query)) if text.starts_with("https://") => {
            format!("{base}?{}", without_secrets_in_query(query))
        }
        _ => text.to_owned(),
    }
}

/// Keeps the names of all parameters, and the values of those that are no secrets.
fn without_secrets_in_query(query: &str) -> String {
    let parts: Vec<String> = query
        .split('&')
        .map(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            if SECRET_PARAMETERS.contains(&name) {
                format!("{name}={REMOVED}")
            } else {
                pair.to_owned()
            }
        })
        .collect();
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_get_into_the_log() {
        let mut value = json!({
            "properties": {"environmentVariables": {"TOKEN": "hush"}},
            "logFiles": {"a": "https://x/y?sv=1&sig=hush"},
            "access_token": "hush",
        });
        remove_secrets(&mut value);
        assert!(!value.to_string().contains("hush"), "{value}");
        assert!(value.to_string().contains("sv=1"));
        let form = without_secrets_in_query("client_id=me&client_secret=hush");
        assert_eq!(form, "client_id=me&client_secret=[removed]");
    }

    #[test]
    fn the_log_forgets_the_oldest_first() {
        let log = ExchangeLog::default();
        for _ in 0..KEPT + 3 {
            log.add(json!({}));
        }
        let lines = log.lines();
        assert_eq!(lines.lines().count(), KEPT);
        assert!(lines.starts_with("{\"number\":4}"));
    }

    #[test]
    fn every_exchange_is_in_the_file_at_once_whatever_the_log_forgets() {
        let folder = tempfile::tempdir().unwrap();
        let log = ExchangeLog::new(Some(folder.path()));
        for _ in 0..KEPT + 3 {
            log.add(json!({}));
        }
        log.clear();
        log.add(json!({}));
        let file = log.file.as_ref().unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let numbers: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].clone())
            .collect();
        let all: Vec<Value> = (1..=KEPT + 4).map(Value::from).collect();
        assert_eq!(numbers, all);
    }
}
