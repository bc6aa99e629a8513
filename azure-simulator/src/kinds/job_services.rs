//! Services of a job: `Tracking` and `Studio`, which the server makes, ports of its own that a job
//! opens, and tools that Azure starts beside it (contract section 7). No tool is started here.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::arm::error::ArmError;
use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds::body_checks::only_known;
use crate::kinds::job_resources;
use crate::page::link;
use crate::physics::run::JobStatus;

/// Those of the server, which may come back.
const OWN: [&str; 2] = ["Tracking", "Studio"];

/// Tools, by the property that they are told something by.
const TOOLS: [(&str, Option<&str>); 4] = [
    ("JupyterLab", None),
    ("SSH", Some("sshPublicKeys")),
    ("TensorBoard", Some("logDir")),
    ("VSCode", None),
];

/// The services that a PUT asks for: ports of a job's own, and tools.
pub(crate) fn checked(given: &Value) -> Result<Value, ArmError> {
    let mut services = Map::new();
    for (name, service) in given.as_object().into_iter().flatten() {
        if OWN.contains(&name.as_str()) {
            continue;
        }
        only_known(
            service,
            &[
                "jobServiceType",
                "port",
                "nodes",
                "properties",
                "endpoint",
                "status",
                "errorMessage",
            ],
            "a job's service",
        )?;
        let place = "the nodes of a job's service";
        only_known(&service["nodes"], &["nodesValueType"], place)?;
        match service["nodes"]["nodesValueType"].as_str() {
            Some("All") => {}
            None if service["nodes"].is_null() => {}
            _ => {
                return Err(ArmError::user(format!(
                    "The nodes of the job service '{name}' need the nodesValueType All."
                )));
            }
        }
        let kind = service["jobServiceType"].as_str().unwrap_or_default();
        let tool = TOOLS.iter().find(|(tool, _)| *tool == kind);
        match tool {
            Some((_, told)) => only_known(
                &service["properties"],
                told.as_slice(),
                &format!("the properties of a {kind} service"),
            )?,
            None if kind == "Custom" => {}
            None => return Err(ArmError::refused(format!("The job service type '{kind}'"))),
        }
        let port = match service["port"].as_u64() {
            Some(port) if port <= 65_535 => Some(port),
            None if tool.is_some() && service["port"].is_null() => None,
            _ => {
                return Err(ArmError::user(format!(
                    "The job service '{name}' needs a port."
                )));
            }
        };
        services.insert(
            name.clone(),
            json!({
                "jobServiceType": kind,
                "port": port,
                "nodes": service["nodes"],
                "properties": service["properties"],
            }),
        );
    }
    Ok(Value::Object(services))
}

/// What a GET of a job shows of them.
pub(crate) fn shown(transaction: &Transaction<'_>, document: &Document) -> Value {
    let settings = transaction.settings;
    let home = document.id.root();
    let own = |kind: &str, endpoint: String| {
        json!({
            "jobServiceType": kind, "port": null, "endpoint": endpoint, "status": null,
            "errorMessage": null, "properties": null, "nodes": null,
        })
    };
    let mut services = json!({
        "Tracking": own(
            "Tracking",
            format!("azureml://{}/mlflow/v1.0{home}?", settings.authority),
        ),
        // Where the studio would be: the page of the run.
        "Studio": own(
            "Studio",
            format!("{}{}", settings.control_url, link::run(&document.id)),
        ),
    });
    let asked = document.body["properties"]["services"].as_object();
    // As recorded: the place to put a node's number in where there are several.
    let all = match job_resources::instances_of(&document.body["properties"]) {
        1 => "0",
        _ => "<nodeIndex>",
    };
    for (name, service) in asked.into_iter().flatten() {
        let mut service = service.clone();
        service["endpoint"] = endpoint(transaction, document, &service, all);
        // As recorded: it stayed so while the job ran.
        service["status"] = json!("NotStarted");
        service["errorMessage"] = Value::Null;
        services[name] = service;
    }
    services
}

/// What run history tells of the services of one node; without `nodes` the first alone has them
/// (contract section 7).
pub(crate) fn instances(transaction: &Transaction<'_>, document: &Document, node: usize) -> Value {
    let run = transaction.state.physics.runs.get(&document.id.key());
    let running = run.is_some_and(|run| run.status == JobStatus::Running);
    let asked = document.body["properties"]["services"].as_object();
    let mut instances = Map::new();
    let here = |service: &Value| node == 0 || service["nodes"]["nodesValueType"] == "All";
    let asked = asked
        .into_iter()
        .flatten()
        .filter(|(_, service)| here(service));
    for (name, service) in asked {
        let mut shown = service.clone();
        shown["type"] = service["jobServiceType"].clone();
        shown["endpoint"] = endpoint(transaction, document, service, &node.to_string());
        shown["status"] = json!(match service["jobServiceType"].as_str() {
            Some("Custom") if running => "Running",
            _ => "NotStarted",
        });
        shown["error"] = Value::Null;
        if let Some(fields) = shown.as_object_mut() {
            fields.retain(|name, _| name != "jobServiceType" && name != "nodes");
        }
        instances.insert(name.clone(), shown);
    }
    json!({"instances": instances})
}

/// The form that was recorded, where nothing answers. That of a tool's was not: it has none, as it is
/// not started.
fn endpoint(
    transaction: &Transaction<'_>,
    document: &Document,
    service: &Value,
    node: &str,
) -> Value {
    if service["jobServiceType"] != "Custom" {
        return Value::Null;
    }
    let name = Uuid::new_v5(&Uuid::NAMESPACE_URL, document.id.key().as_bytes());
    json!(format!(
        "https://{}-{node}-{}.{}.nodes.azureml.ms",
        service["port"],
        name.simple(),
        transaction.settings.world.location,
    ))
}
