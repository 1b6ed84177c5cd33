//! What the journal knows a send by: a keyed hash, so that nobody who chooses ids can make two sends look like one.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use siphasher::sip128::SipHasher24;

use crate::domain::journal::SendKey;

/// 128 bits of SipHash-2-4 of a command id and a replay number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyHash(pub(super) u64, pub(super) u64);

impl KeyHash {
    /// The hash under a journal's own secret.
    pub(super) fn of(key: &SendKey, secret: &[u8; 16]) -> Self {
        let id = key.command_id.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(4 + id.len());
        bytes.extend_from_slice(&key.replay.to_le_bytes());
        bytes.extend_from_slice(id);
        let (high, low) = SipHasher24::new_with_key(secret).hash(&bytes).as_u64();
        Self(high, low)
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        let number = (u128::from(self.0) << 64) | u128::from(self.1);
        number.to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, low @ ..] = bytes;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(low))
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 ^ self.1);
    }
}

/// Passes a key's hash on as it is: it is one already.
#[derive(Default)]
pub(super) struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// A map by key hash.
pub(super) type Keyed<V> = HashMap<KeyHash, V, BuildHasherDefault<Passed>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::CommandId;

    #[test]
    fn bytes_come_back_and_order_like_the_hash() {
        let (small, large) = (KeyHash(1, u64::MAX), KeyHash(2, 0));
        assert_eq!(KeyHash::from_bytes(small.to_bytes()), small);
        assert!(small.to_bytes() < large.to_bytes());
    }

    #[test]
    fn each_journal_has_hashes_of_its_own_that_last() {
        let key = |id: &str, replay| SendKey { command_id: CommandId::new(id).expect("an id"), replay };
        let hash = KeyHash::of(&key("order-4711-ready", 0), b"0123456789abcdef");
        assert_ne!(KeyHash::of(&key("order-4711-ready", 1), b"0123456789abcdef"), hash);
        assert_ne!(KeyHash::of(&key("order-4711-ready", 0), b"0123456789abcdeg"), hash);
        // On disk for days: a new version must not hash otherwise.
        assert_eq!(hash, KeyHash(15_198_732_330_850_774_228, 4_086_060_558_279_030_115));
    }
}
