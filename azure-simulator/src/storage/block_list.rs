//! The body of Put Block List: `<BlockList><Latest>ID</Latest>…</BlockList>`.

use http::StatusCode;

use crate::storage::error::StorageError;

/// Where a block of a list is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Among those of the blob that is there.
    Committed,
    /// Among those that were put since.
    Uncommitted,
    /// Among these first, then among those.
    Latest,
}

/// A block, by where it is and its id.
pub(crate) type Entry = (From, String);

const TAGS: [(&str, From); 3] = [
    ("Committed", From::Committed),
    ("Uncommitted", From::Uncommitted),
    ("Latest", From::Latest),
];

/// Reads a list. Ids are base64, which XML has nothing to escape in.
pub(super) fn parsed(body: &[u8]) -> Result<Vec<Entry>, StorageError> {
    let text = std::str::from_utf8(body).map_err(|_| invalid())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    let text = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").ok_or_else(invalid)?.1.trim(),
        None => text,
    };
    if ["<BlockList/>", "<BlockList />"].contains(&text) {
        return Ok(Vec::new());
    }
    let inside = text
        .strip_prefix("<BlockList>")
        .and_then(|rest| rest.strip_suffix("</BlockList>"));
    let mut rest = inside.ok_or_else(invalid)?.trim();
    let mut list = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = TAGS
            .iter()
            .find_map(|(tag, from)| {
                let content = rest.strip_prefix(&format!("<{tag}>"))?;
                let (id, after) = content.split_once(&format!("</{tag}>"))?;
                Some(((*from, id.trim().to_owned()), after))
            })
            .ok_or_else(invalid)?;
        list.push(entry);
        rest = after.trim();
    }
    Ok(list)
}

fn invalid() -> StorageError {
    StorageError::new(
        StatusCode::BAD_REQUEST,
        "InvalidXmlDocument",
        "XML specified is not syntactically valid.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_its_order_and_what_is_none_is_refused() {
        let text = "<?xml version='1.0' encoding='utf-8'?>\n<BlockList><Latest>QQ==</Latest>\n\
                    <Committed>Qg==</Committed><Uncommitted>Qw==</Uncommitted></BlockList>";
        let expected = [
            (From::Latest, "QQ==".to_owned()),
            (From::Committed, "Qg==".to_owned()),
            (From::Uncommitted, "Qw==".to_owned()),
        ];
        assert_eq!(parsed(text.as_bytes()).unwrap(), expected);
        assert_eq!(parsed(b"<BlockList />").unwrap(), []);
        for wrong in [
            "",
            "x",
            "<BlockList><Latest>QQ==</BlockList>",
            "<BlockList>x</BlockList>",
        ] {
            assert!(parsed(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
