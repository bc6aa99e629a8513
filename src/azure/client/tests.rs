use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;

use super::super::test_server::{
    FakeEntra, Observations, Reply, TestServer, arm_client, arm_client_by, reply, with_header,
};
use super::super::{Class, Errand, Lane, ResourceId, Retry};
use super::*;
use crate::clock::ManualClock;

const NETWORK_API: &str = "2024-03-01";

fn workspace() -> ResourceId {
    "/subscriptions/0/resourceGroups/rg dask/providers/Microsoft.MachineLearningServices/workspaces/ws"
        .parse()
        .unwrap()
}

fn compute() -> ResourceId {
    workspace().child("computes", "ds13").unwrap()
}

fn refused(status: u16, code: &str) -> Reply {
    let body = json!({"error": {"code": code, "message": "Because."}});
    with_header(reply(status, body), "x-ms-request-id", "r-1")
}

#[tokio::test]
async fn a_request_carries_token_api_version_and_ids() {
    let server = TestServer::scripted([with_header(
        reply(200, json!({"name": "ds13"})),
        "x-ms-request-id",
        "r-1",
    )])
    .await;
    let answer = server.client().get(&compute(), "2025-12-01").await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, Some(json!({"name": "ds13"})));
    assert_eq!(answer.request_id.as_deref(), Some("r-1"));
    assert_eq!((answer.operation, answer.retry_after), (None, None));
    let seen = &server.seen()[0];
    assert_eq!(seen.verb, "GET");
    assert_eq!(
        seen.target,
        "/subscriptions/0/resourceGroups/rg%20dask/providers/Microsoft.MachineLearningServices/workspaces/ws/computes/ds13?api-version=2025-12-01"
    );
    assert_eq!(seen.header("authorization"), "Bearer token-1");
    assert_eq!(seen.header("accept"), "application/json");
    assert!(
        seen.header("user-agent")
            .starts_with("dask-azureml-operator/")
    );
    assert!(uuid::Uuid::try_parse(seen.header("x-ms-client-request-id")).is_ok());
}

#[tokio::test]
async fn a_write_that_holds_only_for_what_was_seen_names_its_etag() {
    let server = TestServer::start(|_, _| reply(200, "null")).await;
    let (client, id, body) = (server.client(), compute(), json!({}));
    let etag = "W/\"7\"";
    client.put_if_match(&id, "1", &body, etag).await.unwrap();
    client.delete_if_match(&id, "1", &[], etag).await.unwrap();
    for (seen, verb) in server.seen().iter().zip(["PUT", "DELETE"]) {
        assert_eq!((seen.verb.as_str(), seen.header("if-match")), (verb, etag));
    }
}

#[tokio::test]
async fn writes_carry_their_bodies_and_queries() {
    let server = TestServer::start(|_, _| reply(200, "null")).await;
    let (client, id, body) = (server.client(), compute(), json!({"properties": {"x": 1}}));
    client.put(&id, "1", &body).await.unwrap();
    client.patch(&id, "1", &body).await.unwrap();
    let query = [("underlyingResourceAction", "Delete")];
    client.delete(&id, "1", &query).await.unwrap();
    let answer = client.post(&id, "listNodes", "1", None).await.unwrap();
    assert_eq!(answer.body, None);
    let seen: Vec<_> = server
        .seen()
        .into_iter()
        .map(|seen| {
            let (_, end) = seen.target.split_once("/computes").unwrap();
            let body = String::from_utf8(seen.body).unwrap();
            format!("{} {end} {body}", seen.verb)
        })
        .collect();
    assert_eq!(
        seen,
        [
            r#"PUT /ds13?api-version=1 {"properties":{"x":1}}"#,
            r#"PATCH /ds13?api-version=1 {"properties":{"x":1}}"#,
            "DELETE /ds13?api-version=1&underlyingResourceAction=Delete ",
            "POST /ds13/listNodes?api-version=1 ",
        ]
    );
}

