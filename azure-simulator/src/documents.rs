//! The stored resources: JSON documents by ARM id, in collections that keep their order.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::resource_id::ResourceId;

/// A stored resource. What Azure computes at reading time (node counts, job status) is not in it. Has no
/// `Debug`: passwords and variables of jobs are in it.
#[derive(Clone)]
pub(crate) struct Document {
    pub(crate) id: ResourceId,
    pub(crate) body: Value,
    /// Order of creation within the simulator.
    pub(crate) number: u64,
}

#[derive(Default)]
pub(crate) struct Documents {
    by_key: HashMap<String, Document>,
    collections: HashMap<String, BTreeMap<u64, String>>,
    last_number: u64,
    /// Keys of names that are taken though nothing is there any more.
    spent: HashSet<String>,
}

/// Which end of a collection comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

impl Documents {
    pub(crate) fn get(&self, id: &ResourceId) -> Option<&Document> {
        self.by_key.get(&id.key())
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<&Document> {
        self.by_key.get(key)
    }

    pub(crate) fn body_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.by_key.get_mut(key).map(|document| &mut document.body)
    }

    pub(crate) fn insert(&mut self, id: ResourceId, body: Value) {
        self.last_number += 1;
        let number = self.last_number;
        let key = id.key();
        self.collections
            .entry(id.collection().key())
            .or_default()
            .insert(number, key.clone());
        self.by_key.insert(key, Document { id, body, number });
    }

    /// Replaces a document's body, or inserts it.
    pub(crate) fn store(&mut self, id: ResourceId, body: Value) {
        match self.body_mut(&id.key()) {
            Some(stored) => *stored = body,
            None => self.insert(id, body),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Document> {
        let document = self.by_key.remove(key)?;
        let collection = document.id.collection().key();
        if let Some(members) = self.collections.get_mut(&collection) {
            members.remove(&document.number);
            if members.is_empty() {
                self.collections.remove(&collection);
            }
        }
        Some(document)
    }

    /// Removes a resource by its key, and all that is in it. Names that were spent there are free again.
    pub(crate) fn remove_all_in(&mut self, key: &str) {
        let below = format!("{key}/");
        let inside = |other: &String| other == key || other.starts_with(&below);
        let keys: Vec<String> = self
            .by_key
            .keys()
            .filter(|key| inside(key))
            .cloned()
            .collect();
        for key in &keys {
            self.remove(key);
        }
        self.spent.retain(|key| !inside(key));
    }

    /// Removes a document whose name is never free again.
    pub(crate) fn spend(&mut self, key: &str) {
        if self.remove(key).is_some() {
            self.spent.insert(key.to_owned());
        }
    }

    pub(crate) fn is_spent(&self, key: &str) -> bool {
        self.spent.contains(key)
    }

    /// Members of a collection after the one numbered `after`.
    pub(crate) fn members<'a>(
        &'a self,
        collection: &ResourceId,
        order: Order,
        after: Option<u64>,
    ) -> impl Iterator<Item = &'a Document> + use<'a> {
        let members = self.collections.get(&collection.key());
        let (start, end) = match (order, after) {
            (Order::OldestFirst, Some(number)) => (number.saturating_add(1), u64::MAX),
            (Order::NewestFirst, Some(number)) => (0, number),
            (_, None) => (0, u64::MAX),
        };
        let keys: Box<dyn Iterator<Item = &'a String> + 'a> = match (members, order) {
            (None, _) => Box::new(std::iter::empty()),
            (Some(members), Order::OldestFirst) => {
                Box::new(members.range(start..end).map(|(_, key)| key))
            }
            (Some(members), Order::NewestFirst) => {
                Box::new(members.range(start..end).rev().map(|(_, key)| key))
            }
        };
        keys.filter_map(|key| self.by_key.get(key))
    }

    /// Everything of a type, oldest first, wherever it stands.
    pub(crate) fn of_type(&self, resource_type: &str) -> Vec<&Document> {
        let mut found: Vec<&Document> = self
            .by_key
            .values()
            .filter(|document| {
                document
                    .id
                    .resource_type()
                    .eq_ignore_ascii_case(resource_type)
            })
            .collect();
        found.sort_by_key(|document| document.number);
        found
    }
}
