//! The times of the matches in one window, oldest first; a few of them without memory of their own.
//! It never decides which are too old.

use std::collections::VecDeque;

/// Most times that are kept in place.
const FEW: usize = 5;

/// Times, oldest first.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// So many of these.
    Few(u8, [i64; FEW]),
    /// More.
    Many(VecDeque<i64>),
}

impl Default for Times {
    fn default() -> Self {
        Self::Few(0, [0; FEW])
    }
}

impl Times {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(length, _) => usize::from(*length),
            Self::Many(times) => times.len(),
        }
    }

    /// The oldest.
    pub(crate) fn first(&self) -> Option<i64> {
        match self {
            Self::Few(0, _) => None,
            Self::Few(_, times) => times.first().copied(),
            Self::Many(times) => times.front().copied(),
        }
    }

    /// Adds the newest.
    pub(crate) fn push(&mut self, time: i64) {
        match self {
            Self::Few(length, times) => match times.get_mut(usize::from(*length)) {
                Some(room) => {
                    *room = time;
                    *length += 1;
                }
                None => {
                    let all = times.iter().copied().chain([time]);
                    *self = Self::Many(all.collect());
                }
            },
            Self::Many(times) => times.push_back(time),
        }
    }

    /// Drops the oldest.
    pub(crate) fn pop(&mut self) {
        match self {
            Self::Few(length, times) => {
                times.rotate_left(1);
                *length = length.saturating_sub(1);
            }
            Self::Many(times) => drop(times.pop_front()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::Times;

    proptest! {
        #[test]
        fn times_come_out_in_the_order_in_which_they_went_in(
            steps in proptest::collection::vec(any::<Option<i64>>(), 0..40),
        ) {
            let mut times = Times::default();
            let mut list: Vec<i64> = Vec::new();
            for step in steps {
                match step {
                    Some(time) => {
                        times.push(time);
                        list.push(time);
                    }
                    None => {
                        times.pop();
                        list.drain(..list.len().min(1));
                    }
                }
                assert_eq!((times.len(), times.first()), (list.len(), list.first().copied()));
            }
        }
    }
}