#[tokio::test]
async fn an_operation_is_followed_by_its_own_link_verbatim() {
    let link = "/subscriptions/0/providers/x/locations/eastus/computeOperationsStatus/1?api-version=1&t=1&s=a%2Bb~c&h=";
    let server = TestServer::start(move |own, seen| match seen.verb.as_str() {
        "DELETE" => with_header(
            reply(202, ""),
            "azure-asyncoperation",
            &format!("{own}{link}"),
        ),
        _ => with_header(
            reply(200, json!({"status": "InProgress"})),
            "retry-after",
            "7",
        ),
    })
    .await;
    let client = server.client();
    let answer = client.delete(&compute(), "1", &[]).await.unwrap();
    let operation = answer.operation.unwrap();
    let state = client.poll(&operation).await.unwrap();
    assert_eq!(
        state,
        OperationState::InProgress {
            retry_after: Some(Duration::from_secs(7))
        }
    );
    assert_eq!(server.seen()[1].target, link);
}

#[tokio::test]
async fn a_failed_look_at_an_operation_is_not_a_failed_operation() {
    let server = TestServer::start(|own, seen| match seen.verb.as_str() {
        "POST" => with_header(
            reply(202, "null"),
            "location",
            &format!("{own}/results/1?s=signature"),
        ),
        _ => refused(503, "ServiceUnavailable"),
    })
    .await;
    let client = server.client();
    let answer = client.post(&compute(), "cancel", "1", None).await.unwrap();
    let error = client.poll(&answer.operation.unwrap()).await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    assert!(!format!("{error} {error:?}").contains("signature"));
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let server = TestServer::start(|own, seen| {
        let next = format!("{own}/page2?%24skiptoken=a%2Bb&s=1");
        let page = |items: &[u8], next: Option<&str>| {
            reply(200, json!({"value": items, "nextLink": next}))
        };
        match seen.target.as_str() {
            "/page2?%24skiptoken=a%2Bb&s=1" => page(&[3], None),
            _ => page(&[1, 2], Some(&next)),
        }
    })
    .await;
    let computes = workspace().collection("computes").unwrap();
    let query = [("listViewType", "All")];
    let listing = server.client().list(&computes, "1", &query).await.unwrap();
    assert_eq!(listing.items, [json!(1), json!(2), json!(3)]);
    assert!(
        server.seen()[0]
            .target
            .ends_with("/computes?api-version=1&listViewType=All")
    );
    assert_eq!(server.seen()[1].header("authorization"), "Bearer token-1");
}

#[tokio::test]
async fn a_next_link_to_another_host_is_not_followed() {
    let elsewhere = TestServer::start(|_, _| reply(200, json!({"value": []}))).await;
    let link = elsewhere.address.clone();
    let server = TestServer::start(move |_, _| {
        reply(
            200,
            json!({"value": [1], "nextLink": format!("{link}/page2?s=signature")}),
        )
    })
    .await;
    let group = workspace().parent().unwrap();
    let networks = group
        .resources("Microsoft.Network", "virtualNetworks")
        .unwrap();
    let client = server.client();
    let error = client.list(&networks, NETWORK_API, &[]).await.unwrap_err();
    assert_eq!(error.class(), Class::Undecodable);
    assert!(!error.to_string().contains("signature"));
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_list_that_is_not_whole_is_an_error_and_never_a_shorter_list() {
    let computes = workspace().collection("computes").unwrap();
    for page in [
        json!({}),
        json!({"value": null}),
        json!({"value": [], "nextLink": 7}),
        json!({"value": [], "nextLink": "page2"}),
        json!([]),
    ] {
        let server = TestServer::scripted([reply(200, &page)]).await;
        let error = server.client().list(&computes, "1", &[]).await.unwrap_err();
        assert_eq!(error.class(), Class::Undecodable, "{page}");
    }
    let second_page_fails = |own: &str, seen: &_| match seen {
        super::super::test_server::Seen { target, .. } if target == "/page2" => {
            refused(500, "InternalServerError")
        }
        _ => reply(
            200,
            json!({"value": [1], "nextLink": format!("{own}/page2")}),
        ),
    };
    let server = TestServer::start(second_page_fails).await;
    let error = server.client().list(&computes, "1", &[]).await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
}

#[tokio::test]
async fn a_list_that_leads_in_a_circle_ends() {
    let server = TestServer::start(|own, _| {
        reply(
            200,
            json!({"value": [1], "nextLink": format!("{own}/page2")}),
        )
    })
    .await;
    let computes = workspace().collection("computes").unwrap();
    let error = server.client().list(&computes, "1", &[]).await.unwrap_err();
    assert_eq!(error.class(), Class::Undecodable);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let server = TestServer::scripted([
        refused(401, "ExpiredAuthenticationToken"),
        reply(200, json!({})),
        reply(200, json!({})),
    ])
    .await;
    let client = server.client();
    client.get(&compute(), "1").await.unwrap();
    client.get(&compute(), "1").await.unwrap();
    let seen = server.seen();
    let tokens: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("authorization"))
        .collect();
    assert_eq!(
        tokens,
        ["Bearer token-1", "Bearer token-2", "Bearer token-2"]
    );
}

