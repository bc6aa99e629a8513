//! ARM's front door: authentication, routing by resource type, api-versions, envelopes.
//!
//! What is special about a type is not here but in `kinds/`.

pub(crate) mod cloud_metadata;
pub(crate) mod error;
pub(crate) mod headers;
pub(crate) mod operation;
pub(crate) mod paging;
pub(crate) mod request;
pub(crate) mod throttling;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::Value;

use crate::answer::Answer;
use crate::azure::{Azure, Transaction};
use crate::clock::Moment;
use crate::entra::{Audience, Principal, Refusal};
use crate::faults::action::{Borne, Consequence};
use crate::kinds::{self, Kind};
use crate::resource_id::ResourceId;
use error::ArmError;
use headers::{Counted, Described};
use request::{ArmRequest, Query, Verb, decoded};
use throttling::Remaining;

/// Serves every path that no other plane has.
pub(crate) async fn serve(
    State(azure): State<Arc<Azure>>,
    consequence: Option<Extension<Consequence>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let begun = azure.clock.now();
    let mut consequence = consequence.map(|Extension(consequence)| consequence);
    let struck = consequence.is_some();
    let mut remaining = None;
    let call = Call {
        method: &method,
        uri: &uri,
        headers: &headers,
        body: &body,
    };
    let answer = answer(&azure, &call, &mut consequence, &mut remaining);
    let location = &azure.settings.world.location;
    let mut answer = answer.unwrap_or_else(|error| error.answer(location, begun.timestamp));
    if method == Method::HEAD && answer.status == StatusCode::OK {
        // Whether something exists is told without it.
        answer = Answer::empty(StatusCode::NO_CONTENT);
    }
    let mut response = answer.into_response();
    if struck && consequence.is_none() {
        response.extensions_mut().insert(Borne);
    }
    described(&azure, &call, begun, remaining, response)
}

/// An answer that is not ARM's own, with ARM's headers. Its request takes a token like any other.
pub(crate) fn instead(
    azure: &Azure,
    call: &Call<'_>,
    begun: Moment,
    response: Response,
) -> Response {
    let counted = Counted::of(call.method);
    let now = azure.clock.now().elapsed;
    let remaining = caller(azure, call).ok().map(|principal| {
        let principal = principal.display_name();
        let (left, _) = azure.buckets.take(principal, counted, now, false);
        left
    });
    described(azure, call, begun, remaining, response)
}

/// Who shows a token that ARM takes.
fn caller(azure: &Azure, call: &Call<'_>) -> Result<Principal, Refusal> {
    let now = azure.clock.now().timestamp;
    let settings = &azure.settings;
    azure
        .tokens
        .check(settings, call.headers, Audience::ResourceManager, now)
}

/// An answer with ARM's headers; one that it has already keeps its value.
fn described(
    azure: &Azure,
    call: &Call<'_>,
    begun: Moment,
    remaining: Option<Remaining>,
    mut response: Response,
) -> Response {
    let status = response.status();
    let world = &azure.settings.world;
    let echo = world.unproven.client_request_id_returned
        && call
            .headers
            .get("x-ms-return-client-request-id")
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    let described = Described {
        counted: Counted::of(call.method),
        remaining,
        now: begun.timestamp,
        took: azure.clock.now().elapsed.saturating_sub(begun.elapsed),
        location: &world.location,
        failed: status.is_client_error() || status.is_server_error(),
        machine_learning: call
            .uri
            .path()
            .to_ascii_lowercase()
            .contains("microsoft.machinelearningservices"),
        echoed_client_request_id: call.headers.get("x-ms-client-request-id").filter(|_| echo),
    };
    let own = std::mem::take(response.headers_mut());
    described.add_to(response.headers_mut());
    response.headers_mut().extend(own);
    response
}

/// What came in, before it is known for a request of ARM.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
}

