//! How often a host asks that can only ask, and how long nothing may be heard of it before it is missed.
//! It reads no clock.

use jiff::{SignedDuration, Timestamp};

/// A host that pauses for longer does not ask regularly: nobody knows when to miss it.
pub(super) const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(300);

/// A host asks regularly once it has done so for this long; one that tries it out does not.
const PROBATION: SignedDuration = SignedDuration::from_secs(600);

/// A longer pause is forgotten once it has not come again for as long as this, or twice that.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// A host is missed after so many of its longest pause.
const PAUSES: i32 = 3;

/// It is not missed before its lease has ended.
const AT_LEAST: SignedDuration = SignedDuration::from_secs(90);

/// After this long every host that asks regularly is missed.
pub(super) const AT_MOST: SignedDuration = SignedDuration::from_secs(900);

/// How often one host asks. What it tells when something happens says nothing about that; what it asks
/// for, and how it says it is, come at their times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rhythm {
    /// Since when it has made no pause longer than [`LONGEST_PAUSE`].
    began: Timestamp,
    last: Timestamp,
    /// The longest pause of this day, and that of the day before.
    longest: [SignedDuration; 2],
    /// Since when this day lasts.
    day_began: Timestamp,
    /// Whether it asked regularly before that.
    is_vouched: bool,
}

impl Rhythm {
    /// Of a host that asks for the first time.
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            began: now,
            last: now,
            longest: [SignedDuration::ZERO; 2],
            day_began: now,
            is_vouched: false,
        }
    }

    /// Of a host that asked regularly until a while ago.
    pub(super) const fn vouched(now: Timestamp) -> Self {
        Self {
            is_vouched: true,
            ..Self::new(now)
        }
    }

    /// It asked again.
    pub(super) fn beat(self, now: Timestamp) -> Self {
        let pause = now.duration_since(self.last);
        match (pause > LONGEST_PAUSE, self.is_proven()) {
            (true, true) => Self::vouched(now),
            (true, false) => Self::new(now),
            (false, _) => self.paused(pause, now),
        }
    }

    fn paused(self, pause: SignedDuration, now: Timestamp) -> Self {
        let [of_today, of_yesterday] = self.longest;
        let is_another_day = now.duration_since(self.day_began) >= REMEMBERED;
        let (longest, day_began) = if is_another_day {
            ([pause, of_today], now)
        } else {
            ([of_today.max(pause), of_yesterday], self.day_began)
        };
        Self {
            last: now,
            longest,
            day_began,
            ..self
        }
    }

    /// How long nothing may be heard of it from now on; none while it does not ask regularly.
    pub(super) fn patience(self, now: Timestamp) -> Option<SignedDuration> {
        if now.duration_since(self.last) > LONGEST_PAUSE {
            return None;
        }
        if self.is_proven() {
            let [of_today, of_yesterday] = self.longest;
            return Some((of_today.max(of_yesterday) * PAUSES).max(AT_LEAST));
        }
        self.is_vouched.then_some(AT_MOST)
    }

    fn is_proven(self) -> bool {
        self.last.duration_since(self.began) >= PROBATION
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    /// The patience with a host that asked at these times, in seconds.
    fn patience(begun: Rhythm, asked: impl IntoIterator<Item = i64>) -> Option<i64> {
        let rhythm = asked
            .into_iter()
            .fold(begun, |rhythm, second| rhythm.beat(at(second)));
        rhythm
            .patience(rhythm.last)
            .map(|patience| patience.as_secs())
    }

    #[test]
    fn a_host_is_missed_after_three_of_its_longest_pause() {
        let new = Rhythm::new(at(0));
        assert_eq!(patience(new, (0..=600).step_by(60)), Some(180));
        assert_eq!(patience(new, (0..=600).step_by(5)), Some(90));
        assert_eq!(patience(new, [250, 300, 600]), Some(900));
    }

    #[test]
    fn a_long_pause_that_did_not_come_again_is_forgotten_after_two_days() {
        let day = REMEMBERED.as_secs();
        let asked = |until| [300].into_iter().chain((320..until).step_by(20));
        let new = Rhythm::new(at(0));

        assert_eq!(patience(new, asked(day)), Some(900));
        assert_eq!(patience(new, asked(day * 3 / 2)), Some(900));
        assert_eq!(patience(new, asked(day * 2 + 60)), Some(90));
        let again = asked(day)
            .chain([day + 260])
            .chain((day + 300..2 * day + 900).step_by(20));
        assert_eq!(patience(new, again), Some(840));
    }

    #[test]
    fn a_host_that_is_tried_out_or_asks_seldom_is_not_missed() {
        let new = Rhythm::new(at(0));
        assert_eq!(patience(new, 0..=599), None);
        assert_eq!(patience(new, [300, 700, 1_000]), None);
        assert_eq!(patience(new, (0..100_000).step_by(3_600)), None);
    }

    #[test]
    fn a_host_of_an_earlier_daemon_is_missed_although_its_pauses_are_not_known_yet() {
        let vouched = Rhythm::vouched(at(0));
        assert_eq!(patience(vouched, [10]), Some(900));
        assert_eq!(patience(vouched, (0..=600).step_by(20)), Some(90));
        assert_eq!(patience(vouched, [10, 400]), None, "it asks seldom now");
    }

    #[test]
    fn a_host_that_comes_back_is_missed_again_and_one_that_asks_seldom_since_is_not() {
        let regular = || (0..=600).step_by(20);
        let new = Rhythm::new(at(0));
        assert_eq!(patience(new, regular().chain([2_000])), Some(900));
        assert_eq!(patience(new, regular().chain([2_000, 4_000])), None);
    }

    #[test]
    fn a_host_that_has_stopped_asking_is_not_missed_for_what_it_tells_besides() {
        let rhythm = (0..=600)
            .step_by(20)
            .fold(Rhythm::new(at(0)), |rhythm, second| rhythm.beat(at(second)));
        assert!(rhythm.patience(at(900)).is_some());
        assert_eq!(rhythm.patience(at(901)), None);
    }

    proptest! {
        #[test]
        fn who_goes_on_as_before_is_never_missed(pause in 1..=300_i64) {
            let asked = (0..10_000).step_by(usize::try_from(pause).expect("positive"));
            let patience = patience(Rhythm::new(at(0)), asked).expect("it asks regularly");
            prop_assert!((90..=900).contains(&patience) && patience > pause);
        }
    }
}
