use serde_json::json;

use super::super::test_server::{Reply, Seen, TestServer, reply, with_header};
use super::super::{Class, ResourceId};
use super::*;

fn workspace() -> ResourceId {
    "/subscriptions/0/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
        .parse()
        .unwrap()
}

/// A data plane with one failed run, whose log is `log`; `ranges` says whether it can be read
/// from the middle.
async fn failed_run(log: String, ranges: bool) -> TestServer {
    TestServer::start(move |own, seen| {
        let path = seen.target.split('?').next().unwrap();
        match path {
            "/discovery" => reply(200, json!({"api": format!("{own}/"), "history": own})),
            "/log" => part_of(&log, seen, ranges),
            _ => reply(
                200,
                json!({"runId": "head", "status": "Failed",
                    "error": {"error": {"code": "UserError", "message": "exit 1", "innerError": {"code": "ExitCode1"}}},
                    "logFiles": {"user_logs/std_log_process_00.txt": format!("{own}/log?sig=signature"), "odd": 7}}),
            ),
        }
    })
    .await
}

fn part_of(log: &str, seen: &Seen, ranges: bool) -> Reply {
    let range = seen.header("range").strip_prefix("bytes=");
    match range.and_then(|range| range.strip_suffix('-')) {
        Some(first) if ranges => {
            let part = &log[first.parse::<usize>().unwrap()..];
            with_header(reply(206, part), "content-range", "bytes")
        }
        _ => reply(200, log),
    }
}

async fn details_of(server: &TestServer) -> (DataPlane, RunDetails) {
    let discovery = format!("{}/discovery", server.address);
    let client = server.client();
    let plane = client.data_plane(&workspace(), &discovery).await.unwrap();
    let details = plane.run_details("head").await.unwrap();
    (plane, details)
}

fn log_of(details: &RunDetails) -> &LogUrl {
    &details.logs["user_logs/std_log_process_00.txt"]
}

#[tokio::test]
async fn the_run_history_tells_why_a_run_failed() {
    let server = failed_run("line\n".to_owned(), true).await;
    let (_, details) = details_of(&server).await;
    assert_eq!(details.status.as_deref(), Some("Failed"));
    let error = details.error.as_ref().unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("UserError", "exit 1")
    );
    assert_eq!(error.inner_code.as_deref(), Some("ExitCode1"));
    assert_eq!(details.logs.len(), 1);
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), "");
    assert_eq!(
        seen[1].target,
        format!("/history/v1.0{}/runs/head/details", workspace())
    );
    assert_eq!(seen[1].header("authorization"), "Bearer token-1");
}

#[tokio::test]
async fn the_signed_url_of_a_log_is_shown_nowhere_and_gets_no_token() {
    let server = failed_run("line\n".to_owned(), true).await;
    let (plane, details) = details_of(&server).await;
    assert!(!format!("{details:?} {plane:?}").contains("signature"));
    plane.log_tail(log_of(&details), 100).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[2].target, "/log?sig=signature");
    assert_eq!(seen[2].header("authorization"), "");
}

#[tokio::test]
async fn the_tail_of_a_log_consists_of_whole_lines() {
    for (log, most, expected) in [
        ("one\ntwo\nthree\n", 100, "one\ntwo\nthree\n"),
        ("one\ntwo\nthree\n", 8, "three\n"),
        ("one\ntwo\nthree", 5, "three"),
        ("", 5, ""),
        ("ünïcödé\n", 5, "\u{fffd}dé\n"),
    ] {
        let server = failed_run(log.to_owned(), true).await;
        let (plane, details) = details_of(&server).await;
        let tail = plane.log_tail(log_of(&details), most).await.unwrap();
        assert_eq!(tail, expected, "{log:?}");
    }
}

#[tokio::test]
async fn only_the_end_of_a_large_log_is_read() {
    let log = format!("{}\nlast line\n", "x".repeat(9 << 20));
    let server = failed_run(log.clone(), true).await;
    let (plane, details) = details_of(&server).await;
    let tail = plane.log_tail(log_of(&details), 64).await.unwrap();
    assert_eq!(tail, "last line\n");
    assert_eq!(
        server.seen()[3].header("range"),
        format!("bytes={}-", log.len() - 64)
    );

    let server = failed_run(log, false).await;
    let (plane, details) = details_of(&server).await;
    let error = plane.log_tail(log_of(&details), 64).await.unwrap_err();
    assert_eq!(error.class(), Class::Undecodable);
    assert!(!format!("{error} {error:?}").contains("signature"));
}

#[tokio::test]
async fn a_workspace_without_a_data_plane_is_an_error() {
    let server = TestServer::start(|_, _| reply(200, json!({}))).await;
    let client = server.client();
    for discovery in ["not a url", &server.address] {
        let error = client
            .data_plane(&workspace(), discovery)
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Undecodable);
    }
}

#[tokio::test]
async fn a_run_is_archived_by_the_field_that_is_its_jobs_too() {
    let server = failed_run(String::new(), false).await;
    let (plane, _) = details_of(&server).await;
    plane.hide_run("noaa isd", "head").await.unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.verb, "PATCH");
    let path = format!("/history/v1.0{}", workspace());
    assert_eq!(
        seen.target,
        format!("{path}/experiments/noaa%20isd/runs/head")
    );
    assert_eq!(seen.body, br#"{"hidden":true}"#);
}
