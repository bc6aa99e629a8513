//! What is asked once: the nodes of a pool when only they can say where a head runs, and why a job or an operation
//! failed.

use std::collections::HashMap;
use std::time::Duration;

use crate::access::AzureAccess;
use crate::azure::{Error, ErrorBody, Operation, OperationState, ResourceId};
use crate::azure_resources::{AzureKind as _, ComputeCluster, PoolNode, PoolNodes};
use crate::lookup::{Lookup, Trouble};
use crate::names::ClusterIdentity;
use crate::reconcile::{JobFailure, trouble};

/// The log of a job's first (and for us only) process (contract section 10).
const JOB_LOG: &str = "user_logs/std_log_process_00.txt";
/// Bytes of a failed job's log that are shown.
const LOG_TAIL: usize = 1024;
/// How long a pool is not asked again for a node that it did not have.
const NOT_FOUND_LASTS: Duration = Duration::from_secs(60);

/// Something to ask about one job or one write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Question {
    /// The nodes of this pool, once this head runs there and has published the address of this node, or none.
    Nodes {
        pool: ResourceId,
        head: String,
        published: Option<String>,
    },
    /// Why this job failed, of the data plane that this URL leads to.
    Failure {
        workspace: ResourceId,
        discovery_url: String,
        job: String,
    },
    /// Why Azure did not carry this through: networks tell it nowhere else.
    Operation(Operation),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Nodes(Vec<PoolNode>),
    Failure(JobFailure),
    /// `None` where Azure does not call it failed.
    Operation(Option<ErrorBody>),
}

impl Answer {
    /// How long it is not asked for again, while somebody goes on asking. Why something failed never changes, nor on
    /// which node a head runs.
    fn good_for(&self, question: &Question) -> Duration {
        let is_found = match (self, question) {
            (
                Self::Nodes(nodes),
                Question::Nodes {
                    head, published, ..
                },
            ) => nodes.iter().any(|node| match published {
                Some(published) => node.private_ip_address.as_ref() == Some(published),
                None => node.run_id.as_ref() == Some(head),
            }),
            _ => true,
        };
        if is_found {
            Duration::MAX
        } else {
            NOT_FOUND_LASTS
        }
    }
}

/// Questions with their answers.
#[derive(Default)]
pub(super) struct Questions(HashMap<(ClusterIdentity, Question), State>);

enum State {
    UnderWay,
    Answered {
        answer: Answer,
        at: Duration,
    },
    Failed {
        trouble: Trouble,
        times: u32,
        not_before: Duration,
    },
}

impl Questions {
    /// The answer, `NotAsked` until there is one, and whether the question is to be put now.
    pub(super) fn ask(
        &mut self,
        cluster: &ClusterIdentity,
        question: &Question,
        now: Duration,
    ) -> (Lookup<Answer>, bool) {
        let key = (cluster.clone(), question.clone());
        match self.0.get_mut(&key) {
            Some(State::UnderWay) => (Lookup::NotAsked, false),
            Some(State::Answered { answer, at }) => {
                let is_old = now.saturating_sub(*at) > answer.good_for(question);
                if is_old {
                    *at = now;
                }
                (Lookup::Present(answer.clone()), is_old)
            }
            Some(State::Failed {
                trouble,
                not_before,
                ..
            }) => {
                let is_due = now >= *not_before;
                if is_due {
                    *not_before = now + NOT_FOUND_LASTS;
                }
                (Lookup::Unavailable(trouble.clone()), is_due)
            }
            None => {
                self.0.insert(key, State::UnderWay);
                (Lookup::NotAsked, true)
            }
        }
    }

    /// Takes note of an answer. Says whether it is news.
    pub(super) fn learn(
        &mut self,
        cluster: &ClusterIdentity,
        question: &Question,
        answer: Result<Answer, Error>,
        now: Duration,
    ) -> bool {
        let key = (cluster.clone(), question.clone());
        let before = match self.0.get(&key) {
            Some(State::Answered { answer, .. }) => Some(answer),
            _ => None,
        };
        let is_news = answer
            .as_ref()
            .ok()
            .is_none_or(|answer| before != Some(answer));
        let state = match answer {
            Ok(answer) => State::Answered { answer, at: now },
            Err(error) => {
                let times = match self.0.get(&key) {
                    Some(State::Failed { times, .. }) => times.saturating_add(1),
                    _ => 1,
                };
                State::Failed {
                    trouble: trouble::of_azure(&error),
                    times,
                    not_before: now + error.retry().delay(times, 0.0),
                }
            }
        };
        self.0.insert(key, state);
        is_news
    }

