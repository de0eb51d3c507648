//! A circuit breaker as a pure state machine: outcomes and time go in, leave to call comes out.
//!
//! Closed, calls pass. After a number of failures in a row within a window it opens, and calls are refused for a while;
//! then one call may try, and its outcome closes or opens it again. A model may think for minutes, so while nothing is
//! known another one may try each time that the while is over. What was let through in an earlier state says nothing about
//! the present one: each pass carries the epoch that it was given in.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitRules {
    /// Failures in a row.
    pub failures: u32,
    /// All of them within this time.
    pub within: Duration,
    pub open: Duration,
}

impl Default for CircuitRules {
    fn default() -> Self {
        // A dead endpoint is left after five calls; a restart of a server takes some ten seconds.
        Self { failures: 5, within: Duration::from_secs(30), open: Duration::from_secs(15) }
    }
}

/// How a call that was let through has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Worked,
    Failed,
    /// It says nothing about the endpoint: given up by the client, mostly.
    Unknown,
}

/// Anthropic's "overloaded".
pub(super) const OVERLOADED: u16 = 529;

impl Outcome {
    /// What an answer with this status says about the endpoint.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            502..=504 | OVERLOADED => Self::Failed,
            // The limit is the key's, not the endpoint's.
            429 => Self::Unknown,
            _ => Self::Worked,
        }
    }
}

/// Leave to make one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    epoch: u64,
}

/// As it is shown in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    Closed,
    HalfOpen,
    Open,
}

impl CircuitState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

#[derive(Debug)]
enum State {
    Closed { failures: VecDeque<Instant> },
    Open { until: Instant },
    HalfOpen { trying_since: Option<Instant> },
}

/// The breaker of one endpoint.
#[derive(Debug)]
pub(super) struct Breaker {
    rules: CircuitRules,
    state: State,
    epoch: u64,
}

impl Breaker {
    pub(super) fn new(rules: CircuitRules) -> Self {
        Self { rules, state: State::Closed { failures: VecDeque::new() }, epoch: 0 }
    }

