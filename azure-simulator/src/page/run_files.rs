//! The files of a run: its logs, its images, and all of them to take away.

use std::io::SeekFrom;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use maud::{Markup, html};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::azure::Azure;
use crate::data_plane::run_files::{self, RunFile};
use crate::page::run::Home;
use crate::page::{figures, layout, link};
use crate::resource_id::ResourceId;

/// How much of a log's end is shown, in bytes.
const TAIL: u64 = 64 << 10;
/// Logs, images and files that are shown.
const MOST_LOGS: usize = 32;
const MOST_IMAGES: usize = 24;
const MOST_FILES: usize = 500;

/// What a run's own files may do in a browser: nothing, whatever they say they are. Plots that are
/// SVG bring their style along.
const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'";

/// Images that browsers show, by the ending of their names.
const IMAGES: [(&str, &str); 6] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("svg", "image/svg+xml"),
];
/// Texts that browsers show as they are.
const TEXTS: [&str; 10] = [
    "txt", "log", "json", "jsonl", "csv", "md", "yaml", "yml", "py", "html",
];

#[derive(Default)]
pub(super) struct RunFiles {
    logs: Vec<Log>,
    more_logs: usize,
    images: Vec<File>,
    files: Vec<File>,
    more: usize,
    /// Why they cannot be listed.
    problem: Option<String>,
}

struct Log {
    path: String,
    /// Its end, or all of it.
    text: String,
    size: u64,
}

struct File {
    path: String,
    address: String,
    size: u64,
}

impl RunFiles {
    pub(super) async fn read(job: &ResourceId, directory: PathBuf) -> Self {
        let found = match run_files::list(directory.clone()).await {
            Ok(found) => found,
            Err(problem) => {
                return Self {
                    problem: Some(problem.message().to_owned()),
                    ..Self::default()
                };
            }
        };
        let mut seen = Self {
            more: found.len().saturating_sub(MOST_FILES),
            ..Self::default()
        };
        for file in &found {
            let Ok(place) = run_files::locate(&directory, &file.path) else {
                continue;
            };
            let is_log = file.path.starts_with("user_logs/");
            if is_log && seen.logs.len() == MOST_LOGS {
                seen.more_logs += 1;
            } else if is_log {
                seen.logs.push(Log {
                    path: file.path.clone(),
                    text: tail(&place).await,
                    size: file.size,
                });
            }
            if image_type(&file.path).is_some() && seen.images.len() < MOST_IMAGES {
                let mut image = File::of(job, file);
                // Another address for another content, so that browsers ask for it.
                image
                    .address
                    .push_str(&format!("&at={}", changed_at(&place).await));
                seen.images.push(image);
            }
        }
        seen.files = found
            .iter()
            .take(MOST_FILES)
            .map(|file| File::of(job, file))
            .collect();
        seen
    }

    pub(super) fn logs_shown(&self) -> Markup {
        html! {
            @if self.logs.is_empty() { p.none { "No log." } }
            @for log in &self.logs {
                h3 { (log.path) }
                @if log.size > TAIL {
                    p.none { "The last " (figures::size(TAIL)) " of " (figures::size(log.size)) ":" }
                }
                pre.log tabindex="0" aria-label=(log.path) id={ "log-" (log.path) } { (log.text) }
            }
            @if self.more_logs > 0 {
                p.none { "And " (figures::count(self.more_logs, "log")) " more among the files." }
            }
        }
    }

    pub(super) fn images_shown(&self) -> Markup {
        html! {
            @if self.images.is_empty() { p.none { "No image." } }
            div.images {
                @for image in &self.images {
                    figure {
                        a href=(image.address) { img src=(image.address) alt=(image.path); }
                        figcaption { (image.path) }
                    }
                }
            }
        }
    }

    pub(super) fn shown(&self) -> Markup {
        html! {
            @if let Some(problem) = &self.problem { p.problem { (problem) } }
            @if self.files.is_empty() {
                p.none { "No file." }
            } @else {
                div.wide {
                    table {
                        tbody {
                            @for file in &self.files {
                                tr {
                                    td { a href=(file.address) { (file.path) } }
                                    td.number { (figures::size(file.size)) }
                                }
                            }
                        }
                    }
                }
            }
            @if self.more > 0 { p.none { "And " (figures::count(self.more, "file")) " more." } }
        }
    }
}

