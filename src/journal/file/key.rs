//! Keyed hashes of send keys. With a secret key, chosen command ids cannot collide on purpose.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use siphasher::sip128::SipHasher24;

use crate::domain::journal::SendKey;

/// 128 bits of SipHash-2-4 of a replay number and a command id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyHash(pub(super) u64, pub(super) u64);

impl KeyHash {
    /// Hashes a key with the journal's secret.
    pub(super) fn new(key: &SendKey, secret: &[u8; 16]) -> Self {
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

/// A hasher that returns its input, as a key hash is uniformly distributed already.
#[derive(Default)]
pub(super) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
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
pub(super) type KeyHashMap<V> = HashMap<KeyHash, V, BuildHasherDefault<IdentityHasher>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::CommandId;

    #[test]
    fn key_hash_bytes_round_trip_and_keep_the_order() {
        let (small, large) = (KeyHash(1, u64::MAX), KeyHash(2, 0));
        assert_eq!(KeyHash::from_bytes(small.to_bytes()), small);
        assert!(small.to_bytes() < large.to_bytes());
    }

    #[test]
    fn key_hash_depends_on_secret_and_replay_and_is_stable() {
        let key = |id: &str, replay| SendKey { command_id: CommandId::new(id).expect("an id"), replay };
        let hash = KeyHash::new(&key("order-4711-ready", 0), b"0123456789abcdef");
        assert_ne!(KeyHash::new(&key("order-4711-ready", 1), b"0123456789abcdef"), hash);
        assert_ne!(KeyHash::new(&key("order-4711-ready", 0), b"0123456789abcdeg"), hash);
        // Hashes are on disk for days, so a new version must compute the same ones.
        assert_eq!(hash, KeyHash(15_198_732_330_850_774_228, 4_086_060_558_279_030_115));
    }
}
