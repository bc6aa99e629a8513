//! The rules on `spec.tags`: what Azure takes as a tag, and what others mean by one.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

/// A resource and a run hold 50 tags each, with the operator's and Azure's own among them.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 15,
        "additionalProperties": {"type": "string", "maxLength": 256},
    })
}

pub(super) fn key_length() -> Rule {
    Rule::from((
        "self.all(key, size(key) >= 1 && size(key) <= 100)",
        "a key of tags must be 1 to 100 characters long",
    ))
}

pub(super) fn key_characters() -> Rule {
    Rule::from((
        r"self.all(key, !key.matches(r'[<>%&\\?/\p{Cc}]'))",
        r"a key of tags must hold no control character and none of < > % & \ ? /, which Azure refuses",
    ))
}

pub(super) fn distinct_keys() -> Rule {
    Rule::from((
        "self.all(key, self.exists_one(other, other.lowerAscii() == key.lowerAscii()))",
        "two keys of tags must differ in more than case: Azure takes them for one",
    ))
}

pub(super) fn reserved_keys() -> Rule {
    Rule::from((
        r"self.all(key, !key.matches(r'(?i)^(dask-azureml-|mlflow\.|azureml\.|_aml|microsoft|azure|windows)|^(headnode|scheduler|dashboard|jupyter)$'))",
        "tags must not use headnode, scheduler, dashboard, jupyter or a key that starts with dask-azureml-, mlflow., azureml., _aml, microsoft, azure or windows: the operator, MLflow or Azure write those",
    ))
}

pub(super) fn no_expressions() -> Rule {
    Rule::from((
        "self.all(key, !key.contains('${{') && !self[key].contains('${{'))",
        "tags must not hold ${{, which Azure Machine Learning would evaluate",
    ))
}
