//! Whether a message tells anything new. Pure.
//!
//! Azure gives every answer an id of its own. The same refusal asked for again says nothing new, and a status that
//! followed each id would be written at every try.

/// Names of ids that Azure draws anew for each answer, as its messages and ours write them.
const IDS: [&str; 8] = [
    "request id",
    "requestid",
    "tracking id",
    "trackingid",
    "correlation id",
    "correlationid",
    "activity id",
    "trace id",
];
/// Words between the beginning of such a name and the id: `tracking id is '…'`.
const REACH: usize = 3;

/// The messages differ in nothing but the ids of Azure's answers.
pub(super) fn is_the_same(one: &str, other: &str) -> bool {
    one == other || without_ids(one) == without_ids(other)
}

fn without_ids(message: &str) -> Vec<&str> {
    let words: Vec<&str> = message.split_whitespace().collect();
    let is_id = |place: usize| {
        let has_digit = words[place]
            .bytes()
            .any(|character| character.is_ascii_digit());
        let before = words[place.saturating_sub(REACH)..place].join(" ");
        has_digit
            && IDS
                .iter()
                .any(|id| before.to_ascii_lowercase().contains(id))
    };
    (0..words.len())
        .map(|place| if is_id(place) { "" } else { words[place] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_request_id_is_no_news_and_anything_else_is() {
        let refused = |client: &str, status: u16, id: &str| {
            format!(
                "azure request 'GET /x' failed: AuthorizationFailed: The client '{client}' may not. (status {status}, request id {id}); give it a role in 10 minutes"
            )
        };
        let known = refused("c1", 403, "bf49d6ba-52fb-4064-8559-46b8883967fc");
        let again = refused("c1", 403, "c8c24883-263b-4f37-bad7-c905d48d0477");
        assert!(is_the_same(&known, &again));
        assert!(!is_the_same(&known, &refused("c2", 403, "r-1")));
        assert!(!is_the_same(&known, &refused("c1", 404, "r-1")));
        assert!(!is_the_same(&known, "something else"));
        assert!(is_the_same(
            "It broke. The tracking id is 'a1'. Try again.",
            "It broke. The tracking id is 'b2'. Try again."
        ));
        assert!(!is_the_same(
            "job a starts at 10:01",
            "job a starts at 10:02"
        ));
    }
}
