//! Duplicate suppression by `_unique_id`.

use std::collections::{HashSet, VecDeque};

/// How many identities are remembered. oslo.messaging keeps 16; a broker that
/// redelivers a whole backlog after a break has more than that.
const REMEMBERED: usize = 512;

/// The identities seen last. It outlives connections: that is its purpose.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    order: VecDeque<String>,
    seen: HashSet<String>,
}

impl Duplicates {
    /// Remembers `id`; false if it was seen before.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        if !self.seen.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// Forgets `id`: the message was not accepted and will come again.
    pub(super) fn forget(&mut self, id: &str) {
        if self.seen.remove(id) {
            self.order.retain(|known| known != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_noticed_until_they_age_out() {
        let mut duplicates = Duplicates::default();
        assert!(duplicates.insert("a"));
        assert!(!duplicates.insert("a"));
        for number in 0..REMEMBERED {
            assert!(duplicates.insert(&number.to_string()));
        }
        assert!(duplicates.insert("a"));
        assert_eq!(duplicates.order.len(), REMEMBERED);
        assert_eq!(duplicates.seen.len(), REMEMBERED);
    }

    #[test]
    fn a_forgotten_message_may_come_again() {
        let mut duplicates = Duplicates::default();
        assert!(duplicates.insert("a"));
        duplicates.forget("a");
        duplicates.forget("never seen");
        assert!(duplicates.insert("a"));
        assert_eq!(duplicates.order.len(), 1);
    }
}
