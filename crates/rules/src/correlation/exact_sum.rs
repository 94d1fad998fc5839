//! A sum that is exact whatever is added and taken away again, and in whatever order.
//! It never overflows: what it answers is the nearest fraction to the true sum.

use crate::values::number::Number;

/// Digits of 32 bits: the 2,098 bits of all finite fractions, with room for carries.
const N_LIMBS: usize = 68;

/// Where the bit for one lies: the smallest fraction is 2 to the -1,074.
const ONE: usize = 1_074;

/// The sum of numbers that come and go.
#[derive(Clone, Default, Debug)]
pub(crate) struct ExactSum {
    whole: i128,
    /// Sums of the bits of fractions, by digit; made when the first fraction comes.
    fraction: Option<Box<[i64; N_LIMBS]>>,
    n_fractions: usize,
}

impl ExactSum {
    /// Adds a finite number.
    pub(crate) fn add(&mut self, number: Number) {
        self.change(number, 1);
    }

    /// Takes away a number that was added.
    pub(crate) fn remove(&mut self, number: Number) {
        self.change(number, -1);
    }

    /// Adds a number, or takes it away.
    fn change(&mut self, number: Number, sign: i64) {
        match number {
            Number::Int(whole) => self.whole += i128::from(whole) * i128::from(sign),
            Number::Float(fraction) => {
                let limbs = self.fraction.get_or_insert_with(|| Box::new([0; N_LIMBS]));
                add_fraction(limbs, fraction, sign);
                match sign {
                    1 => self.n_fractions += 1,
                    _ => self.n_fractions = self.n_fractions.saturating_sub(1),
                }
                if self.n_fractions == 0 {
                    self.fraction = None;
                }
            }
        }
    }

    /// The sum: a whole number while only such are in it and it is not too large for one.
    pub(crate) fn read(&self) -> Number {
        match (&self.fraction, i64::try_from(self.whole)) {
            (None, Ok(whole)) => Number::Int(whole),
            (limbs, _) => {
                let mut limbs = limbs.as_ref().map_or([0; N_LIMBS], |limbs| **limbs);
                add_bits(
                    &mut limbs,
                    self.whole.unsigned_abs(),
                    ONE,
                    sign_of(self.whole),
                );
                Number::Float(nearest(&limbs))
            }
        }
    }
}

/// One with the sign of a number.
fn sign_of(number: i128) -> i64 {
    if number < 0 { -1 } else { 1 }
}

/// Adds the bits of a fraction.
fn add_fraction(limbs: &mut [i64; N_LIMBS], fraction: f64, sign: i64) {
    let bits = fraction.to_bits();
    let exponent = usize::try_from(bits >> 52 & 0x7ff).unwrap_or(0);
    let hidden = if exponent == 0 { 0 } else { 1 << 52 };
    let mantissa = bits & ((1 << 52) - 1) | hidden;
    let sign = if fraction.is_sign_negative() {
        -sign
    } else {
        sign
    };
    add_bits(limbs, mantissa.into(), exponent.max(1) - 1, sign);
}

/// Adds a number, shifted to a bit.
fn add_bits(limbs: &mut [i64; N_LIMBS], mut number: u128, at: usize, sign: i64) {
    let (mut limb, shift) = (at / 32, at % 32);
    let mut carry = 0_u128;
    while number != 0 || carry != 0 {
        let piece = ((number & 0xffff_ffff) << shift) | carry;
        let digit = i64::try_from(piece & 0xffff_ffff).unwrap_or(0);
        if let Some(slot) = limbs.get_mut(limb) {
            *slot += sign * digit;
        }
        carry = piece >> 32;
        number >>= 32;
        limb += 1;
    }
}

/// The fraction nearest to what the digits say.
fn nearest(limbs: &[i64; N_LIMBS]) -> f64 {
    let (digits, is_negative) = normalize(limbs);
    let Some(top) = digits.iter().rposition(|digit| *digit != 0) else {
        return 0.0;
    };
    let low = top.saturating_sub(2);
    let digit = |index: usize| u128::from(digits.get(index).copied().unwrap_or(0));
    let mut bits = digit(low) | digit(low + 1) << 32 | digit(low + 2) << 64;
    let has_rest = digits.iter().take(low).any(|digit| *digit != 0);
    bits |= u128::from(has_rest);
    let size = scale(bits, low * 32);
    if is_negative { -size } else { size }
}

