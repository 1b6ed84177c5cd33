//! One login for all who need it, and not another one soon after.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use crate::{
    domain::evidence::{Evidence, NotSent},
    edna::token::Token,
};

/// A refused password must not lock the account, nor a broken API be hammered.
const LEAST_PAUSE: Duration = Duration::from_secs(10);

/// The token that the last login brought, as long as the API accepts it.
#[derive(Debug, Default)]
pub(super) struct SingleFlight {
    /// Held during a login: those who come meanwhile wait for it and share what it brings.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    last: Option<Last>,
}

/// The last login, for as long as no other may follow.
#[derive(Debug)]
struct Last {
    ended: Instant,
    /// What an attempt without a token proves meanwhile.
    proves: Evidence,
}

impl SingleFlight {
    /// The token, after a login if there is none and one is due; else what the last login proved. `refused` is what
    /// it proves when the last login brought a token that the API then did not accept.
    pub(super) async fn token(
        &self,
        log_in: impl AsyncFnOnce() -> Result<Token, Evidence>,
        refused: Evidence,
    ) -> Result<Token, Evidence> {
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token {
            return Ok(token.clone());
        }
        if let Some(last) = state.last.as_ref().filter(|last| last.ended.elapsed() < LEAST_PAUSE) {
            return Err(last.proves.clone());
        }
        // Holds if this future is dropped before the login ends: it may have been sent, so the pause begins here.
        state.last = Some(Last { ended: Instant::now(), proves: Evidence::NotSent(NotSent::Connect) });
        let result = log_in().await;
        let proves = result.as_ref().err().cloned().unwrap_or(refused);
        state.last = Some(Last { ended: Instant::now(), proves });
        state.token = result.as_ref().ok().cloned();
        result
    }

    /// Resolves when the least pause is over and a login may follow.
    pub(super) async fn due(&self) {
        let ended = self.state.lock().await.last.as_ref().map(|last| last.ended);
        if let Some(ended) = ended {
            sleep_until(ended + LEAST_PAUSE).await;
        }
    }

    /// Forgets the token, unless a later login has replaced it already.
    pub(super) async fn refused(&self, token: &Token) {
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
    use crate::domain::evidence::Answer;

    fn token(text: &str) -> Token {
        Token::parse(&SecretString::from(text)).unwrap()
    }

    fn unauthorized() -> Evidence {
        Evidence::Answer(Answer { status: 401, retry_after: None, body: None })
    }

    /// Logs in unless it need not, and counts.
    async fn get(
        flight: &SingleFlight,
        logins: &AtomicUsize,
        result: Result<Token, Evidence>,
    ) -> Result<Token, Evidence> {
        let log_in = async || {
            logins.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            result
        };
        flight.token(log_in, unauthorized()).await
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_share_one_login() {
        let (flight, logins) = (SingleFlight::default(), AtomicUsize::new(0));
        let all = (0..50).map(|_| get(&flight, &logins, Ok(token("a"))));
        let tokens = futures_util::future::join_all(all).await;
        assert!(tokens.iter().all(|got| got.as_ref() == Ok(&token("a"))));
        assert_eq!(logins.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_login_holds_for_ten_seconds_for_everybody() {
        let (flight, logins) = (SingleFlight::default(), AtomicUsize::new(0));
        let down = Err(Evidence::NotSent(NotSent::Dns));
        let all = (0..50).map(|_| get(&flight, &logins, down.clone()));
        assert!(futures_util::future::join_all(all).await.iter().all(|got| *got == down));
        tokio::time::advance(LEAST_PAUSE - Duration::from_millis(1)).await;
        assert_eq!(get(&flight, &logins, Ok(token("a"))).await, down);
        assert_eq!(logins.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(get(&flight, &logins, Ok(token("a"))).await, Ok(token("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_refused_soon_after_its_login_is_an_unauthorized_answer_until_the_pause_is_over() {
        let (flight, logins) = (SingleFlight::default(), AtomicUsize::new(0));
        get(&flight, &logins, Ok(token("a"))).await.unwrap();
        flight.refused(&token("a")).await;
        assert_eq!(get(&flight, &logins, Ok(token("b"))).await, Err(unauthorized()));
        tokio::time::advance(LEAST_PAUSE).await;
        assert_eq!(get(&flight, &logins, Ok(token("b"))).await, Ok(token("b")));
        flight.refused(&token("a")).await;
        assert_eq!(get(&flight, &logins, Ok(token("c"))).await, Ok(token("b")), "a late refusal of the old one");
        assert_eq!(logins.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_given_up_half_way_counts_as_one() {
        let (flight, logins) = (SingleFlight::default(), AtomicUsize::new(0));
        let never = flight.token(async || std::future::pending().await, unauthorized());
        assert!(tokio::time::timeout(Duration::from_secs(1), never).await.is_err());
        let got = get(&flight, &logins, Ok(token("a"))).await;
        assert_eq!((got, logins.load(Ordering::Relaxed)), (Err(Evidence::NotSent(NotSent::Connect)), 0));
    }
}
