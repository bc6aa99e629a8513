//! Long texts that many documents hold alike, kept once: every job of an operator carries the same
//! program in a variable.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

/// Characters from which on a text is kept once. Shorter ones cost less as they are.
const LONG: usize = 1024;

/// What stands for a kept text in a map of texts, where no object can stand otherwise.
const MARK: &str = "_text";

/// Has no `Debug`: variables of jobs may be secrets.
#[derive(Default)]
pub(crate) struct Texts {
    kept: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

impl Texts {
    /// Replaces the long texts of a map; equal maps stay equal.
    pub(crate) fn shorten(&mut self, map: &mut Value) {
        for value in map
            .as_object_mut()
            .into_iter()
            .flat_map(|map| map.values_mut())
        {
            if let Value::String(text) = value
                && text.len() >= LONG
            {
                let number = match self.numbers.get(text.as_str()) {
                    Some(number) => *number,
                    None => self.keep(text),
                };
                *value = json!({ MARK: number });
            }
        }
    }

    fn keep(&mut self, text: &str) -> usize {
        let text: Arc<str> = text.into();
        let number = self.kept.len();
        self.kept.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    /// A text of a shortened map; `None` where there is none.
    pub(crate) fn text<'a>(&'a self, value: &'a Value) -> Option<&'a str> {
        match value {
            Value::String(text) => Some(text),
            value => {
                let number = usize::try_from(value[MARK].as_u64()?).ok()?;
                self.kept.get(number).map(|text| &**text)
            }
        }
    }

    /// Puts the long texts of a map back.
    pub(crate) fn restore(&self, map: &mut Value) {
        for value in map
            .as_object_mut()
            .into_iter()
            .flat_map(|map| map.values_mut())
        {
            if value.is_object()
                && let Some(text) = self.text(value)
            {
                *value = json!(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_kept_once_and_come_back_as_they_were() {
        let mut texts = Texts::default();
        let given = json!({"PROGRAM": "x".repeat(LONG), "ROLE": "head"});
        let (mut one, mut other) = (given.clone(), given.clone());
        texts.shorten(&mut one);
        texts.shorten(&mut other);
        assert_eq!(one, other);
        assert_eq!(texts.kept.len(), 1);
        assert!(one.to_string().len() < 100);
        assert_eq!(texts.text(&one["ROLE"]), Some("head"));
        assert_eq!(texts.text(&one["PROGRAM"]), given["PROGRAM"].as_str());
        assert_eq!(texts.text(&one["NONE"]), None);
        texts.restore(&mut one);
        assert_eq!(one, given);
    }
}