fn answer(
    azure: &Azure,
    call: &Call<'_>,
    consequence: &mut Option<Consequence>,
    remaining: &mut Option<Remaining>,
) -> Result<Answer, ArmError> {
    let Call {
        method,
        uri,
        headers,
        body,
    } = call;
    let principal = caller(azure, call).map_err(|refusal| refusal.arm_error(&azure.settings))?;
    take_token(azure, method, principal.display_name(), remaining)?;
    let query = Query::parse(uri.query().unwrap_or_default());
    let path = decoded(uri.path());
    let Some(id) = ResourceId::parse(&path) else {
        return Err(ArmError::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("No route of ARM matches the path '{path}'."),
        )
        .refusing(format!("{method} {path}")));
    };
    if query.get("api-version").is_none_or(str::is_empty) {
        return Err(ArmError::new(
            StatusCode::BAD_REQUEST,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    }
    let (kind, id, verb) = route(method, id)?;
    let body = if body.is_empty() {
        None
    } else {
        Some(serde_json::from_slice::<Value>(body).map_err(|problem| {
            ArmError::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequestContent",
                format!(
                    "The request content was invalid and could not be deserialized: '{problem}'."
                ),
            )
        })?)
    };
    let request = ArmRequest::new(verb, id, (path, query), (*headers).clone(), body, principal);
    check_query(kind, &request, &azure.settings.world.location)?;
    azure.transact(|transaction| {
        transaction.consequence = consequence.take();
        let answer = carried_out(azure, kind, transaction, &request);
        *consequence = transaction.consequence.take();
        answer
    })
}

fn carried_out(
    azure: &Azure,
    kind: &dyn Kind,
    transaction: &mut Transaction<'_>,
    request: &ArmRequest,
) -> Result<Answer, ArmError> {
    check_scope(transaction, &request.id)?;
    check_stays(transaction, request)?;
    let before = kind.stored(transaction, &request.id);
    let mut answer = dispatch(kind, transaction, request)?;
    if let Some(seconds) = transaction.settings.world.operations.retry_after_seconds
        && answer.begins_operation()
    {
        answer = answer.header("retry-after", seconds.to_string());
    }
    if matches!(request.verb, Verb::Put | Verb::Patch)
        && let Some(before) = before
        && kind.stored(transaction, &request.id).map(unversioned) == Some(unversioned(before))
    {
        azure.meter.count_unchanged_write(&request.id.to_string());
    }
    Ok(answer)
}

/// Counts a request against its principal's bucket, and refuses it where that is empty.
fn take_token(
    azure: &Azure,
    method: &Method,
    principal: &str,
    remaining: &mut Option<Remaining>,
) -> Result<(), ArmError> {
    let world = &azure.settings.world;
    let counted = Counted::of(method);
    let now = azure.clock.now().elapsed;
    let (left, wait) = azure
        .buckets
        .take(principal, counted, now, world.throttling);
    *remaining = Some(left);
    match wait {
        None => Ok(()),
        Some(seconds) => Err(throttling::refusal(
            &world.subscription_id,
            principal,
            counted,
            seconds,
        )),
    }
}

fn dispatch(
    kind: &dyn Kind,
    transaction: &mut Transaction<'_>,
    request: &ArmRequest,
) -> Result<Answer, ArmError> {
    match &request.verb {
        Verb::Get => kind.get(transaction, request),
        Verb::List => kind.list(transaction, request),
        Verb::Put => kind.put(transaction, request),
        Verb::Patch => kind.patch(transaction, request),
        Verb::Delete => kind.delete(transaction, request),
        Verb::Action(action) => kind.act(transaction, request, action),
    }
}

/// Finds the kind that a path belongs to, and what is wanted of it.
fn route(
    method: &Method,
    id: ResourceId,
) -> Result<(&'static dyn Kind, ResourceId, Verb), ArmError> {
    let wanted = if *method == Method::POST && id.is_collection() {
        match id.clone().split_action() {
            Some((resource, action)) => (resource, Verb::Action(action)),
            None => (id, Verb::Action(String::new())),
        }
    } else {
        let verb = match (method, id.is_collection()) {
            (&Method::GET | &Method::HEAD, true) => Verb::List,
            (&Method::GET | &Method::HEAD, false) => Verb::Get,
            (&Method::PUT, false) => Verb::Put,
            (&Method::PATCH, false) => Verb::Patch,
            (&Method::DELETE, false) => Verb::Delete,
            _ => return Err(kinds::not_allowed(&format!("{method} {id}"))),
        };
        (id, verb)
    };
    let (id, verb) = wanted;
    match kinds::find(&id) {
        Some(kind) => Ok((kind, id, verb)),
        None => Err(unknown_type(&id)),
    }
}

