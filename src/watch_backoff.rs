//! How long a watch that broke waits before it is made again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

const FIRST: Duration = Duration::from_millis(500);
/// A restart of the API server is noticed within this: kube's own default goes up to 30 s.
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from half a second to five.
#[derive(Clone, Debug)]
pub(crate) struct WatchBackoff {
    next: Duration,
}

impl Default for WatchBackoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        Some(wait)
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_that_comes_back_is_seen_within_five_seconds() {
        let mut backoff = WatchBackoff::default();
        assert_eq!(backoff.next(), Some(FIRST));
        assert_eq!(backoff.by_ref().take(10).max(), Some(LONGEST));
        backoff.reset();
        assert_eq!(backoff.next(), Some(FIRST));
    }
}