#[tokio::test]
async fn a_challenge_with_claims_is_answered_at_once_by_a_token_that_has_them() {
    // {"access_token":{"nbf":"1"}}
    let challenge =
        "Bearer error=\"insufficient_claims\", claims=\"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjoiMSJ9fQ==\"";
    let refused = with_header(
        refused(401, "InvalidAuthenticationToken"),
        "www-authenticate",
        challenge,
    );
    let server = TestServer::scripted([refused, reply(200, json!({}))]).await;
    let entra = FakeEntra::default();
    let client = arm_client_by(&entra, &server.address, &Observations::default());
    client.get(&compute(), "1").await.unwrap();
    let asked = entra.asked();
    assert_eq!(asked.len(), 2);
    assert!(!asked[0].contains("claims="));
    assert!(
        asked[1].contains("&claims=%7B%22access%5Ftoken"),
        "{}",
        asked[1]
    );
}

#[tokio::test]
async fn a_token_refused_twice_is_an_error() {
    let server = TestServer::start(|_, _| refused(401, "InvalidAuthenticationToken")).await;
    let error = server.client().get(&compute(), "1").await.unwrap_err();
    assert_eq!(error.class(), Class::Unauthenticated);
    assert_eq!(error.retry(), Retry::Slow);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_throttled_request_is_not_sent_again_and_tells_how_long_to_wait() {
    let throttled = with_header(refused(429, "TooManyRequests"), "retry-after", "17");
    let server = TestServer::scripted([throttled]).await;
    let body = json!({});
    let error = server
        .client()
        .put(&compute(), "1", &body)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Throttled);
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(17)));
    assert_eq!(error.request_id(), Some("r-1"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = TestServer::start(|_, _| reply(200, "{}")).await;
    let redirect = with_header(reply(307, ""), "location", &elsewhere.address);
    let server = TestServer::scripted([redirect]).await;
    let error = server.client().get(&compute(), "1").await.unwrap_err();
    assert_eq!(
        (error.class(), error.status()),
        (Class::Undecodable, Some(307))
    );
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn what_is_not_json_or_without_end_is_not_read() {
    for body in ["<html>", &"[".repeat(33 << 20)] {
        let server = TestServer::scripted([reply(200, body)]).await;
        let error = server.client().get(&compute(), "1").await.unwrap_err();
        assert_eq!(error.class(), Class::Undecodable);
    }
}

#[tokio::test]
async fn an_arm_that_is_not_there_is_unreachable_and_the_cause_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = arm_client(&address, &Observations::default());
    let error = client.get(&compute(), "1").await.unwrap_err();
    assert_eq!((error.class(), error.status()), (Class::Unreachable, None));
    assert!(error.message().contains("onnection refused"), "{error}");
    assert!(!format!("{error:?}").contains("api-version"), "{error:?}");
}

#[tokio::test]
async fn an_arm_that_never_answers_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let client = arm_client(&address, &Observations::default());
    let id = compute();
    let get = client.get(&id, "1");
    let answer = tokio::time::timeout(Duration::from_secs(30), get).await;
    let error = answer.expect("the client has a deadline").unwrap_err();
    assert_eq!(error.class(), Class::Unreachable);
    assert_eq!(error.message(), "no answer in time");
}

