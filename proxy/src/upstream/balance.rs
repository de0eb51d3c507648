//! Which endpoint has the next call: smooth weighted round robin, pure.
//!
//! Each candidate gains its weight, the richest has the call and pays what was given out. Shares are exact over a round,
//! and no endpoint has its calls in one burst.

/// How far each endpoint is ahead of its share or behind it.
#[derive(Debug)]
pub(super) struct Balance {
    credit: Vec<i64>,
}

impl Balance {
    pub(super) fn new(endpoints: usize) -> Self {
        Self { credit: vec![0; endpoints] }
    }

    /// The next of the candidates, given as index and weight. Those without weight have a turn only when no other is
    /// there, in their order.
    pub(super) fn next(&mut self, candidates: &[(usize, u32)]) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for &(index, weight) in candidates.iter().filter(|(_, weight)| *weight > 0) {
            let credit = self.credit.get_mut(index)?;
            total += i64::from(weight);
            *credit += i64::from(weight);
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((index, *credit));
            }
        }
        let Some((index, _)) = best else { return candidates.first().map(|(index, _)| *index) };
        *self.credit.get_mut(index)? -= total;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_and_spread_out() {
        let mut balance = Balance::new(3);
        let candidates = [(0, 5), (1, 1), (2, 1)];
        let round: Vec<_> = (0..7).map(|_| balance.next(&candidates).unwrap()).collect();
        assert_eq!(round, [0, 0, 1, 0, 2, 0, 0]);
        let mut counts = [0; 3];
        (0..700).for_each(|_| counts[balance.next(&candidates).unwrap()] += 1);
        assert_eq!(counts, [500, 100, 100]);
    }

    #[test]
    fn an_endpoint_that_was_away_does_not_have_all_calls_when_it_is_back() {
        let mut balance = Balance::new(2);
        (0..1000).for_each(|_| assert_eq!(balance.next(&[(0, 1)]), Some(0)));
        let mut counts = [0; 2];
        (0..10).for_each(|_| counts[balance.next(&[(0, 1), (1, 1)]).unwrap()] += 1);
        assert_eq!(counts, [5, 5]);
    }

    #[test]
    fn a_standby_is_called_only_when_nobody_else_can_be() {
        let mut balance = Balance::new(2);
        assert_eq!(balance.next(&[(0, 0), (1, 1)]), Some(1));
        assert_eq!(balance.next(&[(0, 0)]), Some(0));
        assert_eq!(balance.next(&[]), None);
    }
}
