//! The numbers in one window: their sum, their average or one of their percentiles.
//! It never rounds a sum more than once, and never counts what is not a finite number.

use std::collections::VecDeque;

use crate::correlation::exact_sum::ExactSum;
use crate::values::number::Number;

/// The numbers of a window, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct NumberWindow {
    entries: VecDeque<(i64, Number)>,
    digest: Digest,
}

/// What is kept besides, by what is computed.
#[derive(Clone, Debug)]
enum Digest {
    /// The sum.
    Sum(ExactSum),
    /// The sum, to be divided.
    Average(ExactSum),
    /// The numbers in order, and which of them is wanted, as a part of one.
    Rank(Vec<f64>, f64),
}

impl NumberWindow {
    /// Computes the sum.
    pub(crate) fn sum() -> Self {
        Self::new(Digest::Sum(ExactSum::default()))
    }

    /// Computes the arithmetic mean.
    pub(crate) fn average() -> Self {
        Self::new(Digest::Average(ExactSum::default()))
    }

    /// Computes a percentile from 0 to 100, by linear interpolation between the two nearest.
    pub(crate) fn percentile(percent: f64) -> Self {
        Self::new(Digest::Rank(Vec::new(), percent / 100.0))
    }

    /// An empty window.
    fn new(digest: Digest) -> Self {
        Self {
            entries: VecDeque::new(),
            digest,
        }
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Time of the oldest number.
    pub(crate) fn first_ms(&self) -> Option<i64> {
        self.entries.front().map(|(time, _)| *time)
    }

    /// The newest number.
    pub(crate) fn newest(&self) -> Option<Number> {
        self.entries.back().map(|(_, number)| *number)
    }

    /// Takes a number in; answers how many had to be dropped for it.
    pub(crate) fn push(&mut self, time: i64, number: Number, cap: usize) -> u64 {
        self.entries.push_back((time, number));
        match &mut self.digest {
            Digest::Sum(sum) | Digest::Average(sum) => sum.add(number),
            Digest::Rank(sorted, _) => {
                let value = number.as_f64();
                let at = sorted.partition_point(|other| other.total_cmp(&value).is_lt());
                sorted.insert(at, value);
            }
        }
        let is_over = self.entries.len() > cap;
        if is_over {
            self.pop();
        }
        u64::from(is_over)
    }

    /// Forgets what lies before the window.
    pub(crate) fn forget_before(&mut self, oldest_ms: i64) {
        while self.first_ms().is_some_and(|time| time < oldest_ms) {
            self.pop();
        }
    }

    /// Forgets everything, and gives back the room of more numbers than these.
    pub(crate) fn empty(&mut self, usual: usize) {
        self.entries.clear();
        self.entries.shrink_to(usual);
        match &mut self.digest {
            Digest::Sum(sum) | Digest::Average(sum) => *sum = ExactSum::default(),
            Digest::Rank(sorted, _) => {
                sorted.clear();
                sorted.shrink_to(usual);
            }
        }
    }

    /// Drops the oldest number.
    fn pop(&mut self) {
        let Some((_, number)) = self.entries.pop_front() else {
            return;
        };
        match &mut self.digest {
            Digest::Sum(sum) | Digest::Average(sum) => sum.remove(number),
            Digest::Rank(sorted, _) => {
                let value = number.as_f64();
                let at = sorted.partition_point(|other| other.total_cmp(&value).is_lt());
                if at < sorted.len() {
                    sorted.remove(at);
                }
            }
        }
    }

    /// What is computed; nothing of no numbers.
    pub(crate) fn read(&self) -> Option<Number> {
        if self.entries.is_empty() {
            return None;
        }
        match &self.digest {
            Digest::Sum(sum) => Some(sum.read()),
            Digest::Average(sum) => Some(Number::Float(sum.read().as_f64() / count(self.len()))),
            Digest::Rank(sorted, part) => interpolate(sorted, *part).map(Number::Float),
        }
    }
}

/// A number of entries as a fraction.
#[expect(
    clippy::cast_precision_loss,
    reason = "windows hold far fewer entries than a fraction counts exactly"
)]
fn count(entries: usize) -> f64 {
    entries as f64
}

/// What lies a part of the way from the first to the last of sorted numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the position lies between zero and the number of entries"
)]
fn interpolate(sorted: &[f64], part: f64) -> Option<f64> {
    let position = count(sorted.len().checked_sub(1)?) * part;
    let (low, rest) = (position.floor() as usize, position.fract());
    let below = sorted.get(low).copied()?;
    match sorted.get(low + 1) {
        Some(above) if rest > 0.0 => Some(below * (1.0 - rest) + above * rest),
        _ => Some(below),
    }
}

#[cfg(test)]
mod tests {
    use super::NumberWindow;
    use crate::values::number::Number;

    /// What a window computes over numbers.
    fn read(mut window: NumberWindow, numbers: &[f64]) -> Option<f64> {
        for number in numbers {
            window.push(0, Number::Float(*number), 100);
        }
        window.read().map(Number::as_f64)
    }

    #[test]
    fn percentiles_lie_between_the_nearest_numbers() {
        let table: [(f64, &[f64], Option<f64>); 9] = [
            (50.0, &[], None),
            (50.0, &[7.0], Some(7.0)),
            (50.0, &[1.0, 4.0], Some(2.5)),
            (50.0, &[9.0, 1.0, 4.0], Some(4.0)),
            (0.0, &[9.0, 1.0, 4.0], Some(1.0)),
            (100.0, &[9.0, 1.0, 4.0], Some(9.0)),
            (95.0, &[0.0, 10.0], Some(9.5)),
            (25.0, &[4.0, 3.0, 2.0, 1.0, 0.0], Some(1.0)),
            (50.0, &[f64::MAX, f64::MAX], Some(f64::MAX)),
        ];
        for (percent, numbers, expected) in table {
            assert_eq!(
                read(NumberWindow::percentile(percent), numbers),
                expected,
                "{percent} of {numbers:?}"
            );
        }
    }

    #[test]
    fn averages_are_of_the_exact_sum() {
        assert_eq!(
            read(NumberWindow::average(), &[1e300, 6.0, -1e300]),
            Some(2.0)
        );
        assert_eq!(read(NumberWindow::average(), &[]), None);
    }

    #[test]
    fn numbers_that_leave_the_window_leave_what_is_computed() {
        let windows = [
            NumberWindow::sum(),
            NumberWindow::average(),
            NumberWindow::percentile(50.0),
        ];
        for mut window in windows {
            window.push(1, Number::Int(100), 2);
            window.push(2, Number::Float(-0.5), 2);
            assert_eq!(window.push(3, Number::Float(3.5), 2), 1);
            window.forget_before(3);

            assert_eq!(window.read().map(Number::as_f64), Some(3.5));
            window.forget_before(4);
            assert_eq!((window.read(), window.len()), (None, 0));
        }
    }
}