fn unknown_type(id: &ResourceId) -> ArmError {
    let what = id.resource_type();
    if kinds::knows_provider(&id.provider) {
        ArmError::new(
            StatusCode::BAD_REQUEST,
            "InvalidResourceType",
            format!(
                "The resource type '{what}' could not be found in the namespace '{}'.",
                id.provider
            ),
        )
    } else {
        ArmError::new(
            StatusCode::NOT_FOUND,
            "InvalidResourceNamespace",
            format!("The resource namespace '{}' is invalid.", id.provider),
        )
    }
    .refusing(format!("resource type {what}"))
}

fn check_query(kind: &dyn Kind, request: &ArmRequest, location: &str) -> Result<(), ArmError> {
    let version = request.api_version();
    let supported = kind.api_versions();
    if !supported
        .iter()
        .any(|known| known.eq_ignore_ascii_case(version))
    {
        let full = kind.resource_type();
        let short = full.split_once('/').map_or(full, |(_, short)| short);
        return Err(ArmError::new(
            StatusCode::BAD_REQUEST,
            "NoRegisteredProviderFound",
            format!(
                "No registered resource provider found for location '{location}' and API version \
                 '{version}' for type '{short}'. The supported api-versions are '{}'. The \
                 supported locations are '{location}'.",
                supported.join(", "),
            ),
        )
        .refusing(format!("api-version {version} of {full}")));
    }
    let known = kind.query_parameters(&request.verb);
    for name in request.query.names() {
        let usual = name.eq_ignore_ascii_case("api-version");
        if !usual && !known.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            return Err(ArmError::refused(format!(
                "The query parameter '{name}' of {} ({:?})",
                kind.resource_type(),
                request.verb,
            )));
        }
    }
    Ok(())
}

/// Subscription, resource group and outermost resource must exist.
fn check_scope(transaction: &Transaction<'_>, id: &ResourceId) -> Result<(), ArmError> {
    let world = &transaction.settings.world;
    if !id.subscription.eq_ignore_ascii_case(&world.subscription_id) {
        return Err(ArmError::subscription_not_found(&id.subscription));
    }
    if let Some(group) = &id.resource_group
        && !world
            .resource_groups
            .iter()
            .any(|known| known.eq_ignore_ascii_case(group))
    {
        return Err(ArmError::resource_group_not_found(group));
    }
    if let [(kind, Some(location)), ..] = id.segments.as_slice()
        && kind.eq_ignore_ascii_case("locations")
    {
        if !location.eq_ignore_ascii_case(&world.location) {
            let kind = id.resource_type();
            return Err(ArmError::location_not_available(
                location,
                &kind,
                &world.location,
            ));
        }
        return Ok(());
    }
    if id.segments.len() > 1 {
        let mut root = id.clone();
        root.segments.truncate(1);
        if transaction.state.documents.get(&root).is_none() {
            return Err(ArmError::resource_not_found(&root));
        }
    }
    Ok(())
}

/// Nothing is made in a workspace that is being deleted.
fn check_stays(transaction: &Transaction<'_>, request: &ArmRequest) -> Result<(), ArmError> {
    let id = &request.id;
    let going = request.verb == Verb::Put && id.segments.len() > 1 && {
        let root = transaction.state.documents.get(&id.root());
        root.is_some_and(|root| kinds::is_workspace_going(&root.body))
    };
    if !going {
        return Ok(());
    }
    Err(ArmError::new(
        StatusCode::CONFLICT,
        "Conflict",
        format!("The workspace '{}' is being deleted.", id.root_name()),
    ))
}

/// A document without what every write changes, to tell a write that changed nothing else.
fn unversioned(mut body: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in ["etag", "modifiedOn", "provisioningState", "systemData"] {
                    fields.remove(name);
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut body);
    body
}
