//! The order that a LIST of assets or datastores asks for: by `createdtime`, `modifiedtime` or, of
//! datastores, `name`, as the OpenAPI has it.
//!
//! What is none of these is passed over: Microsoft's own examples ask for the order `string`, and
//! are answered.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::paging;
use crate::arm::request::ArmRequest;
use crate::azure::Transaction;
use crate::documents::{Document, Order};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Property {
    Created,
    Modified,
    Name,
}

/// What comes first on a LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListOrder {
    property: Property,
    ascending: bool,
}

impl ListOrder {
    /// Reads `createdtime`, `modifiedtime asc`; without a direction the newest are first, as where
    /// nothing is asked for.
    pub(crate) fn of_versions(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let property = words.next().and_then(property).unwrap_or(Property::Created);
        let ascending = words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("asc"));
        Self {
            property,
            ascending,
        }
    }

    /// Reads `orderBy` and `orderByAsc` (false where absent, by the OpenAPI); without an order the
    /// oldest are first.
    pub(crate) fn of_datastores(text: &str, ascending: bool) -> Self {
        match property(text) {
            Some(property) => Self {
                property,
                ascending,
            },
            None => Self {
                property: Property::Created,
                ascending: true,
            },
        }
    }

    /// Answers with those of a collection that `takes` has, `most` at most. By creation they come in
    /// pages, in another order all at once.
    pub(crate) fn answer(
        self,
        transaction: &Transaction<'_>,
        request: &ArmRequest,
        most: usize,
        takes: impl Fn(&Document) -> bool,
        view: impl Fn(&Document) -> Value,
    ) -> Result<Answer, ArmError> {
        let documents = &transaction.state.documents;
        let order = if self.ascending {
            Order::OldestFirst
        } else {
            Order::NewestFirst
        };
        if self.property == Property::Created {
            let after = paging::position(request)?;
            let found = documents
                .members(&request.id, order, after)
                .filter(|document| takes(document))
                .take(most);
            let page = paging::page(transaction.settings, request, found, view);
            return Ok(Answer::ok(page));
        }
        let mut found: Vec<&Document> = documents
            .members(&request.id, Order::OldestFirst, None)
            .filter(|document| takes(document))
            .collect();
        found.sort_by_key(|document| match self.property {
            Property::Name => document.id.name(),
            Property::Created | Property::Modified => {
                let modified = &document.body["systemData"]["lastModifiedAt"];
                modified.as_str().unwrap_or_default()
            }
        });
        if !self.ascending {
            found.reverse();
        }
        let value: Vec<Value> = found.into_iter().take(most).map(view).collect();
        Ok(Answer::ok(json!({"value": value, "nextLink": null})))
    }
}

fn property(word: &str) -> Option<Property> {
    match word.to_lowercase().as_str() {
        "createdtime" | "createdat" | "createddate" => Some(Property::Created),
        "modifiedtime" => Some(Property::Modified),
        "name" => Some(Property::Name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_cannot_be_meant_is_passed_over() {
        let default = ListOrder::of_versions("");
        assert_eq!(ListOrder::of_versions("string"), default);
        assert_eq!(ListOrder::of_versions("createdtime desc"), default);
        assert_ne!(ListOrder::of_versions("createdtime asc"), default);
        assert_ne!(ListOrder::of_versions("modifiedtime"), default);
        let default = ListOrder::of_datastores("", false);
        assert_eq!(ListOrder::of_datastores("string", false), default);
        assert_ne!(ListOrder::of_datastores("name", false), default);
    }
}
