//! The token that guards the scheduler's own routes, one a head's incarnation.

use std::fmt;

use rand::Rng as _;
use sha2::{Digest as _, Sha256};

/// 64 hexadecimal digits. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Draws one from the operating system's generator.
    pub fn draw() -> Self {
        let bytes: [u8; 32] = rand::rng().random();
        Self(hex(&bytes))
    }

    /// Takes one that was drawn before; `None` for what cannot be one.
    pub fn read(text: &str) -> Option<Self> {
        let is_token = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_token.then(|| Self(text.to_owned()))
    }

    /// What a job may know of it: job bodies can be read by everyone who may read the workspace.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }

    /// The token itself, for the `Authorization` header and the connection Secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_differ_and_debug_shows_neither() {
        let (one, other) = (Token::draw(), Token::draw());
        assert_ne!(one, other);
        assert_eq!(format!("{one:?}"), "Token(redacted)");
        assert_eq!(Token::read(one.reveal()), Some(one));
    }

    #[test]
    fn what_is_no_token_is_not_taken_for_one() {
        assert_eq!(Token::read(""), None);
        assert_eq!(Token::read(&"g".repeat(64)), None);
    }

    #[test]
    fn the_hash_is_that_of_the_text_as_the_bootstrap_computes_it() {
        let token = Token("0".repeat(64));
        assert_eq!(
            token.sha256(),
            "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55"
        );
    }
}