#[tokio::test]
async fn every_request_is_told_to_the_observer() {
    let server =
        TestServer::scripted([reply(201, "{}"), refused(409, "AnotherOperationInProgress")]).await;
    let observations = Observations::default();
    let client = arm_client(&server.address, &observations);
    client.put(&compute(), "1", &json!({})).await.unwrap();
    client.get(&compute(), "1").await.unwrap_err();
    assert_eq!(
        observations.all(),
        [
            "POST token 200 ok",
            "PUT Microsoft.MachineLearningServices/workspaces/computes 201 ok",
            "GET Microsoft.MachineLearningServices/workspaces/computes 409 conflict",
        ]
    );
}

#[tokio::test]
async fn neither_token_nor_secret_nor_body_is_shown() {
    let server = TestServer::scripted([with_header(
        reply(200, json!({"environmentVariables": {"A": "body"}})),
        "azure-asyncoperation",
        "http://127.0.0.1:1/x?s=signature",
    )])
    .await;
    let client = server.client();
    let answer = client.get(&compute(), "1").await.unwrap();
    let shown = format!("{client:#?} {answer:#?}");
    for hidden in ["hush", "token-1", "signature", "environmentVariables"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert!(shown.contains("the-client"));
}

/// An answer that says how many writes remain.
fn with_writes_left(reply: Reply, left: &str) -> Reply {
    with_header(reply, "x-ms-ratelimit-remaining-subscription-writes", left)
}

fn for_cluster(client: &ArmClient, lane: Lane, cluster: &str) -> ArmClient {
    client.on_errand(Errand {
        lane,
        cluster: Some(cluster.into()),
    })
}

#[tokio::test]
async fn a_request_whose_turn_is_far_is_not_sent_and_says_when_it_comes() {
    let server = TestServer::start(|_, _| with_writes_left(reply(200, "{}"), "3")).await;
    let observations = Observations::default();
    let client = arm_client(&server.address, &observations);
    let body = json!({});
    client.put(&compute(), "1", &body).await.unwrap();
    // Of 200 writes ten are kept for deletes, and ten come back in a second: with three left it
    // takes 0.8 s for the next one. Those behind it are sent away as soon as that takes too long.
    let many = (0..30).map(|number| {
        let client = for_cluster(&client, Lane::UserChange, &number.to_string());
        async move { client.put(&compute(), "1", &json!({})).await }
    });
    let outcomes = futures::future::join_all(many).await;
    let postponed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    let last = postponed.last().unwrap();
    assert_eq!(last.class(), Class::OutOfBudget);
    assert_eq!(last.status(), None);
    let Retry::After(wait) = last.retry() else {
        panic!("{last}");
    };
    assert!(wait > Duration::from_secs(2), "{last}");
    assert!(
        last.message()
            .starts_with("waits for Azure's rate limit: up to 50 requests are before it, about "),
        "{last}"
    );
    assert_eq!(server.seen().len(), 31 - postponed.len());
    let not_sent = observations
        .all()
        .iter()
        .filter(|line| line.starts_with("postponed user_change writes"))
        .count();
    assert_eq!(not_sent, postponed.len());
}

#[tokio::test]
async fn a_delete_and_a_read_of_its_own_count_go_while_writes_wait() {
    let server = TestServer::start(|_, _| with_writes_left(reply(200, "{}"), "0")).await;
    let client = server.client();
    client.put(&compute(), "1", &json!({})).await.unwrap();
    let writes = for_cluster(&client, Lane::Drift, "one");
    let refused = writes.put(&compute(), "1", &json!({})).await.unwrap_err();
    assert_eq!(refused.class(), Class::OutOfBudget);
    client.get(&compute(), "1").await.unwrap();
    client.delete(&compute(), "1", &[]).await.unwrap();
    // Another subscription has a budget of its own.
    let elsewhere: ResourceId = "/subscriptions/1/resourceGroups/rg".parse().unwrap();
    writes.put(&elsewhere, "1", &json!({})).await.unwrap();
}

#[tokio::test]
async fn a_throttle_pauses_requests_of_its_type_and_what_is_retryable_none() {
    let retryable = with_header(refused(429, "RetryableError"), "retry-after", "11");
    let throttled = with_header(
        refused(429, "SubscriptionRequestsThrottled"),
        "retry-after",
        "17",
    );
    let server = TestServer::scripted([
        with_writes_left(retryable, "150"),
        with_writes_left(reply(200, "{}"), "149"),
        throttled,
        reply(200, "{}"),
    ])
    .await;
    let observations = Observations::default();
    let client = arm_client(&server.address, &observations);
    let body = json!({});
    let error = client.put(&compute(), "1", &body).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    client.put(&compute(), "1", &body).await.unwrap();
    let error = client.put(&compute(), "1", &body).await.unwrap_err();
    assert_eq!(error.class(), Class::Throttled);
    for lane in Lane::ALL {
        let client = for_cluster(&client, lane, "one");
        let error = client.put(&compute(), "1", &body).await.unwrap_err();
        let Retry::After(wait) = error.retry() else {
            panic!("{error}");
        };
        assert_eq!(error.class(), Class::OutOfBudget, "{lane:?}");
        assert!(wait > Duration::from_secs(15), "{error}");
    }
    client.get(&compute(), "1").await.unwrap();
    assert_eq!(server.seen().len(), 4);
    let throttles = observations.all();
    assert!(throttles.contains(&"throttled writes".to_owned()));
}

#[tokio::test]
async fn each_page_and_each_look_at_an_operation_waits_for_its_turn() {
    let server = TestServer::start(|own, seen| {
        let next = format!("{own}/subscriptions/0/page2");
        let answer = match seen.target.as_str() {
            "/subscriptions/0/page2" => reply(200, json!({"value": [2]})),
            _ => reply(200, json!({"value": [1], "nextLink": next})),
        };
        with_header(
            answer,
            "x-ms-ratelimit-remaining-subscription-reads",
            if seen.verb == "GET" { "0" } else { "9" },
        )
    })
    .await;
    let client = for_cluster(&server.client(), Lane::Drift, "one");
    let computes = workspace().collection("computes").unwrap();
    let error = client.list(&computes, "1", &[]).await.unwrap_err();
    assert_eq!(error.class(), Class::OutOfBudget);
    let operation = Operation {
        url: format!("{}/subscriptions/0/operations/1", server.address)
            .parse()
            .unwrap(),
        link: operation::Link::Status,
    };
    let error = client.poll(&operation).await.unwrap_err();
    assert_eq!(error.class(), Class::OutOfBudget);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn one_that_does_not_lead_asks_nothing_of_azure_neither_reads_nor_writes() {
    let hand = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let server = TestServer::start(|_, _| reply(200, json!({"value": []}))).await;
    let end = Duration::from_secs(12);
    let lead = Lead::until(hand.clock(), end);
    let client = server.client().only_while_leading(lead);
    let (id, body) = (compute(), json!({}));
    client.put(&id, "1", &body).await.unwrap();
    hand.advance(end);
    let jobs = workspace().collection("jobs").unwrap();
    let refused = [
        client.put(&id, "1", &body).await.map(drop),
        client.put_if_match(&id, "1", &body, "7").await.map(drop),
        client.patch(&id, "1", &body).await.map(drop),
        client.delete(&id, "1", &[]).await.map(drop),
        client.delete_if_match(&id, "1", &[], "7").await.map(drop),
        client.post(&id, "cancel", "1", None).await.map(drop),
        client.get(&id, "1").await.map(drop),
        client.list(&jobs, "1", &[]).await.map(drop),
        client
            .data_plane(&workspace(), &server.address)
            .await
            .map(drop),
    ];
    for outcome in refused {
        let error = outcome.unwrap_err();
        assert_eq!(error.class(), Class::NotLeading, "{error}");
        assert!(
            error.to_string().contains("does not lead any more"),
            "{error}"
        );
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_lead_that_ends_while_a_request_waits_for_its_token_is_one_that_has_ended() {
    let hand = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let end = Duration::from_secs(12);
    // Azure takes the first token away, and while it is asked for another one the lead ends.
    let moved = hand.clone();
    let server = TestServer::start(move |_, _| {
        moved.advance(end);
        refused(401, "InvalidAuthenticationToken")
    })
    .await;
    let client = server
        .client()
        .only_while_leading(Lead::until(hand.clock(), end));
    let error = client.delete(&compute(), "1", &[]).await.unwrap_err();
    assert_eq!(error.class(), Class::NotLeading, "{error}");
    assert_eq!(server.seen().len(), 1);
}
