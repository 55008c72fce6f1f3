//! What travels of a collection that is merged: its members, one by one.

/// A member of a set, hash or sorted set, with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: Vec<u8>,
    /// The value of a hash's field, or the score in a sorted set.
    pub value: Vec<u8>,
    /// When a hash's field expires, in Unix milliseconds by the target's clock; 0: never.
    pub expiry: i64,
}
