//! Waiting for things to happen, never for time to pass.
//!
//! The deadline is the same everywhere: far above what the slowest machine needs, so that it ends a test that would
//! hang and decides nothing else.

use std::future::Future;
use std::time::Duration;

/// What does not happen within this time does not happen. A debug build on a busy machine with two cores needs a
/// second or two for the longest of our waits.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at something that cannot be waited for (a page of metrics, a row behind HTTP).
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits for `future`, and fails the test at the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Looks again and again until `look` finds something, and fails the test at the deadline. For things that give no
/// event to wait for.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    until_ok(what, || {
        let found = look();
        async { found.await.ok_or_else(String::new) }
    })
    .await
}

/// The same for a `look` that says what is missing; at the deadline that is shown.
pub async fn until_ok<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let mut tick = tokio::time::interval(LOOK_AGAIN);
    let mut missing = String::new();
    let search = async {
        loop {
            tick.tick().await;
            match look().await {
                Ok(found) => return found,
                Err(why) => missing = why,
            }
        }
    };
    let found = tokio::time::timeout(DEADLINE, search).await;
    found.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}; {missing}"))
}
