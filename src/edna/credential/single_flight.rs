//! One login for all attempts that wait for a token, and at most one in 10 s.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use crate::{domain::evidence::NoToken, edna::token::Token};

/// The least time between two logins: a refused password must not lock the account, nor logins overload a failing API.
const MIN_LOGIN_INTERVAL: Duration = Duration::from_secs(10);

const CANCELLED: &str = "the login was cancelled and is repeated in at most 10 s";
const REJECTED: &str = "the API rejected the token of the last login; check the rights of api.login";

fn no_token(problem: &str) -> NoToken {
    NoToken { problem: Arc::from(problem), retry_after: None }
}

/// The token of the last login, as long as the API accepts it.
#[derive(Debug, Default)]
pub(super) struct SingleFlight {
    /// Locked during a login: concurrent attempts wait for it and share its result.
    state: Mutex<SingleFlightState>,
}

#[derive(Debug, Default)]
struct SingleFlightState {
    token: Option<Token>,
    last: Option<LastLogin>,
}

/// The last login.
#[derive(Debug)]
struct LastLogin {
    ended_at: Instant,
    /// Why there is no token until the next login is allowed.
    no_token: NoToken,
}

impl SingleFlight {
    /// Returns the current token. Without one, logs in first if a login is allowed.
    ///
    /// Dropping the future during a login counts as a login: its request may have been sent.
    ///
    /// # Errors
    /// If the last login failed: its problem.
    pub(super) async fn token(&self, log_in: impl AsyncFnOnce() -> Result<Token, NoToken>) -> Result<Token, NoToken> {
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token {
            return Ok(token.clone());
        }
        if let Some(last) = state.last.as_ref().filter(|last| last.ended_at.elapsed() < MIN_LOGIN_INTERVAL) {
            return Err(last.no_token.clone());
        }
        // Stays if this future is dropped before the login ends.
        state.last = Some(LastLogin { ended_at: Instant::now(), no_token: no_token(CANCELLED) });
        let result = log_in().await;
        // Read after a success only when the API has rejected that token.
        let no_token = result.as_ref().err().cloned().unwrap_or_else(|| no_token(REJECTED));
        state.last = Some(LastLogin { ended_at: Instant::now(), no_token });
        state.token = result.as_ref().ok().cloned();
        result
    }

    /// Resolves when a login is allowed again.
    pub(super) async fn login_allowed(&self) {
        let ended_at = self.state.lock().await.last.as_ref().map(|last| last.ended_at);
        if let Some(ended_at) = ended_at {
            sleep_until(ended_at + MIN_LOGIN_INTERVAL).await;
        }
    }

    /// Drops `token`, unless a later login has replaced it.
    pub(super) async fn reject(&self, token: &Token) {
        let mut state = self.state.lock().await;
        if state.token.as_ref() == Some(token) {
            state.token = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use secrecy::SecretString;

    use super::*;

    fn token(text: &str) -> Token {
        Token::parse(&SecretString::from(text)).unwrap()
    }

    /// Gets a token and counts the logins.
    async fn get(
        flight: &SingleFlight,
        logins: &AtomicUsize,
        result: Result<Token, NoToken>,
    ) -> Result<Token, NoToken> {
        let log_in = async || {
            logins.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            result
        };
        flight.token(log_in).await
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_attempts_share_one_login() {
        let (flight, logins) = (SingleFlight::default(), AtomicUsize::new(0));
        let all = (0..50).map(|_| get(&flight, &logins, Ok(token("a"))));
        let tokens = futures_util::future::join_all(all).await;
        assert!(tokens.iter().all(|got| got.as_ref() == Ok(&token("a"))));
        assert_eq!(logins.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_login_is_not_repeated_for_ten_seconds() {
        let (flight, logins) = (SingleFlight::default(), AtomicUsize::new(0));
        let down = Err(no_token("down"));
        let all = (0..50).map(|_| get(&flight, &logins, down.clone()));
        assert!(futures_util::future::join_all(all).await.iter().all(|got| *got == down));
        tokio::time::advance(MIN_LOGIN_INTERVAL - Duration::from_millis(1)).await;
        assert_eq!(get(&flight, &logins, Ok(token("a"))).await, down);
        assert_eq!(logins.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(get(&flight, &logins, Ok(token("a"))).await, Ok(token("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn token_rejected_after_its_login_is_no_token_for_ten_s() {
        let (flight, logins) = (SingleFlight::default(), AtomicUsize::new(0));
        get(&flight, &logins, Ok(token("a"))).await.unwrap();
        flight.reject(&token("a")).await;
        assert_eq!(get(&flight, &logins, Ok(token("b"))).await, Err(no_token(REJECTED)));
        tokio::time::advance(MIN_LOGIN_INTERVAL).await;
        assert_eq!(get(&flight, &logins, Ok(token("b"))).await, Ok(token("b")));
        flight.reject(&token("a")).await;
        assert_eq!(get(&flight, &logins, Ok(token("c"))).await, Ok(token("b")), "a late rejection of the old token");
        assert_eq!(logins.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn login_cancelled_half_way_counts_as_a_login() {
        let (flight, logins) = (SingleFlight::default(), AtomicUsize::new(0));
        let never = flight.token(async || std::future::pending().await);
        assert!(tokio::time::timeout(Duration::from_secs(1), never).await.is_err());
        let got = get(&flight, &logins, Ok(token("a"))).await;
        assert_eq!((got, logins.load(Ordering::Relaxed)), (Err(no_token(CANCELLED)), 0));
    }
}
