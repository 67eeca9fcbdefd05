//! How long to wait before a plane that died is started again.

use std::time::Duration;

/// The wait after the second death in a row; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait. A plane that can not live is tried for ever: what kills it
/// (a full disk, an exhausted memory) may go away while nobody looks.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(5);

/// A plane that served this long before it died was well: the next death is a
/// first one. Longer than `WAIT_MAX`, so that a plane that dies each time soon
/// after the wait is not taken for a healthy one.
const RAN_WELL: Duration = Duration::from_secs(10);

const _: () = assert!(RAN_WELL.as_millis() > WAIT_MAX.as_millis());

/// The deaths in a row of one plane.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The plane died after it had been ready for `served`: how long to wait now.
    pub(crate) fn after_death(&mut self, served: Duration) -> Duration {
        if served >= RAN_WELL {
            self.deaths = 0;
        }
        let wait = match self.deaths {
            0 => Duration::ZERO,
            deaths => FIRST_WAIT
                .saturating_mul(1_u32.checked_shl(deaths - 1).unwrap_or(u32::MAX))
                .min(WAIT_MAX),
        };
        self.deaths = self.deaths.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits_ms(backoff: &mut Backoff, deaths: usize) -> Vec<u128> {
        (0..deaths)
            .map(|_| backoff.after_death(Duration::ZERO).as_millis())
            .collect()
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_wait_doubles_to_its_limit() {
        assert_eq!(
            waits_ms(&mut Backoff::default(), 9),
            [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]
        );
    }

    #[test]
    fn a_thousand_deaths_do_not_overflow() {
        let waits = waits_ms(&mut Backoff::default(), 1000);
        assert_eq!(waits.last(), Some(&WAIT_MAX.as_millis()));
    }

    #[test]
    fn a_plane_that_ran_well_is_started_at_once_again() {
        let mut backoff = Backoff::default();
        waits_ms(&mut backoff, 5);
        assert_eq!(backoff.after_death(RAN_WELL), Duration::ZERO);
        assert_eq!(
            backoff.after_death(RAN_WELL - Duration::from_millis(1)),
            FIRST_WAIT
        );
    }
}