    pub(super) fn forget(&mut self, of: impl Fn(&ClusterIdentity) -> bool) {
        self.0.retain(|(cluster, _), _| !of(cluster));
    }
}

impl Question {
    pub(super) async fn put_to(&self, access: &AzureAccess) -> Result<Answer, Error> {
        match self {
            Self::Nodes { pool, .. } => {
                let client = &access.client;
                let answer = client
                    .post(pool, "listNodes", ComputeCluster::API_VERSION, None)
                    .await?;
                let nodes = answer
                    .body
                    .and_then(|body| serde_json::from_value::<PoolNodes>(body).ok());
                Ok(Answer::Nodes(
                    nodes.map(|nodes| nodes.nodes).unwrap_or_default(),
                ))
            }
            Self::Operation(operation) => match access.client.poll(operation).await {
                Ok(OperationState::Failed(error)) => Ok(Answer::Operation(Some(error))),
                Ok(OperationState::InProgress { .. } | OperationState::Succeeded) => {
                    Ok(Answer::Operation(None))
                }
                Err(error) => {
                    tracing::warn!(%error, "why an operation failed could not be read");
                    Err(error)
                }
            },
            Self::Failure {
                workspace,
                discovery_url,
                job,
            } => {
                let failure = why_failed(access, workspace, discovery_url, job).await;
                // The data plane may be private while ARM is not: then the job's state alone is told.
                Ok(Answer::Failure(failure.unwrap_or_else(|error| {
                    tracing::warn!(%error, job, "why the job failed could not be read");
                    JobFailure {
                        error: None,
                        log_tail: None,
                    }
                })))
            }
        }
    }
}

async fn why_failed(
    access: &AzureAccess,
    workspace: &ResourceId,
    discovery_url: &str,
    job: &str,
) -> Result<JobFailure, Error> {
    let plane = access.client.data_plane(workspace, discovery_url).await?;
    let details = plane.run_details(job).await?;
    let log_tail = match details.logs.get(JOB_LOG) {
        Some(log) => Some(plane.log_tail(log, LOG_TAIL).await?),
        None => None,
    };
    Ok(JobFailure {
        error: details
            .error
            .map(|error| format!("{}: {}", error.code, error.message)),
        log_tail: log_tail
            .map(|tail| tail.trim().to_owned())
            .filter(|tail| !tail.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pool_is_asked_again_only_as_long_as_it_does_not_have_the_node() {
        let nodes = |nodes| {
            let nodes: PoolNodes = serde_json::from_value(json!({ "nodes": nodes })).unwrap();
            Answer::Nodes(nodes.nodes)
        };
        let cluster = ClusterIdentity {
            namespace: "weather".into(),
            name: "noaa".into(),
            uid: "1".into(),
        };
        let there = nodes(json!([{"privateIpAddress": "10.0.0.4", "runId": "head-1"}]));
        for (published, answer, asked_again) in [
            (Some("10.0.0.4"), there.clone(), false),
            (Some("10.0.0.9"), there.clone(), true),
            (None, there, false),
            (None, nodes(json!([{"privateIpAddress": "10.0.0.4"}])), true),
        ] {
            let question = Question::Nodes {
                pool: "/subscriptions/0".parse().unwrap(),
                head: "head-1".into(),
                published: published.map(str::to_owned),
            };
            let mut questions = Questions::default();
            let mut ask = |seconds| {
                let now = Duration::from_secs(seconds);
                questions.ask(&cluster, &question, now).1
            };
            assert!(ask(0));
            questions.learn(&cluster, &question, Ok(answer), Duration::ZERO);
            let mut ask = |seconds| {
                let now = Duration::from_secs(seconds);
                questions.ask(&cluster, &question, now).1
            };
            assert!(!ask(60));
            assert_eq!(ask(61), asked_again, "{published:?}");
            assert!(!ask(61), "once");
        }
    }
}
