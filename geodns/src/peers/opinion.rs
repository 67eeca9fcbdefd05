//! What this responder itself has seen of one host: up or down after some probes in a row.

use super::fleet::Rules;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Opinion {
    sight: Sight,
    /// Probes in a row that speak against it.
    against: u32,
    /// What came of the last probe; none: there was none.
    last: Option<bool>,
}

/// What a host seems to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Too few probes have ended.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Opinion {
    /// What it seems to be.
    pub(crate) fn sight(self) -> Sight {
        self.sight
    }

    /// What came of the last probe.
    pub(crate) fn last(self) -> Option<bool> {
        self.last
    }

    /// Once a probe has passed or failed. The first that passes says that it is up: nothing was ever
    /// said against it.
    pub(crate) fn after(self, passed: bool, rules: &Rules) -> Opinion {
        let last = Some(passed);
        let needed = match (self.sight, passed) {
            (Sight::Up, true) | (Sight::Down, false) => {
                return Opinion {
                    against: 0,
                    last,
                    ..self
                };
            }
            (Sight::Unknown, true) => 1,
            (Sight::Down, true) => rules.rise,
            (Sight::Unknown | Sight::Up, false) => rules.fall,
        };
        let against = self.against + 1;
        if against < needed {
            return Opinion {
                against,
                last,
                ..self
            };
        }
        Opinion {
            sight: match passed {
                true => Sight::Up,
                false => Sight::Down,
            },
            against: 0,
            last,
        }
    }

    /// As it is when what was seen says more of this responder than of the host.
    pub(crate) fn doubted(self) -> Opinion {
        match self.sight {
            Sight::Down => Opinion {
                sight: Sight::Unknown,
                against: 0,
                last: self.last,
            },
            Sight::Unknown | Sight::Up => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn after(probes: &str) -> Sight {
        let rules = Rules {
            interval: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        };
        let each = probes.chars().map(|probe| probe == '+');
        let opinion = each.fold(Opinion::default(), |it, passed| it.after(passed, &rules));
        opinion.sight()
    }

    #[test]
    fn it_takes_some_in_a_row() {
        assert_eq!(after(""), Sight::Unknown);
        assert_eq!(after("+"), Sight::Up);
        assert_eq!(after("--"), Sight::Unknown);
        assert_eq!(after("---"), Sight::Down);
        assert_eq!(after("--+"), Sight::Up);
        assert_eq!(after("+--+--"), Sight::Up);
        assert_eq!(after("+---"), Sight::Down);
        assert_eq!(after("+---+"), Sight::Down);
        assert_eq!(after("+---+-+"), Sight::Down);
        assert_eq!(after("+---++"), Sight::Up);
    }
}
