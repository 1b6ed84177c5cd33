//! An API token as the value of the header `Authorization`.

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::error::TokenError;

const SCHEME: &str = "Bearer";

/// The header value with its scheme. It is marked sensitive, so that `Debug` hides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token(HeaderValue);

impl Token {
    /// Parses a token without the prefix, with the prefix in any case, or with the prefix twice, as the API's login
    /// returns it.
    pub(super) fn parse(given: &SecretString) -> Result<Self, TokenError> {
        let is_scheme = |word: &&str| word.eq_ignore_ascii_case(SCHEME);
        let mut words = given.expose_secret().split_ascii_whitespace().skip_while(is_scheme);
        let token = words.next().ok_or(TokenError::Empty)?;
        if words.next().is_some() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Invalid);
        }
        let mut header = HeaderValue::try_from(format!("{SCHEME} {token}")).map_err(|_| TokenError::Invalid)?;
        header.set_sensitive(true);
        Ok(Self(header))
    }

    /// The value of `Authorization`.
    pub(super) const fn header(&self) -> &HeaderValue {
        &self.0
    }
}

/// Checks that a header can carry the token.
///
/// # Errors
/// [`TokenError`], which does not show the token.
pub fn check(given: &SecretString) -> Result<(), TokenError> {
    Token::parse(given).map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(given: &str) -> Result<String, TokenError> {
        Token::parse(&SecretString::from(given)).map(|token| token.header().to_str().unwrap().to_owned())
    }

    #[test]
    fn token_in_any_form_has_exactly_one_prefix() {
        for given in ["abc", "Bearer abc", "bearer abc", "BEARER  abc\n", " abc\r\n", "Bearer Bearer abc"] {
            assert_eq!(parse(given).as_deref(), Ok("Bearer abc"), "{given:?}");
        }
        assert_eq!(
            parse("Bearerabc").as_deref(),
            Ok("Bearer Bearerabc"),
            "a token can begin with the text of the prefix"
        );
    }

    #[test]
    fn token_that_a_header_cannot_carry_is_refused() {
        for given in ["", " \n", "Bearer", "Bearer "] {
            assert_eq!(parse(given), Err(TokenError::Empty), "{given:?}");
        }
        for given in ["a b", "a\nb", "tök", "a\u{7f}", "a\0b"] {
            assert_eq!(parse(given), Err(TokenError::Invalid), "{given:?}");
        }
    }

    #[test]
    fn token_debug_is_redacted() {
        let token = Token::parse(&SecretString::from("s3cret")).unwrap();
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    proptest! {
        #[test]
        fn token_error_for_any_input_hides_it(given in any::<String>()) {
            if let Err(error) = parse(&given) {
                prop_assert!(matches!(error, TokenError::Empty | TokenError::Invalid));
            }
        }
    }
}