    /// Whether a call would be let through now.
    pub(super) fn is_passable(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } => now >= until,
            State::HalfOpen { trying_since } => {
                trying_since.is_none_or(|since| now.saturating_duration_since(since) >= self.rules.open)
            }
        }
    }

    /// Lets a call through. Whoever has the pass reports its outcome, whatever that is.
    pub(super) fn pass(&mut self, now: Instant) -> Option<Pass> {
        if !self.is_passable(now) {
            return None;
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { .. } => self.turn(State::HalfOpen { trying_since: Some(now) }),
            State::HalfOpen { trying_since } => *trying_since = Some(now),
        }
        Some(Pass { epoch: self.epoch })
    }

    pub(super) fn settle(&mut self, pass: Pass, outcome: Outcome, now: Instant) {
        if pass.epoch == self.epoch {
            self.note(outcome, now);
        }
    }

    /// A failure of a call that was settled before: its answer broke off.
    pub(super) fn broke(&mut self, now: Instant) {
        if matches!(self.state, State::Closed { .. }) {
            self.note(Outcome::Failed, now);
        }
    }

    /// How long calls are refused from now on; `None` while they are not.
    pub(super) fn opens_in(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until.saturating_duration_since(now)),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    pub(super) fn state(&self) -> CircuitState {
        match self.state {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { .. } => CircuitState::Open,
            State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    fn note(&mut self, outcome: Outcome, now: Instant) {
        match (&mut self.state, outcome) {
            (State::Closed { failures }, Outcome::Worked) => failures.clear(),
            (State::Closed { failures }, Outcome::Failed) => {
                failures.push_back(now);
                while failures.front().is_some_and(|at| now.saturating_duration_since(*at) > self.rules.within) {
                    failures.pop_front();
                }
                if failures.len() >= self.rules.failures as usize {
                    self.open(now);
                }
            }
            (State::HalfOpen { .. }, Outcome::Worked) => self.turn(State::Closed { failures: VecDeque::new() }),
            (State::HalfOpen { .. }, Outcome::Failed) => self.open(now),
            (State::HalfOpen { trying_since }, Outcome::Unknown) => *trying_since = None,
            (State::Closed { .. }, Outcome::Unknown) | (State::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.turn(State::Open { until: now + self.rules.open });
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.epoch = self.epoch.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> (Breaker, Instant) {
        let rules = CircuitRules { failures: 3, within: 10 * SECOND, open: 5 * SECOND };
        (Breaker::new(rules), Instant::now())
    }

    fn fail(breaker: &mut Breaker, now: Instant) {
        let pass = breaker.pass(now).unwrap();
        breaker.settle(pass, Outcome::Failed, now);
    }

    #[test]
    fn opens_after_failures_in_a_row_and_refuses_until_its_time_is_over() {
        let (mut breaker, now) = breaker();
        fail(&mut breaker, now);
        fail(&mut breaker, now);
        assert_eq!(breaker.state(), CircuitState::Closed);
        fail(&mut breaker, now);
        assert_eq!((breaker.state(), breaker.opens_in(now)), (CircuitState::Open, Some(5 * SECOND)));
        assert_eq!(breaker.pass(now + 4 * SECOND), None);
        assert!(breaker.pass(now + 5 * SECOND).is_some());
    }

    #[test]
    fn a_success_between_failures_or_a_long_time_keeps_it_closed() {
        let (mut breaker, now) = breaker();
        for _ in 0..5 {
            fail(&mut breaker, now);
            fail(&mut breaker, now);
            let pass = breaker.pass(now).unwrap();
            breaker.settle(pass, Outcome::Worked, now);
        }
        for step in 0..20 {
            fail(&mut breaker, now + step * 6 * SECOND);
        }
        assert_eq!(breaker.state(), CircuitState::Closed);
    }

    #[test]
    fn half_open_lets_one_call_try_and_its_outcome_decides() {
        let (mut breaker, now) = breaker();
        (0..3).for_each(|_| fail(&mut breaker, now));
        let later = now + 5 * SECOND;
        let trial = breaker.pass(later).unwrap();
        assert_eq!((breaker.state(), breaker.pass(later)), (CircuitState::HalfOpen, None));
        breaker.settle(trial, Outcome::Failed, later);
        assert_eq!((breaker.state(), breaker.opens_in(later)), (CircuitState::Open, Some(5 * SECOND)));
        let later = later + 5 * SECOND;
        let trial = breaker.pass(later).unwrap();
        breaker.settle(trial, Outcome::Worked, later);
        assert_eq!(breaker.state(), CircuitState::Closed);
        fail(&mut breaker, later);
        assert_eq!(breaker.state(), CircuitState::Closed, "old failures are forgotten");
    }

    #[test]
    fn a_trial_that_is_given_up_leaves_its_place_to_the_next() {
        let (mut breaker, now) = breaker();
        (0..3).for_each(|_| fail(&mut breaker, now));
        let later = now + 5 * SECOND;
        let trial = breaker.pass(later).unwrap();
        breaker.settle(trial, Outcome::Unknown, later);
        assert!(breaker.pass(later).is_some());
    }

    #[test]
    fn a_trial_that_takes_long_does_not_keep_everybody_out() {
        let (mut breaker, now) = breaker();
        (0..3).for_each(|_| fail(&mut breaker, now));
        let later = now + 5 * SECOND;
        let slow = breaker.pass(later).unwrap();
        assert_eq!(breaker.pass(later + 4 * SECOND), None);
        let quick = breaker.pass(later + 5 * SECOND).unwrap();
        assert_eq!(breaker.pass(later + 9 * SECOND), None);
        breaker.settle(quick, Outcome::Worked, later + 6 * SECOND);
        assert_eq!(breaker.state(), CircuitState::Closed);
        breaker.settle(slow, Outcome::Failed, later + 7 * SECOND);
        assert_eq!(breaker.state(), CircuitState::Closed);
    }

    proptest::proptest! {
        /// Whatever happens in whatever order: an open circuit lets nobody through before its time, and of one that was open
        /// at most one call in each such time is out until an outcome is known.
        #[test]
        fn it_keeps_its_word(steps in proptest::collection::vec((0_u8..4, 0_u64..4_000), 1..200)) {
            let (mut breaker, mut now) = breaker();
            let mut out: VecDeque<Pass> = VecDeque::new();
            let mut opened: Option<Instant> = None;
            let mut trial: Option<Instant> = None;
            for (step, wait) in steps {
                now += Duration::from_millis(wait);
                let before = breaker.state();
                match (step, out.pop_front()) {
                    (0, popped) => {
                        out.extend(popped);
                        let pass = breaker.pass(now);
                        match before {
                            CircuitState::Closed => proptest::prop_assert!(pass.is_some()),
                            CircuitState::Open => {
                                let is_over = opened.is_some_and(|at| now.duration_since(at) >= breaker.rules.open);
                                proptest::prop_assert_eq!(pass.is_some(), is_over);
                            }
                            CircuitState::HalfOpen => {
                                let is_over = trial.is_none_or(|at| now.duration_since(at) >= breaker.rules.open);
                                proptest::prop_assert_eq!(pass.is_some(), is_over);
                            }
                        }
                        if pass.is_some() && before != CircuitState::Closed {
                            trial = Some(now);
                        }
                        out.extend(pass);
                    }
                    (outcome, Some(pass)) => {
                        let outcome = [Outcome::Worked, Outcome::Failed, Outcome::Unknown][usize::from(outcome) - 1];
                        let counts = pass.epoch == breaker.epoch;
                        breaker.settle(pass, outcome, now);
                        if counts && outcome == Outcome::Unknown {
                            trial = None;
                        }
                        if !counts {
                            proptest::prop_assert_eq!(breaker.state(), before);
                        }
                    }
                    (_, None) => {}
                }
                if breaker.state() == CircuitState::Open && before != CircuitState::Open {
                    opened = Some(now);
                }
            }
        }
    }

    #[test]
    fn outcomes_of_an_earlier_state_count_for_nothing() {
        let (mut breaker, now) = breaker();
        let early = breaker.pass(now).unwrap();
        let other = breaker.pass(now).unwrap();
        (0..3).for_each(|_| fail(&mut breaker, now));
        breaker.settle(early, Outcome::Worked, now);
        assert_eq!(breaker.state(), CircuitState::Open);
        let later = now + 5 * SECOND;
        let _trial = breaker.pass(later).unwrap();
        breaker.settle(other, Outcome::Worked, later);
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        breaker.broke(later);
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
    }
}