/// The digits without a sign, each in its range.
fn normalize(limbs: &[i64; N_LIMBS]) -> ([u32; N_LIMBS], bool) {
    let carried = |sign: i64| {
        let mut digits = [0_u32; N_LIMBS];
        let mut carry = 0_i64;
        for (digit, limb) in digits.iter_mut().zip(limbs) {
            let sum = sign * limb + carry;
            *digit = u32::try_from(sum & 0xffff_ffff).unwrap_or(0);
            carry = sum >> 32;
        }
        (digits, carry < 0)
    };
    match carried(1) {
        (_, true) => (carried(-1).0, true),
        (digits, false) => (digits, false),
    }
}

/// A whole number times 2 to the power of a bit's place.
#[expect(
    clippy::cast_precision_loss,
    reason = "this is where the exact sum is rounded, once"
)]
fn scale(bits: u128, at: usize) -> f64 {
    let power = i32::try_from(at).unwrap_or(i32::MAX) - 1_074;
    let number = bits as f64;
    let half = power / 2;
    number * 2_f64.powi(half) * 2_f64.powi(power - half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    use super::ExactSum;
    use crate::values::number::Number;

    /// Finite numbers of every size.
    fn any_number() -> impl Strategy<Value = Number> {
        prop_oneof![
            any::<i64>().prop_map(Number::Int),
            any::<f64>()
                .prop_filter("finite", |number| number.is_finite())
                .prop_map(Number::Float),
            (-1_000_i32..1_000).prop_map(|number| Number::Float(f64::from(number) / 10.0)),
        ]
    }

    /// The sum of numbers, one after the other.
    fn sum(numbers: &[Number]) -> Number {
        let mut sum = ExactSum::default();
        numbers.iter().for_each(|number| sum.add(*number));
        sum.read()
    }

    #[test]
    fn sums_are_the_nearest_fraction_to_the_truth() {
        let fractions = |numbers: &[f64]| -> Vec<Number> {
            numbers.iter().copied().map(Number::Float).collect()
        };
        let table: [(&[f64], f64); 8] = [
            (&[1e308, 1.0, -1e308], 1.0),
            (&[1e16, 1.0, 1.0, -1e16], 2.0),
            (&[f64::MAX, f64::MAX, -f64::MAX], f64::MAX),
            (&[f64::MAX, f64::MAX], f64::INFINITY),
            (&[-f64::MAX, -f64::MAX], f64::NEG_INFINITY),
            (&[5e-324, 5e-324], 1e-323),
            (&[0.5, -0.75], -0.25),
            (
                &[2.0_f64.powi(53), 1.0, 2.0_f64.powi(-1_000)],
                2.0_f64.powi(53) + 2.0,
            ),
        ];
        for (numbers, expected) in table {
            assert_eq!(
                sum(&fractions(numbers)),
                Number::Float(expected),
                "{numbers:?}"
            );
        }
        assert_eq!(
            sum(&[Number::Int(i64::MAX); 2]),
            Number::Float(2.0_f64.powi(64))
        );
        assert_eq!(
            sum(&[Number::Int(i64::MAX), Number::Int(-1)]),
            Number::Int(i64::MAX - 1)
        );
        assert_eq!(sum(&[]), Number::Int(0));
    }

    proptest! {
        #[test]
        fn one_fraction_is_itself(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
            assert_eq!(sum(&[Number::Float(number)]), Number::Float(number));
        }

        #[test]
        fn the_order_does_not_matter_and_what_goes_leaves_no_trace(
            numbers in proptest::collection::vec(any_number(), 0..12),
            passing in proptest::collection::vec(any_number(), 0..12),
        ) {
            let mut total = ExactSum::default();
            passing.iter().for_each(|number| total.add(*number));
            numbers.iter().rev().for_each(|number| total.add(*number));
            passing.iter().for_each(|number| total.remove(*number));

            assert_eq!(total.read(), sum(&numbers));
        }

        #[test]
        fn two_fractions_round_as_one_addition_does(
            left in any::<f64>().prop_filter("finite", |number| number.is_finite()),
            right in any::<f64>().prop_filter("finite", |number| number.is_finite()),
        ) {
            let near = [Number::Float(left), Number::Float(right)];

            assert_eq!(sum(&near), Number::Float(left + right));
        }
    }
}
