//! What is demanded of a number, once it has ended.

use std::cmp::Ordering;

use serde_json::Number;

use super::branch::{Branches, Death};
use super::monitor::Monitor;
use super::node::{Node, Nodes};

/// Whole numbers up to here are exact as doubles.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Checks the number that is spelled `text`.
pub(crate) fn check(nodes: &Nodes, branches: &mut Branches, monitors: &[Monitor], text: &str) -> Option<Death> {
    let mut number: Option<Number> = None;
    for monitor in monitors {
        let Some(node) = nodes.get(monitor.node).filter(|node| node.number.is_some() || node.values.is_some()) else {
            continue;
        };
        if number.is_none() {
            // Read as the authority reads it. What it cannot read is refused when it tries.
            number = Some(serde_json::from_str(text).ok()?);
        }
        if let Some(number) = &number
            && let Some(keyword) = refuses(node, number)
            && let Some(death) = branches.kill(monitor.branch, Death::of(monitor.node, keyword))
        {
            return Some(death);
        }
    }
    None
}

fn refuses(node: &Node, number: &Number) -> Option<&'static str> {
    if let Some(rules) = node.number.as_deref() {
        let is = |bound: &Option<Number>, ordering: &[Ordering]| {
            let compared = bound.as_ref().and_then(|bound| compare(number, bound));
            compared.is_some_and(|compared| ordering.contains(&compared))
        };
        let broken = match () {
            () if rules.is_integer && has_fraction(number) => Some("type"),
            () if is(&rules.minimum, &[Ordering::Less]) => Some("minimum"),
            () if is(&rules.maximum, &[Ordering::Greater]) => Some("maximum"),
            () if is(&rules.above, &[Ordering::Less, Ordering::Equal]) => Some("exclusiveMinimum"),
            () if is(&rules.below, &[Ordering::Greater, Ordering::Equal]) => Some("exclusiveMaximum"),
            () => None,
        };
        if broken.is_some() {
            return broken;
        }
    }
    let values = node.values.as_deref()?;
    let differs = |other: &Number| compare(number, other).is_some_and(|ordering| ordering != Ordering::Equal);
    values.numbers.iter().all(differs).then_some(values.keyword)
}

fn has_fraction(number: &Number) -> bool {
    number.is_f64() && number.as_f64().is_some_and(|float| float.fract() != 0.0)
}

/// None where rounding could decide.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return Some(a.cmp(&b));
    }
    let (a, b) = (a.as_f64()?, b.as_f64()?);
    if a.abs() >= EXACT_MAX || b.abs() >= EXACT_MAX {
        return None;
    }
    a.partial_cmp(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_where_that_is_certain() {
        let number = |text: &str| serde_json::from_str::<Number>(text).unwrap();
        for (a, b, expected) in [
            ("1", "1.0", Some(Ordering::Equal)),
            ("9007199254740993", "9007199254740992", Some(Ordering::Greater)),
            ("18446744073709551615", "-1", Some(Ordering::Greater)),
            ("9007199254740993", "9007199254740992.0", None),
            ("1e300", "1", None),
            ("-0", "0", Some(Ordering::Equal)),
            ("0.1", "0.2", Some(Ordering::Less)),
        ] {
            assert_eq!(compare(&number(a), &number(b)), expected, "{a} {b}");
        }
        assert!(has_fraction(&number("1.5")) && !has_fraction(&number("1.0")) && !has_fraction(&number("7")));
    }
}