impl File {
    fn of(job: &ResourceId, file: &RunFile) -> Self {
        Self {
            path: file.path.clone(),
            address: link::run_file(job, &file.path),
            size: file.size,
        }
    }
}

/// `GET /runs/{run}/files/{path}`: a file that the run's page lists.
pub(super) async fn answer(
    State(azure): State<Arc<Azure>>,
    Path((run, path)): Path<(String, String)>,
    Query(home): Query<Home>,
) -> Response {
    let directory = azure.transact(|transaction| {
        let document = link::find(transaction, &run, home.wsid.as_deref())?;
        let run = transaction.state.physics.runs.get(&document.id.key())?;
        Some(run.directory.clone())
    });
    let content = match directory {
        Some(directory) => content(directory, &path).await,
        None => None,
    };
    let Some(content) = content else {
        let now = azure.clock.now().timestamp;
        return layout::not_found(&format!("The file {path} of the run {run}"), now);
    };
    let (kind, disposition) = content_type(&path);
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (StatusCode::OK, headers, content).into_response()
}

/// Nothing but what is listed.
async fn content(directory: PathBuf, path: &str) -> Option<Vec<u8>> {
    let listed = run_files::list(directory.clone()).await.ok()?;
    if !listed.iter().any(|file| file.path == path) {
        return None;
    }
    let place = run_files::locate(&directory, path).ok()?;
    tokio::fs::read(place).await.ok()
}

fn ending(path: &str) -> String {
    let ending = FilePath::new(path).extension();
    ending.map_or_else(String::new, |ending| {
        ending.to_string_lossy().to_lowercase()
    })
}

fn image_type(path: &str) -> Option<&'static str> {
    let ending = ending(path);
    let known = IMAGES.iter().find(|(known, _)| *known == ending);
    known.map(|(_, kind)| *kind)
}

fn content_type(path: &str) -> (&'static str, &'static str) {
    match image_type(path) {
        Some(kind) => (kind, "inline"),
        None if TEXTS.contains(&ending(path).as_str()) => ("text/plain; charset=utf-8", "inline"),
        None => ("application/octet-stream", "attachment"),
    }
}

/// The end of a log, from a line's beginning on.
async fn tail(place: &FilePath) -> String {
    match read_tail(place).await {
        Ok((bytes, whole)) => {
            let text = String::from_utf8_lossy(&bytes);
            match text.split_once('\n') {
                Some((_, rest)) if !whole => rest.to_owned(),
                _ => text.into_owned(),
            }
        }
        Err(problem) => format!("It cannot be read: {problem}"),
    }
}

async fn read_tail(place: &FilePath) -> std::io::Result<(Vec<u8>, bool)> {
    let mut file = tokio::fs::File::open(place).await?;
    let first = file.metadata().await?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(first)).await?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).await?;
    Ok((bytes, first == 0))
}

/// In milliseconds; 0 where it is not known.
async fn changed_at(place: &FilePath) -> u128 {
    let changed = tokio::fs::metadata(place)
        .await
        .and_then(|file| file.modified());
    changed
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |at| at.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_could_run_is_shown_as_text_or_taken_away() {
        assert_eq!(content_type("a/plot.PNG"), ("image/png", "inline"));
        assert_eq!(content_type("report.html").0, "text/plain; charset=utf-8");
        assert_eq!(content_type("x.js").1, "attachment");
        assert_eq!(content_type("png").1, "attachment");
    }

    #[tokio::test]
    async fn a_long_log_is_shown_from_a_lines_beginning() {
        let folder = std::env::temp_dir().join(format!("log-{}", uuid::Uuid::new_v4()));
        let line = "a line of some length\n";
        std::fs::write(&folder, line.repeat(10_000)).unwrap();
        let shown = tail(&folder).await;
        std::fs::remove_file(&folder).unwrap();
        assert!(shown.starts_with("a line") && shown.ends_with(line));
        assert!(shown.len() as u64 <= TAIL);
    }
}
