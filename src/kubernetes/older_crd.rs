//! A CRD that is older than the operator refuses a status for a field that it does not declare. The rest is worth telling.

use serde_json::Value;

pub(super) const ADVICE: &str = "the CRD is older than the operator and does not take all of the status: apply the CRD of this release (kubectl apply --server-side -f crds/)";

/// Takes out of `body` what the API server's `refusal` says that the schema does not declare. Says whether there was
/// something.
pub(super) fn take_out_undeclared(body: &mut Value, refusal: &str) -> bool {
    let mut taken = false;
    for path in undeclared(refusal) {
        taken |= take_out(body, &path);
    }
    taken
}

/// Paths of the fields: `status`, `cost` of `.status.cost: field not declared in schema`.
fn undeclared(refusal: &str) -> Vec<Vec<&str>> {
    let told = refusal.split(": field not declared in schema");
    let paths = told.filter_map(|before| {
        let path = before.split_whitespace().next_back()?;
        let path = path.strip_prefix(".status.")?;
        Some(["status"].into_iter().chain(path.split('.')).collect())
    });
    paths.collect()
}

fn take_out(body: &mut Value, path: &[&str]) -> bool {
    let [name, rest @ ..] = path else {
        return false;
    };
    // `conditions[type="Ready"]` is one of a list: whatever of it is not declared goes from all.
    let (name, is_of_list) = match name.split_once('[') {
        Some((name, _)) => (name, true),
        None => (*name, false),
    };
    let Some(fields) = body.as_object_mut() else {
        return false;
    };
    if rest.is_empty() {
        return fields.remove(name).is_some();
    }
    let Some(inner) = fields.get_mut(name) else {
        return false;
    };
    if !is_of_list {
        return take_out(inner, rest);
    }
    let items = inner.as_array_mut().into_iter().flatten();
    // All of them, also after the first.
    let taken = items.map(|item| take_out(item, rest));
    taken.filter(|taken| *taken).count() > 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_schema_does_not_declare_is_taken_out_and_nothing_else() {
        let refusal = "failed to create typed patch object (weather/noaa; azureml.dask.dev/v1alpha1, \
             Kind=DaskCluster): errors:\n  .status.cost: field not declared in schema\n  \
             .status.workers.cores: field not declared in schema\n  \
             .status.datasets[name=\"isd\"].later: field not declared in schema";
        let mut body = json!({
            "metadata": {"name": "noaa"},
            "status": {
                "cost": {"hourly": "1"}, "workers": {"cores": 4, "ready": 2}, "phase": "Running",
                "datasets": [{"name": "isd", "later": 1}],
            },
        });
        assert!(take_out_undeclared(&mut body, refusal));
        let left = json!({
            "metadata": {"name": "noaa"},
            "status": {"workers": {"ready": 2}, "phase": "Running", "datasets": [{"name": "isd"}]},
        });
        assert_eq!(body, left);
        for refusal in [
            refusal,
            ".spec.workspace: field not declared in schema",
            "the object has been modified",
        ] {
            assert!(!take_out_undeclared(&mut body, refusal), "{refusal}");
        }
        assert_eq!(body, left);
    }
}
