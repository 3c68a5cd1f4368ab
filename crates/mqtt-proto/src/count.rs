//! Counting without `+=`: the pure crates deny arithmetic that may overflow, and a counter is where
//! it can't. In a test a count that leaves its range stops the program; in a release it wraps, for
//! a broker with a wrong number in its statistics is better than none.

/// A number that goes up and down.
pub trait Count: Copy {
    /// Adds; the caller knows that the sum fits.
    fn up(&mut self, by: Self);

    /// Subtracts; the caller knows that so many were counted before.
    fn down(&mut self, by: Self);
}

macro_rules! counts {
    ($($number:ty)*) => {$(
        impl Count for $number {
            #[inline]
            fn up(&mut self, by: Self) {
                debug_assert!(self.checked_add(by).is_some(), "{self} + {by}");
                *self = self.wrapping_add(by);
            }

            #[inline]
            fn down(&mut self, by: Self) {
                debug_assert!(self.checked_sub(by).is_some(), "{self} - {by}");
                *self = self.wrapping_sub(by);
            }
        }
    )*};
}

counts!(u16 u32 u64 usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_up_and_down() {
        let mut count = 0_u16;
        count.up(3);
        count.down(2);
        assert_eq!(count, 1);
    }

    #[test]
    #[should_panic = "1 - 2"]
    fn a_test_notices_what_was_never_counted() {
        1_u64.down(2);
    }
}
